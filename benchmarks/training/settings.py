"""What all candidates share: the neuron, the data, and the options of a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.clocks import Clock, CpuTime

CPU, CPU_TIME = torch.device("cpu"), CpuTime()
DECAY = 0.8
THRESHOLD = 1.0
STEEPNESS = 1.0
"""Of SuperSpike, 1 / (1 + |v|)^2: the one surrogate that snubridge and all three peers have."""
DRIVE_MEAN, DRIVE_STD = 0.1, 0.5
"""Of what a neuron receives: about one spike in twelve steps."""
RATE = 0.05
"""Of the spikes in binary inputs, where a case has no other."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for, and where it runs."""

    repeats: int
    warmup: int
    quick: bool
    compiled: bool
    opponents: tuple[str, ...]
    device: torch.device = CPU
    clock: Clock = CPU_TIME


def seeded(seed: int) -> torch.Generator:
    """A generator of its own, so that no case depends on those before it."""
    return torch.Generator().manual_seed(seed)


def normal(shape: tuple[int, ...], seed: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal values in float32."""
    return mean + std * torch.randn(shape, generator=seeded(seed))


def bernoulli(shape: tuple[int, ...], rate: float, seed: int) -> Tensor:
    """0 and 1 in float32."""
    return (torch.rand(shape, generator=seeded(seed)) < rate).float()


def weights(outputs: int, inputs: int, rate: float, seed: int, std: float = DRIVE_STD) -> Tensor:
    """(outputs, inputs): from inputs at ``rate`` a drive of standard deviation ``std``, so that rates are plausible."""
    return normal((outputs, inputs), seed, std=std / (inputs * rate) ** 0.5)

"""Other packages' neurons over a whole sequence, each as its documentation uses it, and all with the same settings.

A peer is a module from a drive (T, B, N) to spikes (T, B, N) with decay 0.8, threshold 1, reset to zero and SuperSpike.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.settings import DECAY, STEEPNESS, THRESHOLD
from training.timing import CandidateFailed

TAU = round(1 / (1 - DECAY), 9)
"""The time constant of the decay, in steps, as SpikingJelly and norse have it."""


@dataclass(frozen=True)
class Peer:
    """``gain``: the peer's drive is this much larger, ``flips``: the share of spikes that its rounding may move."""

    name: str
    package: str
    unit: Callable[[int], torch.nn.Module]
    settings: str
    detached: bool = False
    gain: float = 1.0
    flips: float = 0.0


def imported(module: str) -> Any:
    """A module of an opponent, or an error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise CandidateFailed(
            f"{package} cannot be imported ({error}): `make bench` installs it, --opponents leaves it out"
        ) from error


class SteppedLeaky(torch.nn.Module):
    """snnTorch's Leaky, stepped over the sequence; its reset is always detached."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.cell = imported("snntorch").Leaky(
            beta=DECAY,
            threshold=THRESHOLD,
            reset_mechanism="zero",
            spike_grad=imported("snntorch.surrogate").fast_sigmoid(STEEPNESS),
        )

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step."""
        membrane, spikes = torch.zeros_like(drive[0]), []
        for x in drive.unbind(0):
            spike, membrane = self.cell(x, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class SteppedRLeaky(torch.nn.Module):
    """snnTorch's RLeaky with the recurrent weights given, stepped over the sequence."""

    def __init__(self, recurrent: Tensor, reset: str) -> None:
        super().__init__()
        units = len(recurrent)
        self.cell = imported("snntorch").RLeaky(
            beta=DECAY,
            linear_features=units,
            threshold=THRESHOLD,
            reset_mechanism=reset,
            spike_grad=imported("snntorch.surrogate").fast_sigmoid(STEEPNESS),
        )
        self.cell.recurrent = torch.nn.Linear(units, units, bias=False)
        self.cell.recurrent.weight = torch.nn.Parameter(recurrent.clone())

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step."""
        spike, membrane, spikes = torch.zeros_like(drive[0]), torch.zeros_like(drive[0]), []
        for x in drive.unbind(0):
            spike, membrane = self.cell(x, spike, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class MultiStepLIF(torch.nn.Module):
    """SpikingJelly's LIFNode in multi-step mode."""

    def __init__(self, units: int) -> None:
        super().__init__()
        neuron = imported("spikingjelly.activation_based.neuron")
        surrogate = imported("spikingjelly.activation_based.surrogate")
        self.node = neuron.LIFNode(
            tau=TAU,
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=0.0,
            surrogate_function=surrogate.SuperSpike(STEEPNESS),
            step_mode="m",
        )

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step, from rest."""
        self.node.reset()
        return self.node(drive)


class FusedLIF(torch.nn.Module):
    """SpikingJelly's LIF over a sequence by its fused kernels on a GPU, with the state in float32.

    LIFNode gives the state the type of its input, and takes float16 and bfloat16 step by step in torch.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.functional = imported("spikingjelly.activation_based.functional")
        self.surrogate = imported("spikingjelly.activation_based.surrogate").SuperSpike(STEEPNESS)

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step, from rest, in the type of the drive."""
        rest = torch.zeros(drive.shape[1:], dtype=torch.float32, device=drive.device)
        spikes: Tensor = self.functional.lif_multi_step(
            drive, rest, TAU, False, THRESHOLD, 0.0, self.surrogate, detach_reset=False, store_v_seq=False
        )[0]
        return spikes

    def implementation(self, device: torch.device) -> str:
        """Which of its kernels it runs, and what it says of the others; an error where it would run none."""
        told = self.functional.neuron_implementation("lif", device)
        name = told["implementation"]
        others = "; ".join(f"{other} is unavailable: {reason}" for other, reason in told["unavailable"].items())
        if name not in FUSED:
            raise CandidateFailed(f"SpikingJelly runs its {name} implementation, not a fused one of {FUSED}: {others}")
        return f"its own choice: {name}{f' ({others})' if others else ''}; state in float32"


FUSED = ("cuda", "triton")
"""What SpikingJelly calls its fused kernels."""


class SteppedLIFBox(torch.nn.Module):
    """norse's LIFBoxCell, stepped over the sequence; v + (x - v) / 5 wants a drive five times as large."""

    def __init__(self, units: int) -> None:
        super().__init__()
        box = imported("norse.torch.functional.lif_box")
        step = 1e-3
        parameters = box.LIFBoxParameters(
            tau_mem_inv=torch.tensor(1 / (TAU * step)), v_th=torch.tensor(THRESHOLD), method="super"
        )  # norse's SuperSpike has steepness 1, whatever alpha is
        self.cell = imported("norse.torch").LIFBoxCell(parameters, dt=step)
        self.state = box.LIFBoxFeedForwardState

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step."""
        state, spikes = self.state(torch.zeros_like(drive[0])), []
        for x in drive.unbind(0):
            spike, state = self.cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)


PEERS: Mapping[str, Peer] = {
    "snntorch": Peer("snnTorch Leaky", "snntorch", SteppedLeaky, "over unbind; reset detached", detached=True),
    "spikingjelly": Peer(
        "SpikingJelly LIFNode", "spikingjelly", MultiStepLIF, "multi-step; gradient through the reset", flips=1e-4
    ),
    "norse": Peer(
        "norse LIFBoxCell",
        "norse",
        SteppedLIFBox,
        "over unbind; gradient through the reset",
        gain=TAU,
        flips=1e-4,
    ),
}
"""On the CPU, by the name that ``--opponents`` takes."""
FUSED_PEERS: Mapping[str, Peer] = {
    "spikingjelly": Peer(
        "SpikingJelly LIF", "spikingjelly", FusedLIF, "multi-step; gradient through the reset", flips=1e-4
    ),
}
"""Those with fused kernels for a GPU."""
OPPONENTS: Mapping[str, Mapping[str, Peer]] = {"cpu": PEERS, "cuda": FUSED_PEERS}
"""By device."""

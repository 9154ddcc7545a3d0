"""snubridge's units as candidates: with the settings that the peers have, and on which kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snubridge import nn
from training.settings import CPU, DECAY, STEEPNESS, THRESHOLD
from training.timing import CandidateFailed

SURROGATE = nn.SuperSpike(STEEPNESS)
SAME: dict[str, Any] = {"decay": DECAY, "threshold": THRESHOLD, "surrogate": SURROGATE, "learn_threshold": False}
"""What every candidate has; learned are a layer's weights alone."""


class Spikes(torch.nn.Module):
    """A unit or a layer of them without the state that it returns."""

    def __init__(self, layer: nn.Unit) -> None:
        super().__init__()
        if layer.running_kernel.kernel != layer.kernel:
            raise CandidateFailed(f"kernel={layer.kernel!r} was asked for and {layer.running_kernel} runs")
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of every step."""
        spikes: Tensor = self.layer(x)[0]
        return spikes


def unit(neurons: int, kernel: str = "cpu", device: torch.device = CPU, **options: Any) -> Spikes:
    """The dynamics alone."""
    with device:
        return Spikes(nn.Unit(neurons, kernel=kernel, narrow_spikes=True, **(SAME | options)))


def layer(weight: Tensor, kernel: str = "cpu", recurrent: Tensor | None = None, **options: Any) -> Spikes:
    """A layer with these weights, on their device."""
    units, inputs = weight.shape
    with weight.device:
        made = nn.SNU(
            inputs, units, kernel=kernel, recurrent=recurrent is not None, narrow_spikes=True, **(SAME | options)
        )
    with torch.no_grad():
        made.weight.copy_(weight)
        if recurrent is not None:
            made.recurrent.copy_(recurrent)
    return Spikes(made)

"""The eager kernel through ``torch.compile``: its step, called in a loop, and the whole scan, unrolled."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from snubridge.nn.kernels import step
from training.ours import Spikes

UNROLLED = 100
"""Steps up to which the whole scan is compiled: the time that this takes grows with them, to minutes."""


class CompiledStep(torch.nn.Module):
    """The step of a unit, compiled, over the sequence."""

    def __init__(self, unit: Spikes) -> None:
        super().__init__()
        self.unit = unit.layer
        self.step = torch.compile(step, fullgraph=True, dynamic=False)

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step."""
        unit, spikes = self.unit, []
        state, decay = unit.rest(drive.shape[1]), unit.effective_decay
        for x in drive.unbind(0):
            state = self.step(unit.dynamics, decay, unit.threshold, state, x)
            spikes.append(state.y)
        return torch.stack(spikes)


def compiled(unit: Spikes, steps: int) -> Iterator[tuple[str, torch.nn.Module, str]]:
    """Name, module and settings."""
    torch.compiler.reset()  # what was compiled for other shapes counts against the limit of recompilations
    yield "torch.compile of the eager step", CompiledStep(unit), "over unbind"
    if steps <= UNROLLED:
        yield "torch.compile of the eager scan", torch.compile(unit, fullgraph=True, dynamic=False), "unrolled"

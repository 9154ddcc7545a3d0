"""A sequence through the kernel that was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snubridge.nn.kernels import cpu, eager
from snubridge.nn.kernels.eager import Dynamics, State


@dataclass(frozen=True)
class Run:
    """What a sequence gave: y (T, B, *shape) and the state after the last step."""

    y: Tensor
    last: State
    _dynamics: Dynamics
    _kept: Tensor | list[State]

    @property
    def states(self) -> Tensor:
        """s of every step (T, B, *shape)."""
        if isinstance(self._kept, Tensor):
            return cpu.states(self._dynamics, self._kept)
        return torch.stack([state.s for state in self._kept])


def run(
    kernel: str,
    dynamics: Dynamics,
    decay: Tensor,
    threshold: Tensor,
    state: State,
    drive: Tensor,
    recurrent: Tensor | None = None,
) -> Run:
    """All steps of a drive (T, B, *shape) on ``kernel``; ``recurrent`` (N, N) adds ``recurrent @ y_{t-1}``.

    The state has the type of the parameters or a wider one, and so has the recurrence, within ``torch.autocast`` too:
    only what comes before, the projection of the input, is done in the types that autocast chooses.
    """
    weights = () if recurrent is None else (recurrent,)
    tensors = _alike(drive, decay, threshold, *state, *weights)
    if torch.is_autocast_enabled(drive.device.type):
        with torch.autocast(drive.device.type, enabled=False):
            return _run(kernel, dynamics, *tensors)
    return _run(kernel, dynamics, *tensors)


def _alike(*tensors: Tensor) -> list[Tensor]:
    """All in the widest type among them."""
    kind = tensors[0].dtype
    for tensor in tensors[1:]:
        if tensor.dtype != kind:
            kind = torch.promote_types(kind, tensor.dtype)
    return [tensor.to(kind) for tensor in tensors]


def _run(
    kernel: str,
    dynamics: Dynamics,
    drive: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s: Tensor,
    y: Tensor,
    recurrent: Tensor | None = None,
) -> Run:
    given = decay, threshold, State(s, y), drive, recurrent
    if kernel == "eager":
        outputs, trail = eager.scan(dynamics, *given)
        return Run(outputs, trail[-1], dynamics, trail)
    outputs, a, last = cpu.scan(dynamics, *given)
    return Run(outputs, last, dynamics, a)

"""The dynamics of a unit in plain PyTorch: one step, and the scan over a sequence.

The order of operations is that of ``snubridge/reference/interpreter.py``, in FixedPoint too. Gradients flow through
the reset, as in the paper, unless it is detached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from snubridge.ir.budget import StateGrid
from snubridge.ir.functions import (
    Identity,
    LeakyReLU,
    OutputFunction,
    ReLU,
    Reset,
    Sigmoid,
    StateFunction,
    Step,
    Tanh,
)
from snubridge.nn.kernels.grid import on_grid, saturated
from snubridge.nn.surrogates import Surrogate, spike


class State(NamedTuple):
    """s_{t-1} and y_{t-1} of a layer, each (B, *shape): what a call returns and the next one takes."""

    s: Tensor
    y: Tensor

    def detach(self) -> State:
        """The same values, cut from the graph of gradients (truncated backpropagation)."""
        return State(self.s.detach(), self.y.detach())


# Without a name of its own for it, torch.export cannot write programs that return a State; torch offers no public way.
_register_namedtuple(State, serialized_type_name="snubridge.nn.State")


@dataclass(frozen=True)
class Dynamics:
    """What a unit computes, apart from its parameters; in FixedPoint on the ``grid`` of its state.

    ``detach_reset``: gradients do not flow through the y that resets the carried state.
    """

    reset: Reset
    g: StateFunction
    h: OutputFunction
    surrogate: Surrogate
    grid: StateGrid | None = None
    detach_reset: bool = False


def _most_active(y: Tensor) -> Tensor:
    return y.amax(dim=tuple(range(1, y.ndim)), keepdim=True)


CARRIED: Mapping[Reset, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    Reset.TO_ZERO: lambda decay, threshold, s, y: decay * (s * (1 - y)),
    Reset.LATERAL: lambda decay, threshold, s, y: decay * (s * (1 - _most_active(y))),
    Reset.SUBTRACT: lambda decay, threshold, s, y: decay * s - threshold * y,
    Reset.SUBTRACT_DECAYED: lambda decay, threshold, s, y: decay * (s - threshold * y),
    Reset.NONE: lambda decay, threshold, s, y: decay * s,
}
G: Mapping[type, Callable[[Any, Tensor], Tensor]] = {
    Identity: lambda g, x: x,
    ReLU: lambda g, x: torch.relu(x),
    LeakyReLU: lambda g, x: torch.where(x > 0, x, g.slope * x),
}
H: Mapping[type, Callable[[Any, Tensor, Surrogate], Tensor]] = {
    Step: lambda h, v, surrogate: spike(v, surrogate, h.at_threshold),
    Sigmoid: lambda h, v, surrogate: torch.sigmoid(v),
    Tanh: lambda h, v, surrogate: torch.tanh(v),
    Identity: lambda h, v, surrogate: v,
}


def clamped(decay: Tensor) -> Tensor:
    """A learned decay clamped to [0, 1]; gradients that lead back into the range pass, so that it is no trap."""
    inside: Tensor = _Clamp.apply(decay)  # type: ignore[no-untyped-call]  # torch has no annotation here
    return inside


class _Clamp(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(decay: Tensor) -> Tensor:
        return decay.clamp(0, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (decay,) = ctx.saved_tensors
        stuck = ((decay > 1) & (grad < 0)) | ((decay < 0) & (grad > 0))
        return grad.masked_fill(stuck, 0)


def step(dynamics: Dynamics, decay: Tensor, threshold: Tensor, state: State, drive: Tensor) -> State:
    """(s_{t-1}, y_{t-1}) and the drive x_t, each (B, *shape), to (s_t, y_t)."""
    y, grid = state.y.detach() if dynamics.detach_reset else state.y, dynamics.grid
    carried = CARRIED[dynamics.reset](decay, threshold, state.s, y)
    if grid is not None:
        carried = on_grid(carried, grid.fraction_bits, grid.rounding)
    s = G[type(dynamics.g)](dynamics.g, carried + drive)
    if grid is not None:
        s = saturated(s, grid)
    return State(s, H[type(dynamics.h)](dynamics.h, s - threshold, dynamics.surrogate))


def scan(
    dynamics: Dynamics,
    decay: Tensor,
    threshold: Tensor,
    state: State,
    drive: Tensor,
    recurrent: Tensor | None = None,
) -> tuple[Tensor, list[State]]:
    """All steps of a drive (T, B, *shape): y (T, B, *shape) and the states of every step.

    ``recurrent`` (N, N): adds ``recurrent @ y_{t-1}`` to the drive. The sequence is taken apart
    by one ``unbind``: indexing it step by step would make the backward pass quadratic in T.
    """
    if recurrent is not None:  # where a tensor lies, BLAS may sum in another order
        state = State(state.s, state.y.clone(memory_format=torch.contiguous_format))
    states = []
    for received in drive.unbind(0):
        x = received if recurrent is None else received + torch.nn.functional.linear(state.y, recurrent)
        state = step(dynamics, decay, threshold, state, x)
        states.append(state)
    return torch.stack([state.y for state in states]), states

"""A unit's dynamics and its projection through the compiled operators, for sequences of any shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.cpu.operators import Unit, unit
from snubridge.nn.kernels.cpu.projection import Project, project
from snubridge.nn.kernels.cpu.recurrence import Recurrent, recurrent
from snubridge.nn.kernels.eager import Dynamics, G, State


def scan(
    dynamics: Dynamics, decay: Tensor, threshold: Tensor, state: State, drive: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, State]:
    """All steps of a drive (T, B, *shape), one type for all: y and c + drive (T, B, *shape), and the state after.

    ``weight`` (N, N) is H. The states of every step are g of the second value: see ``states``.
    """
    shape = drive.shape[2:]
    if len(shape) > 1:
        decay, threshold = (parameter.expand(shape).reshape(-1) for parameter in (decay, threshold))
        before = State(*(value.flatten(1) for value in state))
        y, a, last = scan(dynamics, decay, threshold, before, drive.flatten(2), weight)
        after = State(*(torch.unflatten(value, 1, shape) for value in last))
        return torch.unflatten(y, 2, shape), torch.unflatten(a, 2, shape), after
    codes, numbers = encoded(dynamics)
    given = decay.expand(shape), threshold.expand(shape), *state, codes, numbers
    traced = torch.compiler.is_compiling()  # Dynamo takes the operators, torch.func the functions around them
    if weight is None:
        operator: Any = unit if traced else Unit.apply
        y, a, s = operator(drive, *given)
    else:
        operator = recurrent if traced else Recurrent.apply
        y, a, s = operator(drive, weight, *given)
    return y, a, State(s, y[-1].clone())  # y is the caller's to overwrite


def projected(x: Tensor, weight: Tensor, always: bool, rate: float) -> Tensor:
    """W x of x (..., K), with W (N, K): see ``project``."""
    operator: Any = project if torch.compiler.is_compiling() else Project.apply
    y: Tensor = operator(x.to(weight.dtype).flatten(0, -2), weight, always, rate)[0]
    return torch.unflatten(y, 0, x.shape[:-1])


def states(dynamics: Dynamics, a: Tensor) -> Tensor:
    """s_t = g(a_t) of every step."""
    return G[type(dynamics.g)](dynamics.g, a)

"""The compiled dynamics as operators of torch: ``snubridge::unit`` and its gradient, ``snubridge::recurrent`` and its.

    a_t = c_{t-1} + x_t (+ H y_{t-1}),  s_t = g(a_t),  y_t = h(s_t - threshold)

Kept for the way back is a alone: 4 bytes per neuron and step in float32. s, y and the derivative of h are computed
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.nn.kernels.cpu import passes
from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.plan import Plan, minus, row, rows
from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one

Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def empty(like: Tensor) -> Tensor:
    """Room for a tensor like this one, its values next to each other."""
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def _forward(
    x: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> Outputs:
    """The drive x (T, B, N) to y and a (T, B, N) and the last state (B, N).

    ``decay``, ``threshold`` (N,); ``s_0``, ``y_0`` (B, N): the state before; ``codes`` and ``numbers``: as ``encoded``
    gives them.
    """
    plan = Plan(x, decay, threshold, codes, numbers)
    y, a, last = empty(x), empty(x), empty(s_0)
    plan.spread(passes.forward(plan, rows(x), row(s_0), row(y_0), rows(a), rows(y), row(last)))
    return y, a, last


def _backward(
    from_y: Tensor | None,
    from_a: Tensor | None,
    from_last: Tensor | None,
    a: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:
    """The gradients of y, a and the last state to those of x, decay, threshold, s_0 and y_0.

    ``learned``: whether decay and threshold want theirs; where not, it is zero.
    """
    plan = Plan(a, decay, threshold, codes, numbers)
    from_y = torch.zeros_like(a) if from_y is None else from_y
    x, s, y = empty(a), empty(s_0), empty(y_0)
    sums, filled = (plan.sums(learned[0]), plan.sums(learned[1])), rows(x)
    plan.spread(passes.backward(plan, rows(a), rows(from_y), rows(from_a, a), minus(from_last, a), filled, *sums))
    compiled_code("loops").start(
        plan.unit, plan.decay, plan.threshold, row(s_0), row(y_0), filled[0], row(s), row(y), sums[0][0], sums[1][0],
        0, plan.size,
    )  # fmt: skip
    return x, plan.summed(sums[0], decay), plan.summed(sums[1], threshold), s, y


unit = torch.library.custom_op("snubridge::unit", _forward, mutates_args=(), device_types="cpu")
unit_backward = torch.library.custom_op("snubridge::unit_backward", _backward, mutates_args=(), device_types="cpu")


@unit.register_fake
def _(
    x: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> Outputs:
    return empty(x), empty(x), empty(s_0)


@unit_backward.register_fake
def _(
    from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, a: Tensor, decay: Tensor, threshold: Tensor,
    s_0: Tensor, y_0: Tensor, codes: Sequence[int], numbers: Sequence[float], learned: Sequence[bool],
) -> Gradients:  # fmt: skip
    return empty(a), empty(decay), empty(threshold), empty(s_0), empty(y_0)


unit.register_vmap(one_by_one(unit))
unit_backward.register_vmap(one_by_one(unit_backward))


_UnitBackward = function_of(unit_backward, _backward, keep_nothing, first_derivatives_alone("cpu"))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    _, decay, threshold, s_0, y_0, ctx.codes, ctx.numbers = inputs
    ctx.save_for_backward(output[1], decay, threshold, s_0, y_0)
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None
) -> tuple[Tensor | None, ...]:
    learned = list(ctx.needs_input_grad[1:3])
    kept = (*ctx.saved_tensors, ctx.codes, ctx.numbers, learned)
    gradients = _UnitBackward.apply(from_y, from_a, from_last, *kept)
    return (*gradients, None, None)


unit.register_autograd(_differentiate, setup_context=_keep)


Unit = function_of(unit, _forward, _keep, _differentiate)

"""The compiled dynamics as operators of torch: ``snubridge::unit`` and its gradient, ``snubridge::recurrent`` and its.

    a_t = c_{t-1} + x_t (+ H y_{t-1}),  s_t = g(a_t),  y_t = h(s_t - threshold)

Kept for the way back is a alone: 4 bytes per neuron and step in float32. s, y and the derivative of h are computed
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import Unsupported
from snubridge.nn.kernels.cpu import passes
from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.plan import Plan, minus, row, rows

Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def empty(like: Tensor) -> Tensor:
    """Room for a tensor like this one, its values next to each other."""
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def one_by_one(operator: Any) -> Callable[..., tuple[Any, Any]]:
    """The rule by which ``torch.vmap`` takes an operator: a call for each index of the axis it goes over."""

    def rule(info: Any, axes: tuple[Any, ...], *given: Any) -> tuple[Any, Any]:
        calls = [
            operator(
                *(
                    value.select(axis, index) if isinstance(value, Tensor) and axis is not None else value
                    for value, axis in zip(given, axes, strict=True)
                )
            )
            for index in range(info.batch_size)
        ]
        if isinstance(calls[0], Tensor):
            return torch.stack(calls), 0
        outputs = tuple(torch.stack(values) for values in zip(*calls, strict=True))
        return outputs, (0,) * len(outputs)

    return rule


def first_derivatives_alone(ctx: Any, *gradients: Any) -> Any:
    """``Unsupported``: forward mode, and derivatives of derivatives."""
    raise Unsupported(
        "kernel='cpu'", ["it gives first derivatives, backward; kernel='eager' gives second ones and forward mode"]
    )


def keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Of a gradient that is not differentiated again."""


def function_of(name: str, keep: Callable[..., None], differentiate: Callable[..., Any]) -> Any:
    """The operator of this name for ``torch.func``, whose transformations do not take an operator's own gradient."""

    class Operator(torch.autograd.Function):
        generate_vmap_rule = True
        setup_context = staticmethod(keep)
        backward = staticmethod(differentiate)
        jvp = staticmethod(first_derivatives_alone)

        @staticmethod
        def forward(*args: Any) -> Any:
            return getattr(torch.ops.snubridge, name)(*args)

    return Operator


@torch.library.custom_op("snubridge::unit", mutates_args=(), device_types="cpu")
def unit(
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


@torch.library.custom_op("snubridge::unit_backward", mutates_args=(), device_types="cpu")
def unit_backward(
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


_UnitBackward = function_of("unit_backward", keep_nothing, first_derivatives_alone)


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


Unit = function_of("unit", _keep, _differentiate)

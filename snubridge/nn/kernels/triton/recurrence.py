"""The recurrent layer in Triton as operators of torch: ``snubridge::triton_recurrent`` and its gradient.

    a_t = c_{t-1} + (x_t + H y_{t-1})

There are two ways, and ``way`` says which: where H fits into the registers of a program, all steps in one launch,
``persistent``; else ``stepwise``, whose launches are recorded as a CUDA graph. The gradient of H is one product in the
end. Kept for the way back is a alone. Everything is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.ir.functions import Reset
from snubridge.nn.kernels.codes import RESETS
from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one
from snubridge.nn.kernels.triton import stepwise
from snubridge.nn.kernels.triton.graphs import replayed
from snubridge.nn.kernels.triton.launch import Launch, RecurrentLaunch
from snubridge.nn.kernels.triton.limits import ON_CHIP
from snubridge.nn.kernels.triton.operators import near

Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def way(neurons: int) -> str:
    """How a recurrent layer of so many neurons runs, in words."""
    if neurons <= ON_CHIP:
        return "one launch for all steps, the recurrent weights in registers"
    return "a matrix product and a launch for each step, recorded as a CUDA graph"


def _forward(
    x: Tensor,
    weight: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
) -> Outputs:
    """The drive x (T, B, N) and H, ``weight`` (N, N), to y and a (T, B, N) and the last state (B, N)."""
    x, weight, decay, threshold, s_0, y_0 = given = near(x, weight, decay, threshold, s_0, y_0)
    if x.shape[-1] <= ON_CHIP:
        return RecurrentLaunch(x, codes, numbers).forward(x, weight, decay, threshold, s_0, y_0)
    y, a, last = replayed(stepwise.forward, given, tuple(codes), tuple(numbers))
    return y, a, last


def _backward(
    from_y: Tensor | None,
    from_a: Tensor | None,
    from_last: Tensor | None,
    a: Tensor,
    weight: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:
    """The gradients of y, a and the last state to those of x, H, decay, threshold, s_0 and y_0.

    ``learned``: whether H, decay and threshold want theirs; where not, it is zero.
    """
    from_y, from_a, from_last = (None if g is None else g.contiguous() for g in (from_y, from_a, from_last))
    a, weight, decay, threshold, s_0, y_0 = near(a, weight, decay, threshold, s_0, y_0)
    given = from_y, from_a, from_last, a, weight, decay, threshold, s_0, y_0
    if a.shape[-1] <= ON_CHIP:
        x, *others = RecurrentLaunch(a, codes, numbers).backward(*given, learned[1:])
    else:
        x, *others = replayed(stepwise.backward, given, tuple(codes), tuple(numbers), tuple(learned[1:]))
    from_weight = torch.zeros_like(weight)
    if learned[0]:
        outputs = torch.cat([y_0[None], _outputs(a, threshold, codes, numbers)[:-1]])
        torch.mm(x.flatten(0, 1).t(), outputs.flatten(0, 1), out=from_weight)
    return x, from_weight, others[0], others[1], others[2], others[3]


def _outputs(a: Tensor, threshold: Tensor, codes: Sequence[int], numbers: Sequence[float]) -> Tensor:
    """y of every step anew: that of one step which carries nothing."""
    rows = a.reshape(1, -1, a.shape[-1])
    nothing, y = torch.zeros_like(rows[0]), torch.empty_like(rows)
    launch = Launch(rows, [RESETS[Reset.NONE], *codes[1:]], numbers)
    decay = torch.zeros_like(threshold)
    launch.forward(rows, None, (decay, threshold), (nothing, nothing), y, None, None, None, torch.empty_like(nothing))
    return y.view_as(a)


recurrent = torch.library.custom_op("snubridge::triton_recurrent", _forward, mutates_args=())
recurrent_backward = torch.library.custom_op("snubridge::triton_recurrent_backward", _backward, mutates_args=())


@recurrent.register_fake
def _(
    x: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int],
    numbers: Sequence[float],
) -> Outputs:  # fmt: skip
    return x.new_empty(x.shape), x.new_empty(x.shape), s_0.new_empty(s_0.shape)


@recurrent_backward.register_fake
def _(
    from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, a: Tensor, weight: Tensor, decay: Tensor,
    threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int], numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:  # fmt: skip
    x, *others = (value.new_empty(value.shape) for value in (a, weight, decay, threshold, s_0, y_0))
    return x, others[0], others[1], others[2], others[3], others[4]


recurrent.register_vmap(one_by_one(recurrent))
recurrent_backward.register_vmap(one_by_one(recurrent_backward))


_RecurrentBackward = function_of(
    recurrent_backward, _backward, keep_nothing, first_derivatives_alone("triton"), "triton"
)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    _, *parameters, ctx.codes, ctx.numbers = inputs
    ctx.save_for_backward(output[1], *parameters)
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None
) -> tuple[Tensor | None, ...]:
    learned = list(ctx.needs_input_grad[1:4])
    kept = (*ctx.saved_tensors, ctx.codes, ctx.numbers, learned)
    return (*_RecurrentBackward.apply(from_y, from_a, from_last, *kept), None, None)


recurrent.register_autograd(_differentiate, setup_context=_keep)


Recurrent = function_of(recurrent, _forward, _keep, _differentiate, "triton")

"""The recurrent layer in Triton as operators of torch: ``snubridge::triton_recurrent`` and its gradient.

    a_t = c_{t-1} + (x_t + H y_{t-1})

Each step is a matrix product by torch and one launch of the same kernels over a single step; the gradient of H is one
product in the end. Kept for the way back is a alone. Everything is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.ir.functions import Reset
from snubridge.nn.kernels.codes import RESETS
from snubridge.nn.kernels.cpu.recurrence import aligned
from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one
from snubridge.nn.kernels.triton.launch import Launch
from snubridge.nn.kernels.triton.operators import near

RECURRENT = "a matrix product and a launch for each step"  # what a layer says of it
Outputs = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


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
    y, a, last, received = (like.new_empty(like.shape) for like in (x, x, s_0, y_0))
    x, decay, threshold, state, y_before = near(x, decay, threshold, s_0, y_0)
    launch, before = Launch(x[:1], codes, numbers), aligned(y_before)
    for x_t, y_t, a_t in zip(x.unbind(0), y.unbind(0), a.unbind(0), strict=True):
        torch.mm(before, weight.t(), out=received)
        launch.forward(x_t, received, (decay, threshold), (state, before), y_t, a_t, None, None, last)
        state, before = last, aligned(y_t)
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
    x, s, y = (like.new_empty(like.shape) for like in (a, s_0, y_0))
    a, decay, threshold, s_0, y_0 = near(a, decay, threshold, s_0, y_0)
    from_y, from_a, from_last = (None if g is None else g.contiguous() for g in (from_y, from_a, from_last))
    launch = Launch(a[:1], codes, numbers)
    sums = [launch.sums(a, wanted) for wanted in learned[1:]]
    following: Tensor | None = None
    received: Tensor | None = None
    for t in range(len(a) - 1, -1, -1):
        final = from_last if t == len(a) - 1 else None
        gradients = (_step(from_y, t), received, _step(from_a, t), final)
        launch.backward(
            a[t],
            None,
            gradients,
            following,
            (decay, threshold),
            (s_0, y_0),
            x[t],
            None if t else (s, y),
            sums,
            add=True,
        )
        following, received = x[t], torch.mm(x[t], weight) if t else None
    y += torch.mm(x[0], weight)
    from_weight = torch.zeros_like(weight)
    if learned[0]:
        outputs = torch.cat([y_0[None], _outputs(a, threshold, codes, numbers)[:-1]])
        torch.mm(x.flatten(0, 1).t(), outputs.flatten(0, 1), out=from_weight)
    return x, from_weight, launch.summed(sums[0], decay), launch.summed(sums[1], threshold), s, y


def _step(x: Tensor | None, t: int) -> Tensor | None:
    return None if x is None else x[t]


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

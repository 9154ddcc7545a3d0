"""The recurrent layer as operators of torch: ``snubridge::recurrent`` and its gradient.

    a_t = c_{t-1} + (x_t + H y_{t-1})

Each step is a matrix product by torch and the compiled loops over one row; the gradient of H is one product in the end.
Kept for the way back is a alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.operators import Outputs, empty
from snubridge.nn.kernels.cpu.plan import Array, Plan, minus, row, rows
from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one

ALIGNMENT = 64  # bytes, of torch's allocator on the CPU
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
    """``snubridge::unit`` with H, ``weight`` (N, N): the drive x (T, B, N) to y and a, and the last state (B, N)."""
    plan = Plan(x, decay, threshold, codes, numbers)
    y, a, last, received = empty(x), empty(x), s_0.clone(memory_format=torch.contiguous_format), empty(y_0)
    transposed, state, more = weight.t(), row(last), rows(received[None])
    before, y_before, a_before = aligned(y_0), row(y_0), state[:0]
    loops, parameters = compiled_code("loops"), (plan.decay, plan.threshold)
    follow = plan.fused_forward(recurrent=True) if plan.fused else None
    states = [state[:0]] * (len(x) - 1) + [state]
    for y_t, x_row, a_row, y_row, state_after in zip(y.unbind(0), *map(_steps, (x, a, y)), states, strict=True):
        torch.mm(before, transposed, out=received)
        if follow is None or not len(a_before):
            loops.forward(
                plan.unit, plan.numbers, x_row, more, *parameters, state, y_before, a_row, y_row, state, 0, plan.size
            )
        else:
            follow(a_before, x_row, more, *parameters, a_row, y_row, state_after, 0, plan.size)
        before, y_before, a_before = aligned(y_t), y_row[0], a_row[0]
    return y, a, last


def _steps(x: Tensor) -> list[Array]:
    """The steps of (T, B, N), each as (1, M)."""
    sequence = rows(x)
    return [sequence[t : t + 1] for t in range(len(sequence))]


def aligned(x: Tensor) -> Tensor:
    """x at an address as torch allocates it: BLAS may sum in another order at another one, and a spike could differ."""
    return x if x.is_contiguous() and x.data_ptr() % ALIGNMENT == 0 else x.clone(memory_format=torch.contiguous_format)


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
    loops = compiled_code("loops")
    plan = Plan(a, decay, threshold, codes, numbers)
    from_y = torch.zeros_like(a) if from_y is None else from_y
    x, s, y, received = empty(a), empty(s_0), empty(y_0), torch.zeros_like(y_0, memory_format=torch.contiguous_format)
    outputs = a.new_empty((len(a) + 1 if learned[0] else 0, *a.shape[1:]))  # y_{-1}, y_0, y_1, ...
    decay_sums, threshold_sums = plan.sums(learned[1])[0], plan.sums(learned[2])[0]
    more, after, ahead, nothing = rows(received[None]), plan.zeros(), minus(from_last, a), minus(None, a)
    parameters = plan.decay, plan.threshold
    absent = [rows(None, a)] * len(a)
    from_elsewhere = absent if from_a is None else _steps(from_a)
    filled = _steps(outputs)[1:] if learned[0] else absent
    follow = plan.fused_backward(*learned[1:], recurrent=True, outputs=learned[0]) if plan.fused else None
    steps = list(zip(x.unbind(0), *map(_steps, (x, a, from_y)), from_elsewhere, filled, strict=True))
    sums = decay_sums, threshold_sums
    for x_t, x_row, a_row, y_row, from_a_row, output_row in reversed(steps):
        if follow is None or from_a is not None or len(ahead):
            loops.backward(
                plan.unit, plan.numbers, *parameters, a_row, y_row, more, from_a_row, ahead, after, x_row, output_row,
                *sums, 0, plan.size,
            )  # fmt: skip
        else:
            follow(
                plan.numbers, *parameters, a_row, y_row, more, after, x_row, output_row if len(output_row) else a_row,
                *sums, 0, plan.size,
            )  # fmt: skip
        torch.mm(x_t, weight, out=received)
        after, ahead = x_row[0], nothing
    loops.start(plan.unit, plan.decay, plan.threshold, row(s_0), row(y_0), after, row(s), row(y), *sums, 0, plan.size)
    y += received
    from_weight = torch.zeros_like(weight)
    if learned[0]:
        outputs[0] = y_0
        torch.mm(x.flatten(0, 1).t(), outputs[:-1].flatten(0, 1), out=from_weight)
    return x, from_weight, plan.summed(decay_sums, decay), plan.summed(threshold_sums, threshold), s, y


recurrent = torch.library.custom_op("snubridge::recurrent", _forward, mutates_args=(), device_types="cpu")
recurrent_backward = torch.library.custom_op(
    "snubridge::recurrent_backward", _backward, mutates_args=(), device_types="cpu"
)


@recurrent.register_fake
def _(
    x: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int],
    numbers: Sequence[float],
) -> Outputs:  # fmt: skip
    return empty(x), empty(x), empty(s_0)


@recurrent_backward.register_fake
def _(
    from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, a: Tensor, weight: Tensor, decay: Tensor,
    threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int], numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:  # fmt: skip
    return empty(a), empty(weight), empty(decay), empty(threshold), empty(s_0), empty(y_0)


recurrent.register_vmap(one_by_one(recurrent))
recurrent_backward.register_vmap(one_by_one(recurrent_backward))


_RecurrentBackward = function_of(recurrent_backward, _backward, keep_nothing, first_derivatives_alone("cpu"))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    _, *parameters, ctx.codes, ctx.numbers = inputs
    ctx.save_for_backward(output[1], *parameters)
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None
) -> tuple[Tensor | None, ...]:
    learned = list(ctx.needs_input_grad[1:4])
    kept = (*ctx.saved_tensors, ctx.codes, ctx.numbers, learned)
    gradients = _RecurrentBackward.apply(from_y, from_a, from_last, *kept)
    return (*gradients, None, None)


recurrent.register_autograd(_differentiate, setup_context=_keep)


Recurrent = function_of(recurrent, _forward, _keep, _differentiate)

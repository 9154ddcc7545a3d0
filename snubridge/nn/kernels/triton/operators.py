"""The Triton dynamics as operators of torch: ``snubridge::triton_unit`` and its gradient.

    a_t = c_{t-1} + x_t,  s_t = g(a_t),  y_t = h(s_t - threshold)

Kept for the way back is x itself, and c every few steps. Both operators are opaque to compilers: a kernel that Inductor
sees it compiles by itself, with fused multiply-add, and spikes would differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one
from snubridge.nn.kernels.triton.launch import Launch, spacing

WORD = 32  # steps whose spikes make a word
Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _room(x: Tensor, state: Tensor, codes: Sequence[int], wanted: Sequence[bool]) -> Outputs:
    """y, a, bits, checkpoints and the last state, for a sequence like x; what is not wanted has no steps."""
    steps, *shape = x.shape
    y, a, bits, narrow = wanted
    words, chunks = -(-steps // WORD), -(-steps // spacing(codes))
    return (
        (x if narrow else state).new_empty((steps if y else 0, *shape)),
        state.new_empty((steps if a else 0, *shape)),
        x.new_empty((words if bits else 0, *shape), dtype=torch.int32),
        state.new_empty((chunks, *shape)),
        state.new_empty(state.shape),
    )


def _from_before(s_0: Tensor, y_0: Tensor, learned: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """Room for the gradients of the state before."""
    return s_0.new_empty(s_0.shape if learned[2] else 0), y_0.new_empty(y_0.shape if learned[2] else 0)


def near(*tensors: Tensor) -> list[Tensor]:
    """The same values, next to each other in memory."""
    return [tensor.contiguous() for tensor in tensors]


def _forward(
    x: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
    wanted: Sequence[bool],
) -> Outputs:
    """The drive x (T, B, N) to y and a (T, B, N), the bits of y (T/32, B, N), checkpoints and the last state (B, N).

    x is float32, float16 or bfloat16, all else float32. ``wanted``: whether y, a and the bits are, and y of the type of
    x; bit t % 32 of word t // 32 says whether y > 0 at step t. A layout of x that has gaps is copied first.
    """
    outputs = _room(x, s_0, codes, wanted)
    x, decay, threshold, s_0, y_0 = near(x, decay, threshold, s_0, y_0)
    y, a, bits = (output if there else None for output, there in zip(outputs[:3], wanted[:3], strict=True))
    Launch(x, codes, numbers).forward(x, None, (decay, threshold), (s_0, y_0), y, a, bits, *outputs[3:])
    return outputs


def _backward(
    from_y: Tensor | None,
    from_a: Tensor | None,
    from_last: Tensor | None,
    x: Tensor,
    checkpoints: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s_0: Tensor,
    y_0: Tensor,
    codes: Sequence[int],
    numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:
    """The gradients of y, a and the last state to those of x, in its type, decay, threshold, s_0 and y_0.

    ``learned``: whether decay, threshold and the state before want theirs. Where not, those of the parameters are zero,
    those of the state empty.
    """
    launch = Launch(x, codes, numbers)
    from_x, from_before = x.new_empty(x.shape), _from_before(s_0, y_0, learned)
    received = [None if g is None else g.contiguous() for g in (from_y, None, from_a, from_last)]
    x, decay, threshold, s_0, y_0 = near(x, decay, threshold, s_0, y_0)
    sums = [launch.sums(s_0, wanted) for wanted in learned[:2]]
    start = from_before if learned[2] else None
    launch.backward(x, checkpoints, received, None, (decay, threshold), (s_0, y_0), from_x, start, sums)
    return from_x, launch.summed(sums[0], decay), launch.summed(sums[1], threshold), *from_before


unit = torch.library.custom_op("snubridge::triton_unit", _forward, mutates_args=())
unit_backward = torch.library.custom_op("snubridge::triton_unit_backward", _backward, mutates_args=())


@unit.register_fake
def _(
    x: Tensor, decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int],
    numbers: Sequence[float], wanted: Sequence[bool],
) -> Outputs:  # fmt: skip
    return _room(x, s_0, codes, wanted)


@unit_backward.register_fake
def _(
    from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, x: Tensor, checkpoints: Tensor,
    decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int], numbers: Sequence[float],
    learned: Sequence[bool],
) -> Gradients:  # fmt: skip
    x, decay, threshold = (value.new_empty(value.shape) for value in (x, decay, threshold))
    return x, decay, threshold, *_from_before(s_0, y_0, learned)


unit.register_vmap(one_by_one(unit))
unit_backward.register_vmap(one_by_one(unit_backward))


_UnitBackward = function_of(unit_backward, _backward, keep_nothing, first_derivatives_alone("triton"), "triton")


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    *tensors, ctx.codes, ctx.numbers, _ = inputs
    ctx.save_for_backward(tensors[0], output[3], *tensors[1:])
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, from_y: Tensor | None, from_a: Tensor | None, _bits: None, _checkpoints: None, from_last: Tensor | None
) -> tuple[Tensor | None, ...]:
    learned = [*ctx.needs_input_grad[1:3], any(ctx.needs_input_grad[3:5])]
    kept = (*ctx.saved_tensors, ctx.codes, ctx.numbers, learned)
    *gradients, s, y = _UnitBackward.apply(from_y, from_a, from_last, *kept)
    before = (s, y) if learned[2] else (None, None)
    return (*gradients, *before, None, None, None)


unit.register_autograd(_differentiate, setup_context=_keep)


Unit = function_of(unit, _forward, _keep, _differentiate, "triton")

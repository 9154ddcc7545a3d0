"""A recurrent layer in Triton step by step: for each a matrix product by torch, and a launch of the same kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snubridge.nn.kernels.cpu.recurrence import aligned
from snubridge.nn.kernels.triton.launch import Launch


def forward(
    x: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int],
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """y, a (T, B, N) and the last state, of x (T, B, N), all contiguous."""
    y, a, last, received = (torch.empty_like(like) for like in (x, x, s_0, y_0))
    launch, before, state = Launch(x[:1], codes, numbers), aligned(y_0), s_0
    for x_t, y_t, a_t in zip(x.unbind(0), y.unbind(0), a.unbind(0), strict=True):
        torch.mm(before, weight.t(), out=received)
        launch.forward(x_t, received, (decay, threshold), (state, before), y_t, a_t, None, None, last)
        state, before = last, aligned(y_t)
    return y, a, last


def backward(
    from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, a: Tensor, weight: Tensor, decay: Tensor,
    threshold: Tensor, s_0: Tensor, y_0: Tensor, codes: Sequence[int], numbers: Sequence[float],
    learned: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, decay, threshold, s_0 and y_0; all that is given is contiguous."""
    x, s, y = (torch.empty_like(like) for like in (a, s_0, y_0))
    launch = Launch(a[:1], codes, numbers)
    sums = [launch.sums(a, wanted) for wanted in learned]
    following: Tensor | None = None
    received: Tensor | None = None
    product = torch.empty_like(s_0)
    for t in range(len(a) - 1, -1, -1):
        final = from_last if t == len(a) - 1 else None
        launch.backward(
            a[t],
            None,
            (_step(from_y, t), received, _step(from_a, t), final),
            following,
            (decay, threshold),
            (s_0, y_0),
            x[t],
            None if t else (s, y),
            sums,
            add=True,
            first=t == 0,
        )
        following, received = x[t], torch.mm(x[t], weight, out=product)  # out=: autocast would take another type
    y += product
    return x, launch.summed(sums[0], decay), launch.summed(sums[1], threshold), s, y


def _step(x: Tensor | None, t: int) -> Tensor | None:
    return None if x is None else x[t]

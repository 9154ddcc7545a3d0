"""One call of the compiled loops: what the tensors are to numpy, and how the work is cut into tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.limits import fusible
from snubridge.nn.kernels.cpu.threads import FUSED_TILE, TILE, parts, spread

Array = NDArray[Any]


def rows(x: Tensor | None, like: Tensor | None = None) -> Array:
    """(T, B, N) as (T, M); an absent one as an empty array."""
    return _array(x).reshape(len(x), -1) if x is not None else np.empty((0, 0), kind_of(like))


def row(x: Tensor) -> Array:
    """(B, N) as (M,)."""
    return _array(x).reshape(-1)


def minus(x: Tensor | None, like: Tensor) -> Array:
    """-x, (B, N) as (M,); an absent one as an empty array."""
    return row(-x) if x is not None else np.empty(0, kind_of(like))


def _array(x: Tensor) -> Array:
    array: Array = x.detach().contiguous().numpy()
    return array


def kind_of(x: Tensor | None) -> type[np.floating[Any]]:
    """The type of numpy of a tensor's values."""
    return np.float32 if x is not None and x.dtype is torch.float32 else np.float64


class Plan:
    """Sizes, tiles and parameters of a call for sequences like a (T, B, N).

    A tile holds the share of a few samples in a row; its parameters, ``decay`` and ``threshold``, are those of one
    sample, repeated.
    """

    def __init__(
        self, a: Tensor, decay: Tensor, threshold: Tensor, codes: Sequence[int], numbers: Sequence[float]
    ) -> None:
        self.steps, samples, self.width = a.shape
        self.size = samples * self.width
        self.kind = kind_of(a)
        self.fused = fusible(codes)
        repeats = max(1, min(samples, (FUSED_TILE if self.fused else TILE) // self.width))
        self.tile = repeats * self.width
        self.parts = parts(self.steps, self.size, self.tile)
        self.unit = (self.width, *codes)
        self.numbers = tuple(self.kind(number) for number in numbers)
        parameters = np.empty((2, repeats, self.width), self.kind)
        parameters[0], parameters[1] = _array(decay), _array(threshold)
        self.decay, self.threshold = parameters.reshape(2, self.tile)

    def spread(self, work: Callable[[int, int, int], None]) -> None:
        """``work(part, lo, hi)`` for all parts of a row, at once."""
        spread(work, self.parts, self.size, self.tile)

    def fused_forward(self, **choices: bool) -> Callable[..., None]:
        """``fused.forward`` for this unit."""
        loop: Callable[..., None] = compiled_code("fused").forward(self.unit[2], **choices)
        return loop

    def fused_backward(self, learn_decay: bool, learn_threshold: bool, **choices: bool) -> Callable[..., None]:
        """``fused.backward`` for this unit."""
        made = compiled_code("fused").backward
        loop: Callable[..., None] = made(self.unit[2], self.unit[4], learn_decay, learn_threshold, **choices)
        return loop

    def zeros(self) -> Array:
        """A row of zeros."""
        return np.zeros(self.size, self.kind)

    def sums(self, wanted: bool) -> Array:
        """Room for the gradient of a parameter, one row for each part; empty rows if it is not wanted."""
        return np.zeros((self.parts, self.tile if wanted else 0))

    def summed(self, sums: Array, parameter: Tensor) -> Tensor:
        """The gradient (N,): summed in double over the parts and the samples of a tile, then rounded once."""
        if not sums.size:
            return torch.zeros_like(parameter)
        return torch.from_numpy(sums.reshape(-1, self.width).sum(0)).to(parameter.dtype)

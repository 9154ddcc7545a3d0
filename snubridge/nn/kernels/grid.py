"""Fixed point in training: values are rounded and saturated going forward, gradients pass straight through.

Nothing here rounds more than the grid does: steps are powers of two, and what is within the budget is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from snubridge.ir.budget import StateGrid

ROUNDED: Mapping[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "zero": torch.trunc,
    "nearest": torch.round,  # ties to even
}


class _OnGrid(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, fraction_bits: int, rounding: str) -> Tensor:
        return ROUNDED[rounding](x * 2.0**fraction_bits) * 2.0**-fraction_bits

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, str], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


class _Saturated(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None


def on_grid(x: Tensor, fraction_bits: int, rounding: str = "nearest") -> Tensor:
    """x rounded to multiples of 2^-fraction_bits; the gradient is that of the identity."""
    rounded: Tensor = _OnGrid.apply(x, fraction_bits, rounding)  # type: ignore[no-untyped-call]  # torch has no annotation here
    return rounded


def saturated(x: Tensor, grid: StateGrid) -> Tensor:
    """x clamped to the range of a state; the gradient is that of the identity."""
    clamped: Tensor = _Saturated.apply(x, grid.low, grid.high)  # type: ignore[no-untyped-call]  # torch has no annotation here
    return clamped

"""Layers of ``torch.nn`` for images and their normalization, on sequences: (T, B, C, H, W).

They are torch's own, with their constructors, initialization and state dicts, applied to all
steps at once. (B, T, ...) serves as well, since each step of each sample is treated alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import BadInput

IMAGE, FEATURES = "C, H, W", "features"


def over_steps(layer: Callable[[Tensor], Tensor], x: Tensor, axes: str, name: str) -> Tensor:
    """A layer of (N, ...) applied to x (T, B, ...), with ``axes`` behind T and B, as one batch of T * B."""
    needed = 2 + len(axes.split(","))
    if isinstance(x, Tensor) and x.ndim != needed:  # while it is traced, x has no shape
        raise BadInput(f"{name}: x has the shape {tuple(x.shape)}; needed (T, B, {axes})")
    return torch.unflatten(layer(x.flatten(0, 1)), 0, x.shape[:2])


class Conv2d(torch.nn.Conv2d):
    """``torch.nn.Conv2d`` of every step: (T, B, C, H, W) to (T, B, out, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of every step."""
        return over_steps(super().forward, x, IMAGE, "Conv2d")


class AvgPool2d(torch.nn.AvgPool2d):
    """``torch.nn.AvgPool2d`` of every step: (T, B, C, H, W) to (T, B, C, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the windows of every step."""
        return over_steps(super().forward, x, IMAGE, type(self).__name__)


class SumPool2d(AvgPool2d):
    """The sum over windows instead of the mean: spikes in, numbers of spikes out."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__(kernel_size, stride, padding, divisor_override=1)


class Flatten(torch.nn.Flatten):
    """All axes of one sample into one: (T, B, *shape) to (T, B, features)."""

    def __init__(self) -> None:
        super().__init__(start_dim=2)


class BatchNorm1d(torch.nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` over steps and samples: (T, B, features), one statistic per feature.

    Directly behind a Linear, ``nn.capture`` folds it into the weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x normalized, and its statistics taken into the running ones while training."""
        return over_steps(super().forward, x, FEATURES, "BatchNorm1d")


class BatchNorm2d(torch.nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` over steps and samples: (T, B, C, H, W), one statistic per channel.

    Directly behind a convolution, ``nn.capture`` folds it into the weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x normalized, and its statistics taken into the running ones while training."""
        return over_steps(super().forward, x, IMAGE, "BatchNorm2d")


TORCH_LAYERS: dict[type[torch.nn.Module], str] = {
    torch.nn.Conv2d: IMAGE,
    torch.nn.AvgPool2d: IMAGE,
    torch.nn.BatchNorm2d: IMAGE,
    torch.nn.BatchNorm1d: FEATURES,
    torch.nn.Dropout2d: IMAGE,
}
"""Layers of ``torch.nn`` that ``nn.Sequential`` applies in this way, and the axes that they take behind T and B."""
OURS: tuple[type[torch.nn.Module], ...] = (Conv2d, AvgPool2d, SumPool2d, Flatten, BatchNorm1d, BatchNorm2d)


def applied(layer: torch.nn.Module, x: Any) -> Any:
    """What a layer without a state makes of x (T, B, ...)."""
    axes = TORCH_LAYERS.get(type(layer))
    return layer(x) if axes is None else over_steps(layer, x, axes, type(layer).__name__)

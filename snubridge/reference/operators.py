"""What the stateless nodes compute, in float64: one function per kind, over a batch (B, *shape)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, Node, Output, Pair, SumPool2d
from snubridge.ir.numbers import Array


def linear(node: Linear, x: Array) -> Array:
    """weight @ x + bias over the last axis."""
    y = x @ node.weight.astype(np.float64).T
    return y if node.bias is None else y + node.bias


def conv2d(node: Conv2d, x: Array) -> Array:
    """Cross-correlation of (B, C, H, W) with the weight, as ``torch.nn.functional.conv2d``."""
    weight = node.weight.astype(np.float64)
    outputs, depth, *kernel = weight.shape
    windows = _windows(x, (kernel[0], kernel[1]), node.stride, node.padding, node.dilation)
    samples, _, high, wide = windows.shape[:4]
    grouped = windows.reshape(samples, node.groups, depth, high, wide, *kernel)
    filters = weight.reshape(node.groups, outputs // node.groups, depth, *kernel)
    y: Array = np.einsum("bgchwij,gocij->bgohw", grouped, filters, optimize=True).reshape(samples, outputs, high, wide)
    return y if node.bias is None else y + node.bias[:, None, None]


def sum_pool2d(node: AvgPool2d | SumPool2d, x: Array) -> Array:
    """The sum over each window."""
    windows = _windows(x, node.kernel_size, node.stride, node.padding, (1, 1))
    total: Array = windows.sum(axis=(-2, -1))
    return total


def avg_pool2d(node: AvgPool2d, x: Array) -> Array:
    """The sum over each window, by the window's size; padding counts in it."""
    return sum_pool2d(node, x) / math.prod(node.kernel_size)


def _windows(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """(B, C, out_h, out_w, kernel_h, kernel_w): every window of a zero-padded (B, C, H, W)."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    span = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    windows: Array = sliding_window_view(padded, span, axis=(-2, -1))  # type: ignore[call-overload]  # numpy's stub
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def flatten(node: Flatten, x: Array) -> Array:
    """All axes of a sample into one."""
    return x.reshape(len(x), -1)


def passed_on(node: Output, x: Array) -> Array:
    """An Output hands on what it receives; reductions over time are the run's."""
    return x


OPERATORS: Mapping[type[Node], Callable[[Any, Array], Array]] = {
    Linear: linear,
    Conv2d: conv2d,
    AvgPool2d: avg_pool2d,
    SumPool2d: sum_pool2d,
    Flatten: flatten,
    Output: passed_on,
}

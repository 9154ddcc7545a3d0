"""Windows as matrices: convolution and pools of operators that ONNX Runtime has in float64.

It has no float64 kernels for Conv and AveragePool. Every value of every window is gathered from
the sample, padding from one zero beside it, and what is left is a product or a sum over the
window: every product is formed and summed directly, so what is exact in the reference is exact here.

The index of what is gathered is computed once a run from the sizes alone, so the model does not
grow with it; what grows is the matrix of all windows at each step, which ``unrolled`` counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from snubridge.bridge import shapes
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Node, Pair, SumPool2d
from snubridge_onnx.operators import Place

if TYPE_CHECKING:
    from snubridge_onnx.builder import Builder, Value

Windowed = Conv2d | AvgPool2d | SumPool2d


def kernel(node: Windowed) -> Pair:
    """Height and width of a node's window, in values."""
    if isinstance(node, Conv2d):
        height, width = node.weight.shape[2:]
        return height, width
    return node.kernel_size


def conv2d(node: Conv2d, at: Place, x: Value) -> Value:
    """weight (groups, out / groups, values) @ windows (B, groups, values, positions), then the bias."""
    outputs, depth, *size = node.weight.shape
    values, positions = depth * math.prod(size), math.prod(at.shape[1:])
    columns = _reshaped(at.step, _windows(node, at, x), 0, node.groups, values, positions)
    rows = _reshaped(at.outer, at.parameters["weight"], node.groups, outputs // node.groups, values)
    y = _reshaped(at.step, at.step.op("MatMul", rows, columns), 0, *at.shape)
    return y if node.bias is None else at.step.op("Add", y, _reshaped(at.outer, at.parameters["bias"], -1, 1, 1))


def sum_pool2d(node: SumPool2d, at: Place, x: Value) -> Value:
    """The sum over each window."""
    return at.step.op("ReduceSum", _windows(node, at, x), at.step.integers(2, 3), keepdims=0)


def avg_pool2d(node: AvgPool2d, at: Place, x: Value) -> Value:
    """The mean over each window; padding counts in it.

    Not a sum and a division by a constant: ONNX Runtime fuses that into a product that follows, by a float32 factor.
    """
    return at.step.op("ReduceMean", _windows(node, at, x), axes=[2, 3], keepdims=0)


UNROLLED: Mapping[type[Node], Callable[[Any, Place, Value], Value]] = {
    Conv2d: conv2d,
    AvgPool2d: avg_pool2d,
    SumPool2d: sum_pool2d,
}


def unrolled(graph: Graph, precision: str) -> dict[str, int]:
    """By node, how many values stand for what ONNX Runtime lacks in that precision.

    In float64 one sample's matrix of windows: positions times the values of one window, over all channels; in float32
    the kernel of ones that sums over windows.
    """
    sizes: dict[str, int] = {}
    samples = shapes(graph)
    for name, node in graph.nodes.items():
        if isinstance(node, SumPool2d if precision == "float32" else Windowed):
            channels = samples[graph.incoming[name][0].source][0]
            positions = 1 if precision == "float32" else math.prod(samples[name][1:])
            sizes[name] = channels * math.prod(kernel(node)) * positions
    return sizes


def _windows(node: Windowed, at: Place, x: Value) -> Value:
    """(B, C, H, W) to (B, C, kernel_h, kernel_w, out_h, out_w)."""
    pixels = _reshaped(at.step, x, 0, 0, -1)
    beyond = at.step.op("Pad", pixels, at.step.integers(0, 0, 0, 0, 0, 1))  # one zero, the last of each channel
    return at.step.op("Gather", beyond, _index(node, at), axis=2)


def _index(node: Windowed, at: Place) -> Value:
    """(kernel_h, kernel_w, out_h, out_w): which pixel of a channel stands there, height * width for padding."""
    run, (_, height, width) = at.outer, at.received
    rows, within_rows = _axis(node, at, 0, height)
    columns, within_columns = _axis(node, at, 1, width)
    pixel = run.op("Add", run.op("Mul", rows, run.index(width)), columns)
    return run.op("Where", run.op("And", within_rows, within_columns), pixel, run.index(height * width))


def _axis(node: Windowed, at: Place, axis: int, size: int) -> tuple[Value, Value]:
    """Along one axis, the place of each value of each window, and whether it lies within the sample."""
    run, dilation = at.outer, node.dilation if isinstance(node, Conv2d) else (1, 1)
    offsets = _steps(run, axis, kernel(node)[axis], dilation[axis])
    starts = _steps(run, 2 + axis, at.shape[1 + axis], node.stride[axis])
    place = run.op("Sub", run.op("Add", starts, offsets), run.index(node.padding[axis]))
    after, before = run.op("GreaterOrEqual", place, run.index(0)), run.op("Less", place, run.index(size))
    return place, run.op("And", after, before)


def _steps(run: Builder, axis: int, count: int, step: int) -> Value:
    """0, step, 2 step, ..., ``count`` of them, along one of the four axes of the index."""
    numbers = run.op("Range", run.index(0), run.index(count), run.index(1))
    return _reshaped(run, run.op("Mul", numbers, run.index(step)), *(-1 if at == axis else 1 for at in range(4)))


def _reshaped(builder: Builder, value: Value, *sizes: int) -> Value:
    return builder.op("Reshape", value, builder.integers(*sizes))

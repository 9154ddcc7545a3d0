"""The lowering tables: what each kind of node, reset, g, h and reduction is in ONNX operators.

They mirror the reference operation by operation, in its order; what the tables lack is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snubridge.ir.budget import StateGrid
from snubridge.ir.functions import Identity, LeakyReLU, ReLU, Reset, Sigmoid, Step, Tanh
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, Node, Shape, SumPool2d, Unit

if TYPE_CHECKING:
    from snubridge_onnx.builder import Builder, Value


@dataclass(frozen=True)
class Place:
    """What the lowering of one node sees.

    ``outer``       appends what is computed once a run
    ``step``        appends what is computed at every step
    ``parameters``  the node's arrays by field, in the format that the model computes in
    ``received``    one sample of what the node receives
    ``shape``       one sample of the node's output
    ``grid``        that of a unit's state, in FixedPoint
    """

    outer: Builder
    step: Builder
    parameters: Mapping[str, Value]
    received: Shape
    shape: Shape
    grid: StateGrid | None = None


def linear(node: Linear, at: Place, x: Value) -> Value:
    """weight @ x + bias over the last axis; the weight is turned once a run."""
    y = at.step.op("MatMul", x, at.outer.op("Transpose", at.parameters["weight"], perm=[1, 0]))
    return y if node.bias is None else at.step.op("Add", y, at.parameters["bias"])


def flatten(node: Flatten, at: Place, x: Value) -> Value:
    """All axes of a sample into one."""
    return at.step.op("Flatten", x, axis=1)


def conv2d(node: Conv2d, at: Place, x: Value) -> Value:
    """Cross-correlation of (B, C, H, W) with the weight; the bias is Conv's own third input."""
    settings = {"dilations": node.dilation, "group": node.groups, **_windows(node)}
    return at.step.op("Conv", x, *at.parameters.values(), **settings)


def avg_pool2d(node: AvgPool2d, at: Place, x: Value) -> Value:
    """The mean over each window; padding counts."""
    return at.step.op("AveragePool", x, kernel_shape=node.kernel_size, count_include_pad=1, **_windows(node))


def sum_pool2d(node: SumPool2d, at: Place, x: Value) -> Value:
    """The sum over each window: every channel convolved with ones, so that nothing is divided and multiplied again."""
    channels = at.shape[0]
    ones = at.outer.op("Expand", at.outer.number(1.0), at.outer.integers(channels, 1, *node.kernel_size))
    return at.step.op("Conv", x, ones, group=channels, **_windows(node))


def _windows(node: Conv2d | AvgPool2d | SumPool2d) -> dict[str, Any]:
    return {"strides": node.stride, "pads": (*node.padding, *node.padding)}


OPERATORS: Mapping[type[Node], Callable[[Any, Place, Value], Value]] = {
    Linear: linear,
    Flatten: flatten,
    Conv2d: conv2d,
    AvgPool2d: avg_pool2d,
    SumPool2d: sum_pool2d,
}
"""In float32; ``windows.UNROLLED`` takes the place of what ONNX Runtime lacks in float64."""


def unit(node: Unit, at: Place, s: Value, y: Value | None, drive: Value) -> tuple[Value, Value, Value]:
    """One step: (s_{t-1}, y_{t-1}, x_t) to s_t, y_t, and y_t as it is recorded (a spike as a bool)."""
    carried = CARRIED[node.reset](at, s, y)
    if at.grid is not None:
        carried = _on_grid(at, at.grid, carried)
    s = G[type(node.g)](node.g, at, at.step.op("Add", carried, drive))
    if at.grid is not None:
        # Not Clip: ONNX Runtime merges Relu into it, and fails to in float64.
        s = at.step.op("Min", at.step.op("Max", s, at.step.number(at.grid.low)), at.step.number(at.grid.high))
    recorded = H[type(node.h)](node.h, at, s)
    return s, at.step.cast(recorded, at.step.dtype) if node.spiking else recorded, recorded


ROUNDED: Mapping[str, Callable[[Place, Value], Value]] = {
    "floor": lambda at, x: at.step.op("Floor", x),
    "zero": lambda at, x: at.step.op("Mul", at.step.op("Sign", x), at.step.op("Floor", at.step.op("Abs", x))),
}


def _on_grid(at: Place, grid: StateGrid, x: Value) -> Value:
    """The carried state in whole steps of the unit's grid."""
    steps = at.step.op("Mul", x, at.step.number(2.0**grid.fraction_bits))
    return at.step.op("Mul", ROUNDED[grid.rounding](at, steps), at.step.number(2.0**-grid.fraction_bits))


def _to_zero(at: Place, s: Value, y: Value) -> Value:
    """decay * (s * (1 - y))"""
    return _decayed(at, at.step.op("Mul", s, at.step.op("Sub", at.step.number(1.0), y)))


def _lateral(at: Place, s: Value, y: Value) -> Value:
    """decay * (s * (1 - max(y))), the maximum over the sample's own neurons"""
    return _to_zero(at, s, at.step.op("ReduceMax", y, axes=range(1, 1 + len(at.shape)), keepdims=1))


def _subtract(at: Place, s: Value, y: Value) -> Value:
    """decay * s - threshold * y"""
    return at.step.op("Sub", _decayed(at, s), at.step.op("Mul", at.parameters["threshold"], y))


def _subtract_decayed(at: Place, s: Value, y: Value) -> Value:
    """decay * (s - threshold * y)"""
    return _decayed(at, at.step.op("Sub", s, at.step.op("Mul", at.parameters["threshold"], y)))


def _decayed(at: Place, s: Value, y: Value | None = None) -> Value:
    """decay * s"""
    return at.step.op("Mul", at.parameters["decay"], s)


CARRIED: Mapping[Reset, Callable[[Place, Value, Any], Value]] = {
    Reset.TO_ZERO: _to_zero,
    Reset.LATERAL: _lateral,
    Reset.SUBTRACT: _subtract,
    Reset.SUBTRACT_DECAYED: _subtract_decayed,
    Reset.NONE: _decayed,
}
G: Mapping[type, Callable[[Any, Place, Value], Value]] = {
    Identity: lambda g, at, x: x,
    ReLU: lambda g, at, x: at.step.op("Relu", x),
    # PRelu takes its slope as a tensor; LeakyRelu's is a float32 attribute, wrong by 1.5e-9 in a float64 model.
    LeakyReLU: lambda g, at, x: at.step.op("PRelu", x, at.step.number(g.slope)),
}
H: Mapping[type, Callable[[Any, Place, Value], Value]] = {
    Step: lambda h, at, s: at.step.op("GreaterOrEqual" if h.at_threshold else "Greater", s, at.parameters["threshold"]),
    Sigmoid: lambda h, at, s: at.step.op("Sigmoid", _above(at, s)),
    Tanh: lambda h, at, s: at.step.op("Tanh", _above(at, s)),
    Identity: lambda h, at, s: _above(at, s),
}


def _above(at: Place, s: Value) -> Value:
    """s - threshold"""
    return at.step.op("Sub", s, at.parameters["threshold"])


def _sum(run: Builder, x: Value, steps: Value, ends: Value) -> Value:
    return _total(run, x, run.op("Less", steps, ends))


def _mean(run: Builder, x: Value, steps: Value, ends: Value) -> Value:
    counts = run.op("Squeeze", run.cast(ends, run.dtype), run.integers(0))
    return run.op("Div", _sum(run, x, steps, ends), counts)


def _max(run: Builder, x: Value, steps: Value, ends: Value) -> Value:
    masked = run.op("Where", run.op("Less", steps, ends), x, run.number(float("-inf")))
    return run.op("ReduceMax", masked, axes=[0], keepdims=0)


def _last(run: Builder, x: Value, steps: Value, ends: Value) -> Value:
    return _total(run, x, run.op("Equal", run.op("Add", steps, run.index(1)), ends))


def _total(run: Builder, x: Value, taken: Value) -> Value:
    """The sum of what is taken."""
    return run.op("ReduceSum", run.op("Where", taken, x, run.number(0.0)), run.integers(0), keepdims=0)


OVER_TIME: Mapping[str, Callable[[Builder, Value, Value, Value], Value]] = {
    "sum": _sum,
    "mean": _mean,
    "max": _max,
    "last": _last,
}
"""Of x (T, B, *shape), the steps (T, 1, ...) and each sample's end (1, B, ...)."""

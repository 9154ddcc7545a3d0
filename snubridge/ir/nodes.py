"""The nodes of a graph, frozen. What each one computes is defined in ``snubridge/reference``."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from snubridge.ir.functions import (
    Identity,
    LeakyReLU,
    OutputFunction,
    Reset,
    StateFunction,
    Step,
)
from snubridge.ir.numbers import Array, Numbers

Shape = tuple[int, ...]
Pair = tuple[int, int]


class ShapeMisfit(Exception):
    """An input of the wrong shape; the rules turn it into a breach with its place."""

    def __init__(self, needed: str, remedy: str) -> None:
        self.needed = needed
        self.remedy = remedy
        super().__init__(needed)


def _parameter(value: ArrayLike) -> Array:
    """A read-only copy; what is not numeric is kept for the rules to name, never converted."""
    try:
        array = np.array(np.asarray(value), order="C")
    except Exception:  # noqa: BLE001  # ragged sequences; tensors with gradients; what raises in its own __array__
        array = np.empty((), dtype=object)
    if isinstance(value, np.ma.MaskedArray):  # its mask would be lost
        array = np.empty((), dtype=object)
    array.setflags(write=False)
    return array


def _pair(value: Any) -> Any:
    """(n, n) of n, and a tuple of two integers of whatever holds two; else the value, for the rules."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return (int(value), int(value))
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, int | np.integer) for v in value):
        return tuple(int(v) for v in value)
    return value


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Node:
    """What all nodes share: array fields by name, equality by bits, rounding to a number format."""

    ARRAYS: ClassVar[tuple[str, ...]] = ()

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def arrays(self) -> dict[str, Array]:
        """The arrays that are present, by field name."""
        present = {name: getattr(self, name) for name in self.ARRAYS}
        return {name: array for name, array in present.items() if array is not None}

    def settings(self) -> dict[str, Any]:
        """The fields that are not arrays, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.ARRAYS}

    def replaced(self, **values: Any) -> Self:
        """The same node with other values in the named fields."""
        twin = object.__new__(type(self))
        twin._set(**{field.name: getattr(self, field.name) for field in fields(self)} | values)
        return twin

    def rounded(self, numbers: Numbers, name: str) -> Self:
        """The same node, called ``name``, with every parameter rounded once; non-numeric ones are left to the rules."""
        numeric = {field: array for field, array in self.arrays().items() if array.dtype.kind in "biuf"}
        return self.replaced(**{field: numbers.parameter(name, field, array) for field, array in numeric.items()})

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one sample of the output, given that of the input, or ``ShapeMisfit``."""
        return shape

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Node):
            return NotImplemented
        mine, theirs = self.arrays(), other.arrays()
        return (
            repr(self.settings()) == repr(other.settings())  # so that 0.0 and -0.0 differ, as in the digest
            and mine.keys() == theirs.keys()
            and all(_same_bits(mine[name], theirs[name]) for name in mine)
        )

    def __hash__(self) -> int:
        return hash((type(self), *((name, array.shape) for name, array in self.arrays().items())))

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self))
        return f"{type(self).__name__}({shown})"


def _same_bits(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.item()) if value.ndim == 0 else f"<{value.dtype} {value.shape}>"
    return str(value)


def _rounded_scalar(value: Any, numbers: Numbers) -> Any:
    if value is None or not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return value
    try:
        return float(numbers.round(np.asarray(float(value))))
    except OverflowError:  # an integer beyond all floats: left to the rules
        return value


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Input(Node):
    """The given array at step t, shape ``shape`` per sample; with ``low``/``high`` its range is checked."""

    shape: Shape
    low: float | None
    high: float | None
    fraction_bits: int | None

    def __init__(
        self,
        shape: Shape,
        low: float | None = None,
        high: float | None = None,
        fraction_bits: int | None = None,
    ) -> None:
        if isinstance(shape, tuple | list):
            shape = tuple(int(n) if isinstance(n, np.integer) else n for n in shape)
        self._set(shape=shape, low=low, high=high, fraction_bits=fraction_bits)

    def rounded(self, numbers: Numbers, name: str) -> Self:
        return self.replaced(low=_rounded_scalar(self.low, numbers), high=_rounded_scalar(self.high, numbers))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Linear(Node):
    """y_t = weight @ x_t + bias over the last axis; ``weight`` is (out, in), ``bias`` (out,)."""

    weight: Array
    bias: Array | None
    ARRAYS: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None) -> None:
        self._set(weight=_parameter(weight), bias=None if bias is None else _parameter(bias))

    def output_shape(self, shape: Shape) -> Shape:
        outputs, inputs = self.weight.shape
        if shape[-1:] != (inputs,):
            raise ShapeMisfit(
                f"a last axis of {inputs}, since weight is (out, in) = {(outputs, inputs)}",
                "Transpose the weight or connect a source of that size.",
            )
        return (*shape[:-1], outputs)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Conv2d(Node):
    """Cross-correlation as ``torch.nn.Conv2d``: (C, H, W) in; weight (out, C // groups, kh, kw), bias (out,)."""

    weight: Array
    bias: Array | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    ARRAYS: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> None:
        self._set(
            weight=_parameter(weight),
            bias=None if bias is None else _parameter(bias),
            stride=_pair(stride),
            padding=_pair(padding),
            dilation=_pair(dilation),
            groups=int(groups) if isinstance(groups, np.integer) else groups,
        )

    def output_shape(self, shape: Shape) -> Shape:
        outputs, depth, *kernel = self.weight.shape
        if len(shape) != 3 or shape[0] != depth * self.groups:
            raise ShapeMisfit(
                f"one sample of shape ({depth * self.groups}, height, width)",
                "Fix the weight, the groups, or what is connected.",
            )
        return (outputs, *_windows(shape[1:], kernel, self.stride, self.padding, self.dilation))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class _Pool2d(Node):
    kernel_size: Pair
    stride: Pair
    padding: Pair

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
    ) -> None:
        kernel = _pair(kernel_size)
        self._set(kernel_size=kernel, stride=kernel if stride is None else _pair(stride), padding=_pair(padding))

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ShapeMisfit("one sample of shape (channels, height, width)", "Pool before Flatten.")
        return (shape[0], *_windows(shape[1:], self.kernel_size, self.stride, self.padding, (1, 1)))


class AvgPool2d(_Pool2d):
    """The mean over windows as ``torch.nn.AvgPool2d``: padding counts in the divisor, no ceil mode."""


class SumPool2d(_Pool2d):
    """``AvgPool2d`` times the window's size: the sum over each window."""


def _windows(size: Shape, kernel: Any, stride: Pair, padding: Pair, dilation: Pair) -> Shape:
    """How many windows fit along each axis: floor((n + 2p - dilation (k - 1) - 1) / stride) + 1."""
    counts = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    if min(counts) < 1:
        raise ShapeMisfit(f"at least one window of {tuple(kernel)} in each direction", "Use a smaller kernel.")
    return counts


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Flatten(Node):
    """All axes of one sample into one, in row-major order."""

    def __init__(self) -> None:
        self._set()

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Unit(Node):
    """A population of spiking neural units (Wozniak et al., Nature Machine Intelligence 2, 325, 2020).

        s_t = g(c_{t-1} + x_t)        c_{t-1}: the carried state, see ``Reset``; x_t: the drive
        y_t = h(s_t - threshold)

    ``decay`` in [0, 1], ``threshold`` (the paper's -b) and ``initial_state`` s_{-1} are each one
    value or one per neuron; y_{-1} = 0. The shape is that of the drive. All are without unit:
    time is counted in steps.
    """

    decay: Array
    threshold: Array
    reset: Reset
    g: StateFunction
    h: OutputFunction
    initial_state: Array
    ARRAYS: ClassVar[tuple[str, ...]] = ("decay", "threshold", "initial_state")

    def __init__(
        self,
        decay: ArrayLike,
        threshold: ArrayLike,
        *,
        reset: Reset = Reset.TO_ZERO,
        g: StateFunction = Identity(),
        h: OutputFunction = Step(),
        initial_state: ArrayLike = 0.0,
    ) -> None:
        self._set(
            decay=_parameter(decay),
            threshold=_parameter(threshold),
            reset=reset,
            g=g,
            h=h,
            initial_state=_parameter(initial_state),
        )

    @property
    def spiking(self) -> bool:
        """Whether the outputs are spikes, 0 or 1."""
        return isinstance(self.h, Step)

    def rounded(self, numbers: Numbers, name: str) -> Self:
        g = self.g
        if isinstance(g, LeakyReLU):
            g = LeakyReLU(_rounded_scalar(g.slope, numbers))
        return super().rounded(numbers, name).replaced(g=g)

    def output_shape(self, shape: Shape) -> Shape:
        for name, array in self.arrays().items():
            if array.ndim and array.shape != shape:
                raise ShapeMisfit(
                    f"a drive of shape {array.shape}, one value for each {name}",
                    f"Give {name} as one value or with the shape of the drive.",
                )
        return shape


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Output(Node):
    """Its input, recorded as (T, B, *shape); with ``over_time`` that reduction, recorded as (B, *shape)."""

    over_time: str | None

    def __init__(self, over_time: str | None = None) -> None:
        self._set(over_time=over_time)


REDUCTIONS = ("mean", "sum", "max", "last")
NODE_KINDS: dict[str, type[Node]] = {
    kind.__name__: kind for kind in (Input, Linear, Conv2d, AvgPool2d, SumPool2d, Flatten, Unit, Output)
}

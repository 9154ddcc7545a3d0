"""The number formats of a graph: what every parameter and input is rounded to, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class _Float:
    name: ClassVar[str]
    dtype: ClassVar[np.dtype[Any]]

    def round(self, array: Array) -> Array:
        """The nearest numbers of this format, ties to even; what exceeds its range becomes infinite.

        Shape ``(*shape,)`` in, the same shape in the format's dtype out, read-only. Whoever
        calls this checks for infinities (the rules of a graph and the entry of inputs do).
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a signaling NaN is but a NaN
            rounded = np.array(array, dtype=self.dtype, order="C")
        rounded.setflags(write=False)
        return rounded

    def parameter(self, node: str, field: str, array: Array) -> Array:
        """A parameter of a node, rounded: floats round all alike."""
        return self.round(array)


@dataclass(frozen=True)
class Float32(_Float):
    """IEEE 754 binary32, the default: parameters as PyTorch trains them."""

    name = "float32"
    dtype = np.dtype(np.float32)


@dataclass(frozen=True)
class Float64(_Float):
    """IEEE 754 binary64."""

    name = "float64"
    dtype = np.dtype(np.float64)


MOST_FRACTION_BITS = 52
ROUNDINGS = ("floor", "zero")


@dataclass(frozen=True, repr=False)
class FixedPoint:
    """Fixed point: every value is a whole number of steps of a grid, and no sum within the budget rounds.

    ``fraction_bits``  parameters are multiples of 2^-fraction_bits: one number from 0 to 52, or a dict by name of
                       every Linear, Conv2d and Unit; None only where ``sb.quantize`` is to choose
    ``state_bits``     a state saturates to [-2^(state_bits-1), 2^(state_bits-1) - 1] steps of its unit's grid
    ``decay_bits``     a decay is m / 2^decay_bits
    ``rounding``       of the carried state to its unit's grid: "floor" (down) or "zero" (towards zero)

    Parameters are held as float64 arrays, which every such value fits. Grids of other values are derived, see
    ``snubridge/ir/budget.py``.
    """

    fraction_bits: int | Mapping[str, int | None] | None
    state_bits: int = 16
    decay_bits: int = 8
    rounding: str = "floor"
    name: ClassVar[str] = "fixed_point"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float64)

    def __post_init__(self) -> None:
        bits: Any = self.fraction_bits
        if isinstance(bits, Mapping):
            bits = MappingProxyType({name: _plain(bits[name]) for name in sorted(bits, key=repr)})
        for field, value in {
            "fraction_bits": bits,
            "state_bits": self.state_bits,
            "decay_bits": self.decay_bits,
        }.items():
            object.__setattr__(self, field, _plain(value))

    def bits_of(self, node: str) -> Any:
        """The fraction bits of a node's parameters; None where they are not given."""
        return self.fraction_bits.get(node) if isinstance(self.fraction_bits, Mapping) else self.fraction_bits

    def round(self, array: Array) -> Array:
        """Inputs and ranges are not rounded to a grid: float64, which holds every value within the budget."""
        return Float64().round(array)

    def parameter(self, node: str, field: str, array: Array) -> Array:
        """The nearest multiples of the field's grid, ties to even; unrounded where its bits are not sound."""
        bits = self.decay_bits if field == "decay" else self.bits_of(node)
        if not is_fraction_bits(bits):
            return self.round(array)
        wide = array if array.dtype == np.longdouble else array.astype(np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the rules name what is not finite
            return self.round(np.ldexp(np.rint(np.ldexp(wide, bits)), -bits) + 0.0)  # there is one zero

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        bits = dict(self.fraction_bits) if isinstance(self.fraction_bits, Mapping) else self.fraction_bits
        settings = f"state_bits={self.state_bits!r}, decay_bits={self.decay_bits!r}, rounding={self.rounding!r}"
        return f"FixedPoint(fraction_bits={bits!r}, {settings})"

    def __reduce__(self) -> tuple[Any, ...]:
        bits = dict(self.fraction_bits) if isinstance(self.fraction_bits, Mapping) else self.fraction_bits
        return FixedPoint, (bits, self.state_bits, self.decay_bits, self.rounding)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


def is_fraction_bits(value: Any) -> bool:
    """Whether this can be a number of fraction bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_FRACTION_BITS


Numbers = Float32 | Float64 | FixedPoint
NUMBERS: dict[str, type[Float32] | type[Float64]] = {kind.name: kind for kind in (Float32, Float64)}
"""The floating-point formats by name: those of graphs, and what engines compute in."""

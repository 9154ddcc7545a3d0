"""What was equal: two traces, unit by unit and bin by bin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snubridge.errors import BadInput
from snubridge.ir.numbers import Array
from snubridge.reference.trace import Trace

TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "float64": 1e-9})
"""How far values that are not spikes may lie apart, relative to their scale, by precision."""


def tolerated(precision: str) -> str:
    """The format whose tolerance an engine's values are held to: float32 stands for all that are narrower too."""
    return precision if precision in TOLERANCE else "float32"


class First(NamedTuple):
    """The place of a difference; ``neuron`` is an index, or a tuple of them for layers with axes."""

    step: int
    sample: int
    unit: str
    neuron: int | tuple[int, ...]


@dataclass(frozen=True)
class UnitComparison:
    """One unit's spikes, or one unit's or output's values, in two traces.

    ``compared``  bins within the samples' lengths      ``spikes``  those that fired in the expected trace
    ``differing`` bins that are not equal (spikes) or not within the tolerance (values)
    ``largest_difference``  over all compared bins, for values; None for spikes
    """

    name: str
    kind: str
    """"spikes" or "values"."""
    compared: int
    spikes: int
    differing: int
    first: First | None
    largest_difference: float | None


@dataclass(frozen=True)
class Comparison:
    """Two traces side by side: ``units`` by unit, ``outputs`` by output."""

    units: Mapping[str, UnitComparison]
    outputs: Mapping[str, UnitComparison]

    @property
    def equal(self) -> bool:
        """No spike differs, and every other value is within the tolerance."""
        return not self.differing

    @property
    def differing(self) -> int:
        """The number of differing bins, over all units and outputs."""
        return sum(part.differing for part in (*self.units.values(), *self.outputs.values()))

    @property
    def first(self) -> First | None:
        """The earliest difference; of those at one step, the first unit's."""
        found = [part.first for part in (*self.units.values(), *self.outputs.values()) if part.first is not None]
        return min(found, key=lambda first: first.step, default=None)


def compare(expected: Trace, actual: Trace, *, precision: str | None = None) -> Comparison:
    """Compare what two runs of one graph recorded, within the lengths of the samples.

    Spikes are compared exactly; values (soft units, outputs) within ``TOLERANCE[precision]`` of
    their scale, where ``precision`` is by default float32 if either holds float32 values.
    """
    if not isinstance(expected, Trace) or not isinstance(actual, Trace):
        raise BadInput(f"two traces are needed, not {type(expected).__name__} and {type(actual).__name__}")
    if not (*expected.spikes, *expected.outputs):
        raise BadInput("nothing to compare: neither spikes nor outputs were recorded")
    if expected.spikes.keys() != actual.spikes.keys() or expected.outputs.keys() != actual.outputs.keys():
        found, wanted = sorted([*actual.spikes, *actual.outputs]), sorted([*expected.spikes, *expected.outputs])
        raise BadInput(f"traces of different networks: {found} where {wanted} is expected")
    if not np.array_equal(expected.lengths, actual.lengths):
        raise BadInput(
            "traces of different lengths: one run was given other lengths (--lengths), or other inputs; run both alike"
        )
    if precision not in (None, *TOLERANCE):
        raise BadInput(f"precision={precision!r}: {' or '.join(TOLERANCE)} is needed")
    if set(expected.reduced) != set(actual.reduced):
        raise BadInput("traces of different networks: they reduce different outputs over time")

    units = {name: (array, actual.spikes[name]) for name, array in expected.spikes.items()}
    outputs = {name: (array, actual.outputs[name]) for name, array in expected.outputs.items()}

    def part(name: str, pair: tuple[Array, Array]) -> UnitComparison:
        return _part(name, *pair, expected.lengths, name in expected.reduced, precision)

    return Comparison(
        units={name: part(name, pair) for name, pair in units.items()},
        outputs={name: part(name, pair) for name, pair in outputs.items()},
    )


def apart(
    name: str, expected: Array, actual: Array, lengths: Array, reduced: bool, precision: str | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float | None]:
    """Which bins of one unit or output differ and which are compared, both of its shape, and the largest gap of values.

    The arguments are those of ``compare``; the gap is None for spikes.
    """
    if expected.shape != actual.shape:
        raise BadInput(f"{name}: shape {actual.shape} where {expected.shape} is expected")
    alive = np.ones(expected.shape, dtype=bool)
    if not reduced:
        alive &= within(lengths, expected)
    if expected.dtype == np.uint8:
        return (expected != actual) & alive, alive, None
    dtypes = {str(expected.dtype), str(actual.dtype)}
    rtol = TOLERANCE[precision or ("float32" if "float32" in dtypes else "float64")]
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(alive, np.abs(actual.astype(np.float64) - expected.astype(np.float64)), 0.0)
    scale = np.abs(np.where(alive & np.isfinite(expected), expected, 0)).max(initial=0.0)
    differs = ~(gap <= rtol * max(scale, np.finfo(np.float64).tiny))  # a NaN is apart
    return differs & (gap != 0) & alive, alive, float(gap.max(initial=0.0))


def within(lengths: Array, like: Array) -> NDArray[np.bool_]:
    """(T, B, 1, ...), to spread over an array (T, B, *shape): the steps within each sample's length."""
    steps = np.arange(len(like))[:, None] < lengths
    return steps.reshape(*steps.shape, *[1] * (like.ndim - 2))


def _part(
    name: str, expected: Array, actual: Array, lengths: Array, reduced: bool, precision: str | None
) -> UnitComparison:
    differs, alive, largest = apart(name, expected, actual, lengths, reduced, precision)
    spiking = largest is None
    return UnitComparison(
        name=name,
        kind="spikes" if spiking else "values",
        compared=int(alive.sum()),
        spikes=int((expected.astype(bool) & alive).sum()) if spiking else 0,
        differing=int(differs.sum()),
        first=_first(name, differs, lengths, reduced),
        largest_difference=largest,
    )


def _first(name: str, differs: Array, lengths: Array, reduced: bool) -> First | None:
    where = np.argwhere(differs)
    if not len(where):
        return None
    if reduced:  # the value after a sample's last step
        earliest = min(where, key=lambda place: int(lengths[place[0]]))
        step, sample, *neuron = (int(lengths[earliest[0]]) - 1, *(int(i) for i in earliest))
    else:
        step, sample, *neuron = (int(i) for i in where[0])
    return First(step, sample, name, neuron[0] if len(neuron) == 1 else tuple(neuron))

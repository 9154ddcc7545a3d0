"""What has to be equal in two traces of one case."""

from __future__ import annotations

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.reference.trace import Trace

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
"""Of values that are no spikes, as a share of the largest one (or of 1)."""


def assert_same(case: Case, expected: Trace, actual: Trace, precision: str) -> None:
    """Spikes equal bit for bit; other values too if the case is exact, else within the tolerance of the precision."""
    for group in ("spikes", "states", "outputs"):
        wanted, found = getattr(expected, group), getattr(actual, group)
        assert set(found) == set(wanted), f"{case.name}: {group} of {sorted(found)}, not of {sorted(wanted)}"
        for name, values in wanted.items():
            place = f"{case.name} ({case.idea or 'random'}): {group} of {name}"
            assert not found[name].flags.writeable, f"{place} can be written to"
            if case.exact or found[name].dtype == np.uint8:
                np.testing.assert_array_equal(found[name], values, err_msg=place)
            else:
                _assert_close(found[name], values, TOLERANCE[precision], place)
    for name, unit in case.graph.of_kind(Unit).items():
        assert (actual.spikes[name].dtype == np.uint8) == unit.spiking, (
            f"{case.name}: the spikes of {name} are no bytes"
        )
    np.testing.assert_array_equal(actual.lengths, expected.lengths, err_msg=f"{case.name}: lengths")


def _assert_close(found: Array, wanted: Array, rtol: float, place: str) -> None:
    scale = max(float(np.abs(wanted).max()), 1.0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * scale, err_msg=place)

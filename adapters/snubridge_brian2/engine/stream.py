"""What an input puts out: a ``TimedArray``, faster to compile and to read where its rows are those of the steps."""

import functools
from typing import Any

import numpy as np

from snubridge_brian2.engine.equations import Array

STREAM_CYTHON = """
cdef double stream_at(const double t, const int i):
    global _namespacestream_values
    global _namespacestream_columns
    global _namespacestream_rows
    global _namespacestream_dt
    cdef long long row = <long long>(t / _namespacestream_dt[0] + 0.5)
    if row >= _namespacestream_rows[0]:
        row = _namespacestream_rows[0] - 1
    return _namespacestream_values[row * _namespacestream_columns[0] + i]
"""


def stream_of(values: Array, dt: Any, name: str, target: str) -> Any:
    """The function ``stream(t, i)`` of ``values`` (T, size), one row for each step of ``dt``."""
    from brian2 import TimedArray

    return (TimedArray if target == "cpp_standalone" else _stream())(values, dt=dt, name=name)


@functools.cache
def spike_input() -> Any:
    """The group of an input that is declared to take 0 and 1 only, and refuses to run with anything else."""
    from brian2 import NeuronGroup

    class SpikeInput(NeuronGroup):  # type: ignore[misc]  # brian2 has no types
        def before_run(self, run_namespace: Any) -> None:
            values = np.asarray(self.namespace["stream"].values)
            if not ((values == 0) | (values == 1)).all():
                raise ValueError(
                    f"{self.name}: its stream holds values other than 0 and 1, and each would count as a spike; give 0 "
                    "and 1, or declare the input without fraction_bits=0"
                )
            super().before_run(run_namespace)

    return SpikeInput


@functools.cache
def _stream() -> Any:
    """A ``TimedArray`` whose Cython code is the same for all values."""
    from brian2 import TimedArray

    class Stream(TimedArray):  # type: ignore[misc]  # brian2 has no types
        def _init_2d(self) -> None:
            super()._init_2d()
            given = {
                "stream_values": np.ascontiguousarray(self.values).ravel(),
                "stream_rows": np.array([self.values.shape[0]]),
                "stream_columns": np.array([self.values.shape[1]]),
                "stream_dt": np.array([self.dt]),
            }
            self.implementations.add_implementation("cython", STREAM_CYTHON, namespace=given, name="stream_at")
            self.implementations.add_dynamic_implementation("numpy", self.of_row)

        def of_row(self, owner: Any) -> Any:
            values, last, dt = self.values, len(self.values) - 1, self.dt

            def at(t: Any, i: Array) -> Array:
                row: Array = values[min(int(np.rint(float(t) / dt)), last)][i]
                return row

            return at

    return Stream

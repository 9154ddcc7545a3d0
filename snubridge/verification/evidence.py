"""What a report's pictures are drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snubridge.exactness import Certificate, ErrorModel
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.reference.inputs import Run
from snubridge.reference.trace import Trace
from snubridge.verification.certificates import Certificates
from snubridge.verification.ladder import always_exact


@dataclass(frozen=True)
class Evidence:
    """The runs that a report rests on; as large as they are, and let go with the report.

    ``run``           the inputs, as every engine received them, and the lengths
    ``expected``      the reference's trace, with states        ``traces``  the others' by backend
    ``models``        the error model of each backend's program
    ``certificates``  bounds under these models, computed when first asked for; None: there are none
    ``chosen``        by backend: the adapter's name and the options
    """

    graph: Graph
    run: Run
    expected: Trace
    traces: Mapping[str, Trace] = field(default_factory=dict)
    models: Mapping[str, ErrorModel] = field(default_factory=dict)
    certificates: Certificates | None = None
    chosen: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    @cached_property
    def spiking(self) -> tuple[str, ...]:
        """The Step units, in the graph's order."""
        return tuple(name for name, unit in self.graph.of_kind(Unit).items() if unit.spiking)

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """(T, B): the steps within each sample's length."""
        return np.asarray(np.arange(self.run.steps)[:, None] < self.run.lengths)

    def spikes(self, unit: str, backend: str | None = None) -> NDArray[np.bool_]:
        """A Step unit's spikes on a backend, or the reference's: (T, B, neurons), none beyond the lengths."""
        trace = self.expected if backend is None else self.traces[backend]
        spikes = trace.spikes[unit].reshape(self.run.steps, self.run.samples, -1) != 0
        return np.asarray(spikes & self.alive[..., None])

    def agree(self, one: str, other: str, units: Sequence[str]) -> bool:
        """Whether two backends spike alike in these units."""
        return all(np.array_equal(self.spikes(unit, one), self.spikes(unit, other)) for unit in units)

    def margins(self, unit: str) -> Array:
        """The reference's s - threshold: (T, B, neurons)."""
        node = self.graph.nodes[unit]
        assert isinstance(node, Unit)
        margins = self.expected.states[unit] - node.threshold.astype(np.float64)
        return np.asarray(margins.reshape(self.run.steps, self.run.samples, -1))

    def series(self, unit: str, sample: int, neuron: int) -> tuple[Array, NDArray[np.bool_], float]:
        """One neuron's s - threshold and spikes in every step, each (T,), and its threshold."""
        node = self.graph.nodes[unit]
        assert isinstance(node, Unit)
        states, spikes = self.expected.states[unit], self.expected.spikes[unit]
        threshold = float(np.broadcast_to(node.threshold, states.shape[2:]).flat[neuron])
        of_sample, fired = (array[:, sample].reshape(len(array), -1)[:, neuron] for array in (states, spikes))
        return of_sample - threshold, fired != 0, threshold

    @cached_property
    def bounds(self) -> Mapping[ErrorModel, tuple[tuple[str, ...], Certificate | str]]:
        """By error model: the backends that state it, and its certificate or why there is none.

        Empty where none were asked for. Backends whose every sum is exact need none.
        """
        if self.certificates is None:
            return {}
        models = [model for model in dict.fromkeys(self.models.values()) if not always_exact(self.graph, model)]
        named = {model: tuple(name for name, other in self.models.items() if other == model) for model in models}
        return {model: (names, self.certificates.of(model)) for model, names in named.items()}


def digest_of(run: Run) -> str:
    """SHA-256 of inputs, as engines receive them, and lengths: the same inputs have the same."""
    digest = hashlib.sha256()
    for name, array in (*sorted(run.inputs.items()), ("lengths of samples", run.lengths)):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

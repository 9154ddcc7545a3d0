"""The ladder of claims: what kind each difference is, which rung holds, and the verdict.

A difference is a *root* if no decision that it depends on differs; every other one is a *consequence*. A root is
*explained* if its decision was open under the engine's error model, else it is a *bug*. Consequences are neither: the
bounds hold only while all that a decision depends on is equal.

A value (of a soft unit or an output) that is out of tolerance is a consequence if it depends on a decision that
differs, however far it is off; else it is a root, and its row is "unequal": no certificate speaks of values.

    verdict      of a unit's or output's row
    equal        nothing differs
    bug          at least one root is a bug
    explained    every difference is an explained root, or a consequence that depends on no bug
    unequal      anything else: no certificate, values out of tolerance by themselves, consequences of a bug elsewhere
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snubridge.exactness import Certificate, ErrorModel, reached
from snubridge.ir.budget import STEPS, beyond
from snubridge.ir.functions import Identity, Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Output, Unit
from snubridge.ir.numbers import Array, FixedPoint, Float64
from snubridge.ir.structure import shapes
from snubridge.reference.trace import Trace
from snubridge.verification.comparison import apart, tolerated, within

Marks = Mapping[str, NDArray[np.bool_]]
SHOWN = 10
"""How many roots of one row are named."""


class Root(NamedTuple):
    """A difference that follows from no other: its place, the reference's s - threshold, and the bound there.

    ``explained``: whether rounding may turn it; ``bound`` and ``explained`` are None without a certificate.
    """

    step: int
    sample: int
    unit: str
    neuron: int | tuple[int, ...]
    margin: float | None
    bound: float | None
    explained: bool | None


@dataclass(frozen=True)
class Finding:
    """One row's place on the ladder.

    ``explained, bugs``  numbers of roots; None for values, and without a certificate
    ``margin, bound``    of spikes: at the first difference; where all are equal, at the decision whose margin leaves
                         the least room for the bound (without a certificate, the smallest margin)
    ``shown``            the first roots, bugs before others
    """

    rung: str | None
    verdict: str
    roots: int = 0
    consequences: int = 0
    explained: int | None = None
    bugs: int | None = None
    margin: float | None = None
    bound: float | None = None
    shown: tuple[Root, ...] = ()


def always_exact(graph: Graph, model: ErrorModel) -> bool:
    """Rung 1: whether the graph's numbers say that every sum is exact in the engine's format, for all inputs."""
    known = isinstance(graph.numbers, FixedPoint) and model.keeps_parameters and model.precision in STEPS
    return known and not beyond(graph, model.precision)


def rung_of(spikes: bool, *, exact: bool, certified: bool) -> str:
    """The highest rung that holds for a row on which nothing differs."""
    if not spikes:
        return "exact" if exact else "tolerance"
    return "exact" if exact else "certified" if certified else "measured"


@dataclass(frozen=True)
class Ladder:
    """Two traces of a graph, the certificate of the engine's model where there is one, and what follows.

    ``expected`` holds states. ``certificate`` has its bounds recorded, and is of the same inputs and lengths.
    """

    graph: Graph
    expected: Trace
    actual: Trace
    model: ErrorModel
    certificate: Certificate | None = None

    def finding(self, name: str) -> Finding:
        """What holds for one unit or output."""
        return self._of_spikes(name) if name in self.margins else self._of_values(name)

    @property
    def precision(self) -> str:
        """The format whose tolerance values are held to."""
        return tolerated(self.model.precision)

    @cached_property
    def exact(self) -> bool:
        """See ``always_exact``."""
        return always_exact(self.graph, self.model)

    @cached_property
    def margins(self) -> Mapping[str, Array]:
        """s - threshold of the reference, by Step unit."""
        units = {name: unit for name, unit in self.graph.of_kind(Unit).items() if unit.spiking}
        return {name: self.expected.states[name] - unit.threshold.astype(np.float64) for name, unit in units.items()}

    @cached_property
    def differing(self) -> Marks:
        """What differs, by unit and output; values where they are out of tolerance."""
        arrays = {**self.expected.spikes, **self.expected.outputs}
        others = {**self.actual.spikes, **self.actual.outputs}
        reduced = self.expected.reduced
        return {
            name: apart(name, array, others[name], self.expected.lengths, name in reduced, self.precision)[0]
            for name, array in arrays.items()
        }

    @cached_property
    def following(self) -> Marks:
        """What depends on a decision that differs, by unit and output."""
        return self._reached({name: self.differing[name] for name in self.margins})

    @cached_property
    def roots(self) -> Marks:
        """What differs though no decision that it depends on does, by unit and output."""
        return {name: marks & ~self.following[name] for name, marks in self.differing.items()}

    @cached_property
    def bugs(self) -> dict[str, NDArray[np.bool_]] | None:
        """The roots that no rounding explains, by Step unit; None where nothing tells."""
        if self.exact:
            return {name: self.roots[name] for name in self.margins}
        if self.certificate is None:
            return None
        return {name: self.roots[name] & ~self._open(name, self.certificate) for name in self.margins}

    @property
    def first_bug(self) -> int | None:
        """The step of the first bug."""
        steps = [int(np.argwhere(marks)[0, 0]) for marks in (self.bugs or {}).values() if marks.any()]
        return min(steps, default=None)

    @cached_property
    def _tainted(self) -> Marks:
        """What depends on a bug, by unit and output."""
        return self._reached(self.bugs or {})

    def _reached(self, decisions: dict[str, NDArray[np.bool_]]) -> Marks:
        """``reached`` for outputs too: each is watched by a unit in its place, which carries nothing on."""
        watching = Unit(0.0, 0.0, reset=Reset.NONE, h=Identity())
        nodes = {name: watching if isinstance(node, Output) else node for name, node in self.graph.nodes.items()}
        graph = Graph(nodes, self.graph.edges, numbers=Float64())
        units = graph.of_kind(Unit)
        marks = {name: np.zeros((*self._run, *shapes(graph)[name]), dtype=bool) for name in units} | decisions
        return {name: self._within(name, found) for name, found in reached(graph, marks).items()}

    @cached_property
    def _run(self) -> tuple[int, int]:
        """T and B."""
        whole = [
            *self.expected.spikes.values(),
            *(array for name, array in self.expected.outputs.items() if name not in self.expected.reduced),
        ]
        return (len(whole[0]) if whole else int(self.expected.lengths.max())), len(self.expected.lengths)

    def _within(self, name: str, found: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Marks of every step, or of a reduction over them, within the lengths."""
        if name not in self.expected.reduced:
            return found
        return np.asarray((found & within(self.expected.lengths, found)).any(axis=0))

    def _open(self, name: str, certificate: Certificate) -> NDArray[np.bool_]:
        """Which roots of a unit the certificate leaves open."""
        roots = self.roots[name]
        if not roots.any():
            return roots
        places = {(step, sample, neuron) for step, sample, unit, neuron, *_ in certificate.open if unit == name}
        found = np.zeros_like(roots)
        for step, sample, *neuron in np.argwhere(roots).tolist():
            found[(step, sample, *neuron)] = (step, sample, _neuron(neuron)) in places
        return found

    def _of_spikes(self, name: str) -> Finding:
        differing, roots = self.differing[name], self.roots[name]
        if not differing.any():
            certified = self.certificate is not None and not _any(self.certificate.uncertified.get(name))
            rung, place = rung_of(True, exact=self.exact, certified=certified), self._closest(name)
            nothing = None if self.bugs is None else 0
            margin, bound = self._margin(name, place), self._bound(name, place)
            return Finding(rung, "equal", explained=nothing, bugs=nothing, margin=margin, bound=bound)
        first = tuple(np.argwhere(differing)[0].tolist())
        margin, bound = self._margin(name, first), self._bound(name, first)
        count, consequences = int(roots.sum()), int((differing & ~roots).sum())
        if self.bugs is None:
            shown = self._shown(name, roots, None)
            return Finding(None, "unequal", count, consequences, None, None, margin, bound, shown)
        bugs = self.bugs[name]
        explained = roots & ~bugs
        verdict = "bug" if bugs.any() else "unequal" if (differing & self._tainted[name]).any() else "explained"
        shown = (self._shown(name, bugs, False) + self._shown(name, explained, True))[:SHOWN]
        known = int(explained.sum()), int(bugs.sum())
        return Finding(None, verdict, count, consequences, *known, margin, bound, shown)

    def _of_values(self, name: str) -> Finding:
        differing, roots = self.differing[name], self.roots[name]
        if not differing.any():
            return Finding(rung_of(False, exact=self.exact and self._identical(name), certified=False), "equal")
        told = self.bugs is not None and not roots.any() and not (differing & self._tainted[name]).any()
        consequences = int((differing & ~roots).sum())
        return Finding(None, "explained" if told else "unequal", int(roots.sum()), consequences)

    def _identical(self, name: str) -> bool:
        """Whether values are equal to the bit; sums over time are not what the numbers speak of."""
        one = {**self.expected.spikes, **self.expected.outputs}[name]
        other = {**self.actual.spikes, **self.actual.outputs}[name]
        if name in self.expected.reduced:
            return False
        return bool(((one == other) | ~within(self.expected.lengths, one)).all())

    def _closest(self, name: str) -> tuple[int, ...]:
        """The decision whose margin leaves the least room for the bound."""
        room = np.abs(self.margins[name])
        if self.certificate is not None:
            room = room - self.certificate.bounds[name]
        room = np.where(within(self.expected.lengths, room), room, np.inf)
        return tuple(int(i) for i in np.unravel_index(room.argmin(), room.shape))

    def _margin(self, name: str, place: tuple[int, ...]) -> float:
        return float(self.margins[name][place])

    def _bound(self, name: str, place: tuple[int, ...]) -> float | None:
        """None where there is none: without a certificate, or where it is infinite."""
        if self.certificate is None:
            return 0.0 if self.exact else None
        bound = float(self.certificate.bounds[name][place])
        return bound if np.isfinite(bound) else None

    def _shown(self, name: str, marks: NDArray[np.bool_], explained: bool | None) -> tuple[Root, ...]:
        roots = []
        for step, sample, *neuron in np.argwhere(marks)[:SHOWN].tolist():
            place = (step, sample, *neuron)
            margin, bound = self._margin(name, place), self._bound(name, place)
            roots.append(Root(step, sample, name, _neuron(neuron), margin, bound, explained))
        return tuple(roots)


def _neuron(place: Sequence[int]) -> int | tuple[int, ...]:
    return place[0] if len(place) == 1 else tuple(place)


def _any(marks: NDArray[np.bool_] | None) -> bool:
    return marks is not None and bool(marks.any())

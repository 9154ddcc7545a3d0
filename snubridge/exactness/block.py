"""The bounds of some samples, many steps at a time.

Along the reference's spikes the output of a Step unit is known for all steps before any bound is: so nodes can be
taken one after the other, each over a whole stretch of steps, unless bounds run in a circle, from a continuous output
or a linear node back to itself. Then the stretches are single steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import reduce

import numpy as np

from snubridge.errors import BadInput
from snubridge.exactness.bounds import NO_GRID, STATELESS, Bounded, rounding_of
from snubridge.exactness.error_model import ErrorModel
from snubridge.exactness.grids import ZERO, lowest_bit
from snubridge.exactness.unit_bounds import Decided, Past, UnitBounds
from snubridge.ir.functions import LeakyReLU
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Unit
from snubridge.ir.numbers import Array, FixedPoint
from snubridge.ir.structure import order, shapes, zero_delay_order
from snubridge.reference.inputs import Run
from snubridge.reference.interpreter import simulate
from snubridge.reference.trace import State, Trace

SPAN, STRETCH = 2**22, 2**18
"""Steps times samples times values of all nodes: in one run of the reference, and in one stretch."""


class Block:
    """The samples ``samples`` of a run."""

    def __init__(self, graph: Graph, run: Run, model: ErrorModel, samples: slice) -> None:
        self.graph, self.run, self.model, self.samples = graph, run, model, samples
        self.size = samples.stop - samples.start
        self.shapes = shapes(graph)
        self.units = {name: UnitBounds(unit, model) for name, unit in graph.of_kind(Unit).items()}
        self.spiking = [name for name, bounds in self.units.items() if bounds.unit.spiking]
        self.stateless = {
            name: STATELESS[type(node)](node, model)
            for name, node in graph.nodes.items()
            if not isinstance(node, Unit | Input)
        }
        self.reach = {name: max((edge.delay for edge in graph.outgoing[name]), default=0) for name in graph.nodes}
        values = self.size * sum(math.prod(shape) for shape in self.shapes.values())
        self.order, runs_in_circles = self._plan()
        self.stretch = 1 if runs_in_circles else max(1, STRETCH // values)
        self.span = max(self.stretch, SPAN // values)

    def _plan(self) -> tuple[tuple[str, ...], bool]:
        """The order in which bounds follow from one another, and whether that runs in circles."""
        known = {*self.spiking, *self.graph.of_kind(Input)}
        waiting = [Edge(edge.source, edge.target) for edge in self.graph.edges if edge.source not in known]
        ordered = zero_delay_order(self.graph.nodes, waiting)
        circles = len(ordered) < len(self.graph.nodes)
        return (order(self.graph) if circles else ordered), circles

    def chunks(self) -> Iterator[tuple[int, dict[str, Decided]]]:
        """The first step of each stretch, and what its Step units decided."""
        state: State | None = None
        lines: dict[str, Bounded] = {}
        past = {
            name: bounds.start(
                np.broadcast_to(bounds.unit.initial_state, (self.size, *self.shapes[name])).astype(np.float64)
            )
            for name, bounds in self.units.items()
        }
        for start in range(0, self.run.steps, self.span):
            steps = slice(start, min(start + self.span, self.run.steps))
            inputs = {name: array[steps, self.samples] for name, array in self.run.inputs.items()}
            trace = simulate(self.graph, inputs, record=("spikes", "states"), state=state)
            state = trace.state
            for first in range(0, steps.stop - start, self.stretch):
                part = slice(first, first + self.stretch)
                if isinstance(self.graph.numbers, FixedPoint):
                    yield start + first, self._exactly(_cut(trace, part))
                    continue
                now = {name: self._given(array[part]) for name, array in inputs.items()}
                now |= {name: _spikes(trace.spikes[name][part]) for name in self.spiking}
                with np.errstate(all="ignore"):
                    yield start + first, self._stretch(start + first, now, _cut(trace, part), past, lines)

    def _exactly(self, reference: Mapping[str, tuple[Array, Array]]) -> dict[str, Decided]:
        """In FixedPoint within the budget: every bound is 0."""
        found = {}
        for name in self.spiking:
            s, y = reference[name]
            nothing = np.zeros(s.shape)
            past = Past(s[-1], y[-1], nothing[-1], nothing[-1])
            margin = s - self.units[name].threshold
            found[name] = Decided(
                margin, nothing, nothing > 0, _spikes(y), past, np.abs(s).reshape(len(s), -1).max(axis=1)
            )
        return found

    def _stretch(
        self,
        first: int,
        now: dict[str, Bounded],
        reference: Mapping[str, tuple[Array, Array]],
        past: dict[str, Past],
        lines: dict[str, Bounded],
    ) -> dict[str, Decided]:
        """All nodes over one stretch, given what is known; the next one goes on from ``past`` and ``lines``."""
        decided: dict[str, Decided] = {}
        steps = len(next(iter(now.values())).error) // self.size
        for name in self.order:
            if name in self.run.inputs:
                continue
            received = [self._delayed(edge, now, lines) for edge in self.graph.incoming[name]]
            drive = received[0]
            for other in received[1:]:
                drive = drive + other
            if self.model.flush:
                drive = drive._replace(lost=drive.lost + (len(received) - 1) * self.model.lost)
            if name in self.units:
                found = self.units[name].follow(drive, *reference[name], past[name])
                past[name] = found.past
                now[name] = found.output
                self._demand_range(name, first, found.largest)
                if name in self.spiking:
                    decided[name] = found
            else:
                now[name] = self.stateless[name](drive)
                most = self.stateless[name].largest(now[name]).reshape(steps, -1).max(axis=1)
                self._demand_range(name, first, most)
        for name, reach in self.reach.items():
            if reach:
                kept = now[name] if name not in lines else _joined(lines[name], now[name])
                lines[name] = kept.rows(slice(max(0, len(kept.error) - reach * self.size), None))
        return decided

    def _delayed(self, edge: Edge, now: Mapping[str, Bounded], lines: Mapping[str, Bounded]) -> Bounded:
        """What comes along an edge in every row: zeros, exact in every format, before the start."""
        if not edge.delay:
            return now[edge.source]
        shift = edge.delay * self.size
        # With single steps a source may come later in the order; then only its past is asked for.
        rows = len(now[edge.source].error) if edge.source in now else self.size
        before = lines.get(edge.source)
        held = 0 if before is None else len(before.error)
        missing = max(0, min(rows, shift - held))
        parts = [_nothing((missing, *self.shapes[edge.source]))] if missing else []
        if before is not None and missing < rows:
            start = max(0, held - shift)
            parts.append(before.rows(slice(start, start + rows - missing)))
        left = rows - sum(len(part.error) for part in parts)
        if left:
            parts.append(now[edge.source].rows(slice(0, left)))
        return reduce(_joined, parts)

    def _given(self, array: Array) -> Bounded:
        """An input over a stretch, as rows."""
        value = array.reshape(-1, *array.shape[2:]).astype(np.float64)
        if (np.abs(value) <= 1).all() and (value == np.rint(value)).all():  # spikes: no need to look at their bits
            return Bounded.of_numbers(value, np.zeros(value.shape), np.zeros((), dtype=np.int64))
        if not np.abs(value).max(initial=0.0) <= self.model.format.largest:
            raise BadInput(
                f"inputs beyond the range of {self.model.precision}: scale them down, or take a wider precision"
            )
        relative = rounding_of(value, self.model)
        if relative.any():
            return Bounded.of_numbers(
                value, np.abs(value) * relative, np.where(relative == 0, lowest_bit(value), NO_GRID)
            )
        return Bounded.of_numbers(value, np.zeros(value.shape), lowest_bit(value).min(initial=ZERO))

    def _demand_range(self, name: str, first: int, largest: Array) -> None:
        beyond = ~(largest <= self.model.format.largest)
        if beyond.any():
            step = int(np.flatnonzero(beyond)[0])
            raise BadInput(
                f"node {name} may overflow {self.model.precision} at step {first + step} (magnitudes and the bounds on "
                f"them sum to {largest[step]:.3g}): scale the weights or the inputs down, or take a wider precision"
            )


def demand_parameters(graph: Graph, model: ErrorModel) -> None:
    """Every parameter a finite number of the engine's format: an infinite one is no number even where it meets a 0."""
    most = model.format.largest
    changed = {"decay": model.decay_error, "threshold": model.threshold_error}
    for name, node in graph.nodes.items():
        arrays = dict(node.arrays())
        if isinstance(node, Unit) and isinstance(node.g, LeakyReLU):
            arrays["slope"] = np.asarray(node.g.slope)
        for key, array in arrays.items():
            largest = float(np.abs(array.astype(np.float64)).max(initial=0.0))
            if not largest * (1 + changed.get(key, model.weight_error)) <= most:
                raise BadInput(
                    f"node {name} may overflow {model.precision}: its {key} holds {largest:.3g}, beyond {most:.3g}; "
                    "scale it down, or take a wider precision"
                )


def _cut(trace: Trace, part: slice) -> dict[str, tuple[Array, Array]]:
    """s and y of every unit over some steps."""
    return {name: (s[part], trace.spikes[name][part].astype(np.float64)) for name, s in trace.states.items()}


def _spikes(y: Array) -> Bounded:
    """The output of a Step unit as rows: 0 or 1, the same on every engine while no decision differs."""
    value = y.reshape(-1, *y.shape[2:]).astype(np.float64)
    return Bounded.of_numbers(value, np.zeros(value.shape), np.zeros((), dtype=np.int64))


def _nothing(size: tuple[int, ...]) -> Bounded:
    zeros = np.zeros(size)
    return Bounded(zeros, zeros, np.zeros(size[0]), np.zeros(()), np.full((), ZERO))


def _joined(one: Bounded, other: Bounded) -> Bounded:
    """Rows after rows."""
    alike = not one.grid.ndim and not other.grid.ndim and one.grid == other.grid
    return Bounded(
        np.concatenate([one.error, other.error]),
        np.concatenate([one.magnitude, other.magnitude]),
        np.concatenate([one.roundings, other.roundings]),
        np.concatenate([np.broadcast_to(part.lost, part.error.shape) for part in (one, other)]),
        one.grid if alike else np.concatenate([np.broadcast_to(part.grid, part.error.shape) for part in (one, other)]),
    )

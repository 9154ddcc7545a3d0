"""``certify``: which spikes must be equal on every engine that fits an error model, for these inputs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snubridge.errors import BadInput
from snubridge.exactness.bounds import NO_GRID, STATELESS, Bounded, rounding_of
from snubridge.exactness.dependence import reached
from snubridge.exactness.error_model import ErrorModel
from snubridge.exactness.grids import ZERO, lowest_bit
from snubridge.exactness.unit_bounds import UnitBounds
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.rules import validate
from snubridge.ir.structure import order, shapes
from snubridge.reference.inputs import Inputs, Run, prepare

BLOCK = 2**21
"""Values of all nodes and delay lines that one block of samples holds at most: some 150 MB with their bounds."""


class Open(NamedTuple):
    """A decision that rounding may turn: its place, s - threshold, and the bound that is not below it."""

    step: int
    sample: int
    unit: str
    neuron: int | tuple[int, ...]
    margin: float
    bound: float


@dataclass(frozen=True)
class Certificate:
    """What must be equal on every engine that fits ``model``; all shares are of the decisions that count.

    ``decisions``        how many decisions there are: Step neurons times steps times samples, within the lengths
    ``certified``        the share that must be equal, whatever else an engine does within the model
    ``conditional``      the share that must be equal if all that it depends on is
    ``smallest_margin``  the smallest |s - threshold|; infinite if nothing spikes
    ``open``             the decisions that the model leaves open, in the order of steps
    ``margins, bounds``  with ``record=True``, by unit (T, B, *shape): s - threshold, signed, and the bound on s
    """

    model: ErrorModel
    decisions: int
    certified: float
    conditional: float
    smallest_margin: float
    open: tuple[Open, ...]
    margins: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    bounds: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    uncertified: Mapping[str, NDArray[np.bool_]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """By unit (T, B, *shape): decisions that are open or depend on one; empty where there is none."""

    @cached_property
    def complete(self) -> bool:
        """Whether every decision is certified."""
        return not self.open


def certify(
    graph: Graph,
    inputs: Inputs,
    precision: str = "float32",
    *,
    model: ErrorModel | None = None,
    record: bool = False,
    lengths: ArrayLike | None = None,
) -> Certificate:
    """Bound how far any engine's states may be from the reference's, and say which spikes cannot differ.

    ``inputs``     (T, B, *shape), or a dict by input
    ``precision``  "float64", "float32", "tf32" or "bf16"; or pass ``model``, say ``program.rounding``
    ``record``     keep the margins and bounds of every decision
    ``lengths``    (B,): only these many steps of each sample count

    Raises ``InvalidGraph`` and ``BadInput``. See docs/equality.md for assumptions and proof.
    """
    validate(graph)
    run = prepare(graph, inputs, lengths)
    model = ErrorModel(precision) if model is None else model
    if not isinstance(model, ErrorModel):
        raise BadInput(f"model: a {type(model).__name__}; an sb.ErrorModel is needed")
    return _collected(graph, run, model, record)


def _collected(graph: Graph, run: Run, model: ErrorModel, record: bool) -> Certificate:
    """Block by block of samples, since samples never influence one another."""
    held = sum(
        math.prod(shape) * (1 + min(run.steps, max((edge.delay for edge in graph.outgoing[name]), default=0)))
        for name, shape in shapes(graph).items()
    )
    width = max(1, BLOCK // held)
    blocks = [
        _Block(graph, run, model, slice(start, min(start + width, run.samples)))
        for start in range(0, run.samples, width)
    ]
    counted = certain = closed = 0
    smallest = math.inf
    opened: list[Open] = []
    kept: dict[str, list[dict[str, Array]]] = {"margins": [], "bounds": [], "uncertified": []}
    for block in blocks:
        block.run_through()
        alive = np.arange(run.steps)[:, None] < run.lengths[block.samples]
        open_ = {name: marks & _spread(alive, marks) for name, marks in block.open.items()}
        uncertified = {name: found | open_[name] for name, found in reached(graph, open_).items()}
        for name, margins in block.margins.items():
            inside = np.broadcast_to(_spread(alive, margins), margins.shape)
            counted += int(inside.sum())
            closed += int((inside & ~open_[name]).sum())
            certain += int((inside & ~uncertified[name]).sum())
            smallest = min(smallest, float(np.abs(margins[inside]).min()))
            opened.extend(_listed(name, open_[name], margins, block.bounds[name], block.samples.start))
        for group, arrays in (("margins", block.margins), ("bounds", block.bounds), ("uncertified", uncertified)):
            if record or (group == "uncertified" and any(marks.any() for marks in uncertified.values())):
                kept[group].append(dict(arrays))
            else:
                kept[group].append({})
        block.forget()
    opened.sort(key=lambda place: place.step)
    if opened and not record:  # a block without an open decision kept nothing: all of it is certified
        kept["uncertified"] = [
            found
            or {name: np.zeros((run.steps, block.size, *shapes(graph)[name]), dtype=bool) for name in block.spiking}
            for found, block in zip(kept["uncertified"], blocks, strict=True)
        ]
    groups = {
        group: MappingProxyType(
            {name: _joined([part[name] for part in parts]) for name in parts[0]} if parts and parts[0] else {}
        )
        for group, parts in kept.items()
    }
    total = max(counted, 1)
    return Certificate(
        model=model,
        decisions=counted,
        certified=certain / total if counted else 1.0,
        conditional=closed / total if counted else 1.0,
        smallest_margin=smallest,
        open=tuple(opened),
        margins=groups["margins"],
        bounds=groups["bounds"],
        uncertified=groups["uncertified"],
    )


class _Block:
    """The reference run of some samples with the bound beside it."""

    def __init__(self, graph: Graph, run: Run, model: ErrorModel, samples: slice) -> None:
        self.graph, self.run, self.model, self.samples = graph, run, model, samples
        self.size = samples.stop - samples.start
        self.sizes = {name: (self.size, *shape) for name, shape in shapes(graph).items()}
        self.spiking = [name for name, unit in graph.of_kind(Unit).items() if unit.spiking]
        self.margins: dict[str, Array] = {}
        self.bounds: dict[str, Array] = {}
        self.open: dict[str, NDArray[np.bool_]] = {}

    def forget(self) -> None:
        """Let the arrays go."""
        self.margins, self.bounds, self.open = {}, {}, {}

    def run_through(self) -> None:
        """All steps; fills ``margins``, ``bounds`` and ``open`` of the Step units."""
        graph, model = self.graph, self.model
        trails: dict[str, list[tuple[Array, Array, Array]]] = {name: [] for name in self.spiking}
        units = {
            name: UnitBounds(unit, model, np.broadcast_to(unit.initial_state, self.sizes[name]).astype(np.float64))
            for name, unit in graph.of_kind(Unit).items()
        }
        stateless = {
            name: STATELESS[type(node)](node, model)
            for name, node in graph.nodes.items()
            if not isinstance(node, Unit | Input)
        }
        lines: dict[str, deque[Bounded]] = {
            name: deque(maxlen=max((edge.delay for edge in graph.outgoing[name]), default=0)) for name in graph.nodes
        }
        nothing = {name: _nothing(size) for name, size in self.sizes.items()}
        evaluated = order(graph)
        with np.errstate(all="ignore"):
            for t in range(self.run.steps):
                now: dict[str, Bounded] = {}
                for name in evaluated:
                    if name in self.run.inputs:
                        now[name] = self._given(name, t)
                        continue
                    received = [
                        now[edge.source]
                        if not edge.delay
                        else lines[edge.source][edge.delay - 1]
                        if edge.delay <= len(lines[edge.source])
                        else nothing[edge.source]
                        for edge in graph.incoming[name]
                    ]
                    drive = received[0]
                    for other in received[1:]:
                        drive = drive + other
                    if name in units:
                        decided = units[name].step(drive)
                        now[name] = decided.output
                        self._demand_range(name, t, decided.largest)
                        if name in trails:
                            trails[name].append((decided.margin, decided.bound, decided.open))
                    else:
                        now[name] = stateless[name](drive)
                        self._demand_range(name, t, float((now[name].magnitude + now[name].error).max()))
                for name, line in lines.items():
                    if line.maxlen:
                        line.appendleft(now[name])
        for name, trail in trails.items():
            self.margins[name], self.bounds[name], self.open[name] = (
                np.stack(part) for part in zip(*trail, strict=True)
            )

    def _given(self, name: str, t: int) -> Bounded:
        value = self.run.inputs[name][t, self.samples].astype(np.float64)
        relative = rounding_of(value, self.model)
        return Bounded.of_numbers(value, np.abs(value) * relative, np.where(relative == 0, lowest_bit(value), NO_GRID))

    def _demand_range(self, name: str, t: int, largest: float) -> None:
        if not largest < math.ldexp(1.0, min(self.model.format.range, 1023)):
            raise BadInput(
                f"node {name} may overflow {self.model.precision} at step {t} (magnitudes that sum to {largest:.3g}): "
                "scale the weights or the inputs down, or take a wider precision"
            )


def _nothing(size: tuple[int, ...]) -> Bounded:
    """What has not been put out yet: zeros, exact in every format."""
    zeros = np.zeros(size)
    return Bounded(zeros, zeros, zeros, np.zeros(size[0]), np.zeros(()), np.full(size, ZERO))


def _spread(alive: NDArray[np.bool_], like: Array) -> NDArray[np.bool_]:
    return alive.reshape(*alive.shape, *[1] * (like.ndim - 2))


def _listed(name: str, marks: NDArray[np.bool_], margins: Array, bounds: Array, first: int) -> list[Open]:
    places = [tuple(map(int, place)) for place in np.argwhere(marks)]
    return [
        Open(
            step,
            first + sample,
            name,
            neuron[0] if len(neuron) == 1 else neuron,
            float(margins[step, sample, *neuron]),
            float(bounds[step, sample, *neuron]),
        )
        for step, sample, *rest in places
        for neuron in [tuple(rest)]
    ]


def _joined(parts: list[Array]) -> Array:
    joined = np.concatenate(parts, axis=1)
    joined.setflags(write=False)
    return joined

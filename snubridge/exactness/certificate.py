"""``certify``: which spikes must be equal on every engine that fits an error model, for these inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snubridge.errors import BadInput, Unsupported
from snubridge.exactness.block import Block, demand_parameters
from snubridge.exactness.dependence import reached
from snubridge.exactness.error_model import ErrorModel
from snubridge.exactness.unit_bounds import Decided
from snubridge.ir.budget import STEPS, beyond
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array, FixedPoint
from snubridge.ir.rules import validate
from snubridge.ir.structure import shapes
from snubridge.reference.inputs import Inputs, Run, prepare

BLOCK = 2**22
"""Steps times samples times values of all nodes in one block of samples: some 150 MB with what is kept of them."""


class Open(NamedTuple):
    """A decision that rounding may turn: its place, s - threshold, and the bound that is not below it."""

    step: int
    sample: int
    unit: str
    neuron: int | tuple[int, ...]
    margin: float
    bound: float


class _Found(NamedTuple):
    """The open decisions of one unit in one chunk, as arrays: there may be as many as decisions."""

    unit: str
    shape: tuple[int, ...]
    step: int
    sample: int
    places: NDArray[np.int64]
    margin: Array
    bound: Array

    def listed(self) -> Iterator[Open]:
        places = np.stack(np.unravel_index(self.places, self.shape), axis=1).tolist()
        for (step, sample, *neuron), margin, bound in zip(
            places, self.margin.tolist(), self.bound.tolist(), strict=True
        ):
            at = neuron[0] if len(neuron) == 1 else tuple(neuron)
            yield Open(self.step + step, self.sample + sample, self.unit, at, margin, bound)


@dataclass(frozen=True)
class Certificate:
    """What must be equal on every engine that fits ``model``; all shares are of the decisions that count.

    ``decisions``        how many decisions there are: Step neurons times steps times samples, within the lengths
    ``certified``        the share that must be equal, whatever else an engine does within the model
    ``conditional``      the share that must be equal if all that it depends on is
    ``smallest_margin``  the smallest |s - threshold|; infinite if nothing spikes
    ``opened``           how many decisions the model leaves open; ``open`` lists them
    ``margins, bounds``  with ``record=True``, by unit (T, B, *shape): s - threshold, signed, and the bound on s
    """

    model: ErrorModel
    decisions: int
    certified: float
    conditional: float
    smallest_margin: float
    opened: int
    margins: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    bounds: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    uncertified: Mapping[str, NDArray[np.bool_]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """By unit (T, B, *shape): decisions that are open or depend on one; empty where there is none."""
    found: tuple[_Found, ...] = field(default=(), repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether every decision is certified."""
        return not self.opened

    @cached_property
    def open(self) -> tuple[Open, ...]:
        """The decisions that the model leaves open, in the order of steps."""
        return tuple(sorted((place for found in self.found for place in found.listed()), key=lambda place: place.step))


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
    if isinstance(graph.numbers, FixedPoint):
        _demand_exact(graph, model)
    else:
        demand_parameters(graph, model)
    return _collected(graph, run, model, record)


def _demand_exact(graph: Graph, model: ErrorModel) -> None:
    """In FixedPoint within the budget every sum is exact, and every bound 0; beyond it no bound is known."""
    if model.precision not in STEPS:
        raise BadInput(f"precision {model.precision}: the budget of FixedPoint is known for {', '.join(STEPS)}")
    reasons = beyond(graph, model.precision)
    if reasons or not model.keeps_parameters:
        raise Unsupported("certify", reasons or ["an engine that changes parameters computes no FixedPoint graph"])


def _collected(graph: Graph, run: Run, model: ErrorModel, record: bool) -> Certificate:
    """Block by block of samples, since samples never influence one another."""
    width = max(1, BLOCK // (run.steps * sum(math.prod(shape) for shape in shapes(graph).values())))
    tally = _Tally(graph, run, record)
    for start in range(0, run.samples, width):
        tally.take(Block(graph, run, model, slice(start, min(start + width, run.samples))))
    return tally.certificate(model)


class _Tally:
    """What the blocks add up to."""

    def __init__(self, graph: Graph, run: Run, record: bool) -> None:
        self.graph, self.run, self.record = graph, run, record
        self.counted = self.certain = self.closed = 0
        self.smallest = math.inf
        self.found: list[_Found] = []
        self.kept: dict[str, dict[str, list[Array]]] = {"margins": {}, "bounds": {}, "uncertified": {}}

    def take(self, block: Block) -> None:
        """Run a block and count its decisions."""
        alive = np.arange(self.run.steps)[:, None] < self.run.lengths[block.samples]
        marks: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in block.spiking}
        for first, decided in block.chunks():
            for name, unit in decided.items():
                inside = alive[first : first + len(unit.margin)]
                inside = np.broadcast_to(_spread(inside, unit.margin), unit.margin.shape)
                marks[name].append(unit.open & inside)
                self.counted += int(inside.sum())
                self.closed += int((inside & ~unit.open).sum())
                self.smallest = min(self.smallest, float(np.abs(unit.margin).min(where=inside, initial=math.inf)))
                if marks[name][-1].any():
                    self.found.append(_found(name, marks[name][-1], unit, first, block.samples.start))
                if self.record:
                    self.kept["margins"].setdefault(name, []).append(unit.margin)
                    self.kept["bounds"].setdefault(name, []).append(unit.bound)
        opened = {name: np.concatenate(parts) for name, parts in marks.items()}
        for name, found in reached(self.graph, opened).items():
            uncertified = found | opened[name]
            inside = np.broadcast_to(_spread(alive, uncertified), uncertified.shape)
            self.certain += int((inside & ~uncertified).sum())
            self.kept["uncertified"].setdefault(name, []).append(uncertified)

    def certificate(self, model: ErrorModel) -> Certificate:
        """The sum of it all."""
        if not self.found and not self.record:
            self.kept["uncertified"] = {}
        groups = {
            group: MappingProxyType({name: self._whole(parts) for name, parts in named.items()})
            for group, named in self.kept.items()
        }
        return Certificate(
            model=model,
            decisions=self.counted,
            certified=self.certain / self.counted if self.counted else 1.0,
            conditional=self.closed / self.counted if self.counted else 1.0,
            smallest_margin=self.smallest,
            opened=sum(len(found.places) for found in self.found),
            found=tuple(self.found),
            **groups,
        )

    def _whole(self, parts: list[Array]) -> Array:
        """Chunks of steps, block after block of samples, as (T, B, *shape)."""
        blocks: list[list[Array]] = [[]]
        for part in parts:
            if sum(map(len, blocks[-1])) == self.run.steps:
                blocks.append([])
            blocks[-1].append(part)
        whole: Array = np.concatenate([np.concatenate(block) for block in blocks], axis=1)
        whole.setflags(write=False)
        return whole


def _spread(alive: NDArray[np.bool_], like: Array) -> NDArray[np.bool_]:
    return alive.reshape(*alive.shape, *[1] * (like.ndim - 2))


def _found(name: str, marks: NDArray[np.bool_], unit: Decided, first: int, sample: int) -> _Found:
    index = np.flatnonzero(marks)
    return _Found(
        name, marks.shape, first, sample, index, unit.margin.reshape(-1)[index], unit.bound.reshape(-1)[index]
    )

"""Neurons, Nodes and projections as the nodes and edges of a graph.

given output      an Input
neurons           a Unit; a bias joins the first matrix that leads there
Connection        a Linear: its delay lies before it, for nothing but a delay follows the matrix in Nengo either
relay             nothing: the matrices that lead to it lead to those that leave it; an Output if none does
constant Node     the bias of a Linear with weights 0, which some Input feeds; the delay lies behind it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from snubridge.ir import Edge, Identity, Input, Linear, Node, Output, ReLU, Unit
from snubridge_nengo.reading.connections import Projection
from snubridge_nengo.reading.drawing import Array, Refused
from snubridge_nengo.reading.neurons import Neurons


@dataclass(frozen=True)
class Stops:
    """What connections lead from and to, by name: sizes of what is given and of relays, values, neurons."""

    given: Mapping[str, int]
    relays: Mapping[str, int]
    constants: Mapping[str, Array]
    neurons: Mapping[str, Neurons]

    @property
    def sizes(self) -> dict[str, int]:
        """How many values leave, or reach, each of them."""
        sizes = {**self.given, **self.relays, **{name: len(value) for name, value in self.constants.items()}}
        return sizes | {name: neurons.size for name, neurons in self.neurons.items()}

    def scaled(self, weight: Array, source: str, target: str) -> Array:
        """Weights times the height of a spike of ``source``, and the signs of the gains of ``target``."""
        if source in self.neurons:
            with np.errstate(over="ignore"):  # the rules of a graph name what is not finite
                weight = weight * self.neurons[source].height
        return self.neurons[target].sign[:, None] * weight if target in self.neurons else weight


@dataclass
class Parts:
    """The nodes and edges of a graph that is being put together."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def connect(self, source: str, target: str, delay: int = 0) -> None:
        """Add an edge."""
        self.edges.append(Edge(source, target, delay))


def compose(stops: Stops, projections: Sequence[Projection], limit: int) -> Parts:
    """The parts of the graph; ``limit``: the most weights in a matrix of zeros."""
    parts = Parts({name: Input((size,)) for name, size in stops.given.items()})
    living = _living(stops, projections)
    arriving: dict[str, list[tuple[str, int]]] = {name: [] for name in (*stops.relays, *stops.neurons)}
    for projection in living:
        late = projection.delay if projection.source in stops.constants else 0
        arriving[projection.target].append((projection.name, late))
    for neurons in stops.neurons.values():
        initial, g = neurons.initial, ReLU() if neurons.rectified else Identity()
        parts.nodes[neurons.name] = Unit(neurons.decay, neurons.threshold, g=g, initial_state=initial)
    waiting = {name: neurons.bias for name, neurons in stops.neurons.items() if neurons.bias.any()}
    for projection in living:
        if projection.source in stops.constants:
            value = projection.weight @ stops.constants[projection.source]
            _add_constant(parts, stops, projection.name, value, limit)
            continue
        parts.nodes[projection.name] = Linear(projection.weight, waiting.pop(projection.target, None))
        if projection.source in stops.relays:
            for name, late in arriving[projection.source]:
                parts.connect(name, projection.name, late + projection.delay)
        else:
            parts.connect(projection.source, projection.name, projection.delay)
    for name, neurons in stops.neurons.items():
        if name in waiting or not arriving[name]:
            bias = f"{name}.bias"
            _add_constant(parts, stops, bias, neurons.bias, limit)
            arriving[name].append((bias, 0))
    leaving = {projection.source for projection in living}
    for name in stops.relays:
        if arriving[name] and name not in leaving:
            parts.nodes[name] = Output()
    for target, found in arriving.items():
        for name, late in found if target in parts.nodes else ():
            parts.connect(name, target, late)
    return parts


def _living(stops: Stops, projections: Sequence[Projection]) -> list[Projection]:
    """All but what leaves relays that nothing reaches: those put out zeros."""
    sources = {*stops.given, *stops.constants, *stops.neurons}
    while reached := {projection.target for projection in projections if projection.source in sources} - sources:
        sources |= reached
    return [projection for projection in projections if projection.source in sources]


def _add_constant(parts: Parts, stops: Stops, name: str, value: Array, limit: int) -> None:
    source = min(stops.given, key=lambda given: stops.given[given])
    size = len(value) * stops.given[source]
    if size > limit:
        raise Refused(
            f"{name} takes a matrix of {size:,} zeros, above the limit of {limit:,}",
            f"raise it with the option max_synapses={size}",
        )
    parts.nodes[name] = Linear(np.zeros((len(value), stops.given[source])), value)
    parts.connect(source, name)

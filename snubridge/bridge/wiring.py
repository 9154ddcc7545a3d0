"""A graph as an engine of populations sees it: stops in the order of a step, and paths between them.

A stop is a node that holds a value for others to receive: every Input, Unit and Output, and a
*relay*, which is a linear node that feeds another linear node, or an average, which divides what
it has summed. A path leads from stop to stop over at most one linear operation, so no two weights
are ever multiplied into one and nothing is rounded that the graph does not round. A Flatten that
receives one edge only renames places: edges pass through it as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import AvgPool2d, Flatten, Input, Node, Output, Unit
from snubridge.ir.structure import zero_delay_order


@dataclass(frozen=True)
class Path:
    """``target`` receives, at step t, the value of ``source`` at t - delay through ``nodes`` (none or one)."""

    source: str
    target: str
    delay: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Bias:
    """``target`` receives the bias of the linear node ``node`` at every step t >= delay."""

    node: str
    target: str
    delay: int


@dataclass(frozen=True)
class Wiring:
    """``stops``: all of them in the order in which one step evaluates them; ``units``
    and ``relays``: those of them that are.

    ``paths`` and ``biases`` come in the order in which the graph sums them at each target.
    """

    stops: tuple[str, ...]
    units: tuple[str, ...]
    relays: tuple[str, ...]
    paths: tuple[Path, ...]
    biases: tuple[Bias, ...]


def is_linear(node: Node) -> bool:
    """Whether a node is a stateless linear operation."""
    return not isinstance(node, Input | Unit | Output)


def wire(graph: Graph) -> Wiring:
    """The wiring of a valid graph."""
    incoming = _through_flattens(graph)
    feeding = {edge.source for name, edges in incoming.items() if is_linear(graph.nodes[name]) for edge in edges}
    relays = tuple(
        name
        for name in incoming
        if is_linear(graph.nodes[name]) and (name in feeding or isinstance(graph.nodes[name], AvgPool2d))
    )
    stops = [name for name in incoming if not is_linear(graph.nodes[name]) or name in relays]
    paths = tuple(path for stop in stops for path in _paths_into(graph, incoming, stop, relays))
    ordered = zero_delay_order(stops, (Edge(path.source, path.target, path.delay) for path in paths))
    return Wiring(
        stops=ordered,
        units=tuple(name for name in ordered if isinstance(graph.nodes[name], Unit)),
        relays=relays,
        paths=paths,
        biases=tuple(bias for stop in stops for bias in _biases_into(graph, incoming, stop, relays)),
    )


Incoming = Mapping[str, tuple[Edge, ...]]


def _through_flattens(graph: Graph) -> Incoming:
    """The edges into every node but the Flattens that receive one edge, each from where its value really comes."""
    passing = {name for name in graph.of_kind(Flatten) if len(graph.incoming[name]) == 1}

    def origin(edge: Edge) -> Edge:
        source, delay = edge.source, edge.delay
        while source in passing:  # a valid graph has no cycle of such nodes: no input would reach it
            (before,) = graph.incoming[source]
            source, delay = before.source, delay + before.delay
        return Edge(source, edge.target, delay)

    return {name: tuple(map(origin, graph.incoming[name])) for name in graph.nodes if name not in passing}


def _paths_into(graph: Graph, incoming: Incoming, stop: str, relays: tuple[str, ...]) -> Iterator[Path]:
    for edge in incoming[stop]:
        if stop in relays:
            yield Path(edge.source, stop, edge.delay, (stop,))
        elif is_linear(graph.nodes[edge.source]) and edge.source not in relays:
            for first in incoming[edge.source]:
                yield Path(first.source, stop, first.delay + edge.delay, (edge.source,))
        else:
            yield Path(edge.source, stop, edge.delay, ())


def _biases_into(graph: Graph, incoming: Incoming, stop: str, relays: tuple[str, ...]) -> Iterator[Bias]:
    if stop in relays:
        if "bias" in graph.nodes[stop].arrays():
            yield Bias(stop, stop, 0)
        return
    for edge in incoming[stop]:
        if edge.source not in relays and "bias" in graph.nodes[edge.source].arrays():
            yield Bias(edge.source, stop, edge.delay)

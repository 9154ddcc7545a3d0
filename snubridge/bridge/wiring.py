"""A graph as an engine of populations sees it: stops in the order of a step, and paths between them.

A stop is a node that holds a value for others to receive: every Input, Unit and Output, and a
*relay*, which is a linear node that feeds another linear node. A path leads from stop to stop
over at most one linear operation, so no two weights are ever multiplied into one and nothing
is rounded that the graph does not round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Linear, Node, Output, Shape, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import shapes, zero_delay_order


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
    relays = tuple(
        name
        for name, node in graph.nodes.items()
        if is_linear(node) and any(is_linear(graph.nodes[edge.target]) for edge in graph.outgoing[name])
    )
    stops = [name for name, node in graph.nodes.items() if not is_linear(node) or name in relays]
    paths = tuple(path for stop in stops for path in _paths_into(graph, stop, relays))
    ordered = zero_delay_order(stops, (Edge(path.source, path.target, path.delay) for path in paths))
    return Wiring(
        stops=ordered,
        units=tuple(name for name in ordered if isinstance(graph.nodes[name], Unit)),
        relays=relays,
        paths=paths,
        biases=tuple(bias for stop in stops for bias in _biases_into(graph, stop, relays)),
    )


def _paths_into(graph: Graph, stop: str, relays: tuple[str, ...]) -> Iterator[Path]:
    for edge in graph.incoming[stop]:
        if stop in relays:
            yield Path(edge.source, stop, edge.delay, (stop,))
        elif is_linear(graph.nodes[edge.source]) and edge.source not in relays:
            for first in graph.incoming[edge.source]:
                yield Path(first.source, stop, first.delay + edge.delay, (edge.source,))
        else:
            yield Path(edge.source, stop, edge.delay, ())


def _biases_into(graph: Graph, stop: str, relays: tuple[str, ...]) -> Iterator[Bias]:
    if stop in relays:
        if "bias" in graph.nodes[stop].arrays():
            yield Bias(stop, stop, 0)
        return
    for edge in graph.incoming[stop]:
        if edge.source not in relays and "bias" in graph.nodes[edge.source].arrays():
            yield Bias(edge.source, stop, edge.delay)


def matrix(graph: Graph, name: str) -> Array:
    """The linear node ``name`` as a matrix (outputs, inputs) in float64 over flattened samples."""
    node = graph.nodes[name]
    if not isinstance(node, Linear):
        raise TypeError(f"no matrix for a {type(node).__name__}")
    weight = node.weight.astype(np.float64)
    copies = int(np.prod(_received(graph, name)[:-1], dtype=np.int64))
    return weight if copies == 1 else np.kron(np.eye(copies), weight)


def bias_vector(graph: Graph, name: str) -> Array:
    """The bias of the linear node ``name`` in float64 over a flattened sample of its output."""
    bias = graph.nodes[name].arrays()["bias"].astype(np.float64)
    copies = int(np.prod(_received(graph, name)[:-1], dtype=np.int64))
    return np.tile(bias, copies)


def _received(graph: Graph, name: str) -> Shape:
    return shapes(graph)[graph.incoming[name][0].source]

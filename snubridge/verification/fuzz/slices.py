"""Fewer neurons: which axes of a graph are one and the same, and the graph with some of their places only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snubridge.bridge.conformance.cases import Case
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Conv2d, Flatten, Input, Linear, Node, Output, Unit
from snubridge.ir.structure import shapes

Port = tuple[str, str, int]
"""Node, "in" or "out", axis of a sample."""


@dataclass(frozen=True)
class Axis:
    """Axes that have to keep the same places, all of that length."""

    ports: frozenset[Port]
    length: int


def axes(graph: Graph) -> tuple[Axis, ...]:
    """Those of which places can be left out with no other arithmetic for the rest, the longest first."""
    sizes = shapes(graph)
    ports: list[Port] = []
    joined: dict[Port, Port] = {}
    frozen: set[Port] = set()

    def root(port: Port) -> Port:
        while joined.setdefault(port, port) != port:
            port = joined[port]
        return port

    for name, node in graph.nodes.items():
        before = () if isinstance(node, Input) else sizes[graph.incoming[name][0].source]
        ports += [(name, "in", axis) for axis in range(len(before))]
        ports += [(name, "out", axis) for axis in range(len(sizes[name]))]
        for axis in _kept(node, len(before)):
            joined[root((name, "in", axis))] = root((name, "out", axis))
        frozen |= {(name, side, axis) for side in ("in", "out") for axis in _frozen(node, len(before))}
        for edge in graph.incoming[name]:
            for axis in range(len(before)):
                joined[root((edge.source, "out", axis))] = root((name, "in", axis))
    groups: dict[Port, set[Port]] = {}
    for port in ports:
        groups.setdefault(root(port), set()).add(port)
    found = [
        Axis(frozenset(group), sizes[name][axis])
        for group in groups.values()
        if not group & frozen
        for name, side, axis in sorted(group)
        if side == "out"
    ]
    unique = {axis.ports: axis for axis in found if axis.length > 1}
    return tuple(sorted(unique.values(), key=lambda axis: (-axis.length, sorted(axis.ports))))


def _kept(node: Node, rank: int) -> range:
    """The axes that a node passes on as they are."""
    if isinstance(node, Unit | Output) or (isinstance(node, Flatten) and rank == 1):
        return range(rank)
    if isinstance(node, Linear):
        return range(rank - 1)
    return range(0 if isinstance(node, Conv2d | Flatten | Input) else 1)  # a pool: the channels


def _frozen(node: Node, rank: int) -> range:
    """The axes whose places a node treats by where they lie."""
    if isinstance(node, Input | Linear | Unit | Output) or (isinstance(node, Flatten) and rank == 1):
        return range(0)
    if isinstance(node, Flatten) or (isinstance(node, Conv2d) and node.groups > 1):
        return range(rank)
    return range(1, 3)


def sliced(case: Case, axis: Axis, places: NDArray[np.int64]) -> Case:
    """The case with these places of an axis only."""
    inputs: dict[str, Any] = dict(case.inputs) if isinstance(case.inputs, Mapping) else {}
    nodes: dict[str, Node] = {}
    for name, node in case.graph.nodes.items():
        mine = [(side, at) for owner, side, at in axis.ports if owner == name]
        if isinstance(node, Input):
            for _, at in mine:
                node = node.replaced(shape=(*node.shape[:at], len(places), *node.shape[at + 1 :]))
                inputs[name] = np.take(inputs[name], places, axis=2 + at)
        elif isinstance(node, Unit):
            for at in {at for _, at in mine}:
                whole = {field: array for field, array in node.arrays().items() if array.ndim}
                node = node.replaced(**{field: np.take(array, places, axis=at) for field, array in whole.items()})
        elif isinstance(node, Linear | Conv2d):
            last = len(shapes(case.graph)[name]) - 1 if isinstance(node, Linear) else 0
            if ("out", last) in mine:
                bias = None if node.bias is None else node.bias[places]
                node = node.replaced(weight=np.take(node.weight, places, axis=0), bias=bias)
            if ("in", last) in mine:
                node = node.replaced(weight=np.take(node.weight, places, axis=1))
        nodes[name] = node
    return replace(case, graph=Graph(nodes, case.graph.edges, numbers=case.graph.numbers), inputs=inputs)


def fewer_neurons(case: Case) -> Iterator[Case]:
    """One half of an axis, the other, smaller cuts, down to single places."""
    for axis in axes(case.graph):
        for kept in subsets(axis.length):
            yield sliced(case, axis, kept)


def subsets(length: int) -> Iterator[NDArray[np.int64]]:
    """Places that remain: the halves first, at last all but one; each cut once from either end."""
    cut = length - length // 2
    places = np.arange(length)
    while cut and length > 1:
        if cut < length:
            yield places[:-cut]
            yield places[cut:]
        cut //= 2
    if 2 < length <= 8:
        for place in range(1, length - 1):
            yield np.delete(places, place)

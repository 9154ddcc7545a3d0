"""Many random graphs as disjoint parts of one, so that what compiles for half a minute compiles once for all.

Units of the same name, g and h are one unit, each graph's neurons a range of it; each graph's weights are a block of
one matrix. Nothing leads from one part to another, so each has to do what its own graph does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import snubridge as sb
from snubridge.bridge.conformance.cases import Case

Key = tuple[str, ...]
Part = tuple[int, int]


@dataclass(frozen=True)
class Merged:
    """The one graph, its inputs, and of each case where its nodes are: name -> (node, first neuron, neurons)."""

    graph: sb.Graph
    inputs: np.ndarray[Any, Any]
    places: Sequence[Mapping[str, tuple[str, int, int]]]

    def part(self, arrays: Mapping[str, Any], case: int) -> dict[str, Any]:
        """What one case's nodes have in ``arrays`` of the merged graph."""
        found = {}
        for name, (node, first, size) in self.places[case].items():
            if node in arrays:
                found[name] = arrays[node][..., first : first + size]
        return found


def merged(cases: Sequence[Case]) -> Merged:
    """All cases in one; their nodes are one-dimensional, and each Linear has one source and one target."""
    sizes: dict[str, int] = {}
    values: dict[str, list[Any]] = {}
    places: list[dict[str, tuple[str, int, int]]] = []
    for case in cases:
        place: dict[str, tuple[str, int, int]] = {}
        for name, node in case.graph.nodes.items():
            if isinstance(node, sb.Linear):
                continue
            size = width(case.graph, name)
            key = name
            if isinstance(node, sb.Unit):
                assert node.reset is sb.Reset.TO_ZERO
                assert node.h == sb.Step()
                key = f"{name}_{type(node.g).__name__}"
            place[name] = (key, sizes.get(key, 0), size)
            sizes[key] = sizes.get(key, 0) + size
            values.setdefault(key, []).append((node, size))
        places.append(place)
    nodes: dict[str, Any] = {}
    for key, parts in values.items():
        kind = parts[0][0]
        if isinstance(kind, sb.Input):
            nodes[key] = sb.Input((sizes[key],))
        elif isinstance(kind, sb.Output):
            nodes[key] = sb.Output()
        else:
            decay, threshold, start = (
                np.concatenate([np.broadcast_to(getattr(node, field), (size,)) for node, size in parts])
                for field in ("decay", "threshold", "initial_state")
            )
            nodes[key] = sb.Unit(decay, threshold, g=kind.g, initial_state=start)
    blocks: dict[Key, list[Any]] = {}
    delays: dict[Key, Part] = {}
    for case, place in zip(cases, places, strict=True):
        for edge in case.graph.edges:
            if isinstance(case.graph.nodes[edge.source], sb.Linear):
                continue
            node = case.graph.nodes[edge.target]
            if isinstance(node, sb.Linear):
                (after,) = case.graph.outgoing[edge.target]
                target, delay, weight, bias = after.target, after.delay, node.weight, node.bias
            else:
                target, delay, weight, bias = edge.target, 0, np.eye(place[edge.source][2]), None
            key = (place[edge.source][0], place[target][0], str(edge.delay), str(delay))
            blocks.setdefault(key, []).append((place[edge.source], place[target], weight, bias))
            delays[key] = (edge.delay, delay)
    edges = []
    for (source, target, *waits), parts in blocks.items():
        matrix, bias = np.zeros((sizes[target], sizes[source])), np.zeros(sizes[target])
        for (_, column, columns), (_, row, rows), weight, offset in parts:
            matrix[row : row + rows, column : column + columns] += weight
            bias[row : row + rows] += 0.0 if offset is None else offset
        name = f"{source}-{target}-{'-'.join(waits)}"
        nodes[name] = sb.Linear(matrix, bias if bias.any() else None)
        before, after = delays[(source, target, *waits)]
        edges += [sb.Edge(source, name, before), sb.Edge(name, target, after)]
    return Merged(sb.Graph(nodes, edges), np.concatenate([np.asarray(case.inputs) for case in cases], axis=2), places)


def width(graph: sb.Graph, name: str) -> int:
    """How many values a node has."""
    node = graph.nodes[name]
    if isinstance(node, sb.Input):
        return int(node.shape[0])
    source = graph.nodes[graph.incoming[name][0].source]
    return len(source.weight) if isinstance(source, sb.Linear) else width(graph, graph.incoming[name][0].source)

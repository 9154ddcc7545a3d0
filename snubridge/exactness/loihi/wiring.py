"""How the neurons of a graph are connected, as a chip sees it: projections into units, read-outs, and latencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Linear, Output, Unit
from snubridge.ir.structure import shapes


@dataclass(frozen=True)
class Projection:
    """``unit`` receives at step t the spikes of ``source`` at t - delay through the weights of ``linear``."""

    unit: str
    source: str
    linear: str
    delay: int


def is_source(graph: Graph, name: str) -> bool:
    """Whether a node puts out spikes."""
    node = graph.nodes[name]
    return isinstance(node, Input) or (isinstance(node, Unit) and node.spiking)


def projections(graph: Graph, unit: str, receiver: str) -> tuple[list[Projection], list[str]]:
    """What ``receiver`` (the unit, or its current) gets, and every reason why a chip cannot bring it there."""
    found: list[Projection] = []
    reasons: list[str] = []
    for edge in graph.incoming[receiver]:
        node, name = graph.nodes[edge.source], edge.source
        if not isinstance(node, Linear):
            what = f"unit {unit} receives {name}, a {type(node).__name__}"
            reasons.append(f"{what}: only an sb.Linear of spikes becomes synapses; unroll it into one")
            continue
        if node.bias is not None:
            remedy = "train with bias=False, or give it as the weights of an input that is always 1"
            reasons.append(f"node {name}: a bias would reach a deeper unit before the input does: {remedy}")
        received = graph.incoming[name]
        if len(received) > 1 or len(graph.outgoing[name]) > 1:
            reasons.append(f"node {name}: one source and one target are needed; give each its own sb.Linear")
        elif not is_source(graph, received[0].source):
            source = type(graph.nodes[received[0].source]).__name__
            reasons.append(f"node {name}: receives {received[0].source}, a {source}, and no spikes of an Input or Unit")
        else:
            found.append(Projection(unit, received[0].source, name, received[0].delay + edge.delay))
    return found, reasons


def samples_in_rows(graph: Graph, names: Iterable[str]) -> list[str]:
    """Reasons for nodes whose samples have more than one axis."""
    sizes = shapes(graph)
    return [
        f"node {name}: samples of shape {sizes[name]}; a population has one axis: reshape to ({_product(sizes[name])},)"
        for name in names
        if len(sizes[name]) != 1
    ]


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def latencies(graph: Graph, found: Iterable[Projection]) -> tuple[dict[str, int], list[str]]:
    """By Input and unit, how many steps later than in the graph its spikes come on the chip; what cannot be aligned.

    Every hop takes one step there, whatever its delay here: lag(unit) = lag(source) + 1 - delay, and 0 for an Input.
    """
    connections = list(found)
    lags = dict.fromkeys(graph.of_kind(Input), 0)
    known = -1
    while len(lags) > known:
        known = len(lags)
        for one in connections:
            if one.source in lags:
                lags.setdefault(one.unit, lags[one.source] + 1 - one.delay)
            elif one.unit in lags:
                lags[one.source] = lags[one.unit] - 1 + one.delay
    reasons = []
    for one in connections:
        late = lags[one.source] + 1 - lags[one.unit]
        if late != one.delay:
            wanted = f"a delay of {late} would fit" if late >= 0 else "no delay would fit"
            reasons.append(
                f"node {one.linear}: every hop takes one step on the chip, so that the spikes of {one.source} reach "
                f"{one.unit} {late} steps late beside its others, not {one.delay}: {wanted}"
            )
    return lags, reasons


def read_outs(graph: Graph, lags: Mapping[str, int]) -> list[str]:
    """Reasons why an Output cannot be summed beside the chip: it is, of spikes that come in one step."""
    reasons = []
    for output in graph.of_kind(Output):
        steps: set[int] = set()
        for edge in graph.incoming[output]:
            name, delay, node = edge.source, edge.delay, graph.nodes[edge.source]
            if isinstance(node, Linear) and len(graph.incoming[name]) == 1:
                (before,) = graph.incoming[name]
                name, delay = before.source, delay + before.delay
            if not (isinstance(graph.nodes[name], Unit) and is_source(graph, name)) or delay:
                what = "the spikes of a unit without delay, as they are or through one sb.Linear"
                reasons.append(f"output {output}: receives {edge.source}; needed {what}")
            elif name in lags:
                steps.add(lags[name])
        if len(steps) > 1:
            reasons.append(f"output {output}: its units are of different latencies; give each an Output of its own")
    return reasons

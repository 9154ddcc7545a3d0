"""The order of evaluation, the strongly connected parts and the shapes of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snubridge.errors import Breach
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Node, Shape, ShapeMisfit, Unit


def zero_delay_order(names: Iterable[str], edges: Iterable[Edge]) -> tuple[str, ...]:
    """Names such that each comes after all that it receives from without delay.

    Ties keep the given order. Names on a cycle without delay are left out, and so is what
    comes after them: a result shorter than ``names`` says that there is such a cycle.
    """
    position = {name: index for index, name in enumerate(names)}
    waits = dict.fromkeys(position, 0)
    after: dict[str, list[str]] = {name: [] for name in position}
    for edge in edges:
        if edge.delay == 0:
            waits[edge.target] += 1
            after[edge.source].append(edge.target)
    ordered = [name for name in position if not waits[name]]
    for name in ordered:  # which grows meanwhile
        for target in after[name]:
            waits[target] -= 1
            if not waits[target]:
                ordered.append(target)
    return tuple(ordered)


def order(graph: Graph) -> tuple[str, ...]:
    """The nodes of a valid graph in the order in which one step evaluates them."""
    return zero_delay_order(graph.nodes, graph.edges)


def strongly_connected(names: Iterable[str], edges: Iterable[Edge]) -> tuple[tuple[str, ...], ...]:
    """The strongly connected parts over all edges, whatever their delay, sources before targets.

    A part of one node without an edge to itself has no memory beyond the node's own; any other
    part is a recurrent core that has to be stepped. Iterative Tarjan, so that depth is no limit.
    """
    after: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        after[edge.source].append(edge.target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    parts: list[tuple[str, ...]] = []
    position = {name: place for place, name in enumerate(after)}

    for root in after:
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = []
        name: str | None = root
        while name is not None or work:
            if name is not None:
                index[name] = low[name] = len(index)
                stack.append(name)
                on_stack.add(name)
                work.append((name, iter(after[name])))
            here, targets = work[-1]
            name = None
            for target in targets:
                if target not in index:
                    name = target
                    break
                if target in on_stack:
                    low[here] = min(low[here], index[target])
            if name is not None:
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[here])
            if low[here] == index[here]:
                part: list[str] = []
                while not part or part[-1] != here:
                    part.append(stack.pop())
                on_stack.difference_update(part)
                parts.append(tuple(sorted(part, key=position.__getitem__)))
    return tuple(reversed(parts))


def shapes(graph: Graph) -> dict[str, Shape]:
    """The shape of one sample of each node's output, for a valid graph."""
    found: dict[str, Shape] | None = graph.__dict__.get("_shapes")
    if found is None:
        found = graph.__dict__["_shapes"] = infer_shapes(graph.nodes, graph.edges)[0]
    return dict(found)


def infer_shapes(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> tuple[dict[str, Shape], list[Breach]]:
    """Shapes by name as far as they follow from the inputs, and what does not fit."""
    incoming: dict[str, list[str]] = {name: [] for name in nodes}
    outgoing: dict[str, list[str]] = {name: [] for name in nodes}
    for edge in edges:
        incoming[edge.target].append(edge.source)
        outgoing[edge.source].append(edge.target)
    found = {name: node.shape for name, node in nodes.items() if isinstance(node, Input)}
    breaches: dict[str, Breach] = {}
    waiting = [target for name in found for target in outgoing[name]]
    # A unit that only a cycle reaches may still know its shape, by its own parameters: asked last, hence first in line.
    waiting = [name for name, node in nodes.items() if isinstance(node, Unit)] + waiting
    while waiting:
        name = waiting.pop()
        if name in found or name in breaches:
            continue
        received = next((found[source] for source in incoming[name] if source in found), None)
        shape = _own_shape(nodes[name]) if received is None else _fitted(name, nodes[name], received, breaches)
        if shape is not None:
            found[name] = shape
            waiting.extend(outgoing[name])
    for name, sources in incoming.items():
        shapes_in = dict.fromkeys(found[source] for source in sources if source in found)
        if len(shapes_in) > 1:
            shown = ", ".join(f"{source} {found[source]}" for source in sources if source in found)
            breaches[name] = Breach(
                f"node {name}",
                f"sources of different shapes: {shown}",
                "one shape for all that is summed",
                "Put a Linear on the odd one.",
            )
        for received in shapes_in:
            if name in found and name not in breaches:
                _fitted(name, nodes[name], received, breaches)
    if not breaches:
        for name in nodes:
            if name not in found:
                breaches[name] = Breach(
                    f"node {name}",
                    "no shape: no input reaches it",
                    "a path from an Input",
                    "Connect it, or give its parameters one value per neuron.",
                )
    return found, list(breaches.values())


def _own_shape(node: Node) -> Shape | None:
    return (
        next((array.shape for array in node.arrays().values() if array.ndim), None) if isinstance(node, Unit) else None
    )


def _fitted(name: str, node: Node, received: Shape, breaches: dict[str, Breach]) -> Shape | None:
    try:
        return node.output_shape(received)
    except ShapeMisfit as misfit:
        breaches[name] = Breach(f"node {name}", f"an input of shape {received}", misfit.needed, misfit.remedy)
        return None

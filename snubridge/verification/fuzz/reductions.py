"""Simpler cases: every way in which a failing one is made smaller, the larger cuts first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.errors import BadInput
from snubridge.ir.functions import Identity, Reset
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Conv2d, Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Array
from snubridge.reference.interpreter import simulate
from snubridge.verification.comparison import First
from snubridge.verification.fuzz.slices import fewer_neurons, subsets

FEW = 24
"""Values of a parameter or an input that are tried one by one."""
Reduction = Callable[[Case, First | None], Iterator[Case]]


def with_named_inputs(case: Case) -> Case:
    """The case with its inputs by name, as the reductions want it."""
    if isinstance(case.inputs, Mapping):
        return case
    return replace(case, inputs={next(iter(case.graph.of_kind(Input))): case.inputs})


def _inputs(case: Case) -> dict[str, Array]:
    assert isinstance(case.inputs, Mapping)
    return {name: np.asarray(array) for name, array in case.inputs.items()}


def _rebuilt(case: Case, nodes: Mapping[str, Node], edges: Iterable[Edge], inputs: Mapping[str, Array]) -> Case:
    """The case of these nodes; what then receives nothing goes too, and so do inputs that are no more."""
    nodes, edges = dict(nodes), [edge for edge in edges if edge.source in nodes and edge.target in nodes]
    while True:
        fed = {edge.target for edge in edges}
        unfed = {name for name, node in nodes.items() if not isinstance(node, Input) and name not in fed}
        if not unfed:
            break
        nodes = {name: node for name, node in nodes.items() if name not in unfed}
        edges = [edge for edge in edges if not {edge.source, edge.target} & unfed]
    given = {name: array for name, array in inputs.items() if name in nodes}
    return replace(case, graph=Graph(nodes, edges, numbers=case.graph.numbers), inputs=given)


def _part(case: Case, kept: set[str]) -> Case:
    nodes = {name: node for name, node in case.graph.nodes.items() if name in kept}
    return _rebuilt(case, nodes, case.graph.edges, _inputs(case))


def _at_once(case: Case, place: First | None) -> Iterator[Case]:
    """Everything that does not lead to the place of the failure, and all steps after it."""
    if place is None:
        return
    kept, waiting = set[str](), [place.unit]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += [edge.source for edge in case.graph.incoming[name]]
    if len(kept) < len(case.graph.nodes):
        yield _part(case, kept)
    steps = len(next(iter(_inputs(case).values())))
    if place.step + 1 < steps:
        yield _steps(case, np.arange(place.step + 1))
    yield from _given(case, {edge.source for edge in case.graph.incoming[place.unit]} - {place.unit})


def _steps(case: Case, kept: Array) -> Case:
    lengths = None if case.lengths is None else tuple(min(length, len(kept)) for length in case.lengths)
    return replace(case, inputs={name: array[kept] for name, array in _inputs(case).items()}, lengths=lengths)


def _fewer_steps(case: Case, _: First | None) -> Iterator[Case]:
    for kept in subsets(len(next(iter(_inputs(case).values())))):
        yield _steps(case, kept)


def _fewer_samples(case: Case, _: First | None) -> Iterator[Case]:
    if case.lengths is not None:
        yield replace(case, lengths=None)
    for kept in subsets(next(iter(_inputs(case).values())).shape[1]):
        lengths = None if case.lengths is None else tuple(case.lengths[sample] for sample in kept)
        yield replace(case, inputs={name: array[:, kept] for name, array in _inputs(case).items()}, lengths=lengths)


def _fewer_nodes(case: Case, _: First | None) -> Iterator[Case]:
    names = list(case.graph.nodes)
    for name in reversed(names):
        yield _part(case, set(names) - {name})
    for name in reversed(names):
        yield from _given(case, {name})


def _given(case: Case, names: set[str]) -> Iterator[Case]:
    """The case with Inputs in place of nodes, which put out what the reference computes there."""
    graph = case.graph
    names = {name for name in names if not isinstance(graph.nodes[name], Input | Output)}
    if not names:
        return
    probes = {f"{name}.given"[-100:]: name for name in names}
    if not probes.keys().isdisjoint(graph.nodes):
        return
    edges = [*graph.edges, *(Edge(name, probe) for probe, name in probes.items())]
    probed = Graph({**graph.nodes, **dict.fromkeys(probes, Output())}, edges, numbers=graph.numbers)
    try:
        found = simulate(probed, _inputs(case), lengths=case.lengths).outputs
    except BadInput:  # a value that the graph's numbers do not hold
        return
    given = {name: np.asarray(found[probe]) for probe, name in probes.items()}
    nodes = {
        name: Input(given[name].shape[2:]) if name in given else node
        for name, node in graph.nodes.items()
        if name in given or not isinstance(node, Input) or any(e.target not in given for e in graph.outgoing[name])
    }
    kept = [edge for edge in graph.edges if edge.target not in given]
    yield _rebuilt(case, nodes, kept, {**_inputs(case), **given})


def _fewer_edges(case: Case, _: First | None) -> Iterator[Case]:
    edges = list(case.graph.edges)
    for place, edge in enumerate(edges):
        others = edges[:place], edges[place + 1 :]
        yield _rebuilt(case, case.graph.nodes, [*others[0], *others[1]], _inputs(case))
        for delay in sorted({0, 1, edge.delay // 2} - {edge.delay}):
            shorter = Edge(edge.source, edge.target, delay)
            if delay < edge.delay and shorter not in edges:
                yield _rebuilt(case, case.graph.nodes, [*others[0], shorter, *others[1]], _inputs(case))


def _plainer_units(case: Case, _: First | None) -> Iterator[Case]:
    for name, unit in case.graph.of_kind(Unit).items():
        if unit.reset is not Reset.TO_ZERO and not isinstance(unit.h, Identity):
            yield _changed(case, name, unit.replaced(reset=Reset.TO_ZERO))
        if not isinstance(unit.g, Identity):
            yield _changed(case, name, unit.replaced(g=Identity()))
        for field, plain in (("initial_state", (0.0,)), ("decay", (0.0, 1.0, 0.5)), ("threshold", (0.0, 1.0))):
            array = unit.arrays()[field]
            for value in plain:
                if array.ndim or array not in plain:
                    yield _changed(case, name, unit.replaced(**{field: np.asarray(value)}))
            if array.ndim:
                for value in np.unique(array)[:FEW]:
                    yield _changed(case, name, unit.replaced(**{field: np.asarray(value)}))


def _plainer_weights(case: Case, _: First | None) -> Iterator[Case]:
    for name, node in case.graph.nodes.items():
        if not isinstance(node, Linear | Conv2d):
            continue
        if node.bias is not None:
            yield _changed(case, name, node.replaced(bias=None))
        for weight in _plainer(node.weight):
            yield _changed(case, name, node.replaced(weight=weight))


def _plainer_inputs(case: Case, _: First | None) -> Iterator[Case]:
    for name, node in case.graph.of_kind(Input).items():
        if (node.low, node.high, node.fraction_bits) != (None, None, None):
            yield _changed(case, name, Input(node.shape))
        for array in _plainer(_inputs(case)[name]):
            yield replace(case, inputs={**_inputs(case), name: array})


def _plainer(array: Array) -> Iterator[Array]:
    """Zero, signs, eighths; of a few values one after the other."""
    exact = array.astype(np.float64)
    for plain in (np.zeros_like(exact), np.sign(exact), np.rint(exact * 8) / 8):
        if not np.array_equal(plain, exact):
            yield plain
    if exact.size <= FEW:
        for place in np.argwhere(exact):
            for value in (0.0, 1.0):
                if exact[tuple(place)] not in (0.0, value):
                    changed = exact.copy()
                    changed[tuple(place)] = value
                    yield changed


def _changed(case: Case, name: str, node: Node) -> Case:
    nodes = {other: node if other == name else known for other, known in case.graph.nodes.items()}
    return replace(case, graph=Graph(nodes, case.graph.edges, numbers=case.graph.numbers))


REDUCTIONS: tuple[Reduction, ...] = (
    _at_once,
    _fewer_steps,
    _fewer_samples,
    _fewer_nodes,
    lambda case, _: fewer_neurons(case),
    _fewer_edges,
    _plainer_units,
    _plainer_weights,
    _plainer_inputs,
)

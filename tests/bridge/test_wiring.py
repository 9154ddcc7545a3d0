"""Stops, paths and biases: what engines of populations build from."""

from __future__ import annotations

import itertools

import numpy as np

import snubridge as sb
from snubridge.bridge import Bias, Path, order, strongly_connected, wire
from snubridge.bridge.conformance.families import random_case
from snubridge.bridge.planning import draw_plan

E = sb.Edge


def ones(outputs, inputs, bias=False):
    return sb.Linear(np.ones((outputs, inputs)), np.ones(outputs) if bias else None)


def test_a_recurrent_layer():
    nodes = {"in": sb.Input((3,)), "w": ones(2, 3), "u": sb.Unit(0.5, 1.0), "h": ones(2, 2), "out": sb.Output()}
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "out")]
    wiring = wire(sb.Graph(nodes, edges))
    assert wiring.stops == ("in", "u", "out")
    assert wiring.units == ("u",)
    assert wiring.relays == ()
    assert wiring.paths == (Path("in", "u", 0, ("w",)), Path("u", "u", 1, ("h",)), Path("u", "out", 0, ()))


def test_delays_along_a_path_add_up_and_a_bias_has_its_onset():
    nodes = {"in": sb.Input((2,)), "w": ones(2, 2, bias=True), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    wiring = wire(sb.Graph(nodes, [E("in", "w", 2), E("w", "u", 3), E("w", "out")]))
    assert wiring.paths == (Path("in", "u", 5, ("w",)), Path("in", "out", 2, ("w",)))
    assert wiring.biases == (Bias("w", "u", 3), Bias("w", "out", 0))


def test_a_linear_node_that_feeds_a_linear_node_is_a_relay():
    nodes = {"in": sb.Input((2,)), "a": ones(3, 2, bias=True), "b": ones(2, 3), "u": sb.Unit(0.5, 1.0)}
    wiring = wire(sb.Graph(nodes, [E("in", "a"), E("a", "b", 1), E("b", "u"), E("b", "a", 1)]))
    assert wiring.relays == ("a", "b")
    assert wiring.stops == ("in", "b", "a", "u")  # a and b receive from each other with a delay: either may be first
    assert wiring.paths == (
        Path("in", "a", 0, ("a",)),
        Path("b", "a", 1, ("a",)),
        Path("a", "b", 1, ("b",)),
        Path("b", "u", 0, ()),
    )
    assert wiring.biases == (Bias("a", "a", 0),)


def test_a_ladder_of_linear_nodes_has_as_many_paths_as_edges():
    nodes, edges = {"in": sb.Input((1,)), "r0": ones(1, 1)}, [E("in", "r0")]
    for i in range(60):
        nodes |= {f"a{i}": ones(1, 1), f"b{i}": ones(1, 1), f"r{i + 1}": ones(1, 1)}
        edges += [E(f"r{i}", f"a{i}"), E(f"r{i}", f"b{i}"), E(f"a{i}", f"r{i + 1}"), E(f"b{i}", f"r{i + 1}")]
    nodes["out"] = sb.Output()
    graph = sb.Graph(nodes, [*edges, E("r60", "out")])
    assert len(wire(graph).paths) <= len(graph.edges)


def test_every_path_without_delay_leads_forward():
    for seed in range(40):
        wiring = wire(random_case(seed, "generic").graph)
        position = {stop: place for place, stop in enumerate(wiring.stops)}
        assert all(position[p.source] < position[p.target] for p in wiring.paths if not p.delay)


def test_strongly_connected_parts_come_in_the_order_of_the_flow():
    nodes = {name: sb.Unit(0, 1) for name in "abcde"} | {"in": sb.Input((1,))}
    edges = [E("in", "a"), E("a", "b"), E("b", "c"), E("c", "b", 1), E("c", "d"), E("d", "d", 1), E("b", "e")]
    parts = strongly_connected(nodes, edges)
    assert set(parts) == {("in",), ("a",), ("b", "c"), ("d",), ("e",)}
    assert parts.index(("in",)) < parts.index(("a",)) < parts.index(("b", "c")) < parts.index(("d",))


def test_a_deep_stack_is_no_problem():
    names = [f"u{i}" for i in range(20_000)]
    nodes = {"in": sb.Input((1,)), **{name: sb.Unit(0, 1) for name in names}}
    edges = [E("in", names[0]), *(E(a, b) for a, b in itertools.pairwise(names))]
    graph = sb.Graph(dict(reversed(list(nodes.items()))), edges)
    sb.validate(graph)
    assert order(graph) == tuple(nodes)
    assert len(strongly_connected(graph.nodes, graph.edges)) == len(nodes)


def test_a_plan_is_plain_data():
    plan, arrays = draw_plan(random_case(7, "generic").graph)
    keys = {path["weight"] for path in plan["paths"] if path["weight"]} | {bias["bias"] for bias in plan["biases"]}
    assert keys <= arrays.keys()
    for stop in plan["stops"]:
        if stop["kind"] == "unit":
            assert all(arrays[f"{f}/{stop['name']}"].shape == (stop["size"],) for f in ("decay", "threshold"))

"""Convolutions, pools and Linears on several axes as couplings between single values."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.planning import draw_plan
from snubridge.bridge.unrolling import Couplings, bias_vector, couple, divisor, size

E = sb.Edge


def drawn(seed):
    """A random node and the shape of what it receives, or None where no window fits."""
    rng = np.random.default_rng(seed)
    channels, high, wide = (int(n) for n in rng.integers(1, 7, 3))
    groups = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))
    kernel, stride, padding, dilation = (
        tuple(map(int, rng.integers(low, top, 2))) for low, top in ((1, 4), (1, 4), (0, 3), (1, 3))
    )
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    weight = rng.integers(-4, 5, (2 * groups, channels // groups, *kernel)) / 4
    bias = rng.integers(-4, 5, 2 * groups) / 4 if rng.random() < 0.5 else None
    node = [
        sb.Conv2d(weight, bias, stride, padding, dilation, groups),
        sb.AvgPool2d(kernel, stride, padding),
        sb.SumPool2d(kernel, stride, padding),
        sb.Linear(rng.integers(-4, 5, (3, wide)) / 4, rng.integers(-4, 5, 3) / 4),
    ][seed % 4]
    nodes = {"in": sb.Input((channels, high, wide)), "node": node, "out": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "node"), E("node", "out")])
    try:
        sb.validate(graph)
    except sb.InvalidGraph:
        return None
    return graph


@pytest.mark.parametrize("kind", range(4))
def test_couplings_are_what_the_node_computes(kind):
    seeds = [graph for graph in map(drawn, range(kind, 600, 4)) if graph is not None]
    assert len(seeds) > 40
    for number, graph in enumerate(seeds):
        node, shape = graph.nodes["node"], graph.nodes["in"].shape
        x = np.random.default_rng(number).integers(-8, 9, (1, 1, *shape)) / 8
        expected = sb.simulate(graph, x).outputs["out"].ravel()
        couplings = couple(graph, "node")
        assert isinstance(couplings, Couplings)
        received = np.zeros(expected.size)
        np.add.at(received, couplings.targets, couplings.values * x.ravel()[couplings.sources])
        received /= divisor(node)
        if "bias" in node.arrays():
            received += bias_vector(graph, "node")
        np.testing.assert_array_equal(received, expected)  # dyadic: exact in any order
        assert len(couplings.values) <= size(graph, "node")
        assert (couplings.values != 0).all()


def test_a_linear_on_one_axis_is_its_matrix_and_a_flatten_passes_values_on():
    nodes = {"in": sb.Input((2, 1, 2)), "flat": sb.Flatten(), "w": sb.Linear(np.eye(4)), "out": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "flat"), E("flat", "w"), E("w", "out"), E("flat", "out")])
    assert couple(graph, "flat") is None
    np.testing.assert_array_equal(couple(graph, "w"), np.eye(4))
    assert (size(graph, "flat"), size(graph, "w")) == (0, 0)


def test_sizes_are_known_without_unrolling():
    """A kernel of a million by a million would never fit into memory."""
    nodes = {"in": sb.Input((1, 10**6, 10**6)), "pool": sb.SumPool2d(10**6), "out": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "pool"), E("pool", "out")])
    assert size(graph, "pool") == 10**12
    for backend in ("brian2", "nengo"):
        pytest.importorskip(backend)
        with pytest.raises(sb.Unsupported, match="node pool: unrolls to 1,000,000,000,000 couplings"):
            sb.export(graph, backend)


def test_edges_pass_through_a_flatten_and_stop_at_an_average():
    nodes = {
        "in": sb.Input((1, 4, 4)),
        "conv": sb.Conv2d(np.ones((2, 1, 2, 2)), [0.5, 1.0]),
        "flat": sb.Flatten(),
        "avg": sb.AvgPool2d(3),
        "u": sb.Unit(0.5, 1.0),
        "both": sb.Flatten(),
        "out": sb.Output("max"),
    }
    edges = [E("in", "conv"), E("conv", "flat", 1), E("flat", "u", 2), E("conv", "avg"), E("avg", "out")]
    edges += [E("conv", "both"), E("conv", "both", 1)]
    plan, arrays = draw_plan(sb.Graph({**nodes, "end": sb.Output()}, [*edges, E("both", "end")]))
    kinds = {stop["name"]: stop["kind"] for stop in plan["stops"]}
    assert kinds == {"in": "input", "conv": "relay", "avg": "relay", "u": "unit", "out": "output", "end": "output"}
    paths = [(path["source"], path["target"], path["delay"], path["weight"]) for path in plan["paths"]]
    assert sorted(paths, key=str) == [
        ("avg", "out", 0, None),
        ("conv", "avg", 0, "weight/avg"),
        ("conv", "end", 0, None),
        ("conv", "end", 1, None),
        ("conv", "u", 3, None),
        ("in", "conv", 0, "weight/conv"),
    ]
    stops = {stop["name"]: stop for stop in plan["stops"]}
    assert (stops["avg"]["divisor"], stops["conv"]["divisor"], stops["out"]["over_time"]) == (9.0, 1.0, "max")
    assert {key for key in arrays if key.startswith("weight/conv")} == {
        *("weight/conv/targets", "weight/conv/sources", "weight/conv/values")
    }
    np.testing.assert_array_equal(arrays["bias/conv"], [0.5] * 9 + [1.0] * 9)


def test_a_long_delay_of_many_values_is_refused_unless_asked_for():
    nodes = {"in": sb.Input((50,)), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "u", 2**20), E("u", "out", 2**20)])
    refused = {"brian2": ["in"], "nengo": ["in", "u"]}
    for backend, names in refused.items():
        pytest.importorskip(backend)
        with pytest.raises(sb.Unsupported, match="unrolls to 52,428,800 values on its delay line") as refusal:
            sb.export(graph, backend)
        assert [reason.split(":")[0] for reason in refusal.value.reasons] == [f"node {name}" for name in names]

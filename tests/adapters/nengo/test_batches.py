"""Samples side by side in one network spike as one after the other does; nothing of one reaches another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snubridge_nengo.engine as engine
from snubridge_nengo.engine.network import Circuit
from snubridge_nengo.engine.products import SideBySide

import snubridge as sb
from snubridge.bridge.conformance import random_case
from snubridge.bridge.conformance.fixed import random_fixed
from snubridge.bridge.conformance.space import random_graph
from tests.adapters.nengo.networks import network

BOTH = ("one_by_one", "side_by_side")
RECORD = ("spikes", "states")


def arrays(trace: sb.Trace) -> dict[str, Any]:
    """What was recorded, without what describes it."""
    return {key: values for key, values in trace.arrays().items() if "/" in key}


def traces(graph: sb.Graph, inputs: Any, **options: Any) -> tuple[sb.Trace, sb.Trace]:
    one, other = (sb.export(graph, "nengo", batch=batch, **options).run(inputs, record=RECORD) for batch in BOTH)
    return one, other


def assert_equal(graph: sb.Graph, inputs: Any, tolerance: float = 1e-12, **options: Any) -> sb.Trace:
    """Spikes of both ways to the bit, numbers to the tolerance of their scale."""
    one, other = traces(graph, inputs, **options)
    units = graph.of_kind(sb.Unit)
    for key, values in arrays(one).items():
        found, (group, _, name) = arrays(other)[key], key.partition("/")
        if group == "spikes" and units[name].spiking:
            np.testing.assert_array_equal(found, values, err_msg=key)
        else:
            scale = float(np.abs(values).max(initial=1.0))
            np.testing.assert_allclose(found, values, rtol=0, atol=tolerance * scale, err_msg=key)
    return one


@pytest.mark.parametrize("family", ["dyadic", "generic"])
def test_both_families(family: Any) -> None:
    spikes = 0
    for seed in range(40):
        case = random_case(seed, family)
        spikes += sum(int(values.sum()) for values in assert_equal(case.graph, case.inputs).spikes.values())
    assert spikes > 1000


def test_the_whole_space() -> None:
    """Every node, reset, g, h, delay and reduction, as they come: sums in another order turn no spike of these."""
    samples = 0
    for seed in range(100):
        case = random_graph(seed)
        assert_equal(case.graph, case.inputs, 1e-9)
        samples += next(iter(case.inputs.values() if isinstance(case.inputs, dict) else [case.inputs])).shape[1] > 1
    assert samples > 20


def test_fixed_point_to_the_bit() -> None:
    for seed in range(30):
        case = random_fixed(seed)
        assert_equal(case.graph, case.inputs, 0.0)


@pytest.mark.parametrize("family", ["generic", "lattice"])
def test_stock(family: str) -> None:
    for seed in range(400, 440):
        graph, inputs = network(seed, family)
        assert_equal(graph, inputs, profile="stock")


@pytest.mark.parametrize("batch", BOTH)
def test_no_sample_reaches_another(batch: str) -> None:
    """Lateral inhibition, delays, biases and reductions: each sample as if it were alone, in any order."""
    rng = np.random.default_rng(0)
    unit = sb.Unit(rng.choice([0.5, 0.75], 6), 0.5, reset=sb.Reset.LATERAL, initial_state=0.25)
    nodes = {
        "in": sb.Input((5,)),
        "w": sb.Linear(rng.integers(-2, 4, (6, 5)) / 4, rng.integers(-1, 2, 6) / 4),
        "u": unit,
        "soft": sb.Unit(0.5, 0.25, h=sb.Sigmoid()),
        "sum": sb.Output("sum"),
        "max": sb.Output("max"),
    }
    edges = [sb.Edge("in", "w", 2), sb.Edge("w", "u"), sb.Edge("u", "soft", 3), sb.Edge("u", "u", 1)]
    edges += [sb.Edge("soft", "sum"), sb.Edge("u", "max", 1)]
    graph = sb.Graph(nodes, edges)
    inputs = rng.integers(-2, 5, (20, 7, 5)) / 4
    program = sb.export(graph, "nengo", batch=batch)
    whole = arrays(program.run(inputs, record=RECORD))
    shuffled = arrays(program.run(inputs[:, ::-1], record=RECORD))
    alone = [arrays(program.run(inputs[:, [b]], record=RECORD)) for b in range(7)]
    assert 0 < whole["spikes/u"].sum() < whole["spikes/u"].size
    for key, values in whole.items():
        axis = 0 if key.startswith("outputs/") else 1
        np.testing.assert_array_equal(np.flip(shuffled[key], axis), values, err_msg=key)
        np.testing.assert_array_equal(np.concatenate([a[key] for a in alone], axis), values, err_msg=key)


def test_a_matrix_is_there_once() -> None:
    nodes = {"in": sb.Input((30,)), "w": sb.Linear(np.ones((20, 30))), "u": sb.Unit(0.5, 1.0)}
    program = sb.export(sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")]), "nengo")
    circuit = Circuit(*program._planned, ("spikes",), 1e-3, "custom", samples=8)
    (connection,) = circuit.network.connections
    assert type(connection.transform) is SideBySide
    assert connection.transform.matrix.shape == (20, 30)
    assert (connection.size_in, connection.size_out) == (240, 160)


def test_which_is_taken() -> None:
    """Both, and "auto" as the second, to the bit."""
    case = random_case(3, "generic")
    planned = sb.export(case.graph, "nengo")._planned
    inputs = {"in": np.asarray(case.inputs, np.float64)}
    found = {batch: engine.run(*planned, inputs, RECORD, batch=batch) for batch in engine.BATCHES}
    for key, values in found["auto"].items():
        np.testing.assert_array_equal(values, found["side_by_side"][key])
    assert "batch" not in sb.export(case.graph, "nengo").options
    assert sb.export(case.graph, "nengo", batch="one_by_one").options["batch"] == "one_by_one"

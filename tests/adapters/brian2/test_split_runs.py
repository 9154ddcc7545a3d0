"""The network itself: several runs, and going back to a stored state, are as one run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_case

brian2 = pytest.importorskip("brian2")
pytestmark = pytest.mark.usefixtures("quick_brian2")

STEPS = (50, 1, 149)
TARGETS = ["numpy", pytest.param("cython", marks=pytest.mark.compiled)]


def everything() -> sb.Graph:
    """Recurrence, feedback, lateral inhibition, soft units, and delays of both kinds of values."""
    rng = np.random.default_rng(3)
    nodes = {
        "in": sb.Input((6,)),
        "w": sb.Linear(rng.integers(-3, 6, (8, 6)) / 8, rng.integers(-2, 3, 8) / 16),
        "hidden": sb.Unit(0.75, 0.75, initial_state=0.25),
        "rec": sb.Linear(rng.integers(-4, 5, (8, 8)) / 8),
        "far": sb.Linear(rng.integers(-4, 5, (8, 8)) / 16),
        "most": sb.Unit(1.0, 1.5, g=sb.ReLU(), reset=sb.Reset.LATERAL),
        "soft": sb.Unit(0.5, 0.5, h=sb.Sigmoid()),
        "mix": sb.Linear(rng.integers(-4, 5, (8, 8)) / 8),
        "back": sb.Linear(rng.integers(-4, 5, (8, 8)) / 16),
        "out": sb.Output("mean"),
    }
    edges = [
        sb.Edge("in", "w", 2),
        sb.Edge("w", "hidden"),
        sb.Edge("hidden", "rec", 1),
        sb.Edge("rec", "hidden"),
        sb.Edge("hidden", "far", 5),
        sb.Edge("far", "most"),
        sb.Edge("hidden", "most"),
        sb.Edge("most", "soft"),
        sb.Edge("soft", "mix", 3),
        sb.Edge("mix", "soft"),
        sb.Edge("soft", "back", 1),
        sb.Edge("back", "hidden"),
        sb.Edge("soft", "out"),
    ]
    return sb.Graph(nodes, edges, numbers=sb.Float64())


def fed(graph: sb.Graph, stream: Any, target: str) -> Any:
    network = sb.export(graph, "brian2", target=target).native
    network["in"].namespace["stream"] = brian2.TimedArray(stream, dt=1 * brian2.ms, name="given")
    return network


def assert_recorded(network: Any, expected: sb.Trace, steps: int = sum(STEPS)) -> None:
    for name, values in expected.spikes.items():
        if values.dtype == np.uint8:
            monitor = network[f"spikes_{name}"]
            spikes = np.zeros((steps, values.shape[2]), dtype=np.uint8)
            spikes[np.rint(monitor.t_[:] / 1e-3).astype(int), monitor.i[:]] = 1
            np.testing.assert_array_equal(spikes, values[:, 0], err_msg=name)
        else:
            np.testing.assert_allclose(network[f"spikes_{name}"].y.T, values[:, 0], rtol=0, atol=1e-12)
    for name, values in expected.states.items():
        np.testing.assert_allclose(network[f"state_{name}"].s.T, values[:, 0], rtol=0, atol=1e-12)


def cases(seeds: int) -> list[tuple[sb.Graph, Any]]:
    drawn = [random_case(seed, family, steps=sum(STEPS), samples=1) for seed in range(seeds) for family in FAMILIES]
    inputs = (np.random.default_rng(5).random((sum(STEPS), 1, 6)) < 0.4).astype(float)
    rounded = [(case.graph, case.inputs.astype(np.float32).astype(float)) for case in drawn]  # as native expects them
    return [(everything(), inputs), *rounded]


FAMILIES: Any = ("dyadic", "generic")


@pytest.mark.parametrize("target", TARGETS)
def test_runs_in_parts_are_one_run(target: str) -> None:
    spikes = 0
    for graph, inputs in cases(20 if target == "cython" else 4):
        expected = sb.simulate(graph, inputs, record=("spikes", "states"))
        network = fed(graph, inputs[:, 0], target)
        for steps in STEPS:
            network.run(steps * brian2.ms, namespace={})
        assert_recorded(network, expected)
        spikes += sum(int(values.sum()) for values in expected.spikes.values() if values.dtype == np.uint8)
    assert spikes > 3000


@pytest.mark.parametrize("target", TARGETS)
def test_a_stored_state_is_returned_to(target: str) -> None:
    """Store within the run, go on, come back, and go on again: as if nothing had been between."""
    graph, inputs = cases(0)[0]
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    network = fed(graph, inputs[:, 0], target)
    network.run(50 * brian2.ms, namespace={})
    network.store("here")
    network.run(37 * brian2.ms, namespace={})
    network.restore("here")
    network.run(150 * brian2.ms, namespace={})
    assert_recorded(network, expected)
    assert all(0 < expected.spikes[name].mean() < 1 for name in ("hidden", "most"))


@pytest.mark.parametrize(
    "options",
    [{}, {"units": "SI"}, {"target": "cpp_standalone"}, pytest.param({"target": "cython"}, marks=pytest.mark.compiled)],
    ids=str,
)
def test_the_network_reads_back_and_a_changed_product_does_not(options: Any) -> None:
    """The weights of graded units are in a function of the equations, not in synapses."""
    graph = everything()
    network = sb.export(graph, "brian2", **options).native
    named = {"in", "hidden", "most", "soft", "out", "rec_hidden_hidden", "ff_hidden_most", "lateral_most", "line_soft"}
    assert named <= {thing.name for thing in network.objects}
    assert network["rec_soft_hidden"].abstract_code == "u += rec_soft_hidden_drive(i)"
    assert sb.import_graph(network, "brian2") == graph
    function = network["hidden"].namespace["rec_soft_hidden_drive"].pyfunc
    cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    changed = cells["matrix"].cell_contents.copy()
    changed[1, 2] += 2.0**-40
    cells["matrix"].cell_contents = changed
    with pytest.raises(sb.BadFile, match="hidden namespace rec_soft_hidden_drive is"):
        sb.import_graph(network, "brian2")


@pytest.mark.parametrize("target", TARGETS)
def test_wide_soft_layers_read_back_whatever_lay_in_memory(target: str) -> None:
    """Arrays that a product writes to are no part of what is compared; the functions on whole groups are."""
    weights = np.random.default_rng(0).normal(size=(300, 300)) / 8
    soft = sb.Unit(0.5, 0.5, h=sb.Sigmoid())
    nodes = {"in": sb.Input((300,)), "a": soft, "w": sb.Linear(weights), "b": soft}
    graph = sb.Graph(nodes, [sb.Edge("in", "a"), sb.Edge("a", "w"), sb.Edge("w", "b")], numbers=sb.Float64())
    for value in (1.0, 2.0):
        left = [np.full(300, value) for _ in range(50)]
        del left
        assert sb.import_graph(sb.export(graph, "brian2", target=target).native, "brian2") == graph
    network = sb.export(graph, "brian2", target=target).native
    if target == "cython":
        function = network["b"].namespace["tanh_of_all"]
        function.precompute = lambda: None
        with pytest.raises(sb.BadFile, match="b namespace tanh_of_all is"):
            sb.import_graph(network, "brian2")

"""Inputs that are declared as spikes, and values that are taken as a whole instead of by events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb

brian2 = pytest.importorskip("brian2")
pytestmark = pytest.mark.usefixtures("quick_brian2")
TARGETS = ["numpy", pytest.param("cython", marks=pytest.mark.compiled)]
RNG = np.random.default_rng(8)
SPIKES = (RNG.random((30, 1, 6)) < 0.4) * 1.0


def layer(declared: sb.Input) -> sb.Graph:
    weights = sb.Linear(RNG.integers(-3, 7, (5, 6)) / 8)
    nodes = {"in": declared, "w": weights, "unit": sb.Unit(0.75, 0.5)}
    return sb.Graph(nodes, [sb.Edge("in", "w", 2), sb.Edge("w", "unit")], numbers=sb.Float64())


def fed(graph: sb.Graph, stream: Any, target: str = "numpy") -> Any:
    network = sb.export(graph, "brian2", target=target).native
    network["in"].namespace["stream"] = brian2.TimedArray(stream, dt=1 * brian2.ms)
    return network


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_declared_as_spikes_adds_weights_and_nothing_else(target: str) -> None:
    graph = layer(sb.Input((6,), 0, 1, 0))
    network = fed(graph, SPIKES[:, 0], target)
    (path,) = (thing for thing in network.objects if isinstance(thing, brian2.Synapses))
    assert path.pre.code == "u_post += w"
    network.run(30 * brian2.ms, namespace={})
    expected = sb.simulate(graph, SPIKES).spikes["unit"][:, 0]
    actual = np.zeros_like(expected)
    monitor = network["spikes_unit"]
    actual[np.rint(monitor.t_[:] / 1e-3).astype(int), monitor.i[:]] = 1
    np.testing.assert_array_equal(actual, expected)
    assert 0.1 < expected.mean() < 0.9
    assert sb.import_graph(sb.export(graph, "brian2", target=target).native, "brian2") == graph


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, np.nan])
def test_it_takes_nothing_else(value: float) -> None:
    """Each value would count as a spike."""
    graph = layer(sb.Input((6,), 0, 1, 0))
    stream = SPIKES.copy()
    stream[7, 0, 3] = value
    with pytest.raises(brian2.core.base.BrianObjectException) as refusal:
        fed(graph, stream[:, 0]).run(30 * brian2.ms, namespace={})
    assert "in: its stream holds values other than 0 and 1, and each would count as a spike" in str(
        refusal.value.__cause__
    )
    for target in ("numpy", "cpp_standalone"):
        with pytest.raises(sb.BadInput, match="input in: "):
            sb.export(graph, "brian2", target=target).run(stream)


@pytest.mark.parametrize("declared", [sb.Input((6,)), sb.Input((6,), 0, 1), sb.Input((6,), 0, 2, 0)], ids=str)
def test_any_other_input_may_be_graded(declared: sb.Input) -> None:
    graph = layer(declared)
    stream = SPIKES if declared.fraction_bits is not None else SPIKES * 0.5
    network = fed(graph, stream[:, 0])
    network.run(30 * brian2.ms, namespace={})
    expected = sb.simulate(graph, stream, record=("states",)).states["unit"][:, 0]
    np.testing.assert_array_equal(network["state_unit"].s.T, expected)


@pytest.mark.parametrize(
    "target", ["numpy", *(pytest.param(name, marks=pytest.mark.compiled) for name in ("cython", "cpp_standalone"))]
)
@pytest.mark.parametrize("batch", ["side_by_side", "concatenated"])
def test_values_pass_one_to_one_without_events(target: str, batch: str) -> None:
    """At once, and later; of an input, of soft units, through a dense product."""
    soft = sb.Unit(0.5, 0.25, h=sb.Tanh(), initial_state=0.5)
    nodes = {
        "in": sb.Input((6,)),
        "soft": soft,
        "w": sb.Linear(RNG.normal(0, 0.5, (6, 6))),
        "next": soft,
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "soft"),
        sb.Edge("in", "next", 1),
        sb.Edge("soft", "soft", 3),
        sb.Edge("soft", "w"),
        sb.Edge("w", "next"),
        sb.Edge("soft", "next", 1),
        sb.Edge("next", "out"),
        sb.Edge("in", "out", 2),
    ]
    graph = sb.Graph(nodes, edges, numbers=sb.Float64())
    inputs = RNG.normal(0, 1, (20, 3, 6))
    expected = sb.simulate(graph, inputs)
    actual = sb.export(graph, "brian2", target=target, batch=batch).run(inputs)
    for key in ("soft", "next"):
        np.testing.assert_allclose(actual.spikes[key], expected.spikes[key], rtol=0, atol=1e-12)
    np.testing.assert_allclose(actual.outputs["out"], expected.outputs["out"], rtol=0, atol=1e-12)

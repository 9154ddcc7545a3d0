"""Networks that ``native`` handed out come back while they are what was exported; alterations are told by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import snubridge as sb

brian2 = pytest.importorskip("brian2")
nengo = pytest.importorskip("nengo")
pytestmark = pytest.mark.usefixtures("quick_brian2")
E = sb.Edge


def graph() -> sb.Graph:
    """Soft lateral inhibition, a delay, a recurrent matrix, a pool, and a read-out over time."""
    nodes = {
        "in": sb.Input((2,)),
        "w": sb.Linear([[0.5, 0.25], [1.0, -0.5]], [0.1, 0.0]),
        "u": sb.Unit([0.5, 0.25], 0.3, reset=sb.Reset.LATERAL, h=sb.Sigmoid(), initial_state=0.2),
        "h": sb.Linear([[0.0, 0.5], [0.5, 0.0]]),
        "spiking": sb.Unit(0.75, 0.5, reset=sb.Reset.LATERAL),
        "out": sb.Output("mean"),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "spiking", 2), E("spiking", "out")]
    return sb.Graph(nodes, edges)


def named(net: Any, name: str) -> Any:
    return next(thing for thing in net.all_objects if getattr(thing, "label", None) == name)


class Frames(type(sb.export(graph(), "nengo").native.input.output)):  # type: ignore[misc]  # of the engine's own name
    """A subclass that could put out anything."""


def add_node(net: Any) -> None:
    with net:
        nengo.Node(0)


BRIAN2: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a parameter": (lambda net: setattr(net["u"], "threshold", 2), "u threshold is"),
    "a weight": (lambda net: net["ff_in_u"].w.__setitem__(0, 7), "ff_in_u w is"),
    "a code": (lambda net: setattr(net["ff_in_u"].pre, "code", "u_post += 2*w*y_pre"), "ff_in_u_pre code is"),
    "an order": (lambda net: setattr(net["u"], "order", 0), "u order is"),
    "another object": (lambda net: net["u"].run_regularly("s += 1"), "was added"),
    "a schedule": (
        lambda net: setattr(net, "schedule", ["start", "groups", "synapses", "thresholds", "resets", "end"]),
        "schedule",
    ),
    "a run": (lambda net: net.run(3 * brian2.ms), r"time is 0\.003"),
    "a function": (
        lambda net: net["u"].namespace.update(largest=brian2.Function(lambda y: 0 * y, arg_units=[1], return_unit=1)),
        "namespace largest is",
    ),
    "another clock of the input": (
        lambda net: net["in"].namespace.update(stream=brian2.TimedArray(np.ones((2, 2)), dt=7 * brian2.second)),
        "namespace stream is",
    ),
    "no input": (lambda net: net["in"].namespace.update(stream="rand()"), "namespace stream is"),
    "another export": (lambda net: setattr(net, "exported", {"graph": "x", "options": {}}), "not what snubridge put"),
    "other options": (lambda net: setattr(net, "exported", {**net.exported, "options": 3}), "not what snubridge put"),
    "no export": (lambda net: delattr(net, "exported"), "carries no snubridge graph"),
}
NENGO: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a synapse": (lambda net: setattr(net.connections[1], "synapse", nengo.Lowpass(0.1)), "synapse"),
    "a transform": (lambda net: setattr(net.connections[0], "transform", 2 * np.ones((2, 2))), "transform"),
    "a gain": (lambda net: setattr(net.ensembles[0], "gain", nengo.dists.Choice([2.0])), "gain"),
    "a node": (add_node, "was added"),
    "a neuron type": (lambda net: setattr(net.units["u"], "neuron_type", nengo.LIF()), "neuron_type is 'LIF'"),
    "a step": (lambda net: setattr(net.units["u"].neuron_type, "step", lambda *a, **k: None), "neuron_type"),
    "a process": (lambda net: setattr(net.input, "output", Frames(2, "float32")), "output"),
    "another export": (lambda net: setattr(net, "exported", {"graph": "x", "options": {}}), "not what snubridge put"),
    "no export": (lambda net: delattr(net, "exported"), "carries no snubridge graph"),
}


@pytest.mark.parametrize("case", BRIAN2)
def test_an_altered_brian2_network_is_refused(case: str) -> None:
    alter, problem = BRIAN2[case]
    network = sb.export(graph(), "brian2").native
    assert sb.import_graph(network, "brian2") == graph()
    alter(network)
    with pytest.raises(sb.BadFile, match=problem):
        sb.import_graph(network, "brian2")


@pytest.mark.parametrize("case", NENGO)
def test_an_altered_nengo_network_is_refused(case: str) -> None:
    alter, problem = NENGO[case]
    network = sb.export(graph(), "nengo").native
    assert sb.import_graph(network, "nengo") == graph()
    alter(network)
    with pytest.raises(sb.BadFile, match=problem):
        sb.import_graph(network, "nengo")


def test_an_input_may_be_set() -> None:
    spiking = sb.export(graph(), "brian2", dt=0.002)
    spiking.native["in"].namespace["stream"] = brian2.TimedArray(np.ones((9, 2)), dt=2 * brian2.ms)
    assert sb.import_graph(spiking.native, "brian2") == graph()
    network = sb.export(graph(), "nengo", dt=0.5).native
    network.input.output.values = np.ones((9, 2))
    assert sb.import_graph(network, "nengo") == graph()


def test_a_network_states_its_couplings() -> None:
    for backend in ("brian2", "nengo"):
        assert sb.export(graph(), backend).facts["synapses"] == 4 + 2 + 2 + 2

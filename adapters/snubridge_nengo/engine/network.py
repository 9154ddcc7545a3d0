"""The ``nengo.Network`` of a plan."""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np

from snubridge_nengo.engine.neurons import SNU, Array, Settings
from snubridge_nengo.engine.processes import Delay, Divided, Frames, Running


def build(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    record: Sequence[str] = ("spikes", "states"),
    dt: float = 0.001,
) -> nengo.Network:
    """The network for one sample; it runs under any ``nengo.Simulator(net, dt)``.

    ``net.input``, ``net.output``   the Node, or a dict by name where there are several (or none)
    ``net.units``                   the Ensembles by name
    ``net.spikes``, ``net.states``, ``net.outputs``   the Probes by name

    The input is silent until ``net.input.output.values`` is set to an array (T, size).
    """
    net = nengo.Network(label="Spiking Neural Units", seed=0, add_to_container=False)
    kinds: dict[str, dict[str, Any]] = {"input": {}, "relay": {}, "unit": {}, "output": {}}
    ports: dict[str, Any] = {}
    with net:
        for stop in plan["stops"]:
            name, kind = stop["name"], stop["kind"]
            if kind == "unit":
                kinds[kind][name] = ensemble = _ensemble(stop, arrays)
                ports[name] = ensemble.neurons
            else:
                limits: Settings = next((entry for entry in plan["inputs"] if entry["name"] == name), {})
                kinds[kind][name] = ports[name] = _stop(stop, plan["numbers"], limits, dt)
        for path in plan["paths"]:
            source, target = ports[path["source"]], ports[path["target"]]
            _connect(source, target, _transform(path["weight"], arrays, source, target), path["delay"], dt)
        for bias in plan["biases"]:
            constant = _node(arrays[bias["bias"]], len(arrays[bias["bias"]]), 0, bias["bias"])
            _connect(constant, ports[bias["target"]], None, bias["delay"], dt)
        net.spikes = {name: _probe(ports[name], "output") for name in kinds["unit"] if "spikes" in record}
        net.states = {name: _probe(ports[name], "s") for name in kinds["unit"] if "states" in record}
        net.outputs = {name: _probe(node, "output") for name, node in kinds["output"].items()}
    net.units, net.input, net.output = kinds["unit"], _single(kinds["input"]), _single(kinds["output"])
    return net


def _ensemble(unit: Mapping[str, Any], arrays: Mapping[str, Array]) -> nengo.Ensemble:
    name = unit["name"]
    neurons = SNU(
        arrays[f"decay/{name}"],
        arrays[f"threshold/{name}"],
        reset=unit["reset"],
        g=unit["g"],
        h=unit["h"],
        initial_state={"s": arrays[f"initial_state/{name}"]},
        grid=unit.get("grid", {}),
    )
    one, zero = nengo.dists.Choice([1.0]), nengo.dists.Choice([0.0])
    return nengo.Ensemble(unit["size"], 1, neuron_type=neurons, gain=one, bias=zero, noise=None, label=name)


def _stop(stop: Mapping[str, Any], numbers: str, limits: Settings, dt: float) -> nengo.Node:
    """The Node of an input, a relay or an output."""
    size, process = stop["size"], None
    if stop["kind"] == "input":
        checked = {key: limits[key] for key in ("low", "high", "fraction_bits")} if numbers == "fixed_point" else {}
        return _node(Frames(size, numbers, checked, default_dt=dt), size, 0, stop["name"])
    if stop.get("divisor", 1) != 1:
        process = Divided(stop["divisor"], size, default_dt=dt)
    if stop.get("over_time") is not None:
        process = Running(stop["over_time"], size, default_dt=dt)
    return _node(process, size, size, stop["name"])


def _transform(weight: Any, arrays: Mapping[str, Array], source: Any, target: Any) -> Any:
    """None for values that pass as they are, a matrix, or a sparse one for what is used at many places."""
    if weight is None or weight in arrays:
        return None if weight is None else arrays[weight]
    targets, sources, values = (arrays[f"{weight}/{part}"] for part in ("targets", "sources", "values"))
    if not len(values):  # Nengo has no empty one
        targets, sources, values = np.zeros(1, int), np.zeros(1, int), np.zeros(1)
    shape = target.size_in, source.size_out
    return nengo.Sparse(shape, init=values, indices=np.stack([targets, sources], axis=1))


def _node(output: Any, size: int, size_in: int, label: str) -> nengo.Node:
    """Everything explicit, as in ``_connect``."""
    return nengo.Node(output, size_in=size_in, size_out=None if output is None else size, label=label, seed=None)


def _connect(source: Any, target: Any, weight: Array | None, delay: int, dt: float) -> None:
    """Everything explicit: the defaults are a synapse of 5 ms, and whatever a surrounding network configures."""
    synapse = None if delay == 0 else nengo.Lowpass(0) if delay == 1 else Delay(delay, default_dt=dt)
    nengo.Connection(source, target, transform=weight, synapse=synapse, learning_rule_type=None)


def _probe(target: Any, attribute: str) -> nengo.Probe:
    return nengo.Probe(target, attribute, synapse=None, sample_every=None)


def _single(named: dict[str, Any]) -> Any:
    return next(iter(named.values())) if len(named) == 1 else named

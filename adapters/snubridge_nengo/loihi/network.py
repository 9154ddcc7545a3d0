# Graphs in Loihi's integers on nengo-loihi. Imports nengo, nengo_loihi and numpy: this source is also the exported
# script, after those of the modules that it imports from.
"""A ``nengo.Network`` of stock neurons that nengo-loihi builds to given integers, and its runs."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from nengo.dists import Choice

with warnings.catch_warnings():  # 1.1.0 says of every Nengo after 3.2 that it was not tested with it
    warnings.filterwarnings("ignore", message=".*has not been tested with your", category=UserWarning)
    import nengo_loihi  # type: ignore[import-not-found]  # needs an environment of its own, with numpy below 2
    from nengo_loihi.builder.discretize import decay_magnitude  # type: ignore[import-not-found]  # likewise

from snubridge_nengo.engine import Frames, globals_kept
from snubridge_nengo.engine.neurons import Array

FULL, SCALE = 4096, 255
"""Steps of a decay; what nengo-loihi scales the largest weight of a core to, in units of 64."""
GAIN = 2.0
"""Nengo asks a neuron for its intercepts, which a gain of 1 without bias has none of."""


def build(
    plan: Mapping[str, Any], arrays: Mapping[str, Array], record: Sequence[str] = ("spikes",), dt: float = 0.001
) -> nengo.Network:
    """The network for one sample; ``nengo_loihi.Simulator(net, dt=dt, target="sim")`` runs it.

    ``net.input``     the Node, or a dict by name where there are several, silent until ``.output.values`` is set to
                      an array (T, size) of 0 and 1
    ``net.units``     by name the Ensembles of a unit, one for each core
    ``net.output``    the Node, or a dict by name, summed beside the chip
    ``net.spikes``, ``net.currents``, ``net.outputs``   by name the Probes: of a unit one for each core

    Every Ensemble also hears ``net.scale``, a neuron that never fires: the largest weight of a core sets the scale
    that nengo-loihi rounds all others on.
    """
    net = nengo.Network(label="Spiking Neural Units on Loihi", seed=0, add_to_container=False)
    nengo_loihi.add_params(net)
    stops = {stop["name"]: stop for stop in plan["stops"]}
    net.units, net.spikes, net.currents, net.outputs = {}, {}, {}, {}
    sources: dict[str, list[tuple[Any, Array]]] = {}
    inputs, outputs = {}, {}
    with net:
        net.scale = _off_chip(net, 1, "scale", dt)
        for entry in plan["inputs"]:
            name, size = entry["name"], stops[entry["name"]]["size"]
            limits = {key: entry[key] for key in ("low", "high", "fraction_bits")}
            frames = Frames(size, "fixed_point", limits, default_dt=dt)
            inputs[name] = nengo.Node(frames, size_in=0, size_out=size, label=name, seed=None)
            relay = _off_chip(net, size, f"{name} spikes", dt)
            nengo.Connection(inputs[name], relay.neurons, synapse=None, learning_rule_type=None)
            sources[name] = [(relay, np.arange(size))]
        for layer in plan["layers"]:
            name = layer["name"]
            net.units[name] = [_ensemble(layer, at, dt) for at in range(len(layer["groups"]))]
            sources[name] = [
                (ensemble, np.array(group["neurons"]))
                for ensemble, group in zip(net.units[name], layer["groups"], strict=True)
            ]
            net.spikes[name] = [_probe(ensemble.neurons, "output") for ensemble in net.units[name]]
            net.currents[name] = [_probe(ensemble.neurons, "input") for ensemble in net.units[name]]
        for layer in plan["layers"]:
            paths = [path for path in plan["paths"] if path["target"] == layer["current"]]
            for (ensemble, neurons), group in zip(sources[layer["name"]], layer["groups"], strict=True):
                one = _weight_of_one(layer, group, dt)
                largest = np.full((len(neurons), 1), SCALE * one)
                _synapses(net.scale, ensemble, largest)
                for path in paths:
                    whole = np.ldexp(arrays[path["weight"]], layer["fraction_bits"] - 6)
                    for source, senders in sources[path["source"]]:
                        _synapses(source, ensemble, whole[np.ix_(neurons, senders)] * one)
        for name, stop in stops.items():
            if stop["kind"] == "output":
                outputs[name] = nengo.Node(None, size_in=stop["size"], label=name, seed=None)
                net.outputs[name] = _probe(outputs[name], "output")
        for path in plan["paths"]:
            if path["target"] in outputs:
                _read_out(path, arrays, sources[path["source"]], outputs[path["target"]])
        for bias in plan["biases"]:
            constant = arrays[bias["bias"]]
            node = nengo.Node(constant, size_in=0, size_out=len(constant), label=bias["bias"], seed=None)
            nengo.Connection(node, outputs[bias["target"]], synapse=None, learning_rule_type=None)
    net.input = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    net.output = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return net


def run(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    dt: float = 0.001,
) -> dict[str, Array]:
    """{"spikes/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size), each layer moved back by its latency.

    The inputs are padded, so that nothing is lost; the emulator cannot be reset, and is made anew for each sample.
    """
    steps, samples = next(iter(inputs.values())).shape[:2]
    lags = [layer["lag"] for layer in plan["layers"]]
    start = max(0, -min(lags))
    longest = start + max(0, *lags) + 1 + steps  # the host hears of a spike one step later
    recorded: dict[str, list[Array]] = {}
    with globals_kept(), np.errstate(invalid="ignore"), warnings.catch_warnings():  # it casts NaN on its way
        warnings.filterwarnings("ignore", message="Lost .* extra bits in weight rounding")  # which these weights lack
        warnings.filterwarnings("error", message="Overflow")
        net = build(plan, arrays, record, dt)
        nodes = net.input if isinstance(net.input, dict) else {net.input.label: net.input}
        for sample in range(samples):
            for name, node in nodes.items():
                padded = np.zeros((longest, node.size_out))
                padded[start : start + steps] = inputs[name][:, sample]
                node.output.values = padded
            with nengo_loihi.Simulator(net, dt=dt, target="sim", progress_bar=False) as sim:
                sim.run_steps(longest)
                for key, values in _recorded(plan, net, sim.data, start, steps).items():
                    recorded.setdefault(key, []).append(values)
    return {key: _reduced(plan, key, np.stack(values, axis=1)) for key, values in recorded.items()}


def _recorded(plan: Mapping[str, Any], net: Any, data: Any, start: int, steps: int) -> dict[str, Array]:
    """What the Probes of one sample hold, in the graph's steps and units."""
    found: dict[str, Array] = {}
    lags: dict[str, int] = {}
    for layer in plan["layers"]:
        name, first = layer["name"], start + layer["lag"]
        lags[name] = first
        order = np.argsort(np.concatenate([group["neurons"] for group in layer["groups"]]))
        spikes = np.concatenate([data[probe] for probe in net.spikes[name]], axis=1)[first : first + steps, order]
        currents = np.concatenate([data[probe] for probe in net.currents[name]], axis=1)[first : first + steps, order]
        found[f"spikes/{name}"] = (spikes > 0.5).astype(np.float64)
        found[f"spikes/{layer['current']}"] = np.ldexp(currents.astype(np.float64), -layer["fraction_bits"])
    for path in plan["paths"]:
        if path["target"] in net.outputs:
            first = lags[path["source"]] + 1
            found[f"outputs/{path['target']}"] = data[net.outputs[path["target"]]][first : first + steps]
    return found


OVER_TIME: dict[str, Callable[[Array, Array], Array]] = {
    "sum": lambda x, steps: np.cumsum(x, axis=0),
    "mean": lambda x, steps: np.cumsum(x, axis=0) / steps,
    "max": lambda x, steps: np.maximum.accumulate(x, axis=0),
    "last": lambda x, steps: x,
}


def _reduced(plan: Mapping[str, Any], key: str, values: Array) -> Array:
    """An output that is reduced over time, as its running reduction; (T, B, size)."""
    over_time = next((stop.get("over_time") for stop in plan["stops"] if f"outputs/{stop['name']}" == key), None)
    if over_time is None:
        return values
    reduced: Array = OVER_TIME[over_time](values, np.arange(1, len(values) + 1).astype(np.float64)[:, None, None])
    return reduced


def _off_chip(net: Any, size: int, label: str, dt: float) -> Any:
    """Neurons on the host that fire in the very step of an input of 1, and keep nothing."""
    neurons = nengo.LIF(dt / 64, tau_ref=0, amplitude=dt, initial_state={"voltage": Choice([0.0])})
    relay = nengo.Ensemble(
        size, 1, neuron_type=neurons, gain=Choice([GAIN]), bias=Choice([0.0]), noise=None, label=label
    )
    net.config[relay].on_chip = False
    return relay


def _ensemble(layer: Mapping[str, Any], at: int, dt: float) -> Any:
    """The neurons of one core, in stock types: LIF, or without a leak SpikingRectifiedLinear."""
    groups = layer["groups"]
    decay, still = groups[at]["decay"], {"voltage": Choice([0.0])}
    if decay == FULL:
        neurons: Any = nengo.SpikingRectifiedLinear(amplitude=dt, initial_state=still)
    else:
        # nengo-loihi takes round(4095 (1 - exp(-dt / tau))) for the leak; that of 4095 is an exp(-dt / tau) of 0
        kept = max(1 - (FULL - decay) / (FULL - 1), 2.0**-40)
        floor = 0.0 if layer["rectified"] else -np.inf
        neurons = nengo.LIF(-dt / np.log(kept), tau_ref=0, min_voltage=floor, amplitude=dt, initial_state=still)
    label = layer["name"] if len(groups) == 1 else f"{layer['name']}[{at}]"
    return nengo.Ensemble(
        len(groups[at]["neurons"]),
        1,
        neuron_type=neurons,
        gain=Choice([GAIN]),
        bias=Choice([0.0]),
        noise=None,
        label=label,
    )


def _weight_of_one(layer: Mapping[str, Any], group: Mapping[str, Any], dt: float) -> float:
    """The weight that becomes 64: with 255 of it as the largest, the threshold becomes 64 times what it is planned to.

    nengo-loihi takes threshold * 64 * 255 / (largest weight) * (what a spike integrates to in current and voltage).
    """
    current = float(decay_magnitude(np.array([FULL - 2]), offset=1)[0])
    threshold = float(group["threshold"])
    if group["decay"] == FULL:
        return current / dt / threshold
    return current * float(decay_magnitude(np.array([FULL - group["decay"]]))[0]) / threshold


def _synapses(source: Any, target: Any, weights: Array) -> None:
    if weights.any():
        nengo.Connection(
            source.neurons, target.neurons, transform=weights / GAIN, synapse=None, learning_rule_type=None
        )


def _read_out(path: Mapping[str, Any], arrays: Mapping[str, Array], groups: Sequence[Any], output: Any) -> None:
    """Spikes to the host as 0 and 1, and there to the output through weights."""
    for ensemble, neurons in groups:
        size = len(neurons)
        heard = nengo.Node(
            lambda t, x: x > 0.5, size_in=size, size_out=size, label=f"{ensemble.label} heard", seed=None
        )
        nengo.Connection(ensemble.neurons, heard, synapse=None, learning_rule_type=None)
        weight = np.eye(output.size_in) if path["weight"] is None else arrays[path["weight"]]
        nengo.Connection(heard, output, transform=weight[:, neurons], synapse=None, learning_rule_type=None)


def _probe(target: Any, attribute: str) -> Any:
    return nengo.Probe(target, attribute, synapse=None, sample_every=None)

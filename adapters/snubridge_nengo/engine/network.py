"""The ``nengo.Network`` of a plan."""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np

from snubridge_nengo.engine.neurons import Array
from snubridge_nengo.engine.population import Part, Places, Port, snu_parts
from snubridge_nengo.engine.processes import Delay, Divided, Frames, Running
from snubridge_nengo.engine.products import SideBySide
from snubridge_nengo.engine.stock import lif_parts


def build(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    record: Sequence[str] = ("spikes", "states"),
    dt: float = 0.001,
    profile: str = "custom",
    batch: str = "auto",
) -> nengo.Network:
    """The network for one sample, whatever ``batch`` is; it runs under any ``nengo.Simulator(net, dt=dt)``.

    ``net.input``, ``net.output``   the Node, or a dict by name where there are several (or none)
    ``net.units``                   the Ensembles by name
    ``net.spikes``, ``net.states``, ``net.outputs``   the Probes by name

    The input is silent until ``net.input.output.values`` is set to an array (T, size). With ``profile="stock"``
    units are ``nengo.LIF``, a tuple of Ensembles for one of several decays, ``net.states`` are Probes of v, which is
    the state by the threshold and 0 after a spike, tuples likewise; and another dt is refused. Networks of
    ``profile="custom"`` run at any dt.
    """
    return Circuit(plan, arrays, record, dt, profile, samples=1).network


class Circuit:
    """A network under construction, of several samples side by side if ``samples`` is above 1."""

    def __init__(
        self,
        plan: Mapping[str, Any],
        arrays: Mapping[str, Array],
        record: Sequence[str],
        dt: float,
        profile: str,
        samples: int,
    ) -> None:
        self.plan, self.arrays, self.dt, self.profile, self.samples = plan, arrays, dt, profile, samples
        self.network = net = nengo.Network(label="Spiking Neural Units", seed=0, add_to_container=False)
        self.parts: dict[str, list[Part]] = {}
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.ports: dict[str, Port] = {}
        self.delayed: dict[tuple[str, int], Any] = {}
        with net:
            for stop in plan["stops"]:
                self.ports[stop["name"]] = self._unit(stop) if stop["kind"] == "unit" else self._stop(stop)
            for path in plan["paths"]:
                self._connect(path["source"], path["target"], path["weight"], path["delay"])
            for bias in plan["biases"]:
                self._bias(bias["bias"], bias["target"], bias["delay"])
            net.spikes, net.states, net.outputs = {}, {}, {}
            self.currents: dict[str, list[Any]] = {}
            for name, parts in self.parts.items():
                if "spikes" in record:
                    net.spikes[name] = _probe(self.ports[name].source, "output")
                if "states" in record:
                    state = "s" if profile == "custom" else "voltage"
                    net.states[name] = _single([_probe(part.ensemble.neurons, state) for part in parts])
                    if profile != "custom" and "currents" in record:
                        self.currents[name] = [_probe(part.ensemble.neurons, "input") for part in parts]
            net.outputs = {name: _probe(node, "output") for name, node in self.outputs.items()}
        net.units = {name: _single([part.ensemble for part in parts]) for name, parts in self.parts.items()}
        net.input, net.output = _only(self.inputs), _only(self.outputs)

    def _unit(self, unit: Mapping[str, Any]) -> Port:
        """Its Ensembles; where there are several, a Node puts their spikes in order."""
        if self.profile == "stock":
            parts = lif_parts(unit, self.arrays, self.samples, self.dt)
        else:
            parts = snu_parts(unit, self.arrays, self.samples)
        self.parts[unit["name"]] = parts
        targets = tuple((part.ensemble.neurons, part.rows, part.exponent) for part in parts)
        if len(parts) == 1:
            return Port(parts[0].ensemble.neurons, targets)
        size = unit["size"] * self.samples
        gathered = _node(None, size, size, unit["name"])
        for part in parts:
            _link(part.ensemble.neurons, gathered[self._places(part.rows, unit["size"])], None, None)
        return Port(gathered, targets)

    def _stop(self, stop: Mapping[str, Any]) -> Port:
        """The Node of an input, a relay or an output."""
        name, size, process = stop["name"], stop["size"] * self.samples, None
        if stop["kind"] == "input":
            numbers = self.plan["numbers"]
            entry = next(entry for entry in self.plan["inputs"] if entry["name"] == name)
            keys = ("low", "high", "fraction_bits") if numbers == "fixed_point" else ()
            only_dt = None if self.profile == "custom" else self.dt
            frames = Frames(size, numbers, {key: entry[key] for key in keys}, only_dt, default_dt=self.dt)
            self.inputs[name] = node = _node(frames, size, 0, name)
            return Port(node, ())
        if stop.get("divisor", 1) != 1:
            process = Divided(stop["divisor"], size, default_dt=self.dt)
        if stop.get("over_time") is not None:
            process = Running(stop["over_time"], size, default_dt=self.dt)
        node = _node(process, size, size, name)
        if stop["kind"] == "output":
            self.outputs[name] = node
        return Port(node, ((node, None, 0),))

    def _connect(self, source: str, target: str, weight: str | None, delay: int) -> None:
        origin, synapse = self._late(source, self.ports[source].source, delay)
        for place, rows, exponent in self.ports[target].targets:
            transform = self._transform(weight, rows, exponent, origin.size_out // self.samples)
            start = (
                origin
                if weight is not None or rows is None
                else origin[self._places(rows, origin.size_out // self.samples)]
            )
            _link(start, place, transform, synapse)

    def _bias(self, bias: str, target: str, delay: int) -> None:
        """A Node that puts out the bias."""
        values = np.tile(self.arrays[bias], self.samples)
        constant, synapse = self._late(bias, _node(values, len(values), 0, bias), delay)
        for place, rows, exponent in self.ports[target].targets:
            start = constant if rows is None else constant[self._places(rows, constant.size_out // self.samples)]
            _link(start, place, _scaled(exponent), synapse)

    def _late(self, name: str, source: Any, delay: int) -> tuple[Any, Any]:
        """From where, and through which synapse, values arrive ``delay`` steps late.

        In a stock network by way of Nodes of one step each, which every backend has.
        """
        if delay == 0:
            return source, None
        if delay == 1 or self.profile == "custom":
            return source, nengo.Lowpass(0) if delay == 1 else Delay(delay, default_dt=self.dt)
        for steps in range(1, delay):
            key = (name, steps)
            if key not in self.delayed:
                self.delayed[key] = _node(None, source.size_out, source.size_out, f"{name}, {steps} late")
                _link(source, self.delayed[key], None, nengo.Lowpass(0))
            source = self.delayed[key]
        return source, nengo.Lowpass(0)

    def _transform(self, weight: str | None, rows: Places | None, exponent: int, size_in: int) -> Any:
        """None or a factor for values that pass one to one, a matrix, or a sparse one for what is unrolled."""
        arrays, samples = self.arrays, self.samples
        if weight is None:
            return _scaled(exponent)
        if weight in arrays:
            dense = arrays[weight] if rows is None else arrays[weight][rows]
            dense = np.ldexp(dense, -exponent) if exponent else dense
            return dense if samples == 1 else SideBySide(dense, samples)
        targets, sources, values = (arrays[f"{weight}/{part}"] for part in ("targets", "sources", "values"))
        size_out = self._size_out(weight) if rows is None else len(rows)
        if rows is not None:
            place = np.full(self._size_out(weight), -1)
            place[rows] = np.arange(len(rows))
            kept = place[targets] >= 0
            targets, sources, values = place[targets][kept], sources[kept], values[kept]
        if not len(values):  # Nengo has no empty one
            targets, sources, values = np.zeros(1, int), np.zeros(1, int), np.zeros(1)
        indices, values = np.stack([targets, sources], axis=1), np.ldexp(values, -exponent)
        if samples == 1:
            return nengo.Sparse((size_out, size_in), init=values, indices=indices)
        return SideBySide(nengo.transforms.SparseMatrix(indices, values, (size_out, size_in)), samples)

    def _size_out(self, weight: str) -> int:
        """How many values what is unrolled puts out: as many as the stops that receive them."""
        sizes = {stop["name"]: stop["size"] for stop in self.plan["stops"]}
        return int(next(sizes[path["target"]] for path in self.plan["paths"] if path["weight"] == weight))

    def _places(self, rows: Places | None, size: int) -> Places:
        """Where the values of some of ``size`` neurons are, of all samples."""
        assert rows is not None
        return (np.arange(self.samples)[:, None] * size + rows).ravel()


def _scaled(exponent: int) -> Any:
    return 2.0**-exponent if exponent else None


def _node(output: Any, size: int, size_in: int, label: str) -> nengo.Node:
    """Everything explicit, as in ``_link``."""
    return nengo.Node(output, size_in=size_in, size_out=None if output is None else size, label=label, seed=None)


def _link(source: Any, target: Any, transform: Any, synapse: Any) -> None:
    """Everything explicit: the defaults are a synapse of 5 ms, and whatever a surrounding network configures."""
    nengo.Connection(source, target, transform=transform, synapse=synapse, learning_rule_type=None)


def _probe(target: Any, attribute: str) -> nengo.Probe:
    return nengo.Probe(target, attribute, synapse=None, sample_every=None)


def _single(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _only(named: dict[str, Any]) -> Any:
    return next(iter(named.values())) if len(named) == 1 else named

"""A network that somebody wrote by hand, if it is one of leaky integrate-and-fire neurons that a graph can say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import nengo
import numpy as np
from nengo.builder import Builder

from snubridge.errors import Unsupported, shown
from snubridge.exactness import ErrorModel
from snubridge.ir import Float64, Graph
from snubridge.ir.structure import zero_delay_order
from snubridge_nengo.reading.composition import Stops, compose
from snubridge_nengo.reading.connections import Projection, connection_oddities, read_delay, read_weight
from snubridge_nengo.reading.drawing import Refused, Seeds, seeds
from snubridge_nengo.reading.neurons import Neurons, ensemble_oddities, read_neurons

LONGEST = 40
"""Characters of a name: nodes that are derived from two of them have longer ones."""
UNIT = ErrorModel("float64").format.unit
"""The model's unit roundoff."""
ENTRIES = {
    nengo.Ensemble: "Ensemble",
    nengo.Node: "Node",
    nengo.Connection: "Connection",
}


def read_handwritten(backend: str, network: nengo.Network, dt: float, inputs: Sequence[Any], limit: int) -> Graph:
    """The graph of what ``nengo.Simulator(network, dt)`` computes, or ``Unsupported`` with every reason."""
    reader = Reader(network, dt, inputs, limit)
    graph = reader.graph()
    if reader.reasons:
        raise Unsupported(backend, reader.reasons)
    assert graph is not None
    return graph


def error_model(neurons: Sequence[Neurons]) -> dict[str, Any]:
    """By how much Nengo's arithmetic is off the graph's, as arguments of ``sb.ErrorModel``.

    v + (J - v)*K rounds J - v, the product and the sum: relative to K|J|, to K|v|, of which the carried state is a
    share of decay/K, and to what ``gamma`` of the model covers. A gain and the height of a spike round once each.
    """
    decays = np.concatenate([np.atleast_1d(found.decay) for found in neurons])
    return {
        "precision": "float64",
        "weight_error": 8 * UNIT,
        "decay_error": float((4 / decays + 4).max() * UNIT),
        "threshold_error": 4 * UNIT,
    }


class Reader:
    """One pass over a network, the networks in it included; ``reasons`` collects what does not fit."""

    def __init__(self, network: nengo.Network, dt: float, inputs: Sequence[Any], limit: int) -> None:
        self.network, self.dt, self.limit = network, dt, limit
        self.reasons: list[str] = []
        self.ensembles, self.nodes = network.all_ensembles, network.all_nodes
        self.connections = network.all_connections
        self.names: dict[Any, str] = {}
        self.taken: dict[str, int] = {}
        for kind in (self.ensembles, self.nodes):
            for index, thing in enumerate(kind):
                self._name(thing, thing.label, index)
        for index, connection in enumerate(self.connections):
            ends = [self.names.get(_owner(end)) for end in (connection.pre_obj, connection.post_obj)]
            self._name(connection, connection.label or (f"{ends[0]}_to_{ends[1]}" if all(ends) else None), index)
        self.places = {thing: f"{_kind(thing)} {name}" for thing, name in self.names.items()}
        self.leaving = {connection.pre_obj for connection in self.connections}
        self.given = self._given(inputs)

    def _name(self, thing: Any, wanted: str | None, index: int) -> None:
        """A name that a graph takes, and nothing else has: of the label, else of the kind and its index.

        Without dots: they join what is derived from it.
        """
        longest = LONGEST if _kind(thing) != "Connection" else 2 * LONGEST + len("_to_")
        base = re.sub(r"[^A-Za-z0-9_\-]", "_", wanted or f"{_kind(thing).lower()}{index}")[:longest]
        base = base if base[0] != "-" else f"_{base[1:]}"
        name, count = base, self.taken.get(base, 1)
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken |= {base: count, name: 1}
        self.names[thing] = name

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Keeps what is refused within, with its place."""
        try:
            yield
        except Refused as refused:
            self.reasons.append(f"{place}: {refused}")

    def _given(self, inputs: Sequence[Any]) -> dict[Any, None]:
        """What is an input of the graph: what was named, and Nodes that compute an output from nothing but time."""
        known = [*self.ensembles, *self.nodes]
        labels = Counter(thing.label for thing in known)
        named: set[Any] = set()
        for wanted in inputs:
            found = [thing for thing in known if thing is wanted or self.names[thing] == wanted]
            if not found:
                self.reasons.append(f"inputs: no Node or Ensemble is {shown(wanted)}; name those of the network")
            elif isinstance(wanted, str) and labels[wanted] > 1:
                self.reasons.append(f"inputs: {labels[wanted]} are labeled {shown(wanted)}; give the object itself")
            named |= set(found)
        streams = {node for node in self.nodes if _computes(node) and not node.size_in and node in self.leaving}
        return {thing: None for thing in known if thing in named | streams}

    def graph(self) -> Graph | None:
        """The graph, if nothing was refused."""
        self._network()
        drawn = seeds(self.network)
        decoded = {connection.post_obj for connection in self.connections}
        found = [self._neurons(thing, drawn, thing in decoded) for thing in self.ensembles if thing not in self.given]
        neurons = {entry.name: entry for entry in found if entry is not None}
        stops = self._stops(neurons)
        projections = [*self._encoders(neurons), *self._projections(stops, drawn)]
        if self.reasons:
            return None
        parts = None
        with self.at("network"):
            parts = compose(stops, projections, self.limit)
            if len(zero_delay_order(parts.nodes, parts.edges)) < len(parts.nodes):
                raise Refused("a cycle without delay, which Nengo does not build", "set synapse=0 on the way back")
        if parts is None or self.reasons:
            return None
        about = {
            "dt": self.dt,
            "rounding": dict.fromkeys(neurons, "relative to J - v"),
            "model": error_model(list(neurons.values())),
            "drawn": {name: list(entry.drawn) for name, entry in neurons.items() if entry.drawn},
        }
        return Graph(parts.nodes, parts.edges, numbers=Float64(), metadata={"nengo": about})

    def _network(self) -> None:
        """What concerns all objects: their kinds, that they are connected within the network, and the precision."""
        if nengo.rc.float_dtype != np.float64:
            self.reasons.append(
                "network: Nengo's precision is set to 32 bits; set nengo.rc['precision']['bits'] = '64'"
            )
        for network in (self.network, *self.network.all_networks):
            builder = next((kind for kind in type(network).__mro__ if kind in Builder.builders), None)
            if builder is not nengo.Network:
                self.reasons.append(f"network: a {type(network).__name__} has a builder of its own; take nengo.Network")
        for thing, place in self.places.items():
            if type(thing) not in ENTRIES:
                what = f"is a {type(thing).__name__}, which may be built otherwise than a nengo.{_kind(thing)}"
                self.reasons.append(f"{place}: {what}; take that one")
        held = Counter([*self.ensembles, *self.nodes, *self.connections])
        self.reasons += [
            f"{self.places[thing]}: {count} networks hold it; leave it in one"
            for thing, count in held.items()
            if count > 1
        ]
        for connection in self.connections:
            for end in (connection.pre_obj, connection.post_obj):
                if not isinstance(end, nengo.connection.LearningRule) and _owner(end) not in self.names:
                    self.reasons.append(f"{self.places[connection]}: {shown(end)} is not in the network; add it")
        if not any(thing not in self.given for thing in self.ensembles):
            self.reasons.append("network: holds no ensembles that are not given; a graph of neurons needs one")
        elif not self.given:
            self.reasons.append(
                "network: nothing is given to it, and a graph has an input; add a Node that is a function of time, or "
                "name a Node in inputs=[...]"
            )

    def _neurons(self, ensemble: nengo.Ensemble, drawn: Seeds, decoded: bool) -> Neurons | None:
        place = self.places[ensemble]
        if type(ensemble) is not nengo.Ensemble:
            return None  # refused, and not built
        odd = list(ensemble_oddities(ensemble, self.limit))
        self.reasons += [f"{place}: {refused}" for refused in odd]
        with self.at(place):
            return None if odd else read_neurons(self.names[ensemble], ensemble, drawn, self.dt, decoded)
        return None

    def _stops(self, neurons: dict[str, Neurons]) -> Stops:
        relays = {f"{name}.input": found.encoders.shape[1] for name, found in neurons.items() if found.encoders.size}
        constants = {}
        for node in self.nodes:
            if node in self.given:
                continue
            if isinstance(node.output, np.ndarray):
                constants[self.names[node]] = node.output
            elif not _computes(node) or node not in self.leaving:
                relays[self.names[node]] = node.size_in
            else:
                what = f"computes its output from what it receives, by a {type(node.output).__name__}"
                remedy = "leave it out, or name it in inputs=[...] if its output is given"
                self.reasons.append(f"{self.places[node]}: {what}; {remedy}")
        given = {
            self.names[thing]: thing.n_neurons if isinstance(thing, nengo.Ensemble) else thing.size_out
            for thing in self.given
        }
        return Stops(given, relays, constants, neurons)

    def _encoders(self, neurons: dict[str, Neurons]) -> Iterator[Projection]:
        """What leads from the decoded input of an ensemble to its neurons."""
        for name, found in neurons.items():
            if found.encoders.size:
                yield Projection(f"{name}.encoders", f"{name}.input", name, found.encoders, 0)

    def _projections(self, stops: Stops, drawn: Seeds) -> Iterator[Projection]:
        sizes = stops.sizes
        for connection in self.connections:
            if _owner(connection.post_obj) in self.given:
                continue  # what is given does not depend on what it receives
            place, count = self.places[connection], len(self.reasons)
            delay = weight = None
            self.reasons += [f"{place}: {refused}" for refused in connection_oddities(connection)]
            with self.at(place):
                delay = read_delay(connection.synapse)
            source, target = (self._port(end) for end in (connection.pre_obj, connection.post_obj))
            if source not in sizes or target not in sizes or len(self.reasons) > count:
                continue  # one of its ends was refused
            with self.at(place):
                weight = read_weight(connection, drawn, (sizes[target], sizes[source]), self.limit)
            if weight is not None and delay is not None:
                weight = stops.scaled(weight, source, target)
                yield Projection(self.names[connection], source, target, weight, delay)

    def _port(self, end: Any) -> str:
        """The name of a stop."""
        name = self.names.get(_owner(end), "")
        return f"{name}.input" if isinstance(end, nengo.Ensemble) else name


def _owner(end: Any) -> Any:
    """The object that the end of a connection belongs to."""
    return end.ensemble if isinstance(end, nengo.ensemble.Neurons) else end


def _kind(thing: Any) -> str:
    return next(name for kind, name in ENTRIES.items() if isinstance(thing, kind))


def _computes(node: nengo.Node) -> bool:
    """Whether the output of a Node is a function or a process."""
    return node.output is not None and not isinstance(node.output, np.ndarray)

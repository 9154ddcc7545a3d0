"""A network that somebody wrote by hand, if it is one of leaky integrate-and-fire groups that a graph can say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import brian2
from brian2.monitors.ratemonitor import PopulationRateMonitor
from brian2.monitors.spikemonitor import EventMonitor, SpikeMonitor
from brian2.monitors.statemonitor import StateMonitor

import snubridge_brian2.engine as brian2_engine
from snubridge.errors import Unsupported, shown
from snubridge.ir import Float64, Graph, Input
from snubridge_brian2.reading.composition import Arrivals, Parts, compose
from snubridge_brian2.reading.expressions import Refused, Scope
from snubridge_brian2.reading.neurons import (
    Neurons,
    assemble,
    is_neurons,
    read_dynamics,
    read_reset,
    read_threshold,
)
from snubridge_brian2.reading.schedule import arrival, demand_order, positions
from snubridge_brian2.reading.synapses import Projection, oddities, pathways, read_pathway, whole

STIMULI = (brian2.SpikeGeneratorGroup, brian2.PoissonGroup)
"""What fires by itself: an input of the graph, whose spikes are given to it."""
WATCHING = (SpikeMonitor, StateMonitor, EventMonitor, PopulationRateMonitor)
LONGEST = 60
"""Characters of a name: nodes that are derived from it have longer ones."""


def read_handwritten(
    backend: str, network: brian2.Network, namespace: Mapping[str, Any], inputs: frozenset[str], limit: int
) -> Graph:
    """The graph of what one run of the network from t = 0 computes, or ``Unsupported`` with every reason."""
    reader = Reader(network, namespace, inputs, limit)
    graph = reader.graph()
    if reader.reasons:
        raise Unsupported(backend, reader.reasons)
    assert graph is not None
    return graph


def _numbered(thing: Any) -> list[tuple[int, str]]:
    """Sorts names as people do, synapses_9 before synapses_10."""
    parts = re.split("([0-9]+)", thing.name)
    return [(int(part) if part.isdigit() else 0, part) for part in parts]


class Reader:
    """One pass over a network; ``reasons`` collects what does not fit."""

    def __init__(
        self, network: brian2.Network, namespace: Mapping[str, Any], inputs: frozenset[str], limit: int
    ) -> None:
        self.network, self.namespace, self.limit = network, namespace, limit
        self.reasons: list[str] = []
        self.objects = sorted(network.objects, key=_numbered)  # a set, in Brian2
        groups = [thing for thing in self.objects if isinstance(thing, (*STIMULI, brian2.NeuronGroup))]
        self.given = {group.name: group for group in groups if isinstance(group, STIMULI) or group.name in inputs}
        self.groups = {group.name: group for group in groups if is_neurons(group) and group.name not in inputs}
        self.synapses = [thing for thing in self.objects if type(thing) is brian2.Synapses]
        self.states: dict[str, str] = {}
        for name in sorted(inputs - self.given.keys()):
            self.reasons.append(f"inputs: no group is called {shown(name)}; name groups of the network")

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Keeps what is refused within, with its place."""
        try:
            yield
        except Refused as refused:
            self.reasons.append(f"{place}: {refused}")

    def graph(self) -> Graph | None:
        """The graph, if nothing was refused."""
        self._network()
        neurons = [found for group in self.groups.values() if (found := self._neurons(group))]
        projections = list(self._projections())
        parts = Parts({name: Input((len(group),), 0.0, 1.0, 0) for name, group in self.given.items()})
        with self.at("network"):
            place = positions(self.network)
            for found in neurons:
                with self.at(f"group {found.name}"):
                    demand_order(self.groups[found.name], place)
                    arrivals = self._arrivals(found, projections, place)
                    if arrivals or not self.reasons:  # else what leads to it may be among what was refused
                        compose(parts, found, arrivals, self.limit)
        if self.reasons:
            return None
        about = {
            "dt": float(next(iter(self.groups.values())).clock.dt_),
            "rounding": {found.name: "order of sums" if found.exact else "relative to the reset" for found in neurons},
        }
        return Graph(parts.nodes, parts.edges, numbers=Float64(), metadata={"brian2": about})

    def _arrivals(self, neurons: Neurons, projections: list[Projection], place: Mapping[str, int]) -> Arrivals:
        """What reaches a group, in the order of a step."""
        found = [projection for projection in projections if projection.target == neurons.name]
        ordered = sorted(found, key=lambda projection: place[projection.pathway.name])
        return [(projection, arrival(projection.pathway, place)) for projection in ordered]

    def _network(self) -> None:
        """What concerns all objects: their kinds, names and clocks, and that nothing ran."""
        if not brian2_engine.is_runtime():
            self.reasons.append("network: Brian2 is in standalone mode; brian2.set_device('runtime') goes back")
        if self.network.t_ != 0:
            self.reasons.append(
                f"network: it ran until {self.network.t_:g} s; build it anew, and read it before it runs"
            )
        known = [*self.given.values(), *self.groups.values(), *self.synapses]
        if not self.groups:
            self.reasons.append(
                "network: holds no groups of neurons; pass brian2.Network(group, synapses, ...) or a list of them"
            )
        elif not self.given:
            self.reasons.append(
                "network: nothing in it fires by itself, and a graph has an input; add a SpikeGeneratorGroup, or name "
                "a group in inputs=[...]"
            )
        for thing in self.objects:
            if type(thing) not in WATCHING and thing not in known:
                self.reasons.append(
                    f"{shown(thing.name)[1:-1]}: a {type(thing).__name__} has no counterpart in a graph; "
                    "leave it out, or name a group in inputs=[...] if its spikes are given"
                )
        for group in self.given.values():
            if type(group) is brian2.NeuronGroup and "spike" not in group.events:
                self.reasons.append(
                    f"group {group.name}: it is named as an input, and never fires; give it a threshold"
                )
        for thing in known:
            for part in (thing, *thing.contained_objects):
                if not part.active:
                    self.reasons.append(f"{part.name}: is switched off; set active = True, or leave it out")
            if len(thing.name) > LONGEST:
                self.reasons.append(f"{thing.name}: its name is too long; {LONGEST} characters are the most")
        # Each part has a clock of its own, which Brian2 takes from its owner, and a user may have changed.
        parts = {part.name: part for thing in known for part in (thing, *thing.contained_objects)}
        found = {name: float(part.clock.dt_) for name, part in parts.items()}
        if len(set(found.values())) > 1:
            steps = ", ".join(f"{name} {dt:g} s" for name, dt in found.items())
            self.reasons.append(f"network: several time steps ({steps}); give all objects one dt")
        for name, count in Counter(thing.name for thing in known).items():
            if count > 1:
                self.reasons.append(f"{name}: {count} objects of this name; give each its own")

    def _neurons(self, group: Any) -> Neurons | None:
        place, count = f"group {group.name}", len(self.reasons)
        scope = Scope(group, self.namespace)
        if group._refractory is not False:
            self.reasons.append(f"{place}: it is refractory for {shown(group._refractory)}; leave refractory out")
        for event in group.events:
            if event != "spike":
                self.reasons.append(f"{place}: it has the event {event}; only spikes can be carried over")
        own = [group.state_updater, *group.thresholder.values(), *group.resetter.values()]
        for part in group.contained_objects:
            if part not in own:
                what = " ".join(str(getattr(part, "abstract_code", None) or getattr(part, "code", "")).split())
                self.reasons.append(f"{place}: {part.name} runs in every step ({shown(what)}); leave it out")
        if group._linked_variables:
            linked = ", ".join(sorted(group._linked_variables))
            self.reasons.append(f"{place}: {linked} is linked to another group; make it a parameter")
        if "spike" not in group.events:
            self.reasons.append(f"{place}: it has no threshold; give it one, or leave it out")
            return None
        dynamics = threshold = reset = None
        with self.at(place):
            state, dynamics = read_dynamics(group, scope)
            self.states[group.name], scope = state, scope.with_state(state)
            with self.at(place):
                threshold = read_threshold(group.events["spike"], state, scope)
            with self.at(place):
                reset = read_reset(group.event_codes.get("spike", ""), state, scope)
        if dynamics is None or threshold is None or reset is None or len(self.reasons) > count:
            return None
        with self.at(place):
            return assemble(group, state, dynamics, threshold, reset)
        return None

    def _projections(self) -> Iterator[Projection]:
        for synapses in self.synapses:
            place, count = f"synapses {synapses.name}", len(self.reasons)
            self.reasons += [f"{place}: {refused}" for refused in oddities(synapses)]
            (source, _), (target, _) = whole(synapses.source), whole(synapses.target)
            if source.name not in self.given and source.name not in self.groups:
                self.reasons.append(f"{place}: its source {source.name} is not in the network; add it")
            if target.name not in self.groups:
                self.reasons.append(f"{place}: its target {target.name} is not one of the groups that are read")
            if not synapses._connect_called:
                self.reasons.append(f"{place}: it was never connected; call connect, or leave it out")
            if len(self.reasons) > count or target.name not in self.states:
                continue
            for pathway in pathways(synapses):
                with self.at(place):
                    yield from read_pathway(synapses, pathway, self.states[target.name], self.namespace, self.limit)

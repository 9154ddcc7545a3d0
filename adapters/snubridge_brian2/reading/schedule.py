"""When, within one step of a network, neurons are updated, fire and are reset, and when spikes reach them.

A step is what ``Network.sorted_objects`` says. From the update of a group to the next one there are three windows:

    "update"     between the update and the threshold: what arrives decides at once, s_t = carried + drive
    "threshold"  between the threshold and the reset, as in Brian2's default schedule: what arrives is decayed before
                 it decides, and a neuron that has fired loses it
    "reset"      between the reset and the next update: what arrives is decayed before it decides, and nothing is lost
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import brian2

from snubridge_brian2.reading.expressions import Refused
from snubridge_brian2.reading.synapses import whole


@dataclass(frozen=True)
class Arrival:
    """The window in which spikes arrive, and how many steps after they were fired they count there."""

    window: str
    lag: int


def positions(network: brian2.Network) -> Mapping[str, int]:
    """The place of every object of a network, by name, in the order of a step."""
    try:
        return {thing.name: place for place, thing in enumerate(network.sorted_objects)}
    except KeyError as slot:
        raise Refused(
            f"the schedule {network.schedule} has no slot {slot}", "add it, or move what runs there"
        ) from None


def firing(group: Any) -> str:
    """The name of the object that makes a group's spikes."""
    name: str = group.name if type(group) is brian2.SpikeGeneratorGroup else group.thresholder["spike"].name
    return name


def demand_order(group: Any, place: Mapping[str, int]) -> None:
    """Update, threshold, reset, in this order within a step."""
    parts = [group.state_updater, group.thresholder["spike"], *group.resetter.values()]
    if sorted(parts, key=lambda part: place[part.name]) != parts:
        raise Refused(
            "its update, threshold and reset are not in this order within a step",
            "leave the schedule as it is by default",
        )


def arrival(pathway: Any, place: Mapping[str, int]) -> Arrival:
    """When the spikes of a pathway without delay reach its target."""
    (source, _), (target, _) = whole(pathway.source), whole(pathway.target)
    here = place[pathway.name]
    late = 1 if place[firing(source)] > here else 0  # it picks up the spikes of the step before
    if here < place[target.state_updater.name]:  # after the reset of the step before
        return Arrival("reset", late - 1)
    if here < place[target.thresholder["spike"].name]:
        return Arrival("update", late)
    if all(here < place[part.name] for part in target.resetter.values()):
        return Arrival("threshold", late)
    return Arrival("reset", late)

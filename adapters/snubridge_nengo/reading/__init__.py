"""Networks of Nengo as graphs: those that ``native`` handed out, and those that somebody wrote by hand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import nengo

from snubridge.bridge import MAX_SYNAPSES, Adapter, time_step, upper_limit
from snubridge.errors import BadInput, shown
from snubridge.ir import Graph
from snubridge_nengo.reading.exported import is_exported, read_native
from snubridge_nengo.reading.handwritten import read_handwritten

DT = 1e-3
"""Seconds of a step: that of ``nengo.Simulator`` if nothing else is said."""


def read_network(
    adapter: Adapter, network: Any, max_synapses: int | None, dt: float | None, inputs: Collection[Any]
) -> Graph:
    """The graph of a ``nengo.Network``; see ``NengoAdapter.read``."""
    if not isinstance(network, nengo.Network):
        raise BadInput(f"source: a {type(network).__name__}; give the path of an exported script or a nengo.Network")
    if isinstance(inputs, str) or not isinstance(inputs, Collection) or not all(map(_names_something, inputs)):
        raise BadInput(f"nengo: inputs={shown(inputs)}; give a list of Nodes and Ensembles, or of their names")
    try:
        exported = is_exported(network)
    except RecursionError:
        raise BadInput("source: its networks hold each other without end; take them apart") from None
    if exported:
        if dt is not None or inputs:
            raise BadInput("nengo: dt and inputs are for networks written by hand; leave them out")
        return read_native(adapter, network, max_synapses)
    step = time_step(adapter.name, DT if dt is None else dt)
    limit = MAX_SYNAPSES if max_synapses is None else upper_limit(adapter.name, "max_synapses", max_synapses)
    return read_handwritten(adapter.name, network, step, tuple(inputs), limit)


def _names_something(wanted: Any) -> bool:
    return isinstance(wanted, str | nengo.Node | nengo.Ensemble)

"""What a Nengo network holds that can change what it computes, to tell whether it still is what was exported."""

from __future__ import annotations

from typing import Any

import nengo
import numpy as np
from nengo.params import FrozenObject, iter_params

from snubridge.bridge import Adapter, read_exported
from snubridge.errors import BadFile
from snubridge.ir import Graph

KINDS = ("nodes", "ensembles", "connections", "probes", "networks")


def is_exported(network: nengo.Network) -> bool:
    """Whether a network says that it was exported, or holds neurons that only exports have."""
    types = {type(ensemble.neuron_type) for ensemble in network.all_ensembles}
    return hasattr(network, "exported") or any(kind.__module__.startswith("snubridge_nengo.") for kind in types)


def read_native(adapter: Adapter, network: nengo.Network, max_synapses: int | None) -> Graph:
    """The graph of a ``nengo.Network`` that ``native`` handed out and nobody changed; its input may be set."""
    return read_exported(adapter, network, max_synapses, describe)


def describe(network: nengo.Network) -> dict[str, Any]:
    """Every parameter of every object, by a place such as "connections[2] transform"."""
    places = {id(thing): f"{kind}[{index}]" for kind in KINDS for index, thing in enumerate(getattr(network, kind))}
    found: dict[str, Any] = {}
    for kind in KINDS:
        for thing in getattr(network, kind):
            for name in iter_params(thing):
                _enter(found, f"{places[id(thing)]} {name}", getattr(thing, name), places)
    return found


def _enter(found: dict[str, Any], place: str, value: Any, places: dict[int, str]) -> None:
    """Put a parameter under its place, what is made of parts by its parts; objects of the network by their places."""
    if isinstance(value, nengo.ensemble.Neurons):
        _enter(found, f"{place}.neurons of", value.ensemble, places)
    elif isinstance(value, nengo.base.ObjView):
        _enter(found, f"{place}, some of", value.obj, places)
        found[f"{place} places"] = value.slice if isinstance(value.slice, slice) else tuple(value.slice)
    elif id(value) in places:
        found[place] = places[id(value)]
    elif isinstance(value, nengo.transforms.SparseMatrix | FrozenObject | nengo.neurons.NeuronType):
        found[place] = type(value).__qualname__
        found[f"{place} code"] = type(value)
        found[f"{place} attributes"] = sorted(vars(value))  # one that hides a method among them
        for name in iter_params(value):
            _enter(found, f"{place}.{name}", getattr(value, name), places)
    elif isinstance(value, dict):
        found[place] = sorted(value)
        for key, part in value.items():
            _enter(found, f"{place}[{key!r}]", part, places)
    elif isinstance(value, np.ndarray | np.generic | str | int | float | slice | tuple | type | None):
        found[place] = value
    else:
        raise BadFile(f"the network: {place} is a {type(value).__name__}, which says nothing of what it computes")

"""Networks of Brian2 as graphs: those that ``native`` handed out, and those that somebody wrote by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import brian2
import numpy as np

from snubridge.bridge import MAX_SYNAPSES, Adapter, upper_limit
from snubridge.errors import BadInput, Unsupported, shown
from snubridge.ir import Graph
from snubridge_brian2.reading.exported import read_native
from snubridge_brian2.reading.handwritten import read_handwritten


def read_network(
    adapter: Adapter,
    source: Any,
    max_synapses: int | None,
    namespace: Mapping[str, Any] | None,
    inputs: Collection[str],
) -> Graph:
    """The graph of a ``brian2.Network``, or of a list of Brian2's objects; see ``Brian2Adapter.read``."""
    network = source
    if isinstance(source, list | tuple) and all(isinstance(thing, brian2.BrianObject) for thing in source):
        ran = [thing.name for thing in source if thing._network is not None]
        if ran:
            reason = f"objects: {ran[0]} ran already; build them anew, and read them before they run"
            raise Unsupported(adapter.name, [reason])
        network = brian2.Network(*source)
    if not isinstance(network, brian2.Network):
        raise BadInput(
            f"source: a {type(source).__name__}; give the path of an exported script, a brian2.Network, or a list of "
            "Brian2's objects"
        )
    if hasattr(network, "exported") or hasattr(network, "object_names"):
        if namespace is not None or inputs:
            raise BadInput("brian2: namespace and inputs are for networks written by hand; leave them out")
        return read_native(adapter, network, max_synapses)
    limit = MAX_SYNAPSES if max_synapses is None else upper_limit(adapter.name, "max_synapses", max_synapses)
    return read_handwritten(adapter.name, network, _constants(namespace), _names(inputs), limit)


def _constants(namespace: Mapping[str, Any] | None) -> dict[str, Any]:
    """What may stand for a number in equations; a whole ``locals()`` may be given, the rest of it is not looked at."""
    if namespace is not None and not isinstance(namespace, Mapping):
        raise BadInput(f"brian2: namespace={shown(namespace)}; give a mapping of names to numbers, or locals()")
    numbers = (int, float, np.number, np.ndarray)  # the last for Brian2's quantities
    return {name: value for name, value in (namespace or {}).items() if isinstance(value, numbers)}


def _names(inputs: Collection[str]) -> frozenset[str]:
    if isinstance(inputs, str) or not all(isinstance(name, str) for name in inputs):
        raise BadInput(f"brian2: inputs={shown(inputs)}; give a list of the names of groups")
    return frozenset(inputs)

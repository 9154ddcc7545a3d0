"""What a Brian2 network holds that can change what it computes, to tell whether it still is what was exported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import brian2
import numpy as np
from brian2.core.functions import Function
from brian2.core.variables import ArrayVariable

from snubridge.bridge import Adapter, read_exported
from snubridge.ir import Graph

TEXTS = (
    *("when", "order", "active", "codeobj_class", "user_equations", "events", "event_codes", "abstract_code", "code"),
    *("event", "record_variables", "record", "record_all", "_refractory", "method_choice"),
)
ENDS = ("source", "target", "group")


def read_native(adapter: Adapter, network: brian2.Network, max_synapses: int | None) -> Graph:
    """The graph of a ``brian2.Network`` that ``native`` handed out and nobody ran or changed; its input may be set."""
    return read_exported(adapter, network, max_synapses, describe)


def describe(network: brian2.Network) -> dict[str, Any]:
    """Every equation, code, order, parameter and synapse, by a place such as "hidden threshold"."""
    found: dict[str, Any] = {"time": float(network.t_), "schedule": list(network.schedule)}
    for thing in sorted(network.objects, key=lambda thing: str(thing.name)):
        for part in _with_parts(thing):
            place = part.name if part is thing else f"{thing.name}: {part.name}"
            found[place] = type(part).__qualname__
            found |= {f"{place} {key}": value for key, value in _described(part)}
    return found


def _with_parts(thing: Any) -> Iterator[Any]:
    yield thing
    for part in sorted(thing.contained_objects, key=lambda part: str(part.name)):
        yield from _with_parts(part)


def _named(value: Any) -> Any:
    """What a name in the equations stands for: of an input's stream all but its values, of a function its code."""
    if isinstance(value, brian2.TimedArray):
        return f"TimedArray of {value.values.shape[1:]} every {value.dt!r} s"
    if isinstance(value, Function):
        if isinstance(value.pyfunc, np.ufunc):  # compiled: it has a name, and is numpy's own or something else
            return value.pyfunc is getattr(np, value.pyfunc.__name__, None), value.pyfunc.__name__
        return " and ".join(_fingerprint(part) for part in (value.pyfunc, getattr(value, "precompute", None)) if part)
    return value


def _fingerprint(function: Any) -> str:
    """The name of a function, and a hash of its code and of what it keeps."""
    code, cells = function.__code__, function.__closure__ or ()
    kept = [_plain(cell.cell_contents) for cell in cells]
    text = repr((code.co_filename, code.co_code, code.co_names, code.co_consts, kept))
    return f"{function.__name__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    """What can be compared with ==, of a value that a function keeps."""
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _described(thing: Any) -> Iterator[tuple[str, Any]]:
    yield "clock", float(thing.clock.dt_)
    for key in TEXTS:
        if hasattr(thing, key):
            value = getattr(thing, key)
            yield key, value if isinstance(value, int | np.ndarray | None) else str(value)
    for key in ENDS:
        if hasattr(thing, key):
            yield key, getattr(getattr(thing, key), "name", None)
    for key, value in (getattr(thing, "namespace", None) or {}).items():
        yield f"namespace {key}", _named(value)
    for key, variable in getattr(thing, "variables", {}).items():
        if isinstance(variable, ArrayVariable) and getattr(variable.owner, "name", None) == thing.name:
            yield key, np.array(variable.get_value())

"""A hardware description back as a graph, bit for bit.

A graph has exactly one description, so whatever is read is described anew, and a description is
refused unless it is that of the graph which was found in it. That checks every cross reference,
size, count and conductance at once, whoever computed the hashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from snubridge.errors import BadFile, Unsupported
from snubridge.ir.document import restore_numbers, to_json
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Conv2d, Flatten, Input, Linear, Node, Output, Pair, Unit
from snubridge.ir.numbers import NUMBERS, Array, Numbers
from snubridge.ir.rules import validate
from snubridge_pcm.conductances import Pairs, check, decode, is_full_scale
from snubridge_pcm.description import POOLS, RESETS, Document, G, H, describe


def restore(document: Document, arrays: Mapping[str, Array]) -> Graph:
    """The graph of a description of the right form; ``BadFile`` or ``InvalidGraph`` where it is not a graph's own."""
    if not is_full_scale(document["device"]["g_max_uS"]):
        raise BadFile(f"device.g_max_uS: found {document['device']['g_max_uS']}; needed a positive number")
    nodes: dict[str, Node] = {}
    for group, node_of in READ.items():
        for index, entry in enumerate(document[group]):
            place = f"{group}[{index}] ({entry['node']!r:.60})"
            if entry["node"] in nodes:
                raise BadFile(f"{place}: a second node of this name")
            nodes[entry["node"]] = node_of(document, entry, arrays, place)
    names = document["source"]["nodes"]
    if sorted(names) != sorted(nodes):
        raise BadFile("source.nodes: not the names of all inputs, crossbars, pools, reshapes, neurons and outputs")
    numbers = _read_numbers(document)
    edges = [Edge(route["from"], route["to"], route["delay_steps"]) for route in document["routing"]]
    graph = Graph(
        {name: nodes[name] for name in names}, edges, numbers=numbers, metadata=document["source"]["metadata"]
    )
    validate(graph)
    try:
        described, encoded = describe(graph, document["device"]["g_max_uS"])
    except Unsupported as error:
        raise BadFile(f"the described weights cannot be programmed: {error}") from None
    for key, array in encoded.items():
        _demand_same(key, _array(arrays, key, "the described network"), array)
    given = {key: value for key, value in document.items() if key in described}
    if to_json(given) != to_json(described):
        raise BadFile(_difference(given, described, "$"))
    return graph


def _read_numbers(document: Document) -> Numbers:
    if isinstance(document["numbers"], dict):
        return restore_numbers(document["numbers"])
    kind: type[Numbers] = _known(NUMBERS, document["numbers"], "numbers")
    return kind()  # type: ignore[call-arg]  # no FixedPoint is in the table


def _read_input(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    return Input(tuple(entry["shape"]), entry["low"], entry["high"], entry["fraction_bits"])


def _read_crossbar(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    pairs = Pairs(**{field.name: _array(arrays, entry[field.name], place) for field in fields(Pairs)})
    size = (entry["rows"], entry["crossbars"] * entry["columns"])
    found = [array.shape for array in vars(pairs).values()]
    if found != [size, size, size[1:]] or any(array.dtype != np.float64 for array in vars(pairs).values()):
        needed = f"{size[0]} rows and {entry['crossbars']} times {entry['columns']} columns"
        raise BadFile(f"{place}: arrays of shapes {found}; needed float64 for {needed}")
    check(pairs, document["device"]["g_max_uS"], place)
    weight = decode(pairs, _read_numbers(document).dtype)
    bias = None if entry["bias"] is None else _array(arrays, entry["bias"], place)
    if entry["window"] is None:
        return Linear(weight, bias)
    window = _window(entry, place)
    kernel = window["kernel"]
    values = math.prod(kernel)
    if not values or entry["rows"] % values or not entry["crossbars"]:
        raise BadFile(f"{place}: {entry['rows']} rows of {entry['crossbars']} crossbars for windows of {kernel}")
    filters = weight.reshape(len(weight), -1, *kernel)
    return Conv2d(filters, bias, window["stride"], window["padding"], window["dilation"], entry["crossbars"])


def _read_pool(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    pool = _known({name: kind for kind, name in POOLS.items()}, entry["operation"], f"{place}.operation")
    window = _window(entry, place)
    node: Node = pool(window["kernel"], window["stride"], window["padding"])
    return node


def _window(entry: Document, place: str) -> dict[str, Pair]:
    """Kernel, stride, padding and, of a crossbar, dilation, each for height and width."""
    window: dict[str, Pair] = {name: tuple(pair) for name, pair in entry["window"].items()}
    for name, pair in window.items():
        if len(pair) != 2:
            raise BadFile(f"{place}.window.{name}: found {list(pair)!s:.60}; needed height and width")
    return window


def _read_reshape(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    return Flatten()


def _read_neurons(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    decay, threshold, initial = (_array(arrays, entry[key], place) for key in ("decay", "threshold", "initial_state"))
    return Unit(
        decay,
        threshold,
        reset=_known({name: reset for reset, name in RESETS.items()}, entry["reset"], f"{place}.reset"),
        g=_function(G, entry["g"], f"{place}.g"),
        h=_function(H, entry["h"], f"{place}.h"),
        initial_state=initial,
    )


def _read_output(document: Document, entry: Document, arrays: Mapping[str, Array], place: str) -> Node:
    return Output(entry["over_time"])


READ: dict[str, Callable[[Document, Document, Mapping[str, Array], str], Node]] = {
    "inputs": _read_input,
    "crossbars": _read_crossbar,
    "pools": _read_pool,
    "reshapes": _read_reshape,
    "neurons": _read_neurons,
    "outputs": _read_output,
}


def _function(table: Mapping[type, str], entry: Document, place: str) -> Any:
    kind = _known({name: kind for kind, name in table.items()}, entry.get("kind"), f"{place}.kind")
    settings = {key: value for key, value in entry.items() if key != "kind"}
    if settings.keys() != {field.name for field in fields(kind)}:
        raise BadFile(f"{place}: found the settings {sorted(settings)}, which are not those of {entry['kind']}")
    return kind(**settings)


def _known(table: Mapping[str, Any], name: Any, place: str) -> Any:
    if name not in table:
        raise BadFile(f"{place}: found {name!r:.60}; needed {' or '.join(table)}")
    return table[name]


def _array(arrays: Mapping[str, Array], key: str, place: str) -> Array:
    if key not in arrays:
        raise BadFile(f"{place}: there is no array {key!r:.80}")
    return arrays[key]


def _demand_same(key: str, given: Array, needed: Array) -> None:
    """``BadFile`` where an array is another than that of the graph which was read from it."""
    place = f"array {key!r:.80}"
    if (given.dtype, given.shape) != (needed.dtype, needed.shape):
        found, wanted = (f"{array.dtype} {array.shape}" for array in (given, needed))
        raise BadFile(f"{place}: found {found}; the described network needs {wanted}")
    unequal = (given != needed) | (np.signbit(given) != np.signbit(needed))
    if unequal.any():
        at = tuple(int(i) for i in np.argwhere(unequal)[0])
        raise BadFile(f"{place} at {at}: found {given[at]}; what it decodes to is encoded as {needed[at]}")


def _difference(given: Any, needed: Any, place: str) -> str:
    """Where two documents of one form part first."""
    pairs: Iterable[tuple[str, Any, Any]] = ()
    if isinstance(given, dict) and isinstance(needed, dict) and given.keys() == needed.keys():
        pairs = ((f"{place}.{key}", given[key], needed[key]) for key in sorted(given))
    elif isinstance(given, list) and isinstance(needed, list) and len(given) == len(needed):
        pairs = ((f"{place}[{index}]", *both) for index, both in enumerate(zip(given, needed, strict=True)))
    for inner, one, other in pairs:
        if to_json({"": one}) != to_json({"": other}):
            return _difference(one, other, inner)
    return f"{place}: found {given!r:.120}; the described network needs {needed!r:.120}"

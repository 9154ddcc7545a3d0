"""A graph as a JSON document beside its arrays: the one description that every file format of ours uses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from snubridge.errors import BadFile, shown
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS, Reset
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import NODE_KINDS, Node
from snubridge.ir.numbers import NUMBERS, Array, FixedPoint, Numbers

FORMATS = (FORMAT, FORMAT_OF_FIXED_POINT) = (1, 2)
"""Format 2 is that of graphs whose numbers are FixedPoint; all others are written in format 1, as ever."""
MAX_DEPTH = 200  # of nested lists and objects
MAX_VALUES = 4_000_000  # of a JSON text: a small one could else fill gigabytes
_PAIRS = ("stride", "padding", "dilation", "kernel_size", "shape")


def describe(graph: Graph) -> tuple[dict[str, Any], dict[str, Array]]:
    """The document and the arrays, keyed ``<node>/<field>``, of a valid graph."""
    nodes: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    for name, node in graph.nodes.items():
        arrays |= {f"{name}/{field}": array for field, array in node.arrays().items()}
        settings = {field: _encode(value) for field, value in node.settings().items()}
        nodes.append({"name": name, "kind": type(node).__name__, **settings, "arrays": sorted(node.arrays())})
    document = {
        "format": FORMAT_OF_FIXED_POINT if isinstance(graph.numbers, FixedPoint) else FORMAT,
        "numbers": describe_numbers(graph.numbers),
        "nodes": nodes,
        "edges": [[edge.source, edge.target, edge.delay] for edge in graph.edges],
        "metadata": graph.metadata,
    }
    return document, arrays


def restore(document: Any, arrays: Mapping[str, Array]) -> Graph:
    """The graph of a document, not yet validated; ``BadFile`` says what is malformed."""
    _demand(isinstance(document, dict), "the description is not a JSON object")
    _demand("format" in document, "the description has no format version")
    version = document["format"]
    _demand(
        isinstance(version, int) and not isinstance(version, bool) and version in FORMATS,
        f"format version {shown(version)}; this snubridge reads {FORMATS[0]} to {FORMATS[-1]}: install a newer one",
    )
    _keys("the description", document, {"format", "numbers", "nodes", "edges", "metadata"})
    numbers = restore_numbers(document["numbers"])
    _demand(
        isinstance(numbers, FixedPoint) == (version == FORMAT_OF_FIXED_POINT),
        f"numbers {numbers.name} in format version {version}: FixedPoint is of version {FORMAT_OF_FIXED_POINT}",
    )
    _demand(isinstance(document["nodes"], list), "nodes is not a list")
    _demand(isinstance(document["edges"], list), "edges is not a list")
    _demand(isinstance(document["metadata"], dict), "metadata is not an object")
    nodes: dict[str, Node] = {}
    used: set[str] = set()
    for entry in document["nodes"]:
        name, node = _node(entry, arrays, used)
        _demand(name not in nodes, f"two nodes are called {name!r}")
        nodes[name] = node
    spare = sorted(arrays.keys() - used)
    _demand(not spare, f"arrays that no node has: {', '.join(spare)[:200]}")
    for key, array in arrays.items():
        _demand(array.dtype == numbers.dtype, f"array {key} is {array.dtype}, the numbers are {numbers.name}")
    edges = [_edge(entry) for entry in document["edges"]]
    graph = Graph(nodes, edges, numbers=numbers, metadata=document["metadata"])
    for name, node in nodes.items():
        for field, array in node.arrays().items():
            held = graph.nodes[name].arrays()[field]
            _demand(
                held.tobytes() == array.tobytes(), f"array {name}/{field} holds values that {numbers.name} would round"
            )
    return graph


def describe_numbers(numbers: Numbers) -> Any:
    """The numbers of a valid graph as JSON: the name of a float format, or an object that says all of FixedPoint."""
    if not isinstance(numbers, FixedPoint):
        return numbers.name
    bits = numbers.fraction_bits
    settings = {field.name: getattr(numbers, field.name) for field in fields(numbers)}
    return {"kind": numbers.name, **settings, "fraction_bits": dict(bits) if isinstance(bits, Mapping) else bits}


def restore_numbers(value: Any) -> Numbers:
    """The numbers that ``describe_numbers`` described; the rules check their values."""
    if isinstance(value, dict):
        _keys("numbers", value, {"kind", *(field.name for field in fields(FixedPoint))})
        _demand(value["kind"] == FixedPoint.name, f"unknown numbers {shown(value['kind'])}")
        return FixedPoint(**{key: setting for key, setting in value.items() if key != "kind"})
    _demand(_is_key(value, NUMBERS), f"unknown numbers {value!r:.60}")
    return NUMBERS[value]()


def to_json(document: Mapping[str, Any]) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII; the same document gives the same bytes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    _demand_moderate(text)
    return text


def from_json(text: str | bytes) -> Any:
    """Parse JSON as data from outside: no duplicate keys, no NaN, nothing beyond float64, bounded depth and size."""
    _demand_moderate(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_float)
    except RecursionError:
        raise BadFile("the JSON is nested too deeply") from None
    except ValueError as error:
        raise BadFile(f"the JSON cannot be read: {error}") from None
    if not is_shallow(value):
        raise BadFile(f"the JSON is nested too deeply, in more than {MAX_DEPTH} levels")
    return value


def _demand_moderate(text: str | bytes) -> None:
    marks = (text.count(mark) for mark in "[{,") if isinstance(text, str) else (text.count(mark) for mark in b"[{,")
    if sum(marks) > MAX_VALUES:
        raise BadFile(f"the JSON may hold more than {MAX_VALUES} values: split the graph, or shorten its metadata")


def is_shallow(value: Any, most: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested in at most ``most`` levels: so many, any reader and writer endures."""
    level = [value]
    for _ in range(most):
        holders = [value for value in level if isinstance(value, dict | list)]
        level = [inner for outer in holders for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return not any(isinstance(value, dict | list) for value in level)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return mapping


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is beyond float64")
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _demand(condition: bool, problem: str) -> None:
    if not condition:
        raise BadFile(problem)


def _is_key(value: Any, table: Mapping[str, Any]) -> bool:
    return isinstance(value, str) and value in table


def _keys(place: str, found: Mapping[str, Any], wanted: set[str]) -> None:
    missing, spare = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    _demand(not missing, f"{place} lacks {', '.join(missing)}")
    _demand(not spare, f"{place} has unknown keys: {', '.join(spare)[:200]}")


def _encode(value: Any) -> Any:
    if isinstance(value, Reset):
        return value.value
    for table in (STATE_FUNCTIONS, OUTPUT_FUNCTIONS):
        for kind, function in table.items():
            if type(value) is function:
                return {"kind": kind, **{field.name: getattr(value, field.name) for field in fields(value)}}
    return list(value) if isinstance(value, tuple) else value


def _node(entry: Any, arrays: Mapping[str, Array], used: set[str]) -> tuple[str, Node]:
    _demand(isinstance(entry, dict), "a node is not an object")
    name, kind = entry.get("name"), entry.get("kind")
    _demand(isinstance(name, str), f"a node's name is {shown(name)}")
    _demand(_is_key(kind, NODE_KINDS), f"node {shown(name)} is of unknown kind {shown(kind)}")
    node_class = NODE_KINDS[kind]
    settings = {field.name for field in fields(node_class)} - set(node_class.ARRAYS)
    _keys(f"node {shown(name)}", entry, settings | {"name", "kind", "arrays"})
    present = entry["arrays"]
    _demand(
        isinstance(present, list) and all(field in node_class.ARRAYS for field in present),
        f"node {shown(name)} lists unknown arrays",
    )
    values: dict[str, Any] = {field: _decode(name, field, entry[field]) for field in settings}
    for field in node_class.ARRAYS:
        key = f"{name}/{field}"
        if field in present:
            _demand(key in arrays, f"array {shown(key, 120)} is missing")
            used.add(key)
        _demand(field in present or field == "bias", f"node {shown(name)} lacks its {field}")
        values[field] = arrays[key] if field in present else None
    return name, node_class(**values)


def _decode(name: str, field: str, value: Any) -> Any:
    if field == "reset":
        _demand(value in [reset.value for reset in Reset], f"node {shown(name)} has unknown reset {shown(value)}")
        return Reset(value)
    if field in ("g", "h"):
        table: Mapping[str, Any] = STATE_FUNCTIONS if field == "g" else OUTPUT_FUNCTIONS
        kind: Any = value.get("kind") if isinstance(value, dict) else None
        _demand(_is_key(kind, table), f"node {shown(name)} has unknown {field} {shown(value)}")
        _keys(f"{field} of node {shown(name)}", value, {"kind", *(f.name for f in fields(table[kind]))})
        return table[kind](**{key: setting for key, setting in value.items() if key != "kind"})
    if field in _PAIRS and isinstance(value, list):
        return tuple(value)
    return value


def _edge(entry: Any) -> Edge:
    _demand(
        isinstance(entry, list) and len(entry) == 3 and all(isinstance(end, str) for end in entry[:2]),
        f"an edge is {shown(entry)}, not [source, target, delay]",
    )
    return Edge(*entry)

"""Reading back what an engine of populations was given: a script's files, or the network itself.

Nothing is run. The graph that travels with either is lowered anew, and whatever is not, bit for bit, what that
gives is refused: so the graph is the one that the script or the network computes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snubridge.bridge.adapter import Adapter
from snubridge.bridge.lowering import lower
from snubridge.bridge.script import pair
from snubridge.bridge.script.program import ScriptProgram
from snubridge.bridge.unrolling import size
from snubridge.bridge.wiring import is_linear
from snubridge.errors import BadFile, BadInput, Unsupported, shown
from snubridge.ir.document import from_json
from snubridge.ir.file import StrPath, decode
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.ir.rules import validate
from snubridge.ir.structure import shapes
from snubridge.reference.archive import parse

Described = Mapping[str, Any]
"""What a network holds, by a place that a reader of an error can find: text, numbers, arrays."""
UNROLLED = 1_000_000
"""Couplings that are unrolled for any file; for more, the file has to be as large as they are, or the caller asks."""


def read_script(adapter: Adapter, path: StrPath, max_synapses: int | None = None) -> Graph:
    """The graph of an exported script, or ``BadFile`` saying where the files are not those of a graph."""
    files = pair.read(path)
    parameters = _arrays(path, files.parameters)
    for key in ("plan", "export", "graph"):
        if key not in parameters:
            raise BadFile(f"{path}: its parameters lack {key!r}: export it with snubridge, which stores the graph")
    options = _options(adapter, path, parameters["export"])
    stored = parameters["graph"]
    if stored.dtype != np.uint8 or stored.ndim != 1:
        raise BadFile(f"{path}: the stored graph is {stored.dtype} of shape {stored.shape}, not bytes")
    graph = decode(stored.tobytes(), path)
    _demand_in_proportion(path, graph, len(files.parameters), max_synapses)
    program = _lowered(adapter, path, graph, options | _raised(max_synapses))
    # By what the archive holds: another platform wraps the same arrays in other bytes, and so in another hash.
    other = _other_array(parameters, _arrays(path, program.files.parameters))
    if other is not None:
        raise BadFile(f"{path}: altered after it was written: {other}")
    ours, theirs = (hashlib.sha256(found.parameters).hexdigest().encode() for found in (program.files, files))
    expected = program.files.script.replace(ours, theirs)
    if expected != files.script:
        raise BadFile(f"{path}: {_other_line(files.script, expected)}")
    return graph


def read_exported(
    adapter: Adapter, network: Any, max_synapses: int | None, describe: Callable[[Any], Described]
) -> Graph:
    """The graph of a network that ``native`` handed out, as long as it still is what was exported.

    ``describe`` says everything in a network that can change what it computes.
    """
    exported = getattr(network, "exported", None)
    if not isinstance(exported, dict) or exported.keys() != {"graph", "options"}:
        raise BadFile(
            f"the network: carries no snubridge graph: what {adapter.name} holds does not say which parts are units; "
            "only what snubridge exported can be read back"
        )
    graph = exported["graph"]
    if not isinstance(graph, Graph) or not isinstance(exported["options"], dict):
        raise BadFile("the network: what it says of its export is not what snubridge put there")
    validate(graph)
    options = exported["options"] | _raised(max_synapses)
    found = describe(network)
    expected = describe(_lowered(adapter, "the network", graph, options).native)
    for place in [*expected, *(place for place in found if place not in expected)]:
        if place not in found:
            raise BadFile(f"the network: {place} is missing")
        if place not in expected:
            raise BadFile(f"the network: {place} was added; it is not in what was exported")
        if not _same(found[place], expected[place]):
            raise BadFile(
                f"the network: {place} is {_brief(found[place])}; exported was {_brief(expected[place])}: "
                "read what was exported, before it is run or changed"
            )
    return graph


def _raised(max_synapses: int | None) -> dict[str, int]:
    return {} if max_synapses is None else {"max_synapses": max_synapses}


def _lowered(adapter: Adapter, place: StrPath, graph: Graph, options: Mapping[str, Any]) -> ScriptProgram:
    try:
        program = lower(adapter, graph, options)
    except (Unsupported, BadInput) as error:
        raise BadFile(f"{place}: holds a graph that {adapter.name} does not take: {error}") from None
    assert isinstance(program, ScriptProgram)
    return program


def _arrays(path: StrPath, parameters: bytes) -> dict[str, Array]:
    arrays = parse(parameters, f"{path}, its parameters")
    if not isinstance(arrays, dict):
        raise BadFile(f"{path}: its parameters are one array; an .npz archive of named ones is needed")
    return arrays


def _options(adapter: Adapter, path: StrPath, stored: Array) -> dict[str, Any]:
    try:
        export = from_json(str(stored))
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None
    if not isinstance(export, dict) or export.keys() != {"engine", "layout", "options"}:
        raise BadFile(f"{path}: it does not say how it was exported")
    if export["engine"] != adapter.name:
        raise BadFile(f"{path}: a script for {export['engine']!r:.40}, not for {adapter.name}")
    if export["layout"] != pair.LAYOUT:
        raise BadFile(
            f"{path}: written in layout {export['layout']!r:.40}; this snubridge reads {pair.LAYOUT}: "
            "read it with the one that wrote it"
        )
    if not isinstance(export["options"], dict):
        raise BadFile(f"{path}: its options are no object")
    return dict(export["options"])


def _demand_in_proportion(path: StrPath, graph: Graph, room: int, max_synapses: int | None) -> None:
    """Refuse a graph whose network is out of all proportion to the file: a short file must not cost long work."""
    sizes = {name: math.prod(shape) for name, shape in shapes(graph).items()}
    stored = 8 * sum(3 * sizes[name] for name in graph.of_kind(Unit))
    stored += 8 * sum(sizes[name] for name, node in graph.nodes.items() if "bias" in node.arrays())
    if stored > room:
        raise BadFile(f"{path}: altered after it was written: {room} bytes of parameters, at least {stored} are needed")
    unrolled = sum(size(graph, name) for name, node in graph.nodes.items() if is_linear(node))
    limit = max(UNROLLED, room) if max_synapses is None else max_synapses
    if unrolled > limit:
        raise BadFile(
            f"{path}: a graph that unrolls to {unrolled:,} couplings, from a file of {room} bytes: if it is yours, "
            f"raise the limit with the option max_synapses={unrolled}"
        )


def _other_array(found: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    """The first array that is not as expected."""
    for key in [*expected, *(key for key in found if key not in expected)]:
        if key not in found or key not in expected:
            return f"the array {shown(key)} is {'missing' if key in expected else 'not one of the graph'}"
        if not _same(found[key], expected[key]):
            return f"the array {shown(key)} is {_brief(found[key])}; the graph gives {_brief(expected[key])}"
    return None


def _other_line(found: bytes, expected: bytes) -> str:
    ours, theirs = found.split(b"\n"), expected.split(b"\n")
    if found.replace(b"\r\n", b"\n") == expected:
        return "its line ends were changed: export it anew, or turn them back"
    line = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return (
        f"line {line + 1} is not that of the script which this snubridge writes: it was altered, or written by "
        "another version; read it with the one that wrote it"
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return bool(type(one) is type(other) and one == other)


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{value.dtype} {value.shape} [{', '.join(map(repr, value.ravel()[:3].tolist()))}, ...]"
    return f"{value!r:.120}"

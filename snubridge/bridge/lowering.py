"""The two ways across: a graph to a program of an engine, and what an engine holds to a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from snubridge.bridge.adapter import Adapter, Program
from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import load_engine, plugins
from snubridge.errors import BadInput, Unsupported
from snubridge.ir.graph import Graph
from snubridge.ir.rules import validate


def export(graph: Graph, backend: str, /, **options: Any) -> Program:
    """Lower a graph to an engine.

    Raises ``InvalidGraph``, ``Unsupported`` with every reason, ``MissingEngine``, or ``BadInput``
    for an option that the adapter does not have. The result runs, saves, and hands over its
    native object.
    """
    return lower(find_adapter(backend), graph, options)


def lower(adapter: Adapter, graph: Graph, options: Mapping[str, Any]) -> Program:
    """``export`` for an adapter at hand, installed as a plug-in or not."""
    validate(graph)
    check_options(adapter.name, adapter.lower, options)
    load_engine(adapter)
    reasons = adapter.support.reasons(graph)
    if reasons:
        raise Unsupported(adapter.name, reasons)
    return adapter.lower(graph, **options)


def import_graph(source: Any, backend: str, /, **options: Any) -> Graph:
    """Read back what an engine's file or object holds; what cannot be read exactly is refused."""
    adapter = find_adapter(backend)
    read: Callable[..., Graph] | None = getattr(adapter, "read", None)
    if read is None:
        readers = [name for name, plugin in plugins().items() if hasattr(plugin.adapter, "read")]
        raise BadInput(f"{backend} cannot be read back; these can: {', '.join(readers) or 'none'}")
    check_options(backend, read, options)
    load_engine(adapter)
    graph = read(source, **options)
    validate(graph)
    return graph


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """``BadInput`` for an option that ``function`` does not take by keyword."""
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise BadInput(f"{name} has no option {option!r}; it has: {', '.join(known) or 'none'}")

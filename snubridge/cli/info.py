"""Show what a graph's file holds."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.cli import arguments
from snubridge.ir.document import describe_numbers
from snubridge.ir.file import load
from snubridge.ir.structure import shapes
from snubridge.verification.report import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    graph = load(args.graph)
    sizes = shapes(graph)
    nodes: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": type(node).__name__,
            "shape": list(sizes[name]),
            "parameters": sum(array.size for array in node.arrays().values()),
            "receives": [f"{e.source}" + (f" (delay {e.delay})" if e.delay else "") for e in graph.incoming[name]],
        }
        for name, node in graph.nodes.items()
    ]
    parameters = sum(node["parameters"] for node in nodes)
    document = {
        "numbers": describe_numbers(graph.numbers),
        "digest": graph.digest,
        "parameters": parameters,
        "nodes": nodes,
        "metadata": graph.metadata,
    }
    body = [
        (n["name"], n["kind"], "x".join(map(str, n["shape"])), f"{n['parameters']:,}", ", ".join(n["receives"]))
        for n in nodes
    ]
    lines = table(("node", "kind", "shape", "parameters", "receives"), body, right=[3])
    summary = f"{len(nodes)} nodes, {parameters:,} parameters, {graph.numbers.name}, SHA-256 {graph.digest[:16]}"
    return 0, document, "\n".join([*lines, "", summary])

"""Read an engine's file back into a graph, exactly or not at all."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.bridge.lowering import import_graph
from snubridge.cli import arguments
from snubridge.ir.file import save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    parser.add_argument("source", metavar="SOURCE", help="the file or folder of the engine")
    parser.add_argument("--from", required=True, dest="backend", metavar="BACKEND", help="see snubridge backends")
    parser.add_argument("--out", required=True, metavar="NET.safetensors", help="the graph's file to write")
    arguments.add_options(parser)


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    arguments.output(args.out, args.source)
    graph = import_graph(args.source, args.backend, **arguments.options(args))
    save(graph, args.out)
    document = {"backend": args.backend, "source": args.source, "out": args.out, "digest": graph.digest}
    return 0, document, f"{args.out}: {len(graph.nodes)} nodes read back from {args.source}"

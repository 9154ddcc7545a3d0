"""Export a graph to an engine's own format."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.bridge.lowering import export
from snubridge.cli import arguments
from snubridge.ir.file import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)
    parser.add_argument("--to", required=True, metavar="BACKEND", help="see snubridge backends")
    parser.add_argument("--out", required=True, metavar="PATH", help="what to write: .py, .onnx, .pcm, ...")
    arguments.add_options(parser)


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    arguments.output(args.out, args.graph)
    program = export(load(args.graph), args.to, **arguments.options(args))
    program.save(args.out)
    facts = dict(getattr(program, "facts", {}))
    document = {"backend": args.to, "out": args.out, "precision": program.rounding.precision, "facts": facts}
    shown = "".join(
        f", {key} {value:,}" if isinstance(value, int) else f", {key} {value}" for key, value in facts.items()
    )
    return 0, document, f"{args.out}: written for {args.to} ({program.rounding.precision}{shown})"

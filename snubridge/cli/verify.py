"""Compare every spike of every step on several engines with the reference."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snubridge.cli import arguments
from snubridge.errors import BadInput
from snubridge.ir.file import load, write_atomically
from snubridge.verification.report import Report
from snubridge.verification.verifier import verify_traces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)
    arguments.add_inputs(parser)
    parser.add_argument("--on", metavar="A,B,...", help="the backends; default: all that are installed")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="BACKEND.KEY=VALUE",
        help="an option of a backend in --on, say onnx.precision=float64; may be repeated",
    )
    parser.add_argument(
        "--no-certificate",
        action="store_true",
        help="do not compute which spikes must be equal: faster, but nothing is certified, explained or called a bug",
    )
    parser.add_argument("--report", metavar="REPORT.html", help="also write the report: .html, .json or .txt")


def _write_json(report: Report, path: str) -> None:
    write_atomically(path, (report.to_json() + "\n").encode())


def _write_text(report: Report, path: str) -> None:
    write_atomically(path, (report.to_text() + "\n").encode())


WRITTEN: Mapping[str, Callable[[Report, str], None]] = {
    ".html": Report.to_html,
    ".json": _write_json,
    ".txt": _write_text,
}


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    sources = args.graph, args.inputs, args.lengths
    if args.report is not None and arguments.output(args.report, *sources).suffix not in WRITTEN:
        raise BadInput(f"--report {args.report}: a report is written as .html, .json or .txt")
    graph = load(args.graph)
    named = [] if args.on is None else arguments.names(args.on)
    chosen = arguments.options_by_backend(args, named)
    backends = None if args.on is None else chosen
    report = verify_traces(
        graph,
        arguments.inputs(args),
        backends,
        lengths=arguments.lengths(args),
        certify=not args.no_certificate,
        progress=show_progress,
    ).report
    if not any(row.ran for row in report.rows):
        raise BadInput(f"no backend ran: {'; '.join(f'{row.backend} {row.verdict}' for row in report.rows)}")
    if args.report is not None:
        WRITTEN[Path(args.report).suffix](report, args.report)
    return 0 if report.equal else 1, report.document(), report.to_text()


def show_progress(label: str) -> None:
    """Say on a terminal what runs."""
    if sys.stderr.isatty():
        print(f"{label} ...", file=sys.stderr)

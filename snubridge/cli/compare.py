"""Compare two trace files, spike by spike."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.reference.trace import Trace
from snubridge.verification.comparison import compare
from snubridge.verification.report import jsonable, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    parser.add_argument("expected", metavar="EXPECTED.npz", help="a trace written by snubridge run or a script")
    parser.add_argument("actual", metavar="ACTUAL.npz", help="another trace of the same network and inputs")


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    comparison = compare(Trace.load(args.expected), Trace.load(args.actual))
    parts = (*comparison.units.values(), *comparison.outputs.values())
    document = {
        "equal": comparison.equal,
        "differing": comparison.differing,
        "first": None if comparison.first is None else comparison.first._asdict(),
        "parts": [jsonable(part) for part in parts],
    }
    body = [
        (part.name, part.kind, f"{part.compared:,}", f"{part.spikes:,}", f"{part.differing:,}", _where(part.first))
        for part in parts
    ]
    lines = table(("name", "kind", "compared", "spikes", "differ", "first difference"), body, right=[2, 3, 4])
    verdict = "equal" if comparison.equal else f"unequal: {comparison.differing:,} bins differ"
    return 0 if comparison.equal else 1, document, "\n".join([*lines, "", verdict])


def _where(first: Any) -> str:
    return "" if first is None else f"step {first.step}, sample {first.sample}, neuron {first.neuron}"

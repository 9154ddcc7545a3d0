"""Run random graphs on several engines, and make small what should not differ.

Draws graphs over the whole space of the representation, states on their thresholds and extreme numbers included, runs
each on every backend in processes of their own, and compares every spike with the reference. A difference that rounding
may explain is counted; any other is shrunk to a small graph, and written as a folder that --replay runs again. FOLDER
holds results.jsonl (one line for each graph) and failures/; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from snubridge.errors import BadInput, one_line
from snubridge.ir.disk import checked_path

if TYPE_CHECKING:
    from snubridge.verification.fuzz.tally import Tally

MOST = 2**63 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    parser.add_argument(
        "--backends",
        metavar="A,B,...",
        help="[LABEL=]NAME[:KEY=VALUE...] each, say pcm,onnx:float32,slow=nengo:dt=0.01; default: all installed",
    )
    parser.add_argument("--graphs", type=int, default=100, metavar="N", help="how many graphs (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what they are drawn from (default: 0)")
    parser.add_argument("--out", default="fuzz", metavar="FOLDER", help="where results are left (default: fuzz)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default: 1)")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="for each run (default: 120)")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no graph after so long; it can be resumed")
    parser.add_argument("--replay", metavar="FAILURE", help="run one failure again, a folder in FOLDER/failures")


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    return _campaign(args) if args.replay is None else _replay(args.replay)


def _campaign(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    from snubridge.verification.fuzz import Plan, conduct, parse_targets

    for name, least in (("graphs", 1), ("seed", 0), ("jobs", 1)):
        if not least <= getattr(args, name) <= MOST:
            raise BadInput(f"--{name} {getattr(args, name)}: a whole number, at least {least}, is needed")
    for name in ("limit", "minutes"):
        value = getattr(args, name)
        if value is not None and not 0 < value < 1e6:
            raise BadInput(f"--{name} {value}: a number above 0 and below 1e6 is needed")
    targets = parse_targets(args.backends)
    folder = checked_path(args.out)
    plan = Plan(targets, args.seed, args.graphs, folder, min(args.jobs, args.graphs), args.limit, args.minutes)
    progress = _Progress(args.graphs)
    try:
        session = conduct(plan, progress)
    finally:
        progress.close()
    tally, rates = session.tally, session.rates()
    complete = tally.graphs == args.graphs
    document = {
        **tally.document(),
        "complete": complete,
        "seed": args.seed,
        "results": str(folder / "results.jsonl"),
        "rates": rates,
    }
    verdict = (
        f"{tally.graphs:,} of {args.graphs:,} graphs, {document['neuron_steps']:,} neuron-steps over all backends, "
        f"{document['bugs']} bugs, {tally.failing} failing"
    )
    lines = [*tally.lines(rates), "", verdict, f"{folder / 'results.jsonl'} has a line for each graph"]
    if tally.failing:
        lines.append(f"see {folder / 'failures'}, and run one again with snubridge fuzz --replay")
    if not complete:
        lines.append("not complete: the same command goes on")
    return (1 if tally.failing else 0), document, "\n".join(lines)


def _replay(path: str) -> tuple[int, dict[str, Any], str]:
    from snubridge.verification.fuzz import replay

    case, target, before, outcome = replay(checked_path(path))
    document = {
        "failure": path,
        "backend": target.label,
        "before": before,
        "fails": outcome.failing,
        **outcome.document(),
    }
    where = "" if outcome.place is None else f", first at {outcome.place}"
    reason = "" if outcome.reason is None else f": {outcome.reason}"
    said = f"{case.name} on {target.label}: {outcome.kind}{where}{reason} (written as {before})"
    text = f"{one_line(said)}\n{case.graph}"  # the name is out of a file
    return (1 if outcome.failing else 0), document, text


class _Progress:
    """A line on standard error that is written over, if that is a terminal."""

    def __init__(self, graphs: int) -> None:
        self.graphs, self.started, self.shown = graphs, time.monotonic(), -1.0
        self.terminal, self.first = sys.stderr.isatty(), -1

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = tally.graphs - 1
        if self.terminal and (now - self.shown > 0.5 or tally.graphs == self.graphs):
            rate = (tally.graphs - self.first) / max(now - self.started, 1e-9)
            left = (self.graphs - tally.graphs) / rate / 60
            text = f"{tally.graphs}/{self.graphs} graphs, {tally.failing} failing, {rate:.1f}/s, {left:.0f} min left"
            print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
            self.shown = now

    def close(self) -> None:
        """Leave the line."""
        if self.terminal and self.shown >= 0:
            print(file=sys.stderr)

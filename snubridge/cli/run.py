"""Run a graph on one engine, or on the reference."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.bridge.lowering import export
from snubridge.cli import arguments
from snubridge.errors import BadInput
from snubridge.ir.file import load
from snubridge.reference.interpreter import simulate
from snubridge.verification.comparison import compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)
    parser.add_argument("--on", required=True, metavar="BACKEND", help="see snubridge backends; or reference")
    arguments.add_inputs(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="TRACE.npz",
        help="what to write: keys spikes/<unit>, states/<unit>, outputs/<output>",
    )
    parser.add_argument("--record", default="spikes", metavar="spikes,states", help="what to record of every unit")
    arguments.add_options(parser)


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    if not args.out.endswith(".npz"):
        raise BadInput(f"--out {args.out}: a trace is written as .npz")
    arguments.output(args.out, args.graph, args.inputs, args.lengths)
    graph = load(args.graph)
    options, record = arguments.options(args), arguments.names(args.record)
    inputs, lengths = arguments.inputs(args), arguments.lengths(args)
    if args.on == "reference":
        if options:
            raise BadInput(f"--option {next(iter(options))}: the reference has no options")
        trace = simulate(graph, inputs, record=record, lengths=lengths)
    else:
        trace = export(graph, args.on, **options).run(inputs, record=record, lengths=lengths)
    trace.save(args.out)
    arrays = trace.arrays()
    spikes = sum(part.spikes for part in compare(trace, trace).units.values()) if trace.spikes else 0
    document = {"backend": args.on, "out": args.out, "spikes": spikes}
    document["arrays"] = arguments.described(arrays)
    return (
        0,
        document,
        f"{args.out}: {spikes:,} spikes in {', '.join(trace.spikes) or 'no unit'}, from {args.on}",
    )

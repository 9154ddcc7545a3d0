"""Say which spikes must be equal on every engine of a precision, for these inputs."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.cli import arguments
from snubridge.errors import BadInput
from snubridge.exactness import Certificate, certify
from snubridge.exactness.error_model import FORMATS
from snubridge.ir.file import load
from snubridge.verification.certificates import stated
from snubridge.verification.wording import share, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)
    arguments.add_inputs(parser)
    parser.add_argument("--precision", choices=FORMATS, default="float32", help="of the engine; default: float32")
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="how many of the open decisions to list, earliest first"
    )


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    if args.show < 0:
        raise BadInput(f"--show {args.show}: a number of decisions, at least 0, is needed")
    graph = load(args.graph)
    found = certify(graph, arguments.inputs(args), args.precision, lengths=arguments.lengths(args))
    shown = found.open[: args.show]
    document = stated(found.model, found) | {"first_open": [place._asdict() for place in shown]}
    return 0, document, _text(found, args.show)


def _text(found: Certificate, show: int) -> str:
    if not found.decisions:
        return "nothing to certify: the graph has no Step unit, so nothing spikes"
    lines = [
        f"{share(found.certified)} of {found.decisions:,} decisions must be equal on every engine that computes in "
        f"{found.model.precision}; {share(found.conditional)} if all that they depend on is equal",
        f"smallest margin {found.smallest_margin:.3g}, open decisions {found.opened:,}",
    ]
    if found.open[:show]:
        body = [
            (*(str(part) for part in place[:4]), f"{place.margin:.3g}", f"{place.bound:.3g}")
            for place in found.open[:show]
        ]
        header = ("step", "sample", "unit", "neuron", "s - threshold", "bound")
        lines += ["", *table(header, body, right=[0, 1, 4, 5])]
    if found.opened > show > 0:
        lines.append(f"and {found.opened - show:,} more")
    return "\n".join(lines)

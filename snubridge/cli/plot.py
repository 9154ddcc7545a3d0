"""Draw spikes, differences, margins or the closest calls of one unit.

raster    the reference's spikes of one sample, and what each backend in --on misses or adds
mismatch  where a backend in --on differs, over all samples, the first difference marked
margins   how many decisions come how close to the threshold, and how far rounding reaches
states    the states around the closest calls, with the threshold and the bound

A .svg needs nothing; a .png needs matplotlib (the extra "plot").
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snubridge.cli import arguments
from snubridge.cli.verify import show_progress
from snubridge.errors import BadInput, MissingEngine
from snubridge.exactness import ErrorModel
from snubridge.ir.file import load, write_atomically
from snubridge.reference.inputs import prepare
from snubridge.reference.interpreter import simulate
from snubridge.verification.certificates import Certificates
from snubridge.verification.evidence import Evidence
from snubridge.verification.pictures.calls import bound_colors, closest, draw_call, draw_margins
from snubridge.verification.pictures.figure import COLOR_NAMES, Figure, grid, labeled, titled
from snubridge.verification.pictures.png import to_png
from snubridge.verification.pictures.rasters import WIDE, first_difference, mismatch, raster
from snubridge.verification.pictures.svg import document
from snubridge.verification.verifier import verify_traces

CALLS, COLUMNS = 6, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_graph(parser)
    arguments.add_inputs(parser)
    parser.add_argument("--what", required=True, choices=tuple(DRAWN), help="see above")
    parser.add_argument("--on", metavar="A,B,...", help="the backends; default: none, the reference alone")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="BACKEND.KEY=VALUE",
        help="an option of a backend in --on; may be repeated",
    )
    parser.add_argument("--unit", metavar="NAME", help="a Step unit; default: the graph's only one")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="of raster: which sample; default: that of the first difference, else 0"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="what to write: .png or .svg")


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    target = arguments.output(args.out, args.graph, args.inputs, args.lengths)
    if target.suffix not in WRITTEN:
        raise BadInput(f"--out {args.out}: a picture is written as .png or .svg")
    if args.sample is not None and args.what != "raster":
        raise BadInput(f"--sample {args.sample}: only a raster is of one sample")
    if args.what == "mismatch" and not args.on:
        raise BadInput("--what mismatch: name the backends to compare in --on")
    if target.suffix == ".png":
        _demand_matplotlib()
    evidence = _evidence(args)
    asked = Asked(evidence, _unit(evidence, args.unit), args.sample)
    figure, caption = DRAWN[args.what](asked)
    title = f"{TITLES[args.what]}, unit {asked.unit}"
    write_atomically(args.out, WRITTEN[target.suffix](titled(figure, title, caption)))
    document = {"out": args.out, "what": args.what, "unit": asked.unit, "about": figure.about}
    return 0, document, f"{args.out}: {figure.about}"


@dataclass(frozen=True)
class Asked:
    """What to draw from."""

    evidence: Evidence
    unit: str
    sample: int | None


def _demand_matplotlib() -> None:
    """Said before long work, not after."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingEngine(
            f"matplotlib does not load ({error}): pip install 'snubridge[plot]', or write a .svg"
        ) from None


def _evidence(args: argparse.Namespace) -> Evidence:
    graph, inputs, lengths = load(args.graph), arguments.inputs(args), arguments.lengths(args)
    if args.on:
        chosen = arguments.options_by_backend(args, arguments.names(args.on))
        report = verify_traces(graph, inputs, chosen, lengths=lengths, progress=show_progress).report
        assert report.evidence is not None
        return report.evidence
    if args.option:
        raise BadInput(f"--option {args.option[0]}: options are for the backends in --on")
    run = prepare(graph, inputs, lengths)
    expected = simulate(graph, inputs, record=("spikes", "states"), lengths=lengths)
    models = {f"any {precision} engine": ErrorModel(precision) for precision in ("float64", "float32")}
    certificates = Certificates(graph, run.inputs, lengths, show_progress)
    return Evidence(graph, run, expected, models=models, certificates=certificates)


def _unit(evidence: Evidence, named: str | None) -> str:
    units = ", ".join(evidence.spiking)
    if named is None and len(evidence.spiking) == 1:
        return evidence.spiking[0]
    if named not in evidence.spiking:
        wanted = "one is needed" if named is None else f"{named!r} is none"
        raise BadInput(f"--unit: {wanted}; the graph's Step units are {units or 'none: nothing spikes'}")
    return named


def _raster(asked: Asked) -> tuple[Figure, list[str]]:
    """One below the other: each backend with the reference; or the reference alone."""
    evidence = asked.evidence
    figures, caption = [], []
    firsts = [first for name in evidence.traces if (first := first_difference(evidence, asked.unit, name)) is not None]
    sample = asked.sample if asked.sample is not None else min(firsts, default=(0, 0, 0))[1]
    for backend in evidence.traces or [None]:
        named = [] if backend is None else [backend]
        drawn = raster(evidence, asked.unit, sample, named, WIDE)
        figures.append(labeled(drawn.figure, f"reference and {backend}" if backend else "reference"))
        caption.append(f"{drawn.figure.about}.")
    colors = "Blue: spikes in both. Ochre: missing. Red: extra. " if evidence.traces else ""
    return grid(figures, 1, " ".join(caption), gap=24), [*caption, f"{colors}{drawn.scale}"]


def _mismatch(asked: Asked) -> tuple[Figure, list[str]]:
    drawn = [mismatch(asked.evidence, asked.unit, backend, WIDE) for backend in asked.evidence.traces]
    caption = [f"{part.figure.about}. {part.scale}" for part in drawn]
    parts = [labeled(part.figure, backend) for part, backend in zip(drawn, asked.evidence.traces, strict=True)]
    return grid(parts, 1, " ".join(caption), gap=24), caption


def _margins(asked: Asked) -> tuple[Figure, list[str]]:
    figure = draw_margins(asked.evidence, [asked.unit], WIDE)
    return figure, [f"{figure.about}.", "Only decisions left of a line may be turned by rounding in its precision."]


def _states(asked: Asked) -> tuple[Figure, list[str]]:
    calls = closest(asked.evidence, [asked.unit], CALLS)
    parts = [
        labeled(draw_call(call), f"neuron {call.index}, sample {call.sample}, step {call.step}: {call.margin:+.3g}")
        for call in calls
    ]
    where = "; ".join(f"neuron {call.index}, sample {call.sample}, step {call.step}" for call in calls)
    bounds = ", ".join(f"{COLOR_NAMES[color]} for {label}" for label, color in bound_colors(asked.evidence).items())
    legend = "Above each: s \u2212 threshold at the marked step. Filled: it spikes."
    below = (
        f"In the lower panels: how far rounding may move the state, {bounds}."
        if bounds
        else "No bound could be computed."
    )
    return grid(parts, COLUMNS, f"The closest calls of unit {asked.unit}: {where}"), [legend, below]


DRAWN: Mapping[str, Callable[[Asked], tuple[Figure, list[str]]]] = {
    "raster": _raster,
    "mismatch": _mismatch,
    "margins": _margins,
    "states": _states,
}
TITLES = {"raster": "Spikes", "mismatch": "Differences", "margins": "Margins", "states": "The closest calls"}
WRITTEN: Mapping[str, Callable[[Figure], bytes]] = {".png": to_png, ".svg": lambda figure: document(figure).encode()}

"""Which pictures a page shows, with their captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from snubridge.verification.evidence import Evidence
from snubridge.verification.html.tables import number
from snubridge.verification.markup import escaped
from snubridge.verification.pictures.calls import Call, bound_colors, closest, draw_call, draw_margins
from snubridge.verification.pictures.figure import AGREED, EXTRA, MISSING
from snubridge.verification.pictures.rasters import NARROW, WIDE, Drawn, first_difference, mismatch, raster
from snubridge.verification.pictures.svg import inline

PICTURES = 12
"""Rasters, and as many heat maps, that one page shows at most."""
CALLS = 6


@dataclass(frozen=True)
class Shot:
    """One raster to draw: a unit, the sample, and backends that agree with one another on this unit."""

    unit: str
    sample: int
    backends: tuple[str, ...]
    differs: bool


def shots(evidence: Evidence) -> list[Shot]:
    """For each unit a raster for the backends that equal the reference, and one for others that agree; these first."""
    found = []
    for unit in evidence.spiking:
        groups: dict[str, list[str]] = {}
        for backend in evidence.traces:
            same = next((first for first in groups if evidence.agree(first, backend, [unit])), backend)
            groups.setdefault(same, []).append(backend)
        for leader, backends in groups.items():
            first = first_difference(evidence, unit, leader)
            lively = evidence.spikes(unit).any(axis=(0, 2))  # a sample that shows something
            sample = int(lively.argmax()) if first is None else first[1]
            found.append(Shot(unit, sample, tuple(backends), differs=first is not None))
    return sorted(found, key=lambda shot: not shot.differs)


def rasters(evidence: Evidence) -> Iterator[str]:
    """Rasters of the spikes."""
    wanted = shots(evidence)
    for shot in wanted[:PICTURES]:
        spikes = evidence.spikes(shot.unit)[:, shot.sample]
        shape = evidence.expected.spikes[shot.unit].shape[2:]
        layer = "" if len(shape) == 1 else f" Neurons of shape {shape}, in the order of their index."
        who = ", ".join(shot.backends)
        title = f"Unit {shot.unit}: the reference and {who}"
        size = f"{count(int(spikes.sum()), 'spike')} in {count(spikes.shape[1], 'neuron')}"
        before = f"Sample {shot.sample} (of {evidence.run.samples}, counted from 0): {size}."
        verdict = (
            keys(
                (AGREED, "in both"),
                (MISSING, f"missing on {who}"),
                (EXTRA, f"extra on {who}"),
            )
            if shot.differs
            else keys((AGREED, "the same spikes in all of them" if spikes.any() else "no neuron spiked in this unit"))
        )
        yield heading(title) + verdict
        yield both(partial(raster, evidence, shot.unit, shot.sample, shot.backends), before, layer)
    yield left_out(len(wanted), "raster")


def mismatches(evidence: Evidence, backend: str) -> Iterator[str]:
    """Heat maps of a backend that differs, over all samples."""
    wanted = [unit for unit in evidence.spiking if first_difference(evidence, unit, backend) is not None]
    for unit in wanted[:PICTURES]:
        apart = evidence.spikes(unit) ^ evidence.spikes(unit, backend)
        samples = int(apart.any(axis=(0, 2)).sum())
        before = (
            f"Where {unit} on {backend} differs: {count(int(apart.sum()), 'bin')}, in {samples:,} of "
            f"{count(evidence.run.samples, 'sample')}, which lie on top of one another here. The ring is around the "
            "first."
        )
        yield both(partial(mismatch, evidence, unit, backend), before, "")
    yield left_out(len(wanted), "mismatch")


def left_out(wanted: int, what: str) -> str:
    """What is not shown is said."""
    if wanted <= PICTURES:
        return ""
    draw = f"snubridge plot --what {what} --unit NAME"
    return f'<p class="note">{wanted - PICTURES:,} more are not shown; <code>{draw}</code> draws each.</p>'


def differing_calls(evidence: Evidence, backend: str) -> str:
    """The state around the earliest difference of a backend."""
    firsts = [(first, unit) for unit in evidence.spiking if (first := first_difference(evidence, unit, backend))]
    if not firsts:
        return ""
    (step, sample, neuron), unit = min(firsts, key=lambda found: found[0][0])
    return f'<div class="calls">{_call(Call(evidence, unit, step, sample, neuron, backend))}</div>'


def closest_calls(evidence: Evidence) -> str:
    """The decisions that came closest to falling otherwise."""
    calls = closest(evidence, evidence.spiking, CALLS)
    return f'<div class="calls">{"".join(map(_call, calls))}</div>'


def margins(evidence: Evidence) -> str:
    """All margins at a glance."""
    about = (
        "How many decisions have which margin. Only those left of a line may be turned by rounding in its precision; "
        "what depends on one that is turned may follow."
    )
    text = f"<figcaption>{escaped(about)}</figcaption>"
    drawn = "".join(
        inline(draw_margins(evidence, evidence.spiking, width), kind)
        for width, kind in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    return f"<figure>{drawn}{text}</figure>"


def bound_keys(evidence: Evidence) -> str:
    """Which color stands for which bound."""
    colored = [(color, f"bound for {label}") for label, color in bound_colors(evidence).items()]
    return keys((AGREED, "state; filled: it spikes"), *colored)


def _call(call: Call) -> str:
    fires = "spikes" if call.spiked else "does not spike"
    told = [f"it {fires}, s \u2212 threshold = {call.margin:+.3g}."]
    if call.backend is not None:
        told.append(f"Red rings: {call.backend} does the opposite.")
    told += [_clearance(label, abs(call.margin), float(bound[call.step])) for label, bound in call.bounds.items()]
    text = f"<b>{escaped(f'Unit {call.place}')}</b>: {unbroken(' '.join(told))}"
    return f"<figure>{inline(draw_call(call))}<figcaption>{text}</figcaption></figure>"


def _clearance(label: str, margin: float, bound: float) -> str:
    """How far rounding is from turning a decision."""
    if bound == 0:
        return f"{label}: the bound is 0, every sum is exact."
    if not np.isfinite(bound):
        return f"{label}: the bound is infinite, nothing is certified here."
    if margin <= bound:
        return f"{label}: within the bound {number(bound)}, rounding may turn it."
    ratio = margin / bound
    times = f"{ratio:,.1f}" if ratio < 100 else f"{ratio:,.0f}" if ratio < 1e6 else f"{ratio:.1e}"
    return f"{label}: {times} times the bound {number(bound)}."


def both(draw: Callable[[float], Drawn], before: str, after: str) -> str:
    """A figure for wide and one for narrow screens, each with what its cells are."""
    parts, scales = [], {}
    for width, kind in ((WIDE, "wide"), (NARROW, "narrow")):
        drawn = draw(width)
        parts.append(inline(drawn.figure, kind))
        scales[kind] = drawn.scale
    if scales["wide"] == scales["narrow"]:
        said = escaped(scales["wide"])
    else:
        said = "".join(f'<span class="{kind}">{escaped(scale)}</span>' for kind, scale in scales.items())
    return f"<figure>{''.join(parts)}<figcaption>{escaped(before)} {said}{escaped(after)}</figcaption></figure>"


def unbroken(text: str) -> str:
    """Escaped text whose numbers stay on one line."""
    return re.sub(r"[+-]?\d[\d.,]*e[+-]\d+", r'<span class="num">\g<0></span>', escaped(text))


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def heading(text: str) -> str:
    return f"<h3>{escaped(text)}</h3>"


def keys(*pairs: tuple[str, str]) -> str:
    """Colors and what they stand for."""
    marks = "".join(
        f'<span><i class="key" style="background:{color}"></i>{escaped(text)}</span>' for color, text in pairs
    )
    return f'<p class="keys">{marks}</p>'

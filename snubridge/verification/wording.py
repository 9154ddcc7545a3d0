"""What a report says to people: its table, its summary, and a line for each root, suspect and certificate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snubridge.verification.ladder import Root

if TYPE_CHECKING:
    from snubridge.verification.report import Report, Row

TOLD = 3
"""How many roots of one backend are told; the JSON report has more."""


def summary(report: Report) -> str:
    """One line: whether the spikes are equal, and where not, the first difference and what kinds there are."""
    ran = dict.fromkeys(row.backend for row in report.rows if row.ran)
    if not ran:
        return "nothing was compared: no backend ran"
    bins = sum(row.compared for row in report.rows if row.kind == "spikes")
    if report.equal:
        note = "; but no neuron spiked, so this proves nothing" if report.silent else ""
        return f"equal: 0 of {bins:,} compared bins differ on {', '.join(ran)}{note}"
    worst = [row for row in report.rows if row.ran and row.verdict != "equal"]
    first = min((row for row in worst if row.first), key=lambda row: row.first.step if row.first else 0)
    assert first.first is not None
    where = f"step {first.first.step}, sample {first.first.sample}, {first.unit}, neuron {first.first.neuron}"
    text = f"unequal: {sum(row.differing for row in worst):,} bins differ; the first on {first.backend} at {where}"
    return f"{text}; {_kinds(worst)}"


def _kinds(rows: Sequence[Row]) -> str:
    spikes, values = ([row for row in rows if row.kind == kind] for kind in ("spikes", "values"))
    said = []
    if spikes:
        roots = _counted(sum(row.roots for row in spikes), "root")
        if any(row.bugs is not None for row in spikes):
            explained = sum(row.explained or 0 for row in spikes)
            roots += f" ({explained:,} explained by rounding, {_counted(sum(row.bugs or 0 for row in spikes), 'bug')})"
        said += [roots, _counted(sum(row.consequences for row in spikes), "consequence")]
    if values:
        out = _counted(sum(row.differing for row in values), "value")
        said.append(f"{out} out of tolerance ({sum(row.roots for row in values):,} by themselves)")
    return ", ".join(said)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def text(report: Report) -> str:
    """The table, then what needs words, then the summary."""
    split = any(row.differing for row in report.rows)
    header = ["backend", "engine", "version", "precision", "unit", "compared", "spikes", "differ"]
    right = [5, 6, 7, *([8, 9, 10] if split else [])]
    header += ["roots", "explained", "bugs"] if split else []
    body = [_cells(row, split=split) for row in report.rows]
    size = f"{report.steps} steps, {report.samples} samples, graph {report.graph[:12]}"
    return "\n".join(
        [
            *table((*header, "rung", "verdict"), body, right=right),
            "",
            *(f"{row.backend}: {row.reason}" for row in report.rows if row.reason),
            *_differences(report),
            *_certificates(report.certificates),
            f"{report.summary()} ({size})",
        ]
    )


def _differences(report: Report) -> Iterator[str]:
    for backend in dict.fromkeys(row.backend for row in report.rows if row.differing):
        rows = [row for row in report.rows if row.backend == backend]
        roots = sorted((root for row in rows for root in row.shown), key=lambda root: (root.explained is True, root[0]))
        yield from (f"{backend}: {described(root)}" for root in roots[:TOLD])
        rest = sum(row.roots for row in rows if row.kind == "spikes") - len(roots[:TOLD])
        if rest > 0:
            yield f"{backend}: and {_counted(rest, 'root')} more"
        for row in rows:
            if row.kind == "values" and row.roots and row.first:
                where = f"the first at step {row.first.step}, sample {row.first.sample}, neuron {row.first.neuron}"
                largest = f"largest difference {row.largest_difference:.3g}"
                yield f"{backend}: {row.unit}: {_counted(row.roots, 'value')} out of tolerance, {where}; {largest}"
        if any(row.bugs for row in rows):
            found = report.suspects.get(backend, ())
            yield from (f"{backend}: {suspect}" for suspect in found)
            if not found:
                yield f"{backend}: none of the usual mistakes explains any difference"


def described(root: Root) -> str:
    """One line on a root."""
    kind = {True: "explained by rounding", False: "BUG", None: "root"}[root.explained]
    bound = "" if root.bound is None else f", bound {root.bound:.3g}"
    place = f"step {root.step}, sample {root.sample}, {root.unit}, neuron {root.neuron}"
    return f"{kind} at {place}: s - threshold = {root.margin:.3g}{bound}"


def _certificates(certificates: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line for each distinct certificate, naming the backends that it speaks of."""
    shared: dict[str, list[str]] = {}
    for backend, found in certificates.items():
        precision = found["model"]["precision"]
        if found["reason"] is not None:
            line = f"no certificate for {precision}: {found['reason']}"
        elif not found["decisions"]:
            continue
        else:
            line = (
                f"certified for {precision}: {share(found['certified'])} of {found['decisions']:,} decisions "
                f"({_counted(found['open'], 'decision')} open), smallest margin {found['smallest_margin']:.3g}"
            )
        shared.setdefault(line, []).append(backend)
    yield from (f"{line} ({', '.join(backends)})" for line, backends in shared.items())


def share(part: float) -> str:
    """A share in per cent that never rounds up to 100."""
    return "100 %" if part == 1 else f"{min(part, 0.999999):.4%}".replace("%", " %")


def table(header: Sequence[str], body: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines of an aligned table; the columns in ``right`` are aligned right."""
    widths = [max(len(row[column]) for row in (header, *body)) for column in range(len(header))]
    right = set(right)
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *body)
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _cells(row: Row, *, split: bool) -> tuple[str, ...]:
    named = (row.backend, row.engine or "", row.version or "", row.precision or "")
    if not row.ran:
        return (*named, *[""] * (8 if split else 5), row.verdict)
    spikes = f"{row.spikes:,}" if row.kind == "spikes" else "-"
    kinds = [f"{row.roots:,}", *("-" if n is None else f"{n:,}" for n in (row.explained, row.bugs))] if split else []
    counts = (f"{row.compared:,}", spikes, f"{row.differing:,}", *kinds)
    return (*named, row.unit or "", *counts, row.rung or "-", row.verdict)

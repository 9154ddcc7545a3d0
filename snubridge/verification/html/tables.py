"""The tables of the page: rows, differences, certificates, provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from snubridge.verification.markup import escaped

if TYPE_CHECKING:
    from snubridge.verification.report import Report, Row

LABELS: Mapping[str, str] = {
    "backend": "backend",
    "unit": "unit or output",
    "verdict": "verdict",
    "rung": "rung",
    "compared": "compared",
    "spikes": "spikes",
    "differing": "differ",
    "roots": "roots",
    "explained": "explained",
    "bugs": "bugs",
    "consequences": "consequences",
    "largest_difference": "largest difference",
    "first": "first difference",
    "margin": "margin there",
    "bound": "bound there",
    "precision": "precision",
    "engine": "engine",
    "version": "version",
}
"""The order of the columns, and their names; a field that is not here follows under its own."""
ELSEWHERE = frozenset({"kind", "reason", "shown"})
"""Fields that are told in words, not in a column."""
SPLIT = frozenset({"roots", "explained", "bugs", "consequences"})
"""Shown where something differs."""
ALWAYS = frozenset({"backend", "engine", "version", "precision", "unit", "verdict", "rung", "compared", "differing"})
TONES: Mapping[str, str] = {"equal": "good", "explained": "warn", "unequal": "bad", "bug": "bad"}


@dataclass(frozen=True)
class Cell:
    """One cell: text, its class, and the whole of it where the text is short."""

    text: str
    kind: str = ""
    whole: str | None = None
    span: int = 1

    def markup(self, tag: str = "td") -> str:
        kind = f' class="{self.kind}"' if self.kind else ""
        whole = "" if self.whole is None else f' title="{escaped(self.whole)}"'
        scope = ' scope="row"' if tag == "th" else f' colspan="{self.span}"' if self.span > 1 else ""
        return f"<{tag}{scope}{kind}{whole}>{escaped(self.text)}</{tag}>"


def cell(value: Any) -> Cell:
    """Any value of a field."""
    if value is None:
        return Cell("\u2013")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", "n")
    if isinstance(value, float):
        return Cell(number(value), "n", repr(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return Cell(place(value))
    return Cell(str(value))


def number(value: float) -> str:
    """A float with three digits."""
    return f"{value:.3g}" if math.isfinite(value) else "infinite" if not math.isnan(value) else "not a number"


def place(found: Any) -> str:
    """Where a difference is; the unit stands in its own column."""
    return f"step {found.step:,}, sample {found.sample:,}, neuron {found.neuron}"


def table(caption: str, header: Sequence[Cell], body: Iterable[Sequence[Cell]], kind: str = "", big: str = "") -> str:
    """A table in a box of its own that scrolls; the first cell of each row is its head."""
    named = f' class="{kind}"' if kind else ""
    heads = "".join(
        f'<th scope="col"{" class=" + chr(34) + head.kind + chr(34) if head.kind else ""}>{escaped(head.text)}</th>'
        for head in header
    )
    rows = "".join(f"<tr>{row[0].markup('th')}{''.join(c.markup() for c in row[1:])}</tr>" for row in body)
    top = f"<thead><tr>{heads}</tr></thead>" if header else ""
    return (
        f'<div class="scroll{big}" tabindex="0" role="region" aria-label="{escaped(caption)}">'
        f"<table{named}>{top}<tbody>{rows}</tbody></table></div>"
    )


def rows_table(report: Report) -> str:
    """One line for each unit or output of each backend that ran."""
    rows = [row for row in report.rows if row.ran]
    if not rows:
        return ""
    names = [field.name for field in fields(rows[0]) if field.name not in ELSEWHERE]
    ordered = [name for name in LABELS if name in names] + [name for name in names if name not in LABELS]
    differs = any(row.differing for row in rows)
    always = ALWAYS | SPLIT if differs else ALWAYS
    shown = [name for name in ordered if name in always or any(_says(getattr(row, name)) for row in rows)]
    body = [[_field(row, name) for name in shown] for row in rows]
    labels = LABELS if differs else {**LABELS, "margin": "closest margin", "bound": "bound there"}
    numeric = [any("n" in line[column].kind.split() for line in body) for column in range(len(shown))]
    body = [
        [replace(part, kind=part.kind or "n" * right) for part, right in zip(line, numeric, strict=True)]
        for line in body
    ]
    header = [
        Cell(labels.get(name, name.replace("_", " ")), "n" * right) for name, right in zip(shown, numeric, strict=True)
    ]
    return table("Backends and units", header, body, big=" big")


def _says(value: Any) -> bool:
    return value is not None and value != () and (isinstance(value, float) or value != 0)


def _field(row: Row, name: str) -> Cell:
    value = getattr(row, name)
    if name == "verdict":
        return Cell(str(value), TONES.get(str(value), ""))
    if name == "spikes" and row.kind != "spikes":
        return Cell("\u2013", "n")
    if name in ("engine", "version") and value is not None:
        return Cell(str(value))
    return cell(value)


def absent_table(report: Report) -> str:
    """Backends that did not run, and why."""
    rows = [row for row in report.rows if not row.ran]
    if not rows:
        return ""
    header = [Cell("backend"), Cell("verdict"), Cell("reason")]
    body = [[Cell(row.backend), Cell(row.verdict), Cell(row.reason or "no reason given", "long")] for row in rows]
    return table("Backends that did not run", header, body)


def certificates_table(certificates: Mapping[str, Mapping[str, Any]]) -> str:
    """By backends: what is certified under which model."""
    if not certificates:
        return ""
    header = [
        Cell("backends"), Cell("model"), Cell("decisions", "n"), Cell("certified", "n"), Cell("conditional", "n"),
        Cell("open", "n"), Cell("smallest margin", "n"), Cell("largest bound", "n"),
    ]  # fmt: skip
    body = []
    for names, found in certificates.items():
        model = _model(found["model"])
        if found.get("reason"):
            why = Cell(f"none: {found['reason']}", "long", span=6)
            body.append([Cell(names, "long"), Cell(model), why])
            continue
        shares = [Cell(share(found[name]), "n", repr(found[name])) for name in ("certified", "conditional")]
        counts = cell(found["decisions"]), cell(found["open"])
        body.append(
            [
                Cell(names, "long"),
                Cell(model),
                counts[0],
                *shares,
                counts[1],
                cell(found["smallest_margin"]),
                cell(found.get("bound")),
            ]
        )
    return table("Certificates", header, body)


def _model(model: Mapping[str, Any]) -> str:
    """The precision, and whatever else is not usual."""
    extra = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in model.items()
        if name != "precision" and value and name != "ulps"
    ]
    return ", ".join([str(model["precision"]), *extra])


def share(part: float) -> str:
    """A share in per cent that never rounds up to 100."""
    return "100 %" if part == 1 else f"{min(part, 0.999999) * 100:.4f} %"


def facts_table(caption: str, pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and what they are."""
    body = [[Cell(name), value if isinstance(value, Cell) else Cell(_plain(value), "long")] for name, value in pairs]
    return table(caption, [], body, "facts")


def _plain(value: Any) -> str:
    """What a fact says; mappings and sequences in a line."""
    if is_dataclass(value) and not isinstance(value, type):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else str(value)

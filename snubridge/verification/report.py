"""The report of a verification: rows, verdicts, and their forms for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from snubridge.errors import SpikesDiffer
from snubridge.ir.disk import StrPath, write_atomically
from snubridge.verification.comparison import First
from snubridge.verification.evidence import Evidence

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One unit or output on one backend; of a backend that did not run, the one row that says why.

    ``compared, spikes, differing``  numbers of bins; ``spikes`` those of the reference
    ``first``     where the first difference is, ``margin`` the reference's s - threshold there
    ``bound``     the error bound there; null until certificates exist
    ``rung``      the rung of the ladder that holds: "measured", "tolerance", or null
    ``verdict``   "equal", "unequal", "refused" or "missing"; ``reason`` says why not
    ``kind``      "spikes" or "values"; of values ``largest_difference`` is given
    """

    backend: str
    engine: str | None = None
    version: str | None = None
    precision: str | None = None
    unit: str | None = None
    kind: str | None = None
    compared: int = 0
    spikes: int = 0
    differing: int = 0
    largest_difference: float | None = None
    first: First | None = None
    margin: float | None = None
    bound: float | None = None
    rung: str | None = None
    verdict: str = "equal"
    reason: str | None = None

    def __getitem__(self, field: str) -> Any:
        """``row["verdict"]``: by the keys of the JSON report."""
        return asdict(self)[field]

    @property
    def ran(self) -> bool:
        """Whether the backend ran at all."""
        return self.verdict in ("equal", "unequal")


@dataclass(frozen=True)
class Report:
    """What a verification found.

    ``equal``   at least one backend ran, and on every one that ran no spike and no other value differs
    ``silent``  no neuron spiked in the reference: such a run proves nothing
    ``rows``    one for each backend and unit or output, and one for each backend that did not run
    """

    rows: tuple[Row, ...]
    silent: bool
    graph: str
    """The digest of the graph."""
    steps: int
    samples: int
    versions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What else is worth knowing of each backend's program, say its number of devices."""
    inputs: str | None = None
    """The digest of the inputs, as the engines received them, and of the lengths."""
    evidence: Evidence | None = field(default=None, repr=False, compare=False)
    """What ``to_html`` draws from; not stored with the report: a pickled or copied one has none, and no pictures."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "evidence": None}

    @property
    def equal(self) -> bool:
        """See the class."""
        ran = [row for row in self.rows if row.ran]
        return bool(ran) and all(row.verdict == "equal" for row in ran)

    def raise_if_unequal(self) -> None:
        """Raise ``SpikesDiffer`` unless ``equal``."""
        if not self.equal:
            raise SpikesDiffer(self.summary(), self)

    def summary(self) -> str:
        """One line: whether the spikes are equal, and where not, the first difference."""
        ran = dict.fromkeys(row.backend for row in self.rows if row.ran)
        if not ran:
            return "nothing was compared: no backend ran"
        bins = sum(row.compared for row in self.rows if row.kind == "spikes")
        if self.equal:
            note = "; but no neuron spiked, so this proves nothing" if self.silent else ""
            return f"equal: 0 of {bins:,} compared bins differ on {', '.join(ran)}{note}"
        worst = [row for row in self.rows if row.verdict == "unequal"]
        first = min((row for row in worst if row.first), key=lambda row: row.first.step if row.first else 0)
        assert first.first is not None
        where = f"step {first.first.step}, sample {first.first.sample}, {first.unit}, neuron {first.first.neuron}"
        return f"unequal: {sum(row.differing for row in worst):,} bins differ; the first on {first.backend} at {where}"

    def to_text(self) -> str:
        """A table for people, with the summary below it."""
        header = (
            "backend",
            "engine",
            "version",
            "precision",
            "unit",
            "compared",
            "spikes",
            "differ",
            "rung",
            "verdict",
        )
        body = [_cells(row) for row in self.rows]
        reasons = [f"{row.backend}: {row.reason}" for row in self.rows if row.reason]
        size = f"{self.steps} steps, {self.samples} samples, graph {self.graph[:12]}"
        return "\n".join([*table(header, body, right=range(5, 8)), "", *reasons, f"{self.summary()} ({size})"])

    def document(self) -> dict[str, Any]:
        """What ``to_json`` says, as a dict."""
        return {
            "format": FORMAT,
            "equal": self.equal,
            "silent": self.silent,
            "summary": self.summary(),
            "graph": self.graph,
            "inputs": self.inputs,
            "steps": self.steps,
            "samples": self.samples,
            "versions": dict(self.versions),
            "facts": {backend: dict(facts) for backend, facts in self.facts.items()},
            "rows": [jsonable(row) for row in self.rows],
        }

    def to_json(self) -> str:
        """The whole report as JSON text."""
        return json.dumps(self.document(), indent=2, allow_nan=False)

    def to_html(self, path: StrPath) -> None:
        """Write the report for people: one HTML file that needs nothing else, with pictures; atomic.

        The same verification gives the same bytes. ``BadFile``: the file cannot be written.
        """
        from snubridge.verification.html import page  # the page speaks of reports

        write_atomically(path, page(self).encode())


def jsonable(part: Any) -> dict[str, Any]:
    """A row or a part of a comparison as JSON can say it: a place by name, no number that is not finite."""
    fields = asdict(part)
    fields["first"] = None if part.first is None else part.first._asdict()
    if fields["largest_difference"] is not None and not math.isfinite(fields["largest_difference"]):
        fields["largest_difference"] = None
    return fields


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


def _cells(row: Row) -> tuple[str, ...]:
    if not row.ran:
        return (row.backend, row.engine or "", row.version or "", row.precision or "", *[""] * 5, row.verdict)
    spikes = f"{row.spikes:,}" if row.kind == "spikes" else "-"
    return (
        row.backend,
        row.engine or "",
        row.version or "",
        row.precision or "",
        row.unit or "",
        f"{row.compared:,}",
        spikes,
        f"{row.differing:,}",
        row.rung or "-",
        row.verdict,
    )

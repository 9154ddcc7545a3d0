"""The report of a verification: rows, verdicts, and their forms for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from snubridge.errors import SpikesDiffer
from snubridge.ir.disk import StrPath, write_atomically
from snubridge.verification.comparison import First
from snubridge.verification.evidence import Evidence
from snubridge.verification.ladder import Root
from snubridge.verification.suspects import Suspect
from snubridge.verification.wording import summary, text
from snubridge.verification.wording import table as table

FORMAT = 2
RAN = ("equal", "explained", "bug", "unequal")
"""The verdicts of backends that ran."""


@dataclass(frozen=True)
class Row:
    """One unit or output on one backend; of a backend that did not run, the one row that says why.

    ``compared, spikes, differing``  numbers of bins; ``spikes`` those of the reference
    ``first``     where the first difference is
    ``margin``    the reference's s - threshold there; where nothing differs, at the closest call: the decision whose
                  margin leaves the least room for the bound
    ``bound``     how far rounding may move the state there; null without a certificate
    ``roots, consequences``  differing = roots + consequences, see ``ladder``
    ``explained, bugs``      of the roots of spikes; null for values, and without a certificate
    ``shown``     the first roots, bugs before others, each with margin and bound
    ``rung``      the rung of the ladder that holds: "exact", "certified", "measured", "tolerance", or null
    ``verdict``   "equal", "explained", "bug", "unequal", "refused" or "missing"; ``reason`` says why not
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
    roots: int = 0
    consequences: int = 0
    explained: int | None = None
    bugs: int | None = None
    shown: tuple[Root, ...] = ()
    rung: str | None = None
    verdict: str = "equal"
    reason: str | None = None

    def __getitem__(self, field: str) -> Any:
        """``row["verdict"]``: by the keys of the JSON report."""
        return asdict(self)[field]

    @property
    def ran(self) -> bool:
        """Whether the backend ran at all."""
        return self.verdict in RAN


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
    certificates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By backend: the error model that its program states, and what is certified under it; or the reason why nothing
    is. Empty where no certificate was asked for."""
    suspects: Mapping[str, tuple[Suspect, ...]] = field(default_factory=dict)
    """By backend with a bug: the usual mistakes that give its very spikes, else the one that comes closest."""
    inputs: str | None = None
    """The digest of the inputs, as the engines received them, and of the lengths."""
    evidence: Evidence | None = field(default=None, repr=False, compare=False)
    """What ``to_html`` draws from; not stored with the report: a pickled or copied one has none, and no pictures."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "evidence": None}

    @property
    def equal(self) -> bool:
        """See the class; a difference that rounding explains is a difference."""
        ran = [row for row in self.rows if row.ran]
        return bool(ran) and all(row.verdict == "equal" for row in ran)

    def raise_if_unequal(self) -> None:
        """Raise ``SpikesDiffer`` unless ``equal``."""
        if not self.equal:
            raise SpikesDiffer(self.summary(), self)

    def summary(self) -> str:
        """One line: whether the spikes are equal, and where not, the first difference."""
        return summary(self)

    def to_text(self) -> str:
        """A table for people, with what needs words and the summary below it."""
        return text(self)

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
            "certificates": {backend: dict(found) for backend, found in self.certificates.items()},
            "suspects": {backend: [asdict(suspect) for suspect in found] for backend, found in self.suspects.items()},
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
    """A row or a part of a comparison as JSON can say it: places by name, no number that is not finite."""
    fields = asdict(part)
    fields["first"] = None if part.first is None else part.first._asdict()
    if "shown" in fields:
        fields["shown"] = [root._asdict() for root in part.shown]
    if fields["largest_difference"] is not None and not math.isfinite(fields["largest_difference"]):
        fields["largest_difference"] = None
    return fields

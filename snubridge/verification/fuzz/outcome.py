"""What became of one graph on one backend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from snubridge.verification.comparison import First

OUTCOMES = ("equal", "explained", "overflow", "refused", "bug", "values", "crashed", "timeout")
FAILING = ("bug", "values", "crashed", "timeout")
"""Those that nobody expects."""


@dataclass(frozen=True)
class Outcome:
    """``kind`` is one of ``OUTCOMES``:

    equal      every spike, and every other value within the tolerance of the precision
    explained  spikes or values differ, and the engine's error model leaves all roots open, or covers all values
    overflow   the engine says that it overflowed, and its error model does not exclude it
    refused    ``Unsupported``, with ``reason``
    bug        a root is not open: ``place`` is the first, with its ``margin`` and ``bound``
    values     a value beyond the tolerance and beyond its bound
    crashed    an error that is no refusal, or the death of the process
    timeout    no end within the limit

    ``differing``  bins that differ     ``roots``  differing decisions that depend on no other that differs
    ``seconds``    to lower and to run: of this machine, in no file
    ``fatal``      the process had to be replaced; in no file
    """

    kind: str
    reason: str | None = None
    precision: str | None = None
    differing: int = 0
    roots: int = 0
    place: First | None = None
    margin: float | None = None
    bound: float | None = None
    seconds: float = 0.0
    fatal: bool = False

    @property
    def failing(self) -> bool:
        """Whether it is one of ``FAILING``."""
        return self.kind in FAILING

    def same_failure(self, other: Outcome) -> bool:
        """Whether both fail alike; of crashes, with the same type of error."""
        kinds = [outcome.kind for outcome in (self, other)]
        causes = [(outcome.reason or "").partition(":")[0] for outcome in (self, other)]
        return self.failing and kinds[0] == kinds[1] and (kinds[0] != "crashed" or causes[0] == causes[1])

    def document(self) -> dict[str, Any]:
        """What files say of it: nothing that differs from run to run, no field that says nothing."""
        found = {
            "outcome": self.kind,
            "reason": self.reason,
            "precision": self.precision,
            "differing": self.differing or None,
            "roots": self.roots or None,
            "first": None if self.place is None else self.place._asdict(),
            "margin": _finite(self.margin),
            "bound": _finite(self.bound),
        }
        return {key: value for key, value in found.items() if value is not None}


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: a bound that is none is left out."""
    return value if value is not None and math.isfinite(value) else None

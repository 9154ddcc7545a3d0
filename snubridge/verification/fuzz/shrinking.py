"""A failing case made small: delta debugging with bounded effort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from snubridge.bridge.conformance.cases import Case
from snubridge.errors import InvalidGraph
from snubridge.ir.rules import validate
from snubridge.verification.fuzz.outcome import Outcome
from snubridge.verification.fuzz.reductions import REDUCTIONS, with_named_inputs

TRIALS = 300
"""Cases that are run at most."""
FATAL = 20
"""As how many of them one counts that ends the process: the next one has to import its engine first."""


def shrink(case: Case, failure: Outcome, run: Callable[[Case], Outcome], trials: int = TRIALS) -> tuple[Case, Outcome]:
    """The smallest case found that fails as ``failure`` does, and how it fails; ``run`` says what becomes of one.

    Each reduction is repeated as long as it helps, and all of them until none does, or ``trials`` are spent.
    The same arguments give the same case, if ``run`` answers alike.
    """
    case = with_named_inputs(case)
    helped = True
    while helped:
        helped = False
        for reduction in REDUCTIONS:
            found: tuple[Case, Outcome] | None = case, failure
            while found is not None:
                case, failure = found
                found = None
                for candidate in _valid(reduction(case, failure.place)):
                    if trials <= 0:
                        return case, failure
                    outcome = run(candidate)
                    trials -= FATAL if outcome.fatal else 1
                    if outcome.same_failure(failure):
                        found, helped = (candidate, outcome), True
                        break
    return case, failure


def _valid(candidates: Iterator[Case]) -> Iterator[Case]:
    for candidate in candidates:
        try:
            validate(candidate.graph)
        except InvalidGraph:
            continue
        yield replace(candidate, idea="", exact=False)

"""A section of the report: candidates that did the same work, a row each, and the goals set for them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from training.checks import differing, saved_bytes
from training.settings import Options
from training.timing import Candidate, CandidateFailed, Times, attempt, measure, quartiles
from training.traffic import Traffic


@dataclass(frozen=True)
class Goal:
    """A figure and the bound set for it; ``reached`` is None where an opponent that it needs was not asked for."""

    what: str
    bound: float
    at_least: bool
    reached: float | None
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound."""
        if self.reached is None:
            return None
        return (operator.ge if self.at_least else operator.le)(self.reached, self.bound)


@dataclass(frozen=True)
class Row:
    """What a candidate took and what it computed. ``times_base``: how many times the section's base."""

    name: str
    settings: str
    milliseconds: tuple[float, float, float]
    samples: int
    times_base: tuple[float, float, float]
    times_floor: tuple[float, float, float] | None
    rate: float | None
    differing: float | None
    saved_bytes: float | None
    traffic: Traffic | None = None

    @property
    def bandwidth(self) -> float | None:
        """Gigabytes moved per second."""
        return None if self.traffic is None else self.traffic.total / self.milliseconds[1] / 1e6


@dataclass(frozen=True)
class Section:
    """One case at one size."""

    case: str
    title: str
    base: str
    rows: Sequence[Row]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    times: Mapping[str, Times] = field(default_factory=dict, repr=False)


def ratio_goal(
    what: str,
    bound: float,
    times: Mapping[str, Times],
    slower: Sequence[str],
    faster: str,
    at_least: bool = True,
    scale: float = 1.0,
) -> Goal:
    """How many times ``faster`` the best of ``slower`` takes; with ``at_least=False``, at most that many.

    ``scale``: what the ratio of times is multiplied with, so that it becomes one of rates.
    """
    found = [quartiles([scale * ratio for ratio in times[name].over(times[faster])]) for name in slower]
    if not found:
        return Goal(what, bound, at_least, None)
    first, median, third = min(found, key=lambda values: values[1])
    return Goal(what, bound, at_least, median, (first, third))


def compare(
    case: str,
    title: str,
    candidates: Sequence[Candidate],
    options: Options,
    *,
    base: str,
    floor: str | None = None,
    goals: Callable[[Mapping[str, Times], Mapping[str, Row]], Sequence[Goal]] = lambda times, rows: (),
    notes: Callable[[], Sequence[str]] = lambda: (),
    saved: bool = False,
) -> Section:
    """Checked, then timed. ``notes`` are taken after the timing; ``saved``: the bytes kept are counted as well."""
    try:
        found = {candidate.name: attempt(candidate, lambda c=candidate: differing(c)) for candidate in candidates}
        times = measure(candidates, options.repeats, options.warmup, options.clock)
        kept = {
            candidate.name: attempt(candidate, lambda c=candidate: saved_bytes(c)) if saved else None
            for candidate in candidates
        }
    except CandidateFailed as error:
        raise CandidateFailed(f"{case}, {title}: {error}") from error
    rows = {
        candidate.name: Row(
            name=candidate.name,
            settings=candidate.settings,
            milliseconds=quartiles(times[candidate.name].samples),
            samples=len(times[candidate.name].samples),
            times_base=quartiles(times[candidate.name].over(times[base])),
            times_floor=None if floor is None else quartiles(times[candidate.name].over(times[floor])),
            rate=found[candidate.name][0],
            differing=found[candidate.name][1],
            saved_bytes=kept[candidate.name],
            traffic=candidate.traffic,
        )
        for candidate in candidates
    }
    return Section(case, title, base, tuple(rows.values()), tuple(goals(times, rows)), tuple(notes()), times)

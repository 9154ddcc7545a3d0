"""A table of a report, and the goals set for its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.sections import Goal
from training.timing import Times, quartiles


@dataclass(frozen=True)
class Table:
    """Candidates side by side, one row each, by column."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    goals: Sequence[Goal] = ()
    note: str = ""


def ratio(what: str, bound: float, at_least: bool, one: Times, other: Times) -> Goal:
    first, median, third = quartiles(one.over(other))
    return Goal(what, bound, at_least, median, (first, third))

"""Frames, ticks and their words, for figures of steps and neurons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from snubridge.verification.pictures.figure import SMALL, Line, Mark, Points, Words

RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True)
class Panel:
    """A rectangle to draw in."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def frame(self) -> Line:
        """Its border."""
        return box(self.left, self.top, self.right, self.bottom, "rule")


def box(left: float, top: float, right: float, bottom: float, color: str) -> Line:
    """A rectangle's border."""
    return Line(corners(left, top, right, bottom, closed=True), color)


def corners(left: float, top: float, right: float, bottom: float, *, closed: bool = False) -> Points:
    """A rectangle's corners."""
    around = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.array([*around, around[0]] if closed else around)


def level(panel: Panel, y: float, color: str, *, width: float = 1.0, dashed: bool = False) -> Line:
    """A horizontal line through a panel."""
    return Line(np.array([(panel.left, y), (panel.right, y)]), color, width, dashed)


def upright(panel: Panel, x: float, color: str, *, width: float = 1.0, dashed: bool = False) -> Line:
    """A vertical line through a panel."""
    return Line(np.array([(x, panel.top), (x, panel.bottom)]), color, width, dashed)


def ticks(first: int, last: int, most: float) -> list[int]:
    """Round integers from ``first`` to ``last``, not many more than ``most``."""
    rough = max((last - first) / max(most, 1), 1)
    decade = 10 ** math.floor(math.log10(rough))
    every = int(next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= rough))
    return list(range(-(-first // every) * every, last + 1, every))


def step_axis(panel: Panel, first: int, count: int, *, label: str = "step") -> Iterator[Mark]:
    """Ticks and words below a panel that is ``count`` steps wide."""
    cell = panel.width / count
    for tick in ticks(first, first + count - 1, panel.width / 70):
        x = panel.left + (tick - first + 0.5) * cell
        yield Line(np.array([(x, panel.bottom), (x, panel.bottom + 4)]), "muted")
        yield Words(x, panel.bottom + 17, f"{tick:,}", anchor="middle")
    yield Words(panel.left + panel.width / 2, panel.bottom + 33, label, anchor="middle")


def neuron_axis(panel: Panel, neurons: int) -> Iterator[Mark]:
    """Ticks and words left of a panel, neuron 0 at the bottom."""
    cell = panel.height / neurons
    for tick in ticks(0, neurons - 1, panel.height / 42):
        y = panel.bottom - (tick + 0.5) * cell
        yield Line(np.array([(panel.left - 4, y), (panel.left, y)]), "muted")
        yield Words(panel.left - 7, y + 4, f"{tick:,}", anchor="end")
    yield Words(panel.left, panel.top - 7, "neuron", anchor="end" if panel.left > 52 else "middle")


def value_axis(panel: Panel, places: Iterable[tuple[float, str]]) -> Iterator[Mark]:
    """Rules through a panel at these heights, with their words at the left."""
    for y, text in places:
        yield level(panel, y, "rule")
        yield Words(panel.left - 5, y + 4, text, anchor="end", size=SMALL - 1)


def power(exponent: int) -> str:
    """10 to an exponent, as text."""
    return "1" if exponent == 0 else "10" + str(exponent).translate(RAISED)

"""A picture as data: marks with places in pixels, drawn once and written as SVG or PNG.

The origin is at the top left. A color is the name of a role (``PALETTE``) or hexadecimal; the latter are chosen to be
seen on white and on black alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(n, 2): x and y."""
Rgba = tuple[int, int, int, int]
Anchor = Literal["start", "middle", "end"]

PALETTE: Mapping[str, str] = MappingProxyType(
    {"ink": "#1b1f24", "muted": "#57606a", "rule": "#d5d9df", "paper": "#ffffff"}
)
AGREED, EXTRA, MISSING = "#2f81d6", "#e5484d", "#b8800b"
BOUNDS = ("#b8800b", "#a05bd0", "#00906b", "#7d8590")
"""A color for the bound under each error model."""
COLOR_NAMES: Mapping[str, str] = MappingProxyType(dict(zip(BOUNDS, ("ochre", "purple", "green", "gray"), strict=True)))

SMALL, TEXT = 11.0, 12.5
"""Sizes of words."""


@dataclass(frozen=True)
class Line:
    """A polyline."""

    points: Points
    color: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Points
    color: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Dots:
    """Circles: filled, or rings filled with paper; with ``halo``, open rings that stand out from what is below."""

    points: Points
    color: str
    radius: float
    hollow: bool = False
    halo: bool = False


@dataclass(frozen=True)
class Words:
    """One line of text at its baseline; with ``halo``, paper around it."""

    x: float
    y: float
    text: str
    color: str = "muted"
    size: float = SMALL
    anchor: Anchor = "start"
    bold: bool = False
    halo: bool = False


@dataclass(frozen=True)
class Pixels:
    """An image: ``indices`` (rows, columns) into ``colors``, the top row first; ``smooth``: its cells are no pixels."""

    x: float
    y: float
    width: float
    height: float
    indices: NDArray[np.uint8]
    colors: tuple[Rgba, ...]
    smooth: bool = False


Mark = Line | Area | Dots | Words | Pixels


@dataclass(frozen=True)
class Figure:
    """Marks on a sheet, and ``about``, what is to be seen in words."""

    width: float
    height: float
    about: str
    marks: tuple[Mark, ...] = field(repr=False)

    def moved(self, x: float, y: float) -> tuple[Mark, ...]:
        """The marks, shifted."""
        return tuple(_moved(mark, x, y) for mark in self.marks)


def grid(figures: Sequence[Figure], columns: int, about: str, gap: float = 16) -> Figure:
    """Figures side by side, in rows of ``columns``."""
    wide = max(figure.width for figure in figures)
    marks: list[Mark] = []
    top = right = 0.0
    for start in range(0, len(figures), columns):
        row = figures[start : start + columns]
        for column, figure in enumerate(row):
            marks.extend(figure.moved(column * (wide + gap), top))
            right = max(right, column * (wide + gap) + figure.width)
        top += max(figure.height for figure in row) + gap
    return Figure(right, top - gap, about, tuple(marks))


def labeled(figure: Figure, text: str) -> Figure:
    """A figure with one line above it that says which of several it is."""
    high = 20.0
    label = Words(4, 13, text, "ink", TEXT, bold=True)
    return Figure(figure.width, figure.height + high, figure.about, (label, *figure.moved(0, high)))


def titled(figure: Figure, title: str, caption: Sequence[str]) -> Figure:
    """A figure that stands alone: a title above it, lines that explain it below it, and a margin around."""
    margin, line = 14.0, 17.0
    top = margin + 26
    words: list[Mark] = [Words(margin, margin + 14, title, "ink", 16, bold=True)]
    bottom = top + figure.height + 22
    words += [Words(margin, bottom + line * index, text, "muted", TEXT) for index, text in enumerate(caption)]
    longest = max([len(title) * 9.5, *(len(text) * 6.6 for text in caption)], default=0.0)
    width = max(figure.width + 2 * margin, longest + 2 * margin)
    height = bottom + line * max(len(caption) - 1, 0) + margin
    return Figure(width, height, figure.about, (*words, *figure.moved(margin, top)))


def _moved(mark: Mark, x: float, y: float) -> Mark:
    if isinstance(mark, Words | Pixels):
        return replace(mark, x=mark.x + x, y=mark.y + y)
    return replace(mark, points=mark.points + np.array([x, y]))

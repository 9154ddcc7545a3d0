"""A figure as PNG, by matplotlib, which is imported when one is written; its global state is left alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from snubridge.errors import MissingEngine
from snubridge.verification.pictures.figure import PALETTE, Area, Dots, Figure, Line, Mark, Pixels, Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALE = 2
"""Pixels of the file for each of the figure."""
ALIGN = {"start": "left", "middle": "center", "end": "right"}


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file, two pixels for each of its own. ``MissingEngine``: matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
    except ImportError as error:
        raise MissingEngine(f"matplotlib does not load ({error}): pip install 'snubridge[plot]'") from None
    dots = 72 * SCALE  # so that a point of matplotlib is a pixel of the figure
    sheet = Sheet(figsize=(figure.width / 72, figure.height / 72), dpi=dots, facecolor=PALETTE["paper"])
    FigureCanvasAgg(sheet)
    axes = sheet.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, figure.width)
    axes.set_ylim(figure.height, 0)
    axes.autoscale(False)
    for order, mark in enumerate(figure.marks):
        _draw(axes, mark, order)
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png", dpi=dots, metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, mark: Mark, order: int) -> None:
    if isinstance(mark, Pixels):
        rgba = np.array(mark.colors, dtype=np.uint8)[mark.indices]
        extent = (mark.x, mark.x + mark.width, mark.y + mark.height, mark.y)
        axes.imshow(rgba, extent=extent, aspect="auto", interpolation="antialiased", zorder=order)
        return
    color = PALETTE.get(mark.color, mark.color)
    if isinstance(mark, Line):
        style = (0, (5, 4)) if mark.dashed else "solid"
        axes.plot(*mark.points.T, color=color, linewidth=mark.width, linestyle=style, zorder=order)
    elif isinstance(mark, Area):
        axes.fill(*mark.points.T, color=color, alpha=mark.opacity, linewidth=0, zorder=order)
    elif isinstance(mark, Dots):
        rings = [(PALETTE["paper"], 5.0), (color, 2.0)] if mark.halo else [(color, 2.0 if mark.hollow else 0.0)]
        face = "none" if mark.halo else PALETTE["paper"] if mark.hollow else color
        for edge, width in rings:
            axes.plot(*mark.points.T, "o", markersize=2 * mark.radius, markerfacecolor=face, markeredgecolor=edge,
                      markeredgewidth=width, zorder=order)  # fmt: skip
    else:
        _write(axes, mark, color, order)


def _write(axes: Axes, words: Words, color: str, order: int) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        words.x,
        words.y,
        words.text,
        color=color,
        size=words.size,
        ha=ALIGN[words.anchor],
        va="baseline",
        weight="bold" if words.bold else "normal",
        path_effects=[withStroke(linewidth=4, foreground=PALETTE["paper"])] if words.halo else [],
        zorder=order,
        parse_math=False,
    )

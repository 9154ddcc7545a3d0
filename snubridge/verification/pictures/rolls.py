"""Pictures of what was equal; matplotlib is imported when one is drawn, and its global state is left alone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snubridge.errors import BadInput, MissingEngine
from snubridge.ir.file import StrPath, write_atomically
from snubridge.ir.numbers import Array
from snubridge.reference.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

# All lengths are in pixels, and whole numbers where there is room, so that all marks are drawn alike.
WIDTH, DPI = 1600, 100  # the width is a few percent more or less, since a step is a whole number of pixels
LEFT, RIGHT = 124, 40
TITLE, CAPTION, AXIS, LEGEND_ROW = 62, 44, 66, 38
KEY_ROW, ROLL = 8, (240, 400)  # one key; the least and the most of the panel
NEURON_ROW, RASTER = 6, (300, 930)
COLUMNS = 3  # of the legend

# Okabe and Ito's palette, which color-blind eyes tell apart, from the inside out; its red is kept for what differs.
INK, SHOUT, AGREE = "#1b1f24", "#d7261e", "#00785a"
BANDS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#b8a800", "#7f5539", "#8d99ae")
NOTE, SHADE, RULE, MUTED, FAINT = "#3d5a80", "#f3f4f6", "#dfe3e8", "#57606a", "#d5d9df"

CORE = 3  # the least width of the reference's mark
NAMED = 5  # bins that differ and get a label; the others only a ring

LOWEST_KEY, PIANO_KEYS = 21, 88
BLACK = frozenset({1, 3, 6, 8, 10})

Bins = NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One run: its spikes, bool (steps, neurons), and where they are not the reference's."""

    name: str
    color: str
    spikes: Bins
    apart: Bins


@dataclass(frozen=True)
class Cell:
    """The pixels of one bin, and the widths of the marks nested in it, from the reference's outward."""

    step: float
    row: float
    widths: tuple[float, ...]

    @property
    def tall(self) -> float:
        if self.row < 3:
            return max(self.row, 1)  # no mark may vanish between two pixels
        return self.row - 1 if self.row < 8 else round(self.row * 0.8)

    @property
    def whole(self) -> bool:
        """All edges of marks lie on edges of pixels."""
        return all(float(size).is_integer() for size in (self.step, self.row, *self.widths))


def draw_rasters(
    path: StrPath,
    *,
    roll: Array,
    expected: Trace,
    traces: Mapping[str, Trace],
    unit: str,
    sample: int,
    title: str | None = None,
) -> None:
    """Draw a sample's piano roll, and below it one raster with the spikes of the reference and all backends.

    ``roll`` is (T, keys) of 0 and 1, ``expected`` the reference's trace, ``traces`` one by backend; all is cut to the
    sample's length. A spike is a mark with the reference at its core and a band per backend around it, so that all
    marks look alike where all runs agree; a bin that differs is ringed in red and named. Writes a PNG, about 1600
    pixels wide, atomically. ``MissingEngine``: matplotlib is not installed.
    """
    layers = _layers(expected, traces, unit, sample)
    steps, neurons = layers[0].spikes.shape
    keys = np.asarray(roll)
    if keys.ndim != 2 or len(keys) < steps or not keys.shape[1]:
        raise BadInput(
            f"roll: shape {keys.shape}; (T, keys) with T of at least {steps}, the sample's length, is needed"
        )
    held = keys[:steps] != 0
    cell = _cell(steps, neurons, len(layers))
    figure, top, bottom, legend = _panels(held, cell, layers, title)
    _draw_roll(top, held)
    _draw_spikes(bottom, layers, cell)
    _draw_differences(bottom, layers)
    _draw_legend(legend, layers, cell)
    _caption(top, "piano roll" if _is_piano(held) else "input", _count(steps, "step"), MUTED)
    _caption(bottom, f"spikes of unit {unit}, {_count(neurons, 'neuron')}", *_verdict(layers))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def _layers(expected: Trace, traces: Mapping[str, Trace], unit: str, sample: int) -> list[Layer]:
    """The reference and every backend, from the core outward."""
    truth = _spikes("the reference", expected, unit, sample, expected)
    layers = [Layer("reference", INK, truth, np.zeros_like(truth))]
    for index, (name, trace) in enumerate(traces.items()):
        spikes = _spikes(name, trace, unit, sample, expected)
        layers.append(Layer(name, BANDS[index % len(BANDS)], spikes, spikes != truth))
    return layers


def _spikes(name: str, trace: Trace, unit: str, sample: int, expected: Trace) -> Bins:
    """The sample's spikes, (steps, neurons), up to its length; ``BadInput`` where the trace does not fit."""
    if unit not in trace.spikes:
        raise BadInput(f"{name}: recorded no unit {unit!r}, only {', '.join(sorted(trace.spikes)) or 'none'}")
    spikes = trace.spikes[unit]
    if spikes.dtype != np.uint8 or spikes.ndim < 3:
        raise BadInput(f"{name}: unit {unit} is no Step unit with spikes (T, B, neurons)")
    if spikes.shape != expected.spikes[unit].shape or not np.array_equal(trace.lengths, expected.lengths):
        raise BadInput(
            f"{name}: shape {spikes.shape} or lengths are not the reference's: compare runs of the same inputs"
        )
    if not 0 <= sample < spikes.shape[1]:
        raise BadInput(f"sample={sample}: the traces hold samples 0 to {spikes.shape[1] - 1}")
    steps = int(expected.lengths[sample])
    return np.not_equal(spikes[:steps, sample].reshape(steps, -1), 0)


def _cell(steps: int, neurons: int, layers: int) -> Cell:
    wide = WIDTH - LEFT - RIGHT
    step = wide / steps if steps > wide / 2 else round(wide / steps)
    room = step - max(1, step // 14) if step >= 4 else max(step, 1)
    band = round(room / (2 * layers))
    while band and room - 2 * (layers - 1) * band < CORE:
        band -= 1
    widths = [room - 2 * depth * band for depth in range(layers)] if band else np.linspace(room, room / layers, layers)
    return Cell(step, _row(neurons, NEURON_ROW, RASTER), tuple(map(float, reversed(widths))))


def _row(rows: int, usual: int, panel: tuple[int, int]) -> float:
    """The height of a row: the usual one, or what keeps the panel between its least and its most."""
    least, most = panel
    if rows * usual > most:
        return most // rows or most / rows
    return max(usual, least // rows)


def _panels(held: Bins, cell: Cell, layers: Sequence[Layer], title: str | None) -> tuple[Figure, Axes, Axes, Axes]:
    """An empty figure with the panels for the roll, the raster and the legend, one below the other."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingEngine(f"matplotlib does not load ({error}): pip install 'snubridge[plot]'") from None
    low, high = _shown_keys(held)
    steps, neurons = layers[0].spikes.shape
    roll = (high - low) * _row(high - low, KEY_ROW, ROLL)
    heights = [roll, neurons * cell.row, -(-len(layers) // COLUMNS) * LEGEND_ROW]
    gaps = [(TITLE if title else 12) + CAPTION, 20 + CAPTION, AXIS]
    inner = steps * cell.step
    width, height = inner + LEFT + RIGHT, round(sum(heights) + sum(gaps) + 14)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    below = float(height)
    for tall, gap in zip(heights, gaps, strict=True):
        below -= tall + gap
        axes.append(figure.add_axes((LEFT / width, below / height, inner / width, tall / height)))
    if title:
        figure.text(LEFT / width, 1 - 22 / height, title, size=20, weight="bold", color=INK, va="top", parse_math=False)
    return figure, axes[0], axes[1], axes[2]


def _draw_roll(axes: Axes, held: Bins) -> None:
    """Held notes as bars on the staves of a keyboard, drawn at the side."""
    low, high = _shown_keys(held)
    steps = len(held)
    _frame(axes, steps, (low - 0.5, high - 0.5))
    axes.tick_params(axis="x", labelbottom=False)
    if _is_piano(held):
        _draw_keyboard(axes, low, high)
    else:
        axes.set_ylabel("input", size=14, color=MUTED)
    axes.add_collection(_boxes(_held_bars(held), NOTE))


def _draw_keyboard(axes: Axes, low: int, high: int) -> None:
    black = [key for key in range(low, high) if (key + LOWEST_KEY) % 12 in BLACK]
    for key in black:
        axes.axhspan(key - 0.5, key + 0.5, color=SHADE, zorder=0, linewidth=0)
    cs = [key for key in range(low, high) if (key + LOWEST_KEY) % 12 == 0]
    for key in cs:
        axes.axhline(key - 0.5, color=RULE, linewidth=1, zorder=0.5)
    board = axes.inset_axes((-0.0235, 0, 0.0205, 1), sharey=axes)
    board.set_xlim(0, 1)
    board.set_facecolor("white")
    for key in range(low, high):  # white keys part behind the middle of a black one, or where two of them meet
        if key in black:
            board.axhline(key, color=MUTED, linewidth=0.5)
            board.add_patch(_box(0, 0.62, key - 0.5, key + 0.5, INK)).set_zorder(3)
        elif key - 1 not in black:
            board.axhline(key - 0.5, color=MUTED, linewidth=0.5)
    board.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    for spine in board.spines.values():
        spine.set_color(FAINT)
    axes.set_yticks(cs, [f"C{(key + LOWEST_KEY) // 12 - 1}" for key in cs])
    axes.tick_params(axis="y", pad=40, length=0)


def _draw_spikes(axes: Axes, layers: Sequence[Layer], cell: Cell) -> None:
    """The marks, the widest first, so that each run covers the middle of the next."""
    steps, neurons = layers[0].spikes.shape
    _frame(axes, steps, (-0.5, neurons - 0.5))
    axes.set_xlabel("step", size=14, color=MUTED)
    axes.set_ylabel("neuron", size=14, color=MUTED)
    for depth, (layer, width) in enumerate(zip(reversed(layers), reversed(cell.widths), strict=True)):
        marks = _boxes(_marks(layer.spikes, width, cell), layer.color)
        marks.set_antialiased(not cell.whole)
        marks.set_zorder(2 + depth / len(layers))
        axes.add_collection(marks)


def _draw_differences(axes: Axes, layers: Sequence[Layer]) -> None:
    """A red ring with a white halo around every bin in which a run differs, and words for the first few."""
    apart = np.argwhere(np.any([layer.apart for layer in layers], axis=0))
    if not len(apart):
        return
    for width, color, order in ((7, "white", 6.0), (3, SHOUT, 6.1)):
        axes.plot(
            *apart.T,
            "o",
            markersize=17,
            markerfacecolor="none",
            markeredgecolor=color,
            markeredgewidth=width,
            zorder=order,
            clip_on=False,
        )
    steps, neurons = layers[0].spikes.shape
    taken: list[tuple[float, float]] = []
    for step, neuron in apart.tolist():
        spot = step / steps, neuron / neurons
        crowded = any(abs(spot[0] - x) < 0.45 and abs(spot[1] - y) < 0.08 for x, y in taken)
        if len(taken) == NAMED or crowded:
            continue
        taken.append(spot)
        axes.annotate(
            _difference(layers, step, neuron),
            (step, neuron),
            xytext=(-22 if spot[0] > 0.6 else 22, -22 if spot[1] > 0.5 else 22),
            textcoords="offset points",
            ha="right" if spot[0] > 0.6 else "left",
            va="center",
            size=14,
            weight="bold",
            color="white",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": SHOUT, "edgecolor": "white", "linewidth": 1.5},
            arrowprops={"arrowstyle": "-", "color": SHOUT, "linewidth": 2, "shrinkB": 8},
            zorder=5,
            parse_math=False,
        )


def _difference(layers: Sequence[Layer], step: int, neuron: int) -> str:
    """Who differs in a bin, and how: all who differ there do it alike, since a bin is 0 or 1."""
    names = ", ".join(layer.name for layer in layers if layer.apart[step, neuron])
    what = "missing" if layers[0].spikes[step, neuron] else "extra"
    return f"{names}: {what} spike, step {step}, neuron {neuron}"


def _verdict(layers: Sequence[Layer]) -> tuple[str, str]:
    """One line on the whole raster, and its color."""
    bins = int(np.any([layer.apart for layer in layers], axis=0).sum())
    if bins:
        return f"{_count(bins, 'bin')} differ{'s' * (bins == 1)}", SHOUT
    if not layers[0].spikes.any():
        return "no neuron spiked: this shows nothing", SHOUT
    if len(layers) == 1:
        return "the reference alone", MUTED
    return f"reference and {_count(len(layers) - 1, 'backend')}: the same spikes, every step", AGREE


def _draw_legend(axes: Axes, layers: Sequence[Layer], cell: Cell) -> None:
    """Each run's own band in a mark whose other bands are pale, its spikes, and how many bins differ."""
    rows = -(-len(layers) // COLUMNS)
    column = layers[0].spikes.shape[0] * cell.step / COLUMNS
    widest = cell.widths[-1]
    zoom = round(44 / widest) if cell.whole and widest <= 60 else 44 / widest
    whole = widest * zoom
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS * column)
    axes.set_ylim(rows * LEGEND_ROW, 0)
    for index, layer in enumerate(layers):
        left, middle = index % COLUMNS * column, (index // COLUMNS + 0.5) * LEGEND_ROW
        for other, width in zip(reversed(layers), reversed(cell.widths), strict=True):
            inset = (whole - width * zoom) / 2
            color = layer.color if other is layer else FAINT
            axes.add_patch(_box(left + inset, left + whole - inset, middle - 8, middle + 8, color))
        axes.text(
            left + whole + 12,
            middle,
            _label(layer, reference=index == 0),
            size=14.5,
            va="center_baseline",
            color=SHOUT if layer.apart.any() else INK,
            weight="bold" if layer.apart.any() else "normal",
            parse_math=False,
        )


def _label(layer: Layer, *, reference: bool) -> str:
    name = layer.name if len(layer.name) <= 24 else f"{layer.name[:23]}…"
    spikes = f"{name}: {_count(int(layer.spikes.sum()), 'spike')}"
    return spikes if reference else f"{spikes}, {_differ(int(layer.apart.sum()))}"


def _frame(axes: Axes, steps: int, rows: tuple[float, float]) -> None:
    """Limits, ticks that both panels share, and no more lines than it takes."""
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_ylim(*rows)
    every = 2 ** max(math.ceil(math.log2(steps / 20)), 0)
    axes.set_xticks(range(0, steps, every))
    axes.locator_params(axis="y", integer=True, min_n_ticks=1)
    axes.grid(axis="x", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=13, labelcolor=MUTED, color=FAINT)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _caption(axes: Axes, left: str, right: str, color: str) -> None:
    axes.set_title(left, loc="left", size=15.5, weight="bold", color=INK, pad=9, parse_math=False)
    axes.set_title(right, loc="right", size=15.5, weight="bold", color=color, pad=9, parse_math=False)


def _boxes(boxes: NDArray[np.float64], color: str) -> PolyCollection:
    """Filled boxes; ``boxes`` is (n, 4): left, right, bottom, top."""
    from matplotlib.collections import PolyCollection

    corners = np.stack([boxes[:, [0, 1, 1, 0]], boxes[:, [2, 2, 3, 3]]], axis=-1)
    options = {"facecolors": color, "edgecolors": "none", "linewidths": 0, "zorder": 2}
    return PolyCollection(corners, **options)  # type: ignore[arg-type]  # it takes an array, and far faster than a list


def _box(left: float, right: float, bottom: float, top: float, color: str) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), right - left, top - bottom, facecolor=color, linewidth=0, antialiased=False)


def _marks(spikes: Bins, width: float, cell: Cell) -> NDArray[np.float64]:
    """One box per spike in the middle of its bin, in whole pixels where the cell is."""
    steps, neurons = np.nonzero(spikes)
    left, low = (cell.step - width) / 2, (cell.row - cell.tall) / 2
    if cell.whole:
        left, low = left // 1, low // 1
    left, right = left / cell.step - 0.5, (left + width) / cell.step - 0.5
    low, high = low / cell.row - 0.5, (low + cell.tall) / cell.row - 0.5
    return np.stack([steps + left, steps + right, neurons + low, neurons + high], axis=-1)


def _held_bars(held: Bins) -> NDArray[np.float64]:
    """One box per run of steps in which a key is held."""
    edges = np.diff(held.astype(np.int8), axis=0, prepend=0, append=0).T  # (keys, steps + 1)
    keys, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    return np.stack([starts - 0.46, ends - 0.54, keys - 0.36, keys + 0.36], axis=-1)


def _shown_keys(held: Bins) -> tuple[int, int]:
    """First key shown and the one after the last: those in use and a margin."""
    used = np.flatnonzero(held.any(axis=0))
    if not len(used):
        return 0, held.shape[1]
    return max(int(used[0]) - 2, 0), min(int(used[-1]) + 3, held.shape[1])


def _is_piano(held: Bins) -> bool:
    return bool(held.shape[1] == PIANO_KEYS)


def _differ(bins: int) -> str:
    return f"{bins:,} differ{'s' * (bins == 1)}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"

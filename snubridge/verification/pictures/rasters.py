"""Spikes and differences of one unit, steps by neurons; where there are more than fit, cells stand for blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snubridge.errors import BadInput
from snubridge.verification.evidence import Evidence
from snubridge.verification.pictures.axes import Panel, corners, neuron_axis, step_axis
from snubridge.verification.pictures.figure import (
    AGREED,
    EXTRA,
    MISSING,
    Area,
    Dots,
    Figure,
    Line,
    Mark,
    Pixels,
    Rgba,
    Words,
)

Bins = NDArray[np.bool_]

WIDE, NARROW = 940.0, 340.0
"""Widths of figures: for a desk, and for a telephone."""
LEFT, TOP, BELOW = 46.0, 26.0, 38.0
TALLEST = 420
LARGEST = 14, 12
"""The most pixels of a cell: across and up."""
GAP = 4
"""From this many pixels on, cells are apart by one."""
RINGED = 20
"""If no more bins differ, each has a ring; else only the first."""
SHADES = 12


@dataclass(frozen=True)
class Drawn:
    """A figure, and the sentence that says what its cells are."""

    figure: Figure
    scale: str


@dataclass(frozen=True)
class Blocks:
    """How bins become cells: ``across`` steps by ``up`` neurons are one cell."""

    steps: int
    neurons: int
    across: int
    up: int
    cell: tuple[float, int]

    @classmethod
    def fit(cls, steps: int, neurons: int, width: float) -> Blocks:
        """The finest cells that fit: a pixel or more, whole pixels where they are large."""
        room = int(width - LEFT - 8)
        across, up = -(-steps // room), -(-neurons // TALLEST)
        columns, rows = -(-steps // across), -(-neurons // up)
        wide = min(room // columns, LARGEST[0]) if room // columns >= GAP else room / columns
        return cls(steps, neurons, across, up, (wide, max(min(TALLEST // rows, LARGEST[1], int(2 * wide) + 2), 1)))

    @property
    def whole(self) -> bool:
        """Whether each bin has a cell of its own."""
        return self.across == self.up == 1

    def share(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over each block of (steps, neurons), as (rows, columns), the last neuron's row first."""
        return self._sums(counts) / self._sums(np.ones(counts.shape))

    def _sums(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        columns, rows = range(0, self.steps, self.across), range(0, self.neurons, self.up)
        return np.asarray(np.add.reduceat(np.add.reduceat(counts, columns, axis=0), rows, axis=1).T[::-1])

    def panel(self) -> Panel:
        columns, rows = -(-self.steps // self.across), -(-self.neurons // self.up)
        return Panel(LEFT, TOP, columns * self.cell[0], rows * self.cell[1])

    def middle(self, step: int, neuron: int) -> tuple[float, float]:
        """Where the cell of a bin is."""
        panel = self.panel()
        x = panel.left + (step // self.across + 0.5) * self.cell[0]
        return x, panel.bottom - (neuron // self.up + 0.5) * self.cell[1]

    def pixels(self, indices: NDArray[np.uint8], colors: tuple[Rgba, ...]) -> Pixels:
        """The image, with a gap between cells where they are large enough."""
        across, up = self.cell
        image = indices.repeat(up, axis=0)
        if up >= GAP:
            image[up - 1 :: up] = 0
        if across >= GAP:
            image = image.repeat(int(across), axis=1)
            image[:, int(across) - 1 :: int(across)] = 0
        panel = self.panel()
        return Pixels(panel.left, panel.top, panel.width, panel.height, image, colors, smooth=across < GAP)

    def axes(self) -> list[Mark]:
        """The frame; a tick stands where its bin's cell is."""
        panel = self.panel()
        steps = Panel(panel.left, panel.top, self.steps / self.across * self.cell[0], panel.height)
        tall = self.neurons / self.up * self.cell[1]
        neurons = Panel(panel.left, panel.bottom - tall, panel.width, tall)
        return [panel.frame(), *step_axis(steps, 0, self.steps), *neuron_axis(neurons, self.neurons)]

    def said(self, of: str, shade: str) -> str:
        """What a cell is."""
        if self.whole:
            return f"{of} Each cell is one neuron in one step."
        size = " by ".join(
            f"{number} {thing}s" if number > 1 else f"1 {thing}"
            for number, thing in ((self.up, "neuron"), (self.across, "step"))
        )
        return f"{of} More than fits: each cell stands for {size}; {shade}"


def raster(evidence: Evidence, unit: str, sample: int, backends: Sequence[str], width: float) -> Drawn:
    """The reference's spikes of one sample, with those that backends (which agree with one another) miss or add."""
    _demand(evidence, unit, backends, sample)
    steps = int(evidence.run.lengths[sample])
    truth = evidence.spikes(unit)[:steps, sample]
    found = evidence.spikes(unit, backends[0])[:steps, sample] if backends else truth
    blocks = Blocks.fit(steps, truth.shape[1], width)
    shares = blocks.share((truth & found).astype(np.float64))
    indices = _shaded(shares, 1.0 if blocks.whole else float(shares.max()))
    indices[blocks.share((truth & ~found).astype(np.float64)) > 0] = SHADES + 1
    indices[blocks.share((found & ~truth).astype(np.float64)) > 0] = SHADES + 2
    colors = (*_shades(AGREED), _opaque(MISSING), _opaque(EXTRA))
    who = " and ".join(["the reference", *backends]) if len(backends) < 2 else f"the reference, {', '.join(backends)}"
    differing = int((truth ^ found).sum())
    verdict = "" if not backends else f": {differing:,} bins differ" if differing else ": the same spikes"
    about = f"Spikes of unit {unit}, sample {sample}, of {who}{verdict}"
    marks = [*blocks.axes(), blocks.pixels(indices, colors), *_rings(blocks, truth ^ found, width)]
    shade = "the fuller the color, the more of its bins spike"
    shade += "; where any bin differs, it has that color." if differing else "."
    return Drawn(_figure(blocks, width, about, marks), blocks.said("", shade).strip())


def mismatch(evidence: Evidence, unit: str, backend: str, width: float) -> Drawn:
    """In how many samples each bin of a unit differs from the reference, steps by neurons."""
    _demand(evidence, unit, [backend], 0)
    apart = evidence.spikes(unit) ^ evidence.spikes(unit, backend)
    counts = apart.sum(axis=1).astype(np.float64)
    blocks = Blocks.fit(len(counts), counts.shape[1], width)
    shares = blocks.share(counts)
    most = float(shares.max())
    indices = _shaded(shares, most)
    marks: list[Mark] = [*blocks.axes(), blocks.pixels(indices, _shades(EXTRA))]
    about = f"Unit {unit} on {backend}: {int(apart.sum()):,} bins differ"
    if apart.any():
        step, sample, neuron = (int(i) for i in np.argwhere(apart)[0])
        marks += _flag(blocks, step, neuron, f"first: step {step}, sample {sample}, neuron {neuron}", width)
        about += f", the first at step {step}, sample {sample}, neuron {neuron}"
    largest = int(counts.max())
    samples = evidence.run.samples
    of = f"The fullest color: {largest:,} of {samples:,} samples differ there." if blocks.whole and samples > 1 else ""
    shade = "the fuller the color, the more of its bins differ, over all samples."
    return Drawn(_figure(blocks, width, about, marks), blocks.said(of, shade).strip())


def first_difference(evidence: Evidence, unit: str, backend: str) -> tuple[int, int, int] | None:
    """Step, sample and neuron of a unit's first differing spike."""
    apart = np.argwhere(evidence.spikes(unit) ^ evidence.spikes(unit, backend))
    return None if not len(apart) else (int(apart[0][0]), int(apart[0][1]), int(apart[0][2]))


def _demand(evidence: Evidence, unit: str, backends: Sequence[str], sample: int) -> None:
    if unit not in evidence.spiking:
        raise BadInput(f"{unit!r} is no Step unit of the graph; it has {', '.join(evidence.spiking) or 'none'}")
    if not 0 <= sample < evidence.run.samples:
        raise BadInput(f"sample {sample}: the inputs hold samples 0 to {evidence.run.samples - 1}")
    unknown = [name for name in backends if name not in evidence.traces]
    if unknown:
        raise BadInput(f"no trace of {', '.join(unknown)}; there are {', '.join(evidence.traces) or 'none'}")


def _figure(blocks: Blocks, width: float, about: str, marks: Sequence[Mark]) -> Figure:
    return Figure(width, blocks.panel().bottom + BELOW, about, tuple(marks))


def _shaded(shares: NDArray[np.float64], most: float) -> NDArray[np.uint8]:
    """0 where nothing is, else a shade from 1 to ``SHADES``."""
    level = np.ceil(shares / most * SHADES) if most > 0 else np.zeros(shares.shape)
    return np.clip(level, 0, SHADES).astype(np.uint8)


def _shades(color: str) -> tuple[Rgba, ...]:
    """Nothing, and ``SHADES`` from faint, which is still seen, to full."""
    red, green, blue, _ = _opaque(color)
    return (0, 0, 0, 0), *((red, green, blue, 90 + 165 * shade // SHADES) for shade in range(1, SHADES + 1))


def _opaque(color: str) -> Rgba:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), 255


def _rings(blocks: Blocks, apart: Bins, width: float) -> list[Mark]:
    """A ring around differing cells if they are few, and words at the first."""
    places = np.argwhere(apart)
    if not len(places):
        return []
    step, neuron = places[0].tolist()
    spots = list(dict.fromkeys(blocks.middle(*place) for place in places[1:].tolist()))
    rings = [Dots(np.array(spots), EXTRA, max(6.0, 0.8 * max(blocks.cell)), hollow=True, halo=True)]
    return [
        *rings * (0 < len(spots) <= RINGED),
        *_flag(blocks, step, neuron, f"first: step {step}, neuron {neuron}", width),
    ]


def _flag(blocks: Blocks, step: int, neuron: int, text: str, width: float) -> list[Mark]:
    """A ring around a bin, with words on a plate beside it, or above or below it where there is no room."""
    x, y = blocks.middle(step, neuron)
    panel = blocks.panel()
    radius = max(8.0, 0.8 * max(blocks.cell) + 2)
    wide = 6.9 * len(text) + 12
    if x + radius + 6 + wide < width:
        left, middle = x + radius + 6, y
    elif x - radius - 6 - wide > LEFT:
        left, middle = x - radius - 6 - wide, y
    else:
        away = radius + 16
        left, middle = (
            min(max(x - wide / 2, 2.0), width - wide - 2),
            y + away if y - away < panel.top + 10 else y - away,
        )
    middle = min(max(middle, panel.top - 12), panel.bottom + 12)
    plate = corners(left, middle - 10, left + wide, middle + 10, closed=True)
    ring = Dots(np.array([(x, y)]), "ink", radius, hollow=True, halo=True)
    words = Words(left + wide / 2, middle + 4, text, "ink", 12, "middle", bold=True)
    return [ring, Area(plate, "paper", 0.93), Line(plate, "muted"), words]

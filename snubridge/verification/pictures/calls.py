"""How close the reference came to other spikes, and how far rounding may move its states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snubridge.errors import BadInput
from snubridge.exactness import Certificate
from snubridge.ir.numbers import Array
from snubridge.verification.evidence import Evidence
from snubridge.verification.pictures.axes import Panel, corners, level, power, step_axis, ticks, upright, value_axis
from snubridge.verification.pictures.figure import AGREED, BOUNDS, EXTRA, Area, Dots, Figure, Line, Mark, Words

AROUND = 12
"""Steps shown before and after a call."""
WIDTH, LEFT = 340.0, 46.0
ROOM = 96.0


@dataclass(frozen=True)
class Call:
    """One decision of the reference: its place (``neuron`` counts through all axes), and what rounding may do.

    ``backend``  one that differs here: its spikes are compared, and only its bounds are shown
    """

    evidence: Evidence
    unit: str
    step: int
    sample: int
    neuron: int
    backend: str | None = None

    @property
    def margin(self) -> float:
        """s - threshold."""
        return float(self.series[0][self.step])

    @property
    def spiked(self) -> bool:
        return bool(self.series[1][self.step])

    @cached_property
    def series(self) -> tuple[Array, NDArray[np.bool_], float]:
        """Of the neuron: s - threshold and spikes, (T,), and the threshold."""
        return self.evidence.series(self.unit, self.sample, self.neuron)

    @property
    def index(self) -> int | tuple[int, ...]:
        """The neuron by the axes of its layer."""
        shape = self.evidence.expected.spikes[self.unit].shape[2:]
        where = tuple(int(i) for i in np.unravel_index(self.neuron, shape))
        return where[0] if len(where) == 1 else where

    @property
    def place(self) -> str:
        return f"{self.unit}, neuron {self.index}, sample {self.sample}, step {self.step}"

    @cached_property
    def bounds(self) -> Mapping[str, Array]:
        """By label: the bound in every step, (T,)."""
        found = {}
        for label, certificate in labelled(self.evidence, self.backend).items():
            if isinstance(certificate, Certificate) and self.unit in certificate.bounds:
                bounds = certificate.bounds[self.unit]
                found[label] = bounds.reshape(*bounds.shape[:2], -1)[:, self.sample, self.neuron]
        return found


def bound_colors(evidence: Evidence) -> dict[str, str]:
    """A color for the bound of each label."""
    labels = [label for label, found in labelled(evidence).items() if isinstance(found, Certificate)]
    return {label: BOUNDS[index % len(BOUNDS)] for index, label in enumerate(labels)}


def labelled(evidence: Evidence, backend: str | None = None) -> dict[str, Certificate | str]:
    """The certificates, or a backend's, by the precision and, where that is not enough, the backends."""
    precisions = [model.precision for model in evidence.bounds]
    return {
        model.precision if precisions.count(model.precision) == 1 else f"{model.precision} ({', '.join(names)})": found
        for model, (names, found) in evidence.bounds.items()
        if backend in (None, *names)
    }


def closest(evidence: Evidence, units: Sequence[str], most: int) -> list[Call]:
    """The decisions with the smallest |s - threshold|, one for each neuron of a sample, the closest first."""
    found: list[tuple[float, int, str, int, int]] = []
    for unit in units:
        if unit not in evidence.spiking:
            raise BadInput(f"{unit!r} is no Step unit of the graph; it has {', '.join(evidence.spiking) or 'none'}")
        gaps = np.where(evidence.alive[..., None], np.abs(evidence.margins(unit)), np.inf)
        steps = gaps.argmin(axis=0)
        least = gaps.min(axis=0)
        for place in np.argsort(least, axis=None, kind="stable")[:most].tolist():
            sample, neuron = divmod(place, least.shape[1])
            found.append((float(least[sample, neuron]), int(steps[sample, neuron]), unit, sample, neuron))
    found.sort(key=lambda call: call[0])
    return [Call(evidence, unit, step, sample, neuron) for _, step, unit, sample, neuron in found[:most]]


def draw_call(call: Call) -> Figure:
    """Two panels: the state around a decision with its threshold, and below them |s - threshold| with the bounds."""
    steps = int(call.evidence.run.lengths[call.sample])
    first, last = max(call.step - AROUND, 0), min(call.step + AROUND, steps - 1)
    window = slice(first, last + 1)
    above = Panel(LEFT, 22, WIDTH - LEFT - 8, ROOM)
    below = Panel(LEFT, above.bottom + 24, above.width, ROOM)
    cell = above.width / (last - first + 1)
    x = above.left + (np.arange(last - first + 1) + 0.5) * cell
    here = above.left + (call.step - first + 0.5) * cell
    marks: list[Mark] = []
    for panel in (above, below):
        band = corners(here - cell / 2, panel.top, here + cell / 2, panel.bottom)
        marks += [Area(band, AGREED, 0.13), panel.frame()]
    marks += _states(call, window, above, x)
    marks += _distances(call, window, below, x)
    marks += step_axis(below, first, last - first + 1)
    bounds = "; ".join(f"bound for {label} {bound[call.step]:.3g}" for label, bound in call.bounds.items())
    about = f"State around {call.place}: s - threshold = {call.margin:+.3g}" + (f"; {bounds}" if bounds else "")
    return Figure(WIDTH, below.bottom + 38, about, tuple(marks))


def _states(call: Call, window: slice, panel: Panel, x: Array) -> Iterator[Mark]:
    """s(t), filled where it spikes, and the threshold with the largest bound as a band."""
    margins, spikes, threshold = call.series
    s, spiked = threshold + margins[window], spikes[window]
    low, high = min(float(s.min()), threshold), max(float(s.max()), threshold)
    room = (high - low or 1.0) * 0.12
    low, high = low - room, high + room

    def at(value: ArrayLike) -> Array:
        return panel.bottom - (np.asarray(value) - low) / (high - low) * panel.height

    places = [(float(at(value)), f"{value:.3g}") for value in (float(s.min()), float(s.max()))]
    y = float(at(threshold))
    yield from value_axis(panel, [place for place in places if abs(place[0] - y) > 12])
    yield Words(4, panel.top - 7, "state s; dashed: the threshold")
    yield Words(panel.left - 5, y + 4, f"{threshold:.3g}", "ink", 10, "end", bold=True)
    if call.bounds:
        label = max(call.bounds, key=lambda name: float(call.bounds[name][call.step]))
        edge = np.minimum(call.bounds[label][window], high - low)
        upper = np.clip(at(threshold + edge), panel.top, panel.bottom)
        lower = np.clip(at(threshold - edge), panel.top, panel.bottom)
        yield Area(
            np.stack([np.r_[x, x[::-1]], np.r_[upper, lower[::-1]]], axis=-1), bound_colors(call.evidence)[label], 0.35
        )
    yield level(panel, y, "ink", dashed=True)
    line = np.stack([x, at(s)], axis=-1)
    yield Line(line, AGREED, 1.6)
    for hollow, chosen in ((True, ~spiked), (False, spiked)):
        if chosen.any():
            yield Dots(line[chosen], AGREED, 3.2, hollow=hollow)
    if call.backend is not None:
        found = call.evidence.spikes(call.unit, call.backend)[window, call.sample, call.neuron]
        yield Dots(line[found != spiked], EXTRA, 6.5, hollow=True, halo=True)


def _distances(call: Call, window: slice, panel: Panel, x: Array) -> Iterator[Mark]:
    """|s - threshold| by decades; the bounds fill what rounding may cross. Zero lies on the panel's floor."""
    gaps = np.abs(call.series[0][window])
    bounds = {label: bound[window] for label, bound in call.bounds.items()}
    scale = Decades.of([gaps, *bounds.values()], panel.top, panel.bottom, reverse=True)
    yield from value_axis(panel, scale.labels(2 if panel.height < 60 else 4))
    yield Words(4, panel.top - 7, "|s \u2212 threshold|, and the bound")
    for label, bound in bounds.items():
        half = (x[1] - x[0]) / 2 if len(x) > 1 else panel.width / 2
        edges = np.stack([x - half, x + half], axis=-1).ravel()
        tops = scale.at(bound).repeat(2)
        color = bound_colors(call.evidence)[label]
        if (bound > 0).any():
            around = np.stack([np.r_[edges, edges[::-1]], np.r_[tops, np.full(len(tops), panel.bottom)]], axis=-1)
            yield Area(around, color, 0.28)
            yield Line(np.stack([edges, tops], axis=-1), color, 1.6)
    y = scale.at(gaps)
    yield Line(np.stack([x, y], axis=-1), AGREED, 1.0, dashed=True)
    yield Dots(np.stack([x, y], axis=-1), AGREED, 3.2)


@dataclass(frozen=True)
class Decades:
    """A logarithmic scale between two places, with a place of its own for 0 beyond its lower end."""

    low: int
    high: int
    start: float
    end: float
    zero: bool

    @classmethod
    def of(cls, values: Sequence[Array], near: float, far: float, *, reverse: bool = False) -> Decades:
        """Whole decades around all positive values, from ``near`` to ``far``; ``reverse``: small values are far."""
        whole = np.concatenate([np.ravel(array) for array in values])
        whole = whole[np.isfinite(whole)]
        positive = whole[whole > 0]
        low = math.floor(math.log10(positive.min())) if len(positive) else -1
        high = math.ceil(math.log10(positive.max())) if len(positive) else 0
        start, end = (far, near) if reverse else (near, far)
        return cls(low, max(high, low + 1), start, end, bool((whole == 0).any()))

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where values are; 0 at the start, infinity at the end."""
        with np.errstate(divide="ignore"):
            logs = np.log10(np.asarray(values, dtype=np.float64))
        first = self._first
        places = first + (logs - self.low) / (self.high - self.low) * (self.end - first)
        return np.asarray(np.where(logs == -np.inf, self.start, np.where(logs == np.inf, self.end, places)))

    @property
    def _first(self) -> float:
        return self.start + (0.14 if self.zero else 0.0) * (self.end - self.start)

    def labels(self, most: float) -> list[tuple[float, str]]:
        """Decades with their words, and 0."""
        named = [(float(self.at(10.0**n)), power(n)) for n in ticks(self.low, self.high, most)]
        return [*named, (self.start, "0")] if self.zero else named


def draw_margins(evidence: Evidence, units: Sequence[str], width: float) -> Figure:
    """How many decisions have which |s - threshold|, by halves of decades, and the largest bound of each model."""
    for unit in units:
        if unit not in evidence.spiking:
            raise BadInput(f"{unit!r} is no Step unit of the graph; it has {', '.join(evidence.spiking) or 'none'}")
    gaps = np.concatenate([np.abs(evidence.margins(unit)[evidence.alive]).ravel() for unit in units])
    largest = {
        label: max((float(found.bounds[unit][evidence.alive].max()) for unit in units), default=0.0)
        for label, found in labelled(evidence).items()
        if isinstance(found, Certificate)
    }
    panel = Panel(LEFT + 10, 30 + 16.0 * len(largest), width - LEFT - 28, 150)
    scale = Decades.of([gaps, np.array(list(largest.values()))], panel.left, panel.right)
    marks: list[Mark] = [panel.frame()]
    edges = np.arange(2 * scale.low, 2 * scale.high + 1) / 2
    counts = np.histogram(np.log10(gaps[gaps > 0]), bins=edges)[0]
    bars = [(*scale.at(10.0 ** edges[i : i + 2]).tolist(), int(count)) for i, count in enumerate(counts)]
    if scale.zero:
        bars.append((scale.start, scale.start + 0.1 * (scale.end - scale.start), int((gaps == 0).sum())))
    heights = Decades.of([np.array([0.5, *(count for *_, count in bars)])], panel.top, panel.bottom, reverse=True)
    heights = Decades(heights.low, heights.high, heights.start, heights.end, zero=False)
    marks += value_axis(panel, heights.labels(4)[1:])
    for left, right, count in bars:
        if count:
            top = float(heights.at(count))
            marks.append(Area(corners(left + 0.5, top, right - 0.5, panel.bottom), AGREED))
    for x, text in scale.labels(panel.width / 60):
        shift = 0.05 * (scale.end - scale.start) if text == "0" else 0.0
        marks += [Words(x + shift, panel.bottom + 17, text, anchor="middle")]
    marks.append(Words(panel.left + panel.width / 2, panel.bottom + 34, "|s \u2212 threshold|", anchor="middle"))
    marks.append(Words(4, 13, "decisions"))
    for index, (label, bound) in enumerate(largest.items()):
        color = bound_colors(evidence)[label]
        x = float(scale.at(bound))
        y = 30 + 16.0 * index
        marks += [upright(Panel(0, y - 4, 0, panel.bottom - y + 4), x, color, width=2)]
        left = x < panel.left + panel.width / 2
        text = f"largest bound, {label}: {bound:.2g}"
        marks.append(Words(x + (6 if left else -6), y + 4, text, "ink", 11.5, "start" if left else "end", halo=True))
    total = f"{len(gaps):,} decisions, the smallest |s - threshold| {float(gaps.min()):.3g}"
    bounds = "".join(f"; largest bound for {label} {bound:.3g}" for label, bound in largest.items())
    return Figure(width, panel.bottom + 40, f"Margins of {', '.join(units)}: {total}{bounds}", tuple(marks))

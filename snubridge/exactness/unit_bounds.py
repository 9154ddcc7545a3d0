"""The bound on the states of a unit, step by step, while an engine spikes as the reference does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snubridge.exactness.bounds import INFLATE, NO_GRID, Bounded, fit, formed, rounding_of
from snubridge.exactness.error_model import FORMATS, ErrorModel
from snubridge.exactness.grids import ZERO, Exponents, lowest_bit
from snubridge.ir.functions import Identity, LeakyReLU, Reset, Sigmoid, Step, Tanh
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.reference.interpreter import CARRIED, G, H, most_active

STEEPEST = {Sigmoid: 0.25, Tanh: 1.0, Identity: 1.0}
"""The largest derivative of each continuous h."""


@dataclass(frozen=True)
class Decided:
    """A unit after one step: its output, the bound on its state, and which decisions the bound leaves open."""

    output: Bounded
    state: Array
    bound: Array
    margin: Array
    open: NDArray[np.bool_]
    largest: float
    """The largest magnitude that any sum may have reached."""


@dataclass
class UnitBounds:
    """Carries a unit's state and its bound from step to step; ``s`` is (B, *shape)."""

    unit: Unit
    model: ErrorModel
    s: Array

    def __post_init__(self) -> None:
        self.y = np.zeros(self.s.shape)
        self.y_error = np.zeros(self.s.shape)
        self.error = np.abs(self.s) * rounding_of(self.s, self.model)
        self.grid = self._grid_of(self.s, self.error)

    @cached_property
    def decay(self) -> Array:
        """In float64."""
        return self.unit.decay.astype(np.float64)

    @cached_property
    def threshold(self) -> Array:
        """In float64."""
        return self.unit.threshold.astype(np.float64)

    @cached_property
    def decay_error(self) -> Array:
        """Relative to the decay."""
        return self.model.decay_error + rounding_of(self.decay, self.model, self.model.format.factors)

    @cached_property
    def threshold_error(self) -> Array:
        """Relative to the threshold."""
        return self.model.threshold_error + rounding_of(self.threshold, self.model)

    @cached_property
    def _grids(self) -> tuple[Exponents, Exponents]:
        decay = np.where(self.decay_error == 0, lowest_bit(self.decay), NO_GRID)
        return decay, np.where(self.threshold_error == 0, lowest_bit(self.threshold), NO_GRID)

    def step(self, drive: Bounded) -> Decided:
        """One step on a drive, the reference's operations in the reference's order, and the bound beside them."""
        unit, model = self.unit, self.model
        total = self._carried() + drive
        pre_error = formed(total, model)
        s = G[type(unit.g)](unit.g, total.value)
        error = self._through_g(total.value, pre_error)
        y = H[type(unit.h)](unit.h, s, self.threshold)
        margin = s - self.threshold
        bound = (error + self.threshold_error * np.abs(self.threshold)) * INFLATE
        if isinstance(unit.h, Step):
            y_error = np.zeros(s.shape)
            tie_fires = unit.h.at_threshold
            above = margin < bound if tie_fires else margin <= bound
            below = -margin <= bound if tie_fires else -margin < bound
            undecided = np.where(y > 0, above & ((bound > 0) | (margin <= 0)), below)
        else:
            y_error = self._output_error(s, y, error)
            undecided = np.zeros(s.shape, dtype=bool)
        self.s, self.y, self.error, self.y_error = s, y, error, y_error
        self.grid = self._grid_of(s, error)
        spikes = isinstance(unit.h, Step)
        y_grid = np.zeros((), dtype=np.int64) if spikes else self._grid_of(y, y_error)
        output = Bounded.of_numbers(y, y_error, y_grid)
        largest = float((total.magnitude + total.error).max())
        return Decided(output, s, bound, margin, undecided, largest)

    def _grid_of(self, values: Array, error: Array) -> Exponents:
        own = error == 0
        return np.where(own, lowest_bit(values), NO_GRID) if own.any() else np.full((), NO_GRID)

    def _carried(self) -> Bounded:
        """The carried state as terms of the coming sum."""
        s, y, e, e_y = self.s, self.y, self.error, self.y_error
        value = CARRIED[self.unit.reset](self.decay, self.threshold, s, y)
        terms = _TERMS[self.unit.reset](self, s, y, e, e_y)
        changed = self.decay_error * terms.magnitude
        error = (terms.error + changed) * INFLATE
        grid = np.where(terms.magnitude == 0, ZERO, terms.grid)
        lost = np.asarray(terms.roundings * self.model.lost)
        roundings = np.full(len(s), float(terms.roundings))
        return Bounded(value, error, terms.magnitude + error, roundings, lost, grid)

    def _through_g(self, value: Array, error: Array) -> Array:
        """g multiplies the bound by its Lipschitz constant; a slope rounds once more where it may multiply."""
        g = self.unit.g
        if not isinstance(g, LeakyReLU):
            return error
        slope = np.asarray(float(g.slope))
        slope_error = rounding_of(slope, self.model, self.model.format.factors)
        product = np.abs(slope * value)
        exact = (error == 0) & (slope_error == 0) & fit(product, lowest_bit(value) + lowest_bit(slope), self.model)
        units = self.model.format.unit + FORMATS["float64"].unit + slope_error
        rounded = units * np.abs(slope) * (np.abs(value) + error) + self.model.lost
        bound: Array = error * max(1.0, abs(g.slope)) + np.where((value <= error) & ~exact, rounded, 0.0)
        return bound * INFLATE

    def _output_error(self, s: Array, y: Array, error: Array) -> Array:
        """The bound on a continuous y: h over all states within the bound, and what evaluating h may add."""
        form, threshold = self.model.format, np.abs(self.threshold)
        units = form.unit + FORMATS["float64"].unit
        shifted = error + self.threshold_error * threshold + units * (np.abs(s - self.threshold) + error)
        if isinstance(self.unit.h, Identity):
            grid = np.minimum(self._grid_of(s, error), self._grids[1])
            exact = (error == 0) & fit(np.abs(s) + threshold, grid, self.model)
            return np.where(exact, 0.0, (shifted + self.model.lost) * INFLATE)
        spread: Array = STEEPEST[type(self.unit.h)] * shifted
        return (spread + self.model.ulps * 2 * units * (np.abs(y) + spread) + self.model.lost) * INFLATE


@dataclass(frozen=True)
class _Terms:
    """The carried state as terms: their error and magnitude, how often they round, and their grid."""

    error: Array
    magnitude: Array
    roundings: int
    grid: Exponents


def _to_zero(b: UnitBounds, s: Array, y: Array, e: Array, e_y: Array) -> _Terms:
    """decay * (s * (1 - y)): with spikes the only product that rounds is that with the decay."""
    kept = np.abs(1 - y)
    error = b.decay * (kept * e + (np.abs(s) + e) * e_y)
    graded = bool(e_y.any()) or not b.unit.spiking
    magnitude = b.decay * (np.abs(s) + e) * (kept + e_y)
    grid = np.full((), NO_GRID) if graded else b._grids[0] + b.grid
    return _Terms(error, magnitude, 3 if graded else 1, grid)


def _lateral(b: UnitBounds, s: Array, y: Array, e: Array, e_y: Array) -> _Terms:
    """The same with the largest y of the sample, which is off by no more than the worst of them."""
    return _to_zero(b, s, np.broadcast_to(most_active(y), s.shape), e, np.broadcast_to(most_active(e_y), s.shape))


def _none(b: UnitBounds, s: Array, y: Array, e: Array, e_y: Array) -> _Terms:
    """decay * s"""
    return _Terms(b.decay * e, b.decay * (np.abs(s) + e), 1, b._grids[0] + b.grid)


def _subtract(b: UnitBounds, s: Array, y: Array, e: Array, e_y: Array) -> _Terms:
    """decay * s - threshold * y"""
    taken = np.abs(b.threshold) * (np.abs(y) + e_y)
    error = b.decay * e + np.abs(b.threshold) * e_y + b.threshold_error * taken
    grid = np.minimum(
        np.where((s == 0) & (e == 0), ZERO, b._grids[0] + b.grid),
        np.where(taken == 0, ZERO, b._grids[1] if b.unit.spiking else NO_GRID),
    )
    return _Terms(error, b.decay * (np.abs(s) + e) + taken, 3, grid)


def _subtract_decayed(b: UnitBounds, s: Array, y: Array, e: Array, e_y: Array) -> _Terms:
    """decay * (s - threshold * y): the difference inside is a sum of its own, which has to be exact as well."""
    taken = np.abs(b.threshold) * (np.abs(y) + e_y)
    inside = np.abs(s) + e + taken
    grid = np.minimum(b.grid, np.where(taken == 0, ZERO, b._grids[1] if b.unit.spiking else NO_GRID))
    grid = np.where(fit(inside, grid, b.model), b._grids[0] + grid, NO_GRID)
    error = b.decay * (e + np.abs(b.threshold) * e_y + b.threshold_error * taken)
    return _Terms(error, b.decay * inside, 3, grid)


_TERMS = {
    Reset.TO_ZERO: _to_zero,
    Reset.LATERAL: _lateral,
    Reset.NONE: _none,
    Reset.SUBTRACT: _subtract,
    Reset.SUBTRACT_DECAYED: _subtract_decayed,
}

"""The bound on the states of a unit while an engine spikes as the reference does.

The reference's states and outputs are known, so all that a sum may round is known for many steps at once; only what
the bound itself carries from step to step is left to a loop.

    e_t = L (d_t + c_t + rounding)     d: what the drive inherits, c: what the carried state does, L: of g
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snubridge.exactness.bounds import INFLATE, NO_GRID, Bounded, fit, gamma, per_sample, rounding_of
from snubridge.exactness.error_model import FORMATS, ErrorModel
from snubridge.exactness.grids import ZERO, Exponents, lowest_bit
from snubridge.ir.functions import Identity, LeakyReLU, Reset, Sigmoid, Step, Tanh
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.reference.interpreter import most_active

STEEPEST: Mapping[type, float] = {Sigmoid: 0.25, Tanh: 1.0, Identity: 1.0}
"""The largest derivative of each continuous h."""
UNDERFLOWS = 2**9
"""Smallest steps that evaluating h may lose. Measured: 90, ONNX Runtime 1.31's float32 tanh of numbers below 1e-38."""


class Past(NamedTuple):
    """s_{t-1} and y_{t-1}, and the bounds on an engine's, each (B, *shape)."""

    s: Array
    y: Array
    error: Array
    y_error: Array


@dataclass(frozen=True)
class Decided:
    """A unit over some steps, each (L, B, *shape): the bound on its state, and the decisions it leaves open."""

    margin: Array
    bound: Array
    open: NDArray[np.bool_]
    output: Bounded
    past: Past
    largest: Array
    """(L,): the largest magnitude that anything on the way to s and y may have."""


class _Terms(NamedTuple):
    """The carried state as terms of the coming sum: magnitude, number of roundings, grid, and its own error."""

    magnitude: Array
    roundings: int
    grid: Exponents
    error: Array | float


@dataclass(frozen=True)
class UnitBounds:
    """What the bounds of one unit need, computed once."""

    unit: Unit
    model: ErrorModel

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
        return self.model.decay_error + rounding_of(self.decay, self.model)

    @cached_property
    def threshold_error(self) -> Array:
        """Relative to the threshold."""
        return self.model.threshold_error + rounding_of(self.threshold, self.model)

    @cached_property
    def grids(self) -> tuple[Exponents, Exponents]:
        """Of the decay and of the threshold."""
        decay = np.where(self.decay_error == 0, lowest_bit(self.decay), NO_GRID)
        return decay, np.where(self.threshold_error == 0, lowest_bit(self.threshold), NO_GRID)

    @cached_property
    def units(self) -> float:
        """The unit roundoffs of the engine and of the reference."""
        return self.model.format.unit + FORMATS["float64"].unit

    def start(self, s: Array) -> Past:
        """Before the first step: s_{-1} as the graph says, rounded to the engine's format, and no output."""
        return Past(s, np.zeros(s.shape), np.abs(s) * rounding_of(s, self.model), np.zeros(s.shape))

    def follow(self, drive: Bounded, s: Array, y: Array, past: Past) -> Decided:
        """The bounds along the reference's ``s`` and ``y`` (L, B, *shape), given the drive of each step."""
        before_s, before_y = (np.concatenate([p[None], now[:-1]]) for p, now in ((past.s, s), (past.y, y)))
        error, y_error, largest = self._errors(drive, s, y, before_s, before_y, past)
        margin = s - self.threshold
        bound = (error + self.threshold_error * np.abs(self.threshold)) * INFLATE
        h, open_ = self.unit.h, np.zeros(s.shape, dtype=bool)
        if isinstance(h, Step):
            # s' - threshold' lies within the bound of the margin: open if it may lie on both sides of what fires.
            fires, stays = (margin >= bound, -margin > bound) if h.at_threshold else (margin > bound, -margin >= bound)
            open_ = np.where(y > 0, ~fires, ~stays)
        rows = (-1, *s.shape[2:])
        grid = np.zeros((), dtype=np.int64) if self.unit.spiking else _grid_of(y, y_error)
        grid = grid.reshape(rows) if grid.ndim else grid
        output = Bounded.of_numbers(y.reshape(rows), y_error.reshape(rows), grid)
        return Decided(margin, bound, open_, output, Past(s[-1], y[-1], error[-1], y_error[-1]), largest)

    def _errors(
        self, drive: Bounded, s: Array, y: Array, before_s: Array, before_y: Array, past: Past
    ) -> tuple[Array, Array, Array]:
        """The bounds on s and y of every step, and the largest magnitude that a sum may have at each."""
        steps = s.shape
        terms = _TERMS[self.unit.reset](self, before_s, before_y)
        magnitude = drive.magnitude.reshape(steps) + terms.magnitude
        rounded = gamma(drive.roundings + (terms.roundings + 1), self.model.format.unit)
        rounded = rounded + gamma(drive.roundings + (terms.roundings + 1), FORMATS["float64"].unit)
        rounded = per_sample(rounded * INFLATE, drive.error).reshape(*steps[:2], *[1] * (len(steps) - 2))
        inherited = drive.error.reshape(steps) + self.decay_error * terms.magnitude + terms.error
        operations = terms.roundings + (1 if self.model.flush else 0)  # the last sum may be flushed as well
        lost = np.broadcast_to(drive.lost, drive.error.shape).reshape(steps) + operations * self.model.lost
        fixed = rounded * magnitude + lost
        grid = self._grid(drive, terms, magnitude)
        exact = None if grid is None else fit(magnitude, grid, self.model) & (inherited == 0)
        kept = self._kept(before_y)
        slope = isinstance(self.unit.g, LeakyReLU)
        decay = self.decay * (1 + self.decay_error) * INFLATE
        error, y_error = np.empty(steps), np.zeros(steps)
        e, e_y = past.error, past.y_error
        for t in range(steps[0]):
            carried = decay * (kept[t] * e) if self.unit.spiking else self._soft_carried(before_s[t], kept[t], e, e_y)
            total = inherited[t] + carried
            e = (total + rounded[t] * total + fixed[t]) * INFLATE
            if exact is not None:
                e = np.where(exact[t] & (total == 0), 0.0, e)
            if slope:
                e = self._through_slope(s[t], e, np.full((), NO_GRID) if grid is None else grid[t])
            error[t] = e
            if not self.unit.spiking:
                y_error[t] = e_y = self._output_error(s[t], y[t], e)
        before = [
            np.concatenate([start[None], now[:-1]]) for start, now in ((past.error, error), (past.y_error, y_error))
        ]
        return error, y_error, self._largest(magnitude, error, before_s, before_y, *before)

    def _largest(self, magnitude: Array, error: Array, s: Array, y: Array, e: Array, e_y: Array) -> Array:
        """The largest magnitude of each step, (L,), of sums and of what they are made of; ``s``, ``y``: carried."""

        def most(values: Array) -> Array:
            return np.asarray(values.reshape(len(values), -1).max(axis=1))

        unit, threshold = self.unit, float((np.abs(self.threshold) * (1 + self.threshold_error)).max())
        total, held = most(magnitude + error), most(np.abs(s)) + most(e)
        if isinstance(unit.g, LeakyReLU):
            total = total * max(1.0, abs(float(unit.g.slope)))
        if unit.reset in (Reset.SUBTRACT, Reset.SUBTRACT_DECAYED):
            held = held + threshold * (most(np.abs(y)) + most(e_y))
        elif not unit.spiking and unit.reset is not Reset.NONE:
            held = held * (1 + most(np.abs(y)) + most(e_y))
        above = 0.0 if unit.spiking else threshold  # s - threshold
        return np.asarray(np.maximum(total + above, held))

    def _grid(self, drive: Bounded, terms: _Terms, magnitude: Array) -> Exponents | None:
        """The grid of all terms of a sum, if what it carries is the engine's very own; None if no sum is exact."""
        if not drive.grid.ndim and drive.grid == NO_GRID:
            return None
        spread = np.broadcast_to(drive.grid, drive.error.shape).reshape(magnitude.shape)
        if not fit(magnitude, spread, self.model).any():  # before more is computed
            return None
        grid: Exponents = np.minimum(spread, terms.grid)
        return grid

    def _kept(self, before_y: Array) -> Array:
        """The share of the carried state that the reset leaves, 1 - y or 1 - max y; 1 where it takes away instead."""
        if self.unit.reset is Reset.TO_ZERO:
            return np.asarray(np.abs(1 - before_y))
        if self.unit.reset is Reset.LATERAL:
            return np.asarray(np.abs(1 - _winner(before_y)))
        return np.ones((len(before_y), *[1] * (before_y.ndim - 1)))

    def _soft_carried(self, s: Array, kept: Array, e: Array, e_y: Array) -> Array:
        """The error of the carried state where the output that resets it is itself only known to a bound."""
        decay, threshold = self.decay * (1 + self.decay_error), np.abs(self.threshold) * (1 + self.threshold_error)
        if self.unit.reset is Reset.NONE:
            error = decay * e
        elif self.unit.reset is Reset.SUBTRACT:
            error = decay * e + threshold * e_y
        elif self.unit.reset is Reset.SUBTRACT_DECAYED:
            error = decay * (e + threshold * e_y)
        else:
            worst = np.broadcast_to(most_active(e_y), e_y.shape) if self.unit.reset is Reset.LATERAL else e_y
            error = decay * (kept * e + (np.abs(s) + e) * worst)
        return np.asarray(error * INFLATE)

    def _through_slope(self, s: Array, error: Array, grid: Exponents) -> Array:
        """A leaky g multiplies the bound by its Lipschitz constant, and rounds once more where it may multiply.

        ``s`` is what g gave. With a slope of at least 0 no engine multiplies where s is above the bound. The product is
        exact where the sum was, on ``grid``, and the product of the two grids holds it.
        """
        assert isinstance(self.unit.g, LeakyReLU)
        slope = np.asarray(float(self.unit.g.slope))
        slope_error = rounding_of(slope, self.model)
        exact = (error == 0) & (slope_error == 0) & fit(np.abs(s), grid + lowest_bit(slope), self.model)
        steepest = max(1.0, float(np.abs(slope)))
        rounded = (self.units + slope_error) * steepest * (np.abs(s) + steepest * error) + self.model.lost
        multiplies = ((s <= error * INFLATE) | (slope < 0)) & ~exact & (slope != 0)
        bound: Array = error * steepest + np.where(multiplies, rounded, 0.0)
        return bound * INFLATE

    def _output_error(self, s: Array, y: Array, error: Array) -> Array:
        """The bound on a continuous y: h over all states within the bound, and what evaluating h may add."""
        threshold = np.abs(self.threshold)
        shifted = error + self.threshold_error * threshold + self.units * (np.abs(s - self.threshold) + error)
        if isinstance(self.unit.h, Identity):
            grid = np.minimum(_grid_of(s, error), self.grids[1])
            exact = (error == 0) & fit(np.abs(s) + threshold, grid, self.model)
            return np.where(exact, 0.0, (shifted + self.model.lost) * INFLATE)
        spread: Array = STEEPEST[type(self.unit.h)] * shifted
        # Engines compute the sigmoid by way of others whose error does not shrink with it: it is counted in ulps of 1.
        size = 1.0 if isinstance(self.unit.h, Sigmoid) else np.abs(y) + spread
        return (spread + self.model.ulps * self.units * size + UNDERFLOWS * self.model.lost) * INFLATE


def _grid_of(values: Array, error: Array) -> Exponents:
    own = error == 0
    return np.where(own, lowest_bit(values), NO_GRID) if own.any() else np.full((), NO_GRID)


def _winner(y: Array) -> Array:
    """The largest y of each step's samples, (L, B, 1, ...)."""
    return np.asarray(y.max(axis=tuple(range(2, y.ndim)), keepdims=True))


def _gated(b: UnitBounds, s: Array, y: Array) -> _Terms:
    """decay * (s * (1 - y)): with spikes the only product that rounds is that with the decay."""
    return _decayed(b, s * b._kept(y), 1 if b.unit.spiking else 3)


def _none(b: UnitBounds, s: Array, y: Array) -> _Terms:
    """decay * s"""
    return _decayed(b, s, 1)


def _decayed(b: UnitBounds, s: Array, roundings: int) -> _Terms:
    grid = _held_grid(b, s, lowest_bit(s)) if roundings == 1 else np.full((), NO_GRID)
    return _Terms(b.decay * np.abs(s), roundings, grid, 0.0)


def _held_grid(b: UnitBounds, s: Array, grid: Exponents) -> Exponents:
    """That of decay * s, with s on a grid; all of them where it is 0."""
    return np.where((b.decay == 0) | (s == 0), ZERO, b.grids[0] + grid)


def _subtract(b: UnitBounds, s: Array, y: Array) -> _Terms:
    """decay * s - threshold * y"""
    taken = np.abs(b.threshold * y)
    magnitude = b.decay * np.abs(s) + taken
    error = b.threshold_error * taken
    if not b.unit.spiking:
        return _Terms(magnitude, 3, np.full((), NO_GRID), error)
    return _Terms(magnitude, 3, np.minimum(_held_grid(b, s, lowest_bit(s)), _taken_grid(b, y)), error)


def _taken_grid(b: UnitBounds, y: Array) -> Exponents:
    """That of threshold * y with a y of 0 or 1."""
    return np.where((b.threshold == 0) | (y == 0), ZERO, b.grids[1])


def _subtract_decayed(b: UnitBounds, s: Array, y: Array) -> _Terms:
    """decay * (s - threshold * y): the difference inside is a sum of its own, which has to be exact as well."""
    taken = np.abs(b.threshold * y)
    inside = np.abs(s) + taken
    error = b.decay * (1 + b.decay_error) * b.threshold_error * taken
    if not b.unit.spiking:
        return _Terms(b.decay * inside, 3, np.full((), NO_GRID), error)
    grid = np.minimum(lowest_bit(s), _taken_grid(b, y))
    exact = (b.decay == 0) | fit(inside, grid, b.model)
    return _Terms(b.decay * inside, 3, np.where(exact, _held_grid(b, inside, grid), NO_GRID), error)


_TERMS: Mapping[Reset, Callable[[UnitBounds, Array, Array], _Terms]] = {
    Reset.TO_ZERO: _gated,
    Reset.LATERAL: _gated,
    Reset.NONE: _none,
    Reset.SUBTRACT: _subtract,
    Reset.SUBTRACT_DECAYED: _subtract_decayed,
}

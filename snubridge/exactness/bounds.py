"""How far any engine's value may be from the reference's, node by node, while both spike alike.

Values of many samples and steps lie below one another, as rows (M, *shape).

A value travels as the sum that it is: its terms are not rounded before something needs the number, so one bound
covers every order in which an engine may add them, across all the Linears that feed one unit.

    |engine - reference|  <=  error + (gamma_n + gamma'_n) (magnitude + error) + lost        gamma_n = (1 + u)^n - 1

gamma' being that of the reference's own float64. The last two terms vanish where the sum is exact: error is 0, all
terms are multiples of 2^grid, not below the format's range, and magnitude <= 2^(grid + significand).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snubridge.exactness.error_model import ErrorModel
from snubridge.exactness.grids import ZERO, Exponents, fits, lowest_bit
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, Node, Output, SumPool2d
from snubridge.ir.numbers import Array
from snubridge.reference.operators import OPERATORS

INFLATE = 1 + 2.0**-30
"""Covers what the bounds lose in their own float64: sums of up to 2^20 terms, and a few products."""
NO_GRID = -(2**20)
"""The grid of what is on none."""


class Bounded(NamedTuple):
    """What a node puts out, (M, *shape), and what is known of any engine's value.

    ``error``      what the terms inherit; 0 where they are the engine's very own
    ``magnitude``  the sum of the terms' magnitudes
    ``roundings``  (M,): through how many roundings a term may go until the sum is formed
    ``lost``       what underflow may take from the sum
    ``grid``       all terms are multiples of 2^grid; ``NO_GRID`` where nothing is known; without axes where alike
    """

    error: Array
    magnitude: Array
    roundings: Array
    lost: Array
    grid: Exponents

    @classmethod
    def of_numbers(cls, value: Array, error: Array, grid: Exponents) -> Bounded:
        """Numbers of the engine's own: sums that are formed."""
        return cls(error, np.abs(value) + error, np.zeros(len(value)), np.zeros(()), grid)

    def rows(self, which: slice) -> Bounded:
        """Some of the rows."""
        lost = self.lost[which] if self.lost.ndim == self.error.ndim else self.lost
        grid = self.grid[which] if self.grid.ndim == self.error.ndim else self.grid
        return Bounded(self.error[which], self.magnitude[which], self.roundings[which], lost, grid)

    def __add__(self, other: Bounded) -> Bounded:  # type: ignore[override]  # a sum of values, not of tuples
        return Bounded(
            self.error + other.error,
            self.magnitude + other.magnitude,
            self.roundings + other.roundings + 1,
            self.lost + other.lost,
            np.minimum(self.grid, other.grid),
        )


def gamma(roundings: Array, unit: float) -> Array:
    """(1 + u)^n - 1: how far n factors 1 + d with |d| <= u lead from 1."""
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(roundings * math.log1p(unit)))


def per_sample(values: Array, like: Array) -> Array:
    """(B,) to (B, 1, ...), so that it spreads over (B, *shape)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def fit(magnitude: Array, grid: Exponents, model: ErrorModel) -> NDArray[np.bool_]:
    """Where numbers on a grid, of magnitudes that sum to this, are numbers of the format, and so are their sums.

    Less than the significand's whole range, since the magnitude is a rounded sum itself.
    """
    room = np.ldexp(1.0, np.clip(grid + model.format.significand, -1074, 1023))
    fitting: NDArray[np.bool_] = (grid >= model.least) & (magnitude < room)
    return fitting


def rounding_of(parameter: Array, model: ErrorModel, bits: int | None = None) -> Array:
    """By how much, relative to it, a float64 number changes where it has to fit the format (or fewer bits): 0 if not.

    What lies below the format's range may vanish, or double at the most.
    """
    bits = model.format.significand if bits is None else bits
    least = model.least if model.flush else model.format.normal - (bits - 1)
    inside = (lowest_bit(parameter) >= least) | (np.abs(parameter) >= math.ldexp(1.0, model.format.normal))
    return np.where(~inside, 1.0, np.where(fits(parameter, bits), 0.0, math.ldexp(1.0, 1 - bits)))


@dataclass(frozen=True)
class Stateless:
    """A linear node with what its bounds need, computed once."""

    node: Any
    model: ErrorModel

    @cached_property
    def _weight(self) -> Array:
        return np.asarray(self.node.weight, dtype=np.float64)

    @cached_property
    def _absolute(self) -> Any:
        """The magnitudes of the weights: those of a Linear turned as ``x @ w`` wants them, else the node with them."""
        if isinstance(self.node, Linear):
            return np.abs(self._weight).T
        return (
            self.node.replaced(weight=np.abs(self._weight), bias=None) if isinstance(self.node, Conv2d) else self.node
        )

    def _sum(self, x: Array) -> Array:
        """The sum of x through the magnitudes of the weights."""
        if isinstance(self.node, Linear):
            total: Array = x @ self._absolute
            return total
        return OPERATORS[type(self.node)](self._absolute, x)

    @cached_property
    def bias(self) -> Array | None:
        """The bias in float64, so that it spreads over a sample."""
        if not isinstance(self.node, Linear | Conv2d) or self.node.bias is None:
            return None
        bias = self.node.bias.astype(np.float64)
        return bias[:, None, None] if isinstance(self.node, Conv2d) else bias

    @cached_property
    def weight_error(self) -> float:
        """The largest relative change of a weight."""
        if not isinstance(self.node, Linear | Conv2d):
            return 0.0
        return self.model.weight_error + float(rounding_of(self._weight, self.model, self.model.format.factors).max())

    @cached_property
    def grid(self) -> Exponents:
        """The grid of the weights of each output, so that it spreads over a sample."""
        if not isinstance(self.node, Linear | Conv2d):
            return np.zeros((), dtype=np.int64)
        lowest = lowest_bit(self._weight).reshape(len(self._weight), -1).min(axis=1)
        spread: Exponents = lowest[:, None, None] if isinstance(self.node, Conv2d) else lowest
        return spread

    @cached_property
    def _bias_bounds(self) -> tuple[Array, Exponents]:
        """By how much, relative to it, each bias may change, and its grid."""
        assert self.bias is not None
        error = self.model.weight_error + rounding_of(self.bias, self.model)
        return error, np.where(error == 0, lowest_bit(self.bias), NO_GRID)

    def __call__(self, x: Bounded) -> Bounded:
        """What the node makes of what it receives: a sum of more terms."""
        node = self.node
        if isinstance(node, Flatten | Output):
            return _reshaped(node, x)
        magnitude = self._sum(x.magnitude)
        error = self._sum(x.error) * INFLATE if x.error.any() else np.zeros(())
        terms = _terms(node, x)
        grid: Exponents = _least(node, x, self.model) + self.grid
        factor_error = self.weight_error + _factor_error(x, self.model)
        received = np.broadcast_to(x.lost, x.error.shape)
        if factor_error:
            error = error + factor_error * (1 + factor_error) * (magnitude + error) * INFLATE
            grid = np.full((), NO_GRID)
            if self._rounds_factors:
                received = received + math.ldexp(1.0, self.model.format.lowest_factor)
        lost = self._sum(received) if received.any() else np.zeros(())
        sums = 2 if self.model.flush else 1  # a sum of two may be flushed as well
        lost = lost + per_sample(terms, magnitude) * sums * self.model.lost
        roundings = x.roundings + terms
        if isinstance(node, AvgPool2d):
            grid, roundings = _divided(node, grid, roundings)
        if self.bias is not None:
            bias_error, bias_grid = self._bias_bounds
            error = error + bias_error * np.abs(self.bias)
            magnitude = magnitude + np.abs(self.bias)
            grid = np.minimum(grid, bias_grid)
            roundings = roundings + 1
            lost = lost + (sums - 1) * self.model.lost
        return Bounded(np.broadcast_to(error, magnitude.shape), magnitude, roundings, lost, grid)

    @property
    def _rounds_factors(self) -> bool:
        return self.model.format.factors < self.model.format.significand

    def largest(self, y: Bounded) -> Array:
        """The largest magnitude of any sum that leads to what the node puts out: an average divides a larger one."""
        window = math.prod(self.node.kernel_size) if isinstance(self.node, AvgPool2d) else 1
        return (y.magnitude + y.error) * window


def _reshaped(node: Node, x: Bounded) -> Bounded:
    def turn(part: Array) -> Array:
        turned: Array = OPERATORS[type(node)](node, np.broadcast_to(part, x.error.shape))
        return turned

    return Bounded(turn(x.error), turn(x.magnitude), x.roundings, turn(x.lost), turn(x.grid))


def nothing(x: Bounded) -> NDArray[np.bool_]:
    """Where all terms are 0; a magnitude may be 0 since it lies below float64, and then something is lost there."""
    return np.asarray((x.magnitude == 0) & (x.lost == 0))


def _terms(node: Any, x: Bounded) -> Array:
    """(B,): how many products one output sums at most; a product with 0 is exact and changes no sum."""
    if isinstance(node, Linear):
        counts: Array = np.count_nonzero(~nothing(x), axis=-1).reshape(len(x.error), -1).max(axis=1)
        return counts.astype(np.float64)
    window = node.weight[0].size if isinstance(node, Conv2d) else node.kernel_size[0] * node.kernel_size[1]
    return np.full(len(x.error), float(window))


def _least(node: Any, x: Bounded, model: ErrorModel) -> Exponents:
    """The grid of what is received: of each place for a Linear, of the whole sample for windows."""
    if not x.grid.ndim and (x.grid == NO_GRID or not (x.roundings.any() or x.error.any())):
        return x.grid
    axes = -1 if isinstance(node, Linear) else tuple(range(1, x.error.ndim))
    exact = (x.error == 0) & fit(x.magnitude, x.grid, model)
    settled = np.where(exact, x.grid, NO_GRID) if x.roundings.any() or x.error.any() else x.grid
    spread = np.broadcast_to(np.where(nothing(x), ZERO, settled), x.error.shape)
    return np.asarray(spread.min(axis=axes, keepdims=True))


def _factor_error(x: Bounded, model: ErrorModel) -> float:
    """By how much an engine may round what it multiplies, where that takes fewer bits than its sums."""
    form = model.format
    if form.factors == form.significand:
        return 0.0
    room = np.ldexp(1.0, np.clip(x.grid + form.factors, -1074, 1023))
    fitting = (x.error == 0) & (x.magnitude < room) & (x.grid >= form.lowest_factor)
    return 0.0 if fitting.all() else 2.0 ** (1 - form.factors)


def _divided(node: AvgPool2d, grid: Exponents, roundings: Array) -> tuple[Exponents, Array]:
    """An average divides its sum: exactly by a power of two, else with one rounding more."""
    window = node.kernel_size[0] * node.kernel_size[1]
    power = window.bit_length() - 1
    if window == 1 << power:
        return grid - power, roundings
    return np.full(grid.shape, NO_GRID), roundings + 1


STATELESS: Mapping[type[Node], Callable[[Any, ErrorModel], Stateless]] = dict.fromkeys(
    (Linear, Conv2d, AvgPool2d, SumPool2d, Flatten, Output), Stateless
)

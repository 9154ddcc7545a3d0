"""Weights as differential pairs of conductances, and back, bit for bit.

    w[o, i] = (G_plus[i, o] - G_minus[i, o]) * column_scale[o]        in float64, then in the graph's numbers

Row i of a crossbar is input i, column o is output o. One device of a pair carries the weight, the
other is idle at g_min = 0 uS. The scale of a column is the smallest power of two that brings its
largest weight to at most g_max, so neither direction rounds. A weight of -0.0 keeps its sign as
a G_plus of -0.0 uS, which is 0 uS to any device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snubridge.errors import BadFile
from snubridge.ir.numbers import Array

LEAST_EXPONENT = -1022  # of a normal number
LARGEST_EXPONENT = 256
"""Of a scale: it multiplies what a product of input and conductance loses where it underflows, 2^-1075 at most.
All 32-bit weights stay below it; with it, a drive is off by less than 1e-246 for each row."""


def is_full_scale(g_max_uS: object) -> bool:
    """Whether this can be the largest conductance of a device, in microsiemens."""
    return isinstance(g_max_uS, int | float) and not isinstance(g_max_uS, bool) and 0 < g_max_uS <= sys.float_info.max


@dataclass(frozen=True)
class Pairs:
    """``G_plus_uS``, ``G_minus_uS`` (rows, columns) in microsiemens; ``column_scale_per_uS`` (columns,)."""

    G_plus_uS: Array
    G_minus_uS: Array
    column_scale_per_uS: Array


def encode(weight: Array, g_max_uS: float) -> Pairs:
    """The pairs of a weight (out, ...), whose other axes are rows; ``losses`` tells whether all of it comes back."""
    columns = weight.reshape(len(weight), -1).astype(np.float64).T
    mantissa, exponent = np.frexp(np.abs(columns).max(axis=0))
    limit_mantissa, limit_exponent = math.frexp(g_max_uS)
    power = np.where(mantissa == 0, 0, exponent - limit_exponent + (mantissa > limit_mantissa))
    power = np.clip(power, LEAST_EXPONENT, LARGEST_EXPONENT)
    signed = np.ldexp(columns, -power)
    return Pairs(
        G_plus_uS=np.ascontiguousarray(np.where(signed >= 0, signed, 0.0)),  # -0.0 >= 0 holds, and -0.0 is kept
        G_minus_uS=np.ascontiguousarray(np.where(signed < 0, -signed, 0.0)),
        column_scale_per_uS=np.ldexp(1.0, power),
    )


def decode(pairs: Pairs, dtype: np.dtype[np.floating]) -> Array:
    """The weight (out, in) in the dtype of the graph's numbers."""
    with np.errstate(over="ignore"):
        weight = (pairs.G_plus_uS - pairs.G_minus_uS) * pairs.column_scale_per_uS
        return np.ascontiguousarray(weight.T, dtype=dtype)


def losses(weight: Array, pairs: Pairs, g_max_uS: float) -> Iterator[str]:
    """Every column with weights that its pairs do not carry exactly, or that no device can."""
    shape, weight = weight.shape, weight.reshape(len(weight), -1)
    decoded = decode(pairs, weight.dtype)
    unequal = (decoded != weight) | (np.signbit(decoded) != np.signbit(weight))
    carried = np.maximum(pairs.G_plus_uS, pairs.G_minus_uS).T
    lost = unequal | (carried > g_max_uS)
    for column in np.flatnonzero(lost.any(axis=1)):
        row = np.flatnonzero(lost[column])[0]
        largest = np.abs(weight[column]).max()
        place = ", ".join(map(str, (column, *np.unravel_index(row, shape[1:]))))
        yield (
            f"weight[{place}] = {weight[column, row]} does not come back from a conductance of at most "
            f"{g_max_uS} uS, {largest} being the largest weight of its column ({int(lost[column].sum())} such weights "
            "in the column): narrow the range of the weights"
        )


def check(pairs: Pairs, g_max_uS: float, place: str) -> None:
    """``BadFile`` where values from outside are no differential pairs in ideal mode."""
    for name, array in (("G_plus_uS", pairs.G_plus_uS), ("G_minus_uS", pairs.G_minus_uS)):
        outside = ~((array >= 0) & (array <= g_max_uS))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise BadFile(f"{place}: {name}[{row}, {column}] = {array[row, column]} is outside of 0 to {g_max_uS} uS")
    both = (pairs.G_plus_uS != 0) & (pairs.G_minus_uS != 0)
    if both.any():
        row, column = np.argwhere(both)[0]
        raise BadFile(f"{place}: both devices of the pair [{row}, {column}] conduct; one idles at 0 uS")
    scale = pairs.column_scale_per_uS
    sound = (scale >= 2.0**LEAST_EXPONENT) & (scale <= 2.0**LARGEST_EXPONENT) & (np.frexp(scale)[0] == 0.5)
    if not sound.all():
        column = np.flatnonzero(~sound)[0]
        raise BadFile(f"{place}: column_scale_per_uS[{column}] = {scale[column]} is no power of two in range")

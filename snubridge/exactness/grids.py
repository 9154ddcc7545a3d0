"""The lowest set bits of numbers: what tells whether a sum of them is exact in any order.

A number x != 0 is an odd multiple of 2^k; k is its lowest bit. Sums and differences of multiples of 2^k are
multiples of 2^k, products of multiples of 2^k and 2^l are multiples of 2^(k+l); and a multiple of 2^k of magnitude
at most 2^(k+p) has a significand of at most p bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snubridge.ir.numbers import Array

Exponents = NDArray[np.int64]
ZERO = 2**20
"""The lowest bit of 0, which is a multiple of any power of two: above that of every float64."""


def lowest_bit(values: Array) -> Exponents:
    """k for each float64 value, an odd multiple of 2^k; ``ZERO`` for 0. Same shape."""
    fraction, exponent = np.frexp(values)
    whole = np.ldexp(fraction, 53).astype(np.int64)  # an integer of at most 53 bits
    lowest = np.frexp((whole & -whole).astype(np.float64))[1].astype(np.int64) - 1
    return np.where(whole == 0, ZERO, lowest + exponent - 53)


def fits(values: Array, significand: int) -> NDArray[np.bool_]:
    """Whether each float64 value has a significand of at most that many bits."""
    return np.frexp(values)[1] - lowest_bit(values) <= significand

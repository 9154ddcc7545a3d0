"""Products with inputs of 0 and 1 as sums over the events alone, in compiled loops.

    forward    out[r] = W[:, k_1] + W[:, k_2] + ...      k_1 < k_2 < ... the inputs of row r that are 1
    weight     dW[:, k] = g[r_1] + g[r_2] + ...          r_1 < r_2 < ... the rows in which input k is 1

One after the other, in this order, in the type of the arrays, starting from 0: the sums depend on nothing else, neither
on the number of threads nor on the machine. Columns are taken in blocks whose share of W lies in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from snubridge.nn.kernels.cpu.compiled import compiled

WORD = 32  # inputs in a word of bits
BLOCK = 1024  # columns of W at a time


@intrinsic
def _lowest(_context: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.uint64(types.uint32), generate


@compiled
def pack(x: Any, bits: Any, found: Any, lo: int, hi: int) -> None:
    """The rows lo to hi of x (R, K) as ``bits`` (R, words); ``found``: the number of ones, and the first other value.

    That is its place r * K + k, or -1.
    """
    inputs = x.shape[1]
    ones, place = 0, -1
    for r in range(lo, hi):
        row = x[r]
        for word in range(bits.shape[1]):
            part = row[word * WORD : min((word + 1) * WORD, inputs)]
            packed, odd = np.uint32(0), 0
            for i in range(len(part)):
                packed |= np.uint32(part[i] == 1) << np.uint32(i)
                odd += (part[i] != 1) & (part[i] != 0)
            bits[r, word] = packed
            if odd and place < 0:
                for i in range(len(part)):
                    if part[i] != 1 and part[i] != 0 and place < 0:
                        place = r * inputs + word * WORD + i
            while packed:
                packed &= packed - np.uint32(1)
                ones += 1
    found[0], found[1] = ones, place


@compiled
def unpack(bits: Any, places: Any) -> int:
    """The places of the ones of a row, in ascending order, into ``places``; returns how many there are."""
    count = 0
    for word in range(len(bits)):
        left = bits[word]
        while left:
            place: int = _lowest(left)  # type: ignore[call-arg]  # numba passes the first
            places[count] = word * WORD + place
            left &= left - np.uint32(1)
            count += 1
    return count


@compiled
def gather(bits: Any, columns: Any, out: Any, lo: int, hi: int) -> None:
    """out (R, N) of the rows lo to hi; ``columns`` (K, N) is W transposed."""
    places = np.empty(len(columns), np.int64)
    for first in range(0, out.shape[1], BLOCK):
        last = min(first + BLOCK, out.shape[1])
        for r in range(lo, hi):
            count, total = unpack(bits[r], places), out[r, first:last]
            total[:] = 0
            for i in range(0, count - 3, 4):
                _add_four(
                    columns[places[i], first:last],
                    columns[places[i + 1], first:last],
                    columns[places[i + 2], first:last],
                    columns[places[i + 3], first:last],
                    total,
                )
            for i in range(count - count % 4, count):
                _add(columns[places[i], first:last], total)


@compiled
def _add(x: Any, total: Any) -> None:
    for i in range(len(total)):
        total[i] += x[i]


@compiled
def _add_four(a: Any, b: Any, c: Any, d: Any, total: Any) -> None:
    for i in range(len(total)):
        total[i] = (((total[i] + a[i]) + b[i]) + c[i]) + d[i]


@compiled
def scatter(bits: Any, g: Any, columns: Any, lo: int, hi: int) -> None:
    """dW transposed, ``columns`` (K, N), of its columns lo to hi; g (R, N) is dL/d(out)."""
    places = np.empty(len(columns), np.int64)
    for first in range(lo, hi, BLOCK):
        last = min(first + BLOCK, hi)
        columns[:, first:last] = 0
        for r in range(len(g)):
            count = unpack(bits[r], places)
            for i in range(count):
                _add(g[r, first:last], columns[places[i], first:last])

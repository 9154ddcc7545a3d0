"""The unit of the paper, reset to zero and a step, with every stage of a neuron's step in one loop.

What ``loops`` computes in stages, each of which reads and writes a tile, this computes from one reading of each array:
the same operations in the same order, about twice as fast. The price is a compilation for every choice below, so that
only the most frequent units go this way: those of ``fusible``.

Of the step before only the row a_{t-1} is read, from which s and y follow. So the first step forward, which continues
from any s and y, and the last one, whose state may have a gradient of its own, are left to ``loops``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from snubridge.nn.kernels.cpu.compiled import compiled, version
from snubridge.nn.kernels.cpu.loops import (
    ARCTAN,
    LOGISTIC,
    ONE,
    RELU,
    SUPER_SPIKE,
    ZERO,
    bell,
    flush,
    summed,
)


@njit(inline="always")
def _state(g: int, a: Any) -> Any:
    return (ZERO if a <= ZERO else a) if g == RELU else a


@njit(inline="always")
def _slope(form: int, rate: Any, scale: Any, v: Any) -> Any:
    if form == LOGISTIC:
        slope = scale * bell(rate * abs(v))
    elif form == ARCTAN:
        z = rate * v
        slope = ONE / (ONE + z * z)
    elif form == SUPER_SPIKE:
        z = ONE + rate * abs(v)
        slope = ONE / (z * z)
    else:
        z = ONE - abs(v)
        slope = ZERO if z < ZERO else z
    return slope


@cache
def forward(g: int, recurrent: bool = False) -> Callable[..., None]:
    """The loop that fills a and y (T, M) of the neurons lo to hi, and the last state (M,) unless that is empty.

    The drive is x (T, M), in a recurrent layer plus ``more`` (T, M); ``before`` (M,) is a of the step before.
    """
    sources = version()

    @compiled
    def steps(
        before: Any, x: Any, more: Any, decay: Any, threshold: Any, a: Any, y: Any, last: Any, lo: int, hi: int
    ) -> None:
        _ = sources  # enclosed: see ``version``
        tile = len(decay)
        past = before
        for t in range(len(x)):
            for i in range(lo, hi, tile):
                j = min(i + tile, hi)
                d, b, a_before, x_t, z_t = decay[: j - i], threshold[: j - i], past[i:j], x[t, i:j], more[t, i:j]
                a_t, y_t = a[t, i:j], y[t, i:j]
                for k in range(j - i):
                    s = _state(g, a_before[k])
                    rest = ZERO if s - b[k] > ZERO else ONE
                    drive = x_t[k] + z_t[k] if recurrent else x_t[k]
                    value = d[k] * (s * rest) + drive
                    a_t[k] = value
                    y_t[k] = ONE if _state(g, value) - b[k] > ZERO else ZERO
            past = a[t]
        if len(last):
            a_t, s_t = past[lo:hi], last[lo:hi]
            for k in range(hi - lo):
                s_t[k] = _state(g, a_t[k])

    return steps


@cache
def backward(
    g: int, form: int, learn_decay: bool, learn_threshold: bool, recurrent: bool = False, outputs: bool = False
) -> Callable[..., None]:
    """The loop back that fills dL/dx (T, M) of the neurons lo to hi, and with ``outputs`` y (T, M) anew.

    dL/dy is ``received`` (T, M), in a recurrent layer plus ``more`` (T, M); ``after`` (M,) is dL/da of the step that
    follows. What is learned is added to its sum (P,), in double.
    """
    sources = version()

    @compiled
    def steps(
        numbers: Any, decay: Any, threshold: Any, a: Any, received: Any, more: Any, after: Any, x: Any, y: Any,
        decay_sum: Any, threshold_sum: Any, lo: int, hi: int,
    ) -> None:  # fmt: skip
        _ = sources  # enclosed: see ``version``
        _, rate, scale = numbers
        tile = len(decay)
        decay_part, threshold_part = np.zeros_like(decay), np.zeros_like(decay)
        following = after
        for t in range(len(a) - 1, -1, -1):
            for i in range(lo, hi, tile):
                j = min(i + tile, hi)
                d, b, a_t, g_t, z_t = decay[: j - i], threshold[: j - i], a[t, i:j], received[t, i:j], more[t, i:j]
                c, x_t, y_t = following[i:j], x[t, i:j], y[t, i:j]
                for k in range(j - i):
                    s = _state(g, a_t[k])
                    v = s - b[k]
                    rest = ZERO if v > ZERO else ONE
                    carried = c[k] * d[k]
                    pulled = g_t[k] + z_t[k] if recurrent else g_t[k]
                    inner = (pulled - carried * s) * _slope(form, rate, scale, v)
                    through = carried * rest + inner
                    x_t[k] = ZERO if g == RELU and a_t[k] <= ZERO else through
                    if learn_decay:
                        decay_part[k] += c[k] * (s * rest)
                    if learn_threshold:
                        threshold_part[k] -= inner
                    if outputs:
                        y_t[k] = ONE - rest
                if summed(j, lo, hi, tile):
                    if learn_decay:
                        flush(decay_part, decay_sum)
                    if learn_threshold:
                        flush(threshold_part, threshold_sum)
            following = x[t]

    return steps

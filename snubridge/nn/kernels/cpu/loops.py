"""The dynamics of a unit as compiled loops over rows of neurons.

A row holds all neurons of all samples at one step: M = B * N values. Sequences are (T, M), states (M,), parameters
(P,), with P = N times the few samples that make a tile: a tile's share of a row passes through all stages while it lies
in the cache. A call works on the tiles from ``lo`` to ``hi``; calls for disjoint ranges may run at once. The order of
operations is that of ``snubridge/reference/interpreter.py``; no fast-math, so nothing is fused or reordered.

Each stage is a short loop over few arrays, which is what LLVM turns into vector code (it gives up where too many arrays
might overlap), and one compilation serves every reset, g, h and surrogate. The most frequent unit has ``fused``.

All compiled code that calls each other stands in this one file: numba keeps what it compiled on disk, and looks only at
the file of the function itself to see whether it has changed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from snubridge.nn.kernels.cpu.compiled import compiled

TO_ZERO, LATERAL, SUBTRACT, SUBTRACT_DECAYED, NONE = range(5)
IDENTITY, RELU, LEAKY_RELU = range(3)
STEP, STEP_AT_THRESHOLD, SIGMOID, TANH, LINEAR = range(5)
LOGISTIC, ARCTAN, TRIANGLE, SUPER_SPIKE, CONSTANT = range(5)
"""The derivative of h, or what stands for it: LOGISTIC is 4 scale * q / (1 + q)^2, q = 2^(-rate * |v|)."""

ZERO, ONE, TWO, FOUR = (
    np.float32(0),
    np.float32(1),
    np.float32(2),
    np.float32(4),
)  # a Python float would widen float32 to double

FLUSH = 8  # tiles of a row whose gradients of a parameter are added up in its own type

LOG2_E, LN_2_HIGH, LN_2_LOW = np.float32(1 / math.log(2)), np.float32(0.693359375), np.float32(-2.12194440e-4)
SHIFTER = np.float32(1.5 * 2**23)  # added and taken off again, it rounds to an integer; its last bits are that integer
FARTHEST = np.float32(120)  # 2^-120 and less is 0 to a derivative
LARGEST = np.float32(104)  # exp(-104) is below half of the smallest subnormal of float32
E2, E3, E4, E5, E6, E7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))  # exp, |r| <= ln(2) / 2
P1, P2, P3, P4, P5, P6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))  # 2^r, |r| <= 1/2


@intrinsic
def _power_of_two(_context: Any, shifted: Any) -> Any:
    """2^k for ``shifted`` = SHIFTER + k: the integer k stands in the lowest bits, and moves into the exponent."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)
        k = builder.shl(builder.bitcast(args[0], bits), bits(23))
        return builder.bitcast(builder.add(k, bits(0x3F800000)), ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _times_power_of_two(_context: Any, p: Any, shifted: Any) -> Any:
    """p * 2^k as a sum of integers: k is added to the exponent of p, which must stay a normal number."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)
        k = builder.shl(builder.bitcast(args[1], bits), bits(23))
        return builder.bitcast(builder.add(k, builder.bitcast(args[0], bits)), ir.FloatType())

    return types.float32(types.float32, types.float32), generate


def quick_power(z: Any) -> Any:
    """2^-z, z >= 0, to about 1e-7 absolutely: for derivatives."""
    raise NotImplementedError


@overload(quick_power, inline="always")
def _quick_power(z: Any) -> Any:
    def single(z: Any) -> Any:
        size = FARTHEST if z > FARTHEST else z
        shifted = SHIFTER - size
        r = (SHIFTER - shifted) - size
        p = ONE + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * (P5 + r * P6)))))
        power: Any = _times_power_of_two(p, shifted)  # type: ignore[call-arg]  # numba passes the first
        return ZERO if z > FARTHEST else power

    def double(z: Any) -> Any:
        return np.exp2(-z)

    return single if z == types.float32 else double


@njit(inline="always")
def _reduced(z: Any) -> Any:
    """exp(-z) as (p + 1) * first * second: p = exp(r) - 1, the powers of two in two steps to reach subnormals."""
    x = -(LARGEST if z > LARGEST else z)
    k = (x * LOG2_E + SHIFTER) - SHIFTER
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW
    p = r + r * r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * E7)))))
    half = (k * np.float32(0.5) + SHIFTER) - SHIFTER
    first, second = half + SHIFTER, (k - half) + SHIFTER
    return p, _power_of_two(first), _power_of_two(second)  # type: ignore[call-arg]  # as above


@njit(inline="always")
def bell(z: Any) -> Any:
    """4 q / (1 + q)^2, q = 2^-z: 1 at z = 0."""
    q = quick_power(z)
    return FOUR * q / ((ONE + q) * (ONE + q))  # as 1 - tanh^2 it would lose a digit


def sigmoid(v: Any) -> Any:
    """1 / (1 + exp(-v))."""
    raise NotImplementedError


@overload(sigmoid, inline="always")
def _sigmoid(v: Any) -> Any:
    def single(v: Any) -> Any:
        p, first, second = _reduced(abs(v))
        q = (p * first + first) * second
        return (q if v < ZERO else ONE) / (ONE + q)

    def double(v: Any) -> Any:
        q = math.exp(-abs(v))
        return (q if v < 0.0 else 1.0) / (1.0 + q)

    return single if v == types.float32 else double


def tanh(v: Any) -> Any:
    """The hyperbolic tangent of v."""
    raise NotImplementedError


@overload(tanh, inline="always")
def _tanh(v: Any) -> Any:
    def single(v: Any) -> Any:
        p, first, second = _reduced(TWO * abs(v))
        scale = first * second
        minus = p * scale + (scale - ONE)  # exp(-2 |v|) - 1, without cancellation
        size = (ZERO - minus) / (minus + TWO)  # +0 for 0
        return -size if v < ZERO else size

    def double(v: Any) -> Any:
        return math.tanh(v)

    return single if v == types.float32 else double


@compiled
def activate(g: int, slope: Any, a: Any, s: Any) -> None:
    """s = g(a); for the identity s is a itself, and nothing is done."""
    if g == RELU:
        for i in range(len(a)):
            s[i] = ZERO if a[i] <= ZERO else a[i]
    elif g == LEAKY_RELU:
        for i in range(len(a)):
            s[i] = a[i] if a[i] > ZERO else slope * a[i]


@compiled
def put_out(h: int, s: Any, threshold: Any, y: Any) -> None:
    """y = h(s - threshold)."""
    if h == STEP:
        for i in range(len(s)):
            y[i] = ONE if s[i] - threshold[i] > ZERO else ZERO
    elif h == STEP_AT_THRESHOLD:
        for i in range(len(s)):
            y[i] = ONE if s[i] - threshold[i] >= ZERO else ZERO
    elif h == SIGMOID:
        for i in range(len(s)):
            y[i] = sigmoid(s[i] - threshold[i])
    elif h == TANH:
        for i in range(len(s)):
            y[i] = tanh(s[i] - threshold[i])
    else:
        for i in range(len(s)):
            y[i] = s[i] - threshold[i]


@compiled
def inhibit(y: Any, width: int, gate: Any) -> None:
    """The largest y of each sample, for all of its neurons."""
    for first in range(0, len(y), width):
        most = y[first]
        for i in range(first, first + width):
            if y[i] > most or y[i] != y[i]:
                most = y[i]
        for i in range(first, first + width):
            gate[i] = most


@compiled
def carry(reset: int, decay: Any, threshold: Any, s: Any, y: Any, x: Any, a: Any) -> None:
    """a = c + x, with c carried from s and y; for LATERAL y is the gate."""
    if reset <= LATERAL:
        for i in range(len(a)):
            a[i] = decay[i] * (s[i] * (ONE - y[i])) + x[i]
    elif reset == SUBTRACT:
        for i in range(len(a)):
            a[i] = (decay[i] * s[i] - threshold[i] * y[i]) + x[i]
    elif reset == SUBTRACT_DECAYED:
        for i in range(len(a)):
            a[i] = decay[i] * (s[i] - threshold[i] * y[i]) + x[i]
    else:
        for i in range(len(a)):
            a[i] = decay[i] * s[i] + x[i]


@compiled
def add(x: Any, z: Any, total: Any) -> None:
    """total = x + z."""
    for i in range(len(total)):
        total[i] = x[i] + z[i]


@compiled
def forward(
    unit: Any, numbers: Any, x: Any, more: Any, decay: Any, threshold: Any, s_0: Any, y_0: Any, a: Any, y: Any,
    last: Any, lo: int, hi: int,
) -> None:  # fmt: skip
    """All steps of the neurons lo to hi: fills a = c + drive and y (T, M), and the last state (M,).

    The drive is x (T, M), plus ``more`` (T, M) unless that is empty. ``s_0``, ``y_0`` (M,): the state before.
    """
    width, reset, g, h, _, _ = unit
    tile = len(decay)
    gate, total = np.empty_like(decay), np.empty_like(decay)
    s, before = s_0, y_0
    for t in range(len(x)):
        a_t, y_t, x_t = a[t], y[t], x[t]
        s_t = a_t if g == IDENTITY else last
        for i in range(lo, hi, tile):
            j = min(i + tile, hi)
            drive, gated = x_t[i:j], before[i:j]
            if len(more):
                add(drive, more[t, i:j], total[: j - i])
                drive = total[: j - i]
            if reset == LATERAL:
                inhibit(gated, width, gate[: j - i])
                gated = gate[: j - i]
            carry(reset, decay[: j - i], threshold[: j - i], s[i:j], gated, drive, a_t[i:j])
            activate(g, numbers[0], a_t[i:j], s_t[i:j])
            put_out(h, s_t[i:j], threshold[: j - i], y_t[i:j])
        s, before = s_t, y_t
    last[lo:hi] = s[lo:hi]


@compiled
def differentiate(form: int, rate: Any, scale: Any, s: Any, threshold: Any, slopes: Any) -> None:
    """The derivative of h at s - threshold, or its surrogate."""
    if form == LOGISTIC:
        for i in range(len(s)):
            slopes[i] = scale * bell(rate * abs(s[i] - threshold[i]))
    elif form == ARCTAN:
        for i in range(len(s)):
            z = rate * (s[i] - threshold[i])
            slopes[i] = ONE / (ONE + z * z)
    elif form == TRIANGLE:
        for i in range(len(s)):
            z = ONE - abs(s[i] - threshold[i])
            slopes[i] = ZERO if z < ZERO else z
    elif form == SUPER_SPIKE:
        for i in range(len(s)):
            z = ONE + rate * abs(s[i] - threshold[i])
            slopes[i] = ONE / (z * z)
    else:
        for i in range(len(s)):
            slopes[i] = ONE


@compiled
def pull_output(reset: int, decay: Any, threshold: Any, s: Any, carried: Any, y: Any, slopes: Any) -> None:
    """``slopes`` becomes dL/dv: what reaches y from outside (``y``) and through its own reset, times dy/dv."""
    if reset == TO_ZERO:
        for i in range(len(s)):
            slopes[i] = (y[i] - carried[i] * decay[i] * s[i]) * slopes[i]
    elif reset == SUBTRACT:
        for i in range(len(s)):
            slopes[i] = (y[i] - carried[i] * threshold[i]) * slopes[i]
    elif reset == SUBTRACT_DECAYED:
        for i in range(len(s)):
            slopes[i] = (y[i] - carried[i] * decay[i] * threshold[i]) * slopes[i]
    else:  # NONE, or the reset is detached
        for i in range(len(s)):
            slopes[i] = y[i] * slopes[i]


@compiled
def pull_inhibition(width: int, decay: Any, s: Any, carried: Any, y: Any, gate: Any, received: Any, total: Any) -> None:
    """total = received + what reaches y through the largest of its sample, in equal parts where there are several."""
    for first in range(0, len(s), width):
        pulled, largest = ZERO, 0
        for i in range(first, first + width):
            pulled -= carried[i] * decay[i] * s[i]
            largest += y[i] == gate[i]
        for i in range(first, first + width):
            total[i] = received[i] + (pulled / largest if y[i] == gate[i] else ZERO)


@compiled
def pull_state(reset: int, decay: Any, carried: Any, gate: Any, inner: Any, x: Any) -> None:
    """x = dL/ds: through the carried state, plus ``inner``, through the output of the same step."""
    if reset <= LATERAL:
        for i in range(len(x)):
            x[i] = carried[i] * decay[i] * (ONE - gate[i]) + inner[i]
    else:
        for i in range(len(x)):
            x[i] = carried[i] * decay[i] + inner[i]


@compiled
def pull_activation(g: int, slope: Any, a: Any, x: Any) -> None:
    """x = dL/da of x = dL/ds."""
    if g == RELU:
        for i in range(len(x)):
            x[i] = ZERO if a[i] <= ZERO else x[i]  # what is not a number stays so
    elif g == LEAKY_RELU:
        for i in range(len(x)):
            x[i] = x[i] if a[i] > ZERO else slope * x[i]


@compiled
def sum_decay(reset: int, threshold: Any, s: Any, gate: Any, carried: Any, total: Any) -> None:
    """Adds dL/d(decay) of one step."""
    if reset <= LATERAL:
        for i in range(len(total)):
            total[i] += carried[i] * (s[i] * (ONE - gate[i]))
    elif reset == SUBTRACT_DECAYED:
        for i in range(len(total)):
            total[i] += carried[i] * (s[i] - threshold[i] * gate[i])
    else:
        for i in range(len(total)):
            total[i] += carried[i] * s[i]


@compiled
def sum_threshold(reset: int, decay: Any, gate: Any, carried: Any, total: Any) -> None:
    """Adds dL/d(threshold) of one step's reset."""
    if reset == SUBTRACT:
        for i in range(len(total)):
            total[i] -= carried[i] * gate[i]
    elif reset == SUBTRACT_DECAYED:
        for i in range(len(total)):
            total[i] -= carried[i] * decay[i] * gate[i]


@compiled
def subtract(x: Any, total: Any) -> None:
    """total -= x."""
    for i in range(len(total)):
        total[i] -= x[i]


@njit(inline="always")
def summed(j: int, lo: int, hi: int, tile: int) -> bool:
    """Whether sums in the arrays' own type end with the tile before j: at the end of a row, and every few tiles."""
    return j == hi or (j - lo) % (FLUSH * tile) == 0


@compiled
def flush(part: Any, total: Any) -> None:
    """Moves the sums of a step into those in double."""
    for i in range(len(total)):
        total[i] += part[i]
        part[i] = ZERO


@compiled
def backward(
    unit: Any, numbers: Any, decay: Any, threshold: Any, a: Any, received: Any, more: Any, outside: Any,
    minus_last: Any, after: Any, x: Any, y: Any, decay_sum: Any, threshold_sum: Any, lo: int, hi: int,
) -> None:  # fmt: skip
    """All steps back, of the neurons lo to hi: fills dL/dx (T, M), which is dL/da.

    dL/dy is ``received`` (T, M), plus ``more`` unless that is empty; ``outside`` (T, M), dL/da from elsewhere, and
    ``minus_last`` (M,), -dL/ds of the last state, may be empty. ``after`` (M,): dL/da of the step that follows, 0 in
    the end. To the sums (P,), in double, is added. An empty sum is not wanted, nor are the outputs ``y`` (T, M) anew.
    """
    width, reset, g, h, form, detached = unit
    slope, rate, scale = numbers
    tile = len(decay)
    state, spikes, inner, gate, total = (
        np.empty_like(decay), np.empty_like(decay), np.empty_like(decay), np.empty_like(decay), np.empty_like(decay),
    )  # fmt: skip
    decay_part, threshold_part = np.zeros(len(decay_sum), decay.dtype), np.zeros(len(threshold_sum), decay.dtype)
    carried = after
    for t in range(len(a) - 1, -1, -1):
        x_t = x[t]
        for i in range(lo, hi, tile):
            j = min(i + tile, hi)
            n = j - i
            d, b, a_t, c, y_t = decay[:n], threshold[:n], a[t, i:j], carried[i:j], received[t, i:j]
            s = a_t if g == IDENTITY else state[:n]
            v, gated = inner[:n], y[t, i:j] if len(y) else spikes[:n]
            if len(more):
                add(y_t, more[t, i:j], total[:n])
                y_t = total[:n]
            activate(g, slope, a_t, s)
            put_out(h, s, b, gated)
            if reset == LATERAL:
                inhibit(gated, width, gate[:n])
                if not detached:
                    pull_inhibition(width, d, s, c, gated, gate[:n], y_t, total[:n])
                    y_t = total[:n]
                gated = gate[:n]
            differentiate(form, rate, scale, s, b, v)
            pull_output(NONE if detached else reset, d, b, s, c, y_t, v)
            if len(decay_sum):
                sum_decay(reset, b, s, gated, c, decay_part[:n])
            if len(threshold_sum):
                sum_threshold(reset, d, gated, c, threshold_part[:n])
                subtract(v, threshold_part[:n])
            pull_state(reset, d, c, gated, v, x_t[i:j])
            if len(minus_last) and t == len(a) - 1:
                subtract(minus_last[i:j], x_t[i:j])
            pull_activation(g, slope, a_t, x_t[i:j])
            if len(outside):
                add(x_t[i:j], outside[t, i:j], x_t[i:j])
            if summed(j, lo, hi, tile):
                flush(decay_part, decay_sum)
                flush(threshold_part, threshold_sum)
        carried = x_t


@compiled
def start(
    unit: Any, decay: Any, threshold: Any, s_0: Any, y_0: Any, after: Any, s: Any, y: Any, decay_sum: Any,
    threshold_sum: Any, lo: int, hi: int,
) -> None:  # fmt: skip
    """The end of the way back: ``after``, dL/da (M,) of the first step, to dL/ds and dL/dy (M,) of the state before."""
    width, reset, _, _, _, detached = unit
    tile = len(decay)
    nothing, ones, gate = np.zeros_like(decay), np.ones_like(decay), np.empty_like(decay)
    decay_part, threshold_part = np.zeros(len(decay_sum), decay.dtype), np.zeros(len(threshold_sum), decay.dtype)
    for i in range(lo, hi, tile):
        j = min(i + tile, hi)
        n = j - i
        d, b, c, gated = decay[:n], threshold[:n], after[i:j], y_0[i:j]
        if reset == LATERAL:
            inhibit(gated, width, gate[:n])
            gated = gate[:n]
        y[i:j] = ones[:n]
        if reset == LATERAL and not detached:
            pull_inhibition(width, d, s_0[i:j], c, y_0[i:j], gated, nothing[:n], y[i:j])
        else:
            pull_output(NONE if detached else reset, d, b, s_0[i:j], c, nothing[:n], y[i:j])
        if len(decay_sum):
            sum_decay(reset, b, s_0[i:j], gated, c, decay_part[:n])
        if len(threshold_sum):
            sum_threshold(reset, d, gated, c, threshold_part[:n])
        pull_state(reset, d, c, gated, nothing[:n], s[i:j])
        if summed(j, lo, hi, tile):
            flush(decay_part, decay_sum)
            flush(threshold_part, threshold_sum)

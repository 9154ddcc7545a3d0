"""A recurrent layer over a whole sequence, forward and backward: one program for a sample, H in its registers.

    a_t = c_{t-1} + (x_t + H y_{t-1})

Sequences are (T, M), M = B * N values to a step; H (N, N). The sum over the neurons is a tree, written out: the first
half plus the second, until one is left, of N filled up with zeros to a power of two. So it has one order, whatever lays
out the threads, on every device and in the interpreter, and no product is fused into it.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False
# mypy: check-untyped-defs=False
# Triton has no types, and reads annotations itself.

from __future__ import annotations

import triton
import triton.language as tl

from snubridge.nn.kernels.triton.stages import (
    activated,
    carried,
    differentiated,
    gated,
    pulled_activation,
    pulled_decay,
    pulled_output,
    pulled_state,
    pulled_threshold,
    put_out,
)


@triton.jit
def _product(matrix, y, LEVELS: tl.constexpr, BLOCK: tl.constexpr):
    """matrix (BLOCK, BLOCK) times y (BLOCK,)."""
    terms = matrix * tl.expand_dims(y, 0)
    for level in tl.static_range(1, LEVELS + 1):
        terms = tl.sum(tl.reshape(terms, (BLOCK, 2, BLOCK >> level)), 1)
    return tl.reshape(terms, (BLOCK,))


@triton.jit
def _loaded(weight, N, BLOCK: tl.constexpr):
    """The neurons, which of them there are, and the transpose of ``weight``, with zeros for the others.

    Transposed, the terms of a sum are far apart in memory, and so all in one thread.
    """
    lane = tl.arange(0, BLOCK)
    row, column = tl.expand_dims(lane, 1), tl.expand_dims(lane, 0)
    return lane, lane < N, tl.load(weight + column * N + row, mask=(row < N) & (column < N), other=0.0)


@triton.jit(do_not_specialize=["T"])
def forward(
    x, weight, decay, threshold, s_0, y_0, y, a, last, T, N, M, slope,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, LEVELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The drive x to y, a = c + (x + H y) and the last s; ``weight`` is the transpose of H."""
    lane, inside, h = _loaded(weight, N, BLOCK)
    origin, step = tl.cast(tl.program_id(0), tl.int64) * N, tl.cast(M, tl.int64)
    row = origin
    d = tl.load(decay + lane, mask=inside, other=0.0)
    b = tl.load(threshold + lane, mask=inside, other=0.0)
    s = tl.load(s_0 + origin + lane, mask=inside, other=0.0)
    out = tl.load(y_0 + origin + lane, mask=inside, other=0.0)
    for _ in range(T):
        c = carried(RESET, d, b, s, gated(RESET, out, inside))
        drive = tl.load(x + row + lane, mask=inside, other=0.0) + _product(h, out, LEVELS, BLOCK)
        value = c + drive
        s = activated(G, slope, value)
        out = tl.where(inside, put_out(H, s - b), 0.0)
        tl.store(a + row + lane, value, mask=inside)
        tl.store(y + row + lane, out, mask=inside)
        row += step
    tl.store(last + origin + lane, s, mask=inside)


@triton.jit(do_not_specialize=["T"])
def backward(
    a, weight, from_y, from_a, from_last, decay, threshold, s_0, y_0,
    from_x, from_s, from_y_0, decay_sums, threshold_sums, T, N, M, slope, rate, scale,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, FORM: tl.constexpr, DETACHED: tl.constexpr,
    Y: tl.constexpr, A: tl.constexpr, LAST: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
    LEVELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dL/dy (Y), dL/da (A) and dL/ds of the last step (LAST) to those of x, s_0 and y_0; ``weight`` is H."""
    lane, inside, h = _loaded(weight, N, BLOCK)
    origin, step = tl.cast(tl.program_id(0), tl.int64) * N, tl.cast(M, tl.int64)
    row = origin + tl.cast(T - 1, tl.int64) * step
    d = tl.load(decay + lane, mask=inside, other=0.0)
    b = tl.load(threshold + lane, mask=inside, other=0.0)
    after, ending = tl.zeros_like(d), tl.zeros_like(d)
    if LAST:
        ending = tl.load(from_last + origin + lane, mask=inside, other=0.0)
    decay_sum, threshold_sum = tl.zeros_like(d).to(tl.float64), tl.zeros_like(d).to(tl.float64)
    for _ in range(T):
        value = tl.load(a + row + lane, mask=inside, other=0.0)
        s = activated(G, slope, value)
        v = s - b
        y = put_out(H, v)
        gate = gated(RESET, y, inside)
        received = tl.zeros_like(d)
        if Y:
            received = tl.load(from_y + row + lane, mask=inside, other=0.0)
        received += _product(h, after, LEVELS, BLOCK)
        received += pulled_output(RESET, DETACHED, d, b, s, y, gate, after, inside)
        inner = received * differentiated(FORM, rate, scale, v)
        if DECAY:
            decay_sum += pulled_decay(RESET, b, s, gate, after).to(tl.float64)
        if THRESHOLD:
            threshold_sum += (pulled_threshold(RESET, d, gate, after) - inner).to(tl.float64)
        through = pulled_activation(G, slope, value, pulled_state(RESET, d, gate, after) + inner + ending)
        if A:
            through += tl.load(from_a + row + lane, mask=inside, other=0.0)
        after, ending = tl.where(inside, through, 0.0), tl.zeros_like(d)
        tl.store(from_x + row + lane, after, mask=inside)
        row -= step
    s = tl.load(s_0 + origin + lane, mask=inside, other=0.0)
    y = tl.load(y_0 + origin + lane, mask=inside, other=0.0)
    gate = gated(RESET, y, inside)
    pulled = pulled_output(RESET, DETACHED, d, b, s, y, gate, after, inside) + _product(h, after, LEVELS, BLOCK)
    tl.store(from_y_0 + origin + lane, pulled, mask=inside)
    tl.store(from_s + origin + lane, pulled_state(RESET, d, gate, after), mask=inside)
    if DECAY:
        decay_sum += pulled_decay(RESET, b, s, gate, after).to(tl.float64)
        tl.store(decay_sums + origin + lane, decay_sum, mask=inside)
    if THRESHOLD:
        threshold_sum += pulled_threshold(RESET, d, gate, after).to(tl.float64)
        tl.store(threshold_sums + origin + lane, threshold_sum, mask=inside)

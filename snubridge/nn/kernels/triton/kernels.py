"""The dynamics over a whole sequence, forward and backward: one program for a block of neurons, all steps in it.

Sequences are (T, M), M = B * N values to a step; states (M,), parameters (N,). A program has ``BLOCK`` of the M
columns; for LATERAL it has one sample, whose N neurons must fit. What limits is memory traffic: forward reads x, writes
y and, every K steps, the state carried into the step; backward reads x and that state again, computes the K steps anew
in registers, and walks them back.

T is never specialized: one compilation serves all lengths. Offsets that grow with T are 64 bits wide, per program; what
each thread adds to them is 32. A pointer for what is absent is any pointer: a constant says that it is not used.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False
# mypy: check-untyped-defs=False
# Triton has no types, and reads annotations itself.

from __future__ import annotations

import triton
import triton.language as tl

from snubridge.nn.kernels.triton.stages import (
    LATERAL,
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
def _columns(RESET: tl.constexpr, BLOCK: tl.constexpr, N, M):
    """Where the program's columns begin, and for each of its lanes: which it is, its neuron, whether it is one."""
    lane = tl.arange(0, BLOCK)
    program = tl.program_id(0)
    if RESET == LATERAL:
        origin, neuron, inside = tl.cast(program, tl.int64) * N, lane, lane < N
    else:
        origin = tl.cast(program, tl.int64) * BLOCK
        neuron = ((program % N) * BLOCK + lane) % N  # in 32 bits, where a remainder takes no call
        inside = lane < M - origin
    return origin, lane, neuron, inside


@triton.jit(do_not_specialize=["T"])
def forward(
    x, more, decay, threshold, s_0, y_0, y, a, bits, checkpoints, last, T, N, M, slope,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, MORE: tl.constexpr, Y: tl.constexpr, A: tl.constexpr,
    BITS: tl.constexpr, KEEP: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The drive x, plus ``more`` if MORE, to y, a = c + drive, y as bits, and c every K steps, each if wanted; s last.

    Bit t % 32 of word t // 32 is y of step t. ``last`` may be ``s_0``, and so may y be ``y_0``.
    """
    origin, lane, neuron, inside = _columns(RESET, BLOCK, N, M)
    step = tl.cast(M, tl.int64)
    d = tl.load(decay + neuron, mask=inside, other=0.0)
    b = tl.load(threshold + neuron, mask=inside, other=0.0)
    s = tl.load(s_0 + origin + lane, mask=inside, other=0.0)
    before = tl.load(y_0 + origin + lane, mask=inside, other=0.0)
    c = carried(RESET, d, b, s, gated(RESET, before, inside))
    word = tl.zeros_like(lane)
    row, chunk, words = origin, origin, origin
    for first in range(0, T, K):
        if KEEP:
            tl.store(checkpoints + chunk + lane, c, mask=inside)
            chunk += step
        for i in tl.static_range(K):
            live = first + i + tl.zeros_like(lane) < T
            drive = tl.load(x + row + lane, mask=inside & live, other=0.0).to(tl.float32)
            if MORE:
                drive += tl.load(more + row + lane, mask=inside & live, other=0.0)
            value = c + drive
            state = activated(G, slope, value)
            out = put_out(H, state - b)
            if A:
                tl.store(a + row + lane, value, mask=inside & live)
            if Y:
                tl.store(y + row + lane, out.to(y.dtype.element_ty), mask=inside & live)
            if BITS:
                word |= (live & (out > 0.0)).to(tl.int32) << ((first + i) % 32)
            c = carried(RESET, d, b, state, gated(RESET, out, inside))
            s = tl.where(live, state, s)
            row += step
        if BITS:  # noqa: SIM102  # a constant, and a value known to the program alone
            if ((first + K) % 32 == 0) | (first + K >= T):
                tl.store(bits + words + lane, word, mask=inside)
                word = tl.zeros_like(lane)
                words += step
    tl.store(last + origin + lane, s, mask=inside)


@triton.jit(do_not_specialize=["T"])
def backward(
    x, checkpoints, from_y, more, from_a, from_last, following, decay, threshold, s_0, y_0,
    from_x, from_s, from_y_0, decay_sums, threshold_sums, T, N, M, slope, rate, scale,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, FORM: tl.constexpr, DETACHED: tl.constexpr,
    RECOMPUTE: tl.constexpr, Y: tl.constexpr, MORE: tl.constexpr, A: tl.constexpr, LAST: tl.constexpr,
    FOLLOWING: tl.constexpr, START: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr, ADD: tl.constexpr,
    K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dL/dy (Y; plus ``more``), dL/da (A) and dL/ds of the last step (LAST) to those of x, s_0 and y_0 (START).

    RECOMPUTE: a is computed anew from x and the checkpoints; otherwise x is a. ``following``: dL/da of the step after
    the last. The gradients of decay and threshold are summed over the steps, column by column in double, and with ADD
    added to what is there; the sum over the columns is made outside, always in the same order.
    """
    origin, lane, neuron, inside = _columns(RESET, BLOCK, N, M)
    step = tl.cast(M, tl.int64)
    d = tl.load(decay + neuron, mask=inside, other=0.0)
    b = tl.load(threshold + neuron, mask=inside, other=0.0)
    after = tl.zeros_like(d)
    if FOLLOWING:
        after = tl.load(following + origin + lane, mask=inside, other=0.0)
    if LAST:
        end = tl.load(from_last + origin + lane, mask=inside, other=0.0)
    decay_sum, threshold_sum = tl.zeros_like(d).to(tl.float64), tl.zeros_like(d).to(tl.float64)
    chunks = tl.cdiv(T, K)
    chunk = origin + tl.cast(chunks - 1, tl.int64) * step
    rows = origin + tl.cast(chunks - 1, tl.int64) * K * step
    for n in range(chunks):
        first = (chunks - 1 - n) * K
        kept = ()
        row = rows
        if RECOMPUTE:
            c = tl.load(checkpoints + chunk + lane, mask=inside, other=0.0)
        for i in tl.static_range(K):
            live = first + i + tl.zeros_like(lane) < T
            value = tl.load(x + row + lane, mask=inside & live, other=0.0).to(tl.float32)
            if RECOMPUTE:
                value = c + value
                state = activated(G, slope, value)
                c = carried(RESET, d, b, state, gated(RESET, put_out(H, state - b), inside))
            kept = kept + (value,)  # type: ignore[assignment] # noqa: RUF005  # it grows; Triton knows no starred tuples
            row += step
        decay_part, threshold_part = tl.zeros_like(d), tl.zeros_like(d)
        for i in tl.static_range(K - 1, -1, -1):
            row -= step
            live = first + i + tl.zeros_like(lane) < T
            value = kept[i]
            s = activated(G, slope, value)
            v = s - b
            y = put_out(H, v)
            gate = gated(RESET, y, inside)
            received = tl.zeros_like(d)
            if Y:
                received = tl.load(from_y + row + lane, mask=inside & live, other=0.0).to(tl.float32)
            if MORE:
                received += tl.load(more + row + lane, mask=inside & live, other=0.0)
            received += pulled_output(RESET, DETACHED, d, b, s, y, gate, after, inside)
            inner = received * differentiated(FORM, rate, scale, v)
            if DECAY:
                decay_part += tl.where(live, pulled_decay(RESET, b, s, gate, after), 0.0)
            if THRESHOLD:
                threshold_part += tl.where(live, pulled_threshold(RESET, d, gate, after) - inner, 0.0)
            through = pulled_state(RESET, d, gate, after) + inner
            if LAST:
                through += tl.where(first + i + tl.zeros_like(lane) == T - 1, end, 0.0)
            through = pulled_activation(G, slope, value, through)
            if A:
                through += tl.load(from_a + row + lane, mask=inside & live, other=0.0)
            tl.store(from_x + row + lane, through.to(from_x.dtype.element_ty), mask=inside & live)
            after = tl.where(live, through, after)
        decay_sum += decay_part.to(tl.float64)
        threshold_sum += threshold_part.to(tl.float64)
        chunk -= step
        rows -= K * step
    if START:
        s = tl.load(s_0 + origin + lane, mask=inside, other=0.0)
        y = tl.load(y_0 + origin + lane, mask=inside, other=0.0)
        gate = gated(RESET, y, inside)
        if DECAY:
            decay_sum += pulled_decay(RESET, b, s, gate, after).to(tl.float64)
        if THRESHOLD:
            threshold_sum += pulled_threshold(RESET, d, gate, after).to(tl.float64)
        pulled = pulled_output(RESET, DETACHED, d, b, s, y, gate, after, inside)
        tl.store(from_y_0 + origin + lane, pulled, mask=inside)
        tl.store(from_s + origin + lane, pulled_state(RESET, d, gate, after), mask=inside)
    if DECAY:
        if ADD:
            decay_sum += tl.load(decay_sums + origin + lane, mask=inside, other=0.0)
        tl.store(decay_sums + origin + lane, decay_sum, mask=inside)
    if THRESHOLD:
        if ADD:
            threshold_sum += tl.load(threshold_sums + origin + lane, mask=inside, other=0.0)
        tl.store(threshold_sums + origin + lane, threshold_sum, mask=inside)

"""The dynamics over a whole sequence, forward and backward: one program for a block of neurons, all steps in it.

Sequences are (T, M), M = B * N values to a step; states (M,), parameters (N,). A program has ``BLOCK`` of the M
columns; for LATERAL it has one sample, whose N neurons must fit. What limits is memory traffic: forward reads x, writes
y and, every K steps, the state carried into the step; backward reads x and that state again, computes the K steps anew
in registers, and walks them back.

T is never specialized: one compilation serves all lengths. The K steps of a chunk are unrolled, and what the last one
lacks, if it is shorter, is branched over in a copy of the code: as masks it would take registers from every chunk.
Offsets are 64 bits wide. A pointer for what is absent is any pointer: a constant says that it is not used.
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


@triton.jit
def _step(
    x, more, y, a, row, inside, d, b, c, s, word, bit, slope,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, MORE: tl.constexpr, Y: tl.constexpr, A: tl.constexpr,
    BITS: tl.constexpr,
):  # fmt: skip
    """One step: c, s and the word of bits after it."""
    drive = tl.load(x + row, mask=inside, other=0.0).to(tl.float32)
    if MORE:
        drive += tl.load(more + row, mask=inside, other=0.0)
    value = c + drive
    s = activated(G, slope, value)
    out = put_out(H, s - b)
    if A:
        tl.store(a + row, value, mask=inside)
    if Y:
        tl.store(y + row, out.to(y.dtype.element_ty), mask=inside)
    if BITS:
        word |= (out > 0.0).to(tl.int32) << bit
    return carried(RESET, d, b, s, gated(RESET, out, inside)), s, word


@triton.jit
def _chunk(
    x, more, y, a, bits, checkpoints, row, chunk, words, first, T, step, inside, d, b, c, s, word, slope,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, MORE: tl.constexpr, Y: tl.constexpr, A: tl.constexpr,
    BITS: tl.constexpr, KEEP: tl.constexpr, K: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """K steps, of the LAST chunk those before T; and where the next chunk begins."""
    if KEEP:
        tl.store(checkpoints + chunk, c, mask=inside)
    for i in tl.static_range(K):
        bit = (first + i) % 32
        if LAST:
            if first + i < T:
                c, s, word = _step(
                    x, more, y, a, row, inside, d, b, c, s, word, bit, slope, RESET, G, H, MORE, Y, A, BITS
                )  # fmt: skip
        else:
            c, s, word = _step(
                x, more, y, a, row, inside, d, b, c, s, word, bit, slope, RESET, G, H, MORE, Y, A, BITS
            )  # fmt: skip
        row += step
    if BITS:  # noqa: SIM102  # a constant, and a value known to the program alone
        if ((first + K) % 32 == 0) | (first + K >= T):
            tl.store(bits + words, word, mask=inside)
            word = tl.zeros_like(word)
            words += step
    return c, s, word, row, chunk + step, words


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
    row = origin + lane
    chunk, words = row, row
    whole = T // K * K
    for first in range(0, whole, K):
        c, s, word, row, chunk, words = _chunk(
            x, more, y, a, bits, checkpoints, row, chunk, words, first, T, step, inside, d, b, c, s, word, slope,
            RESET, G, H, MORE, Y, A, BITS, KEEP, K, False,
        )  # fmt: skip
    if K > 1:  # noqa: SIM102  # a constant, and a value known to the program alone
        if whole < T:
            c, s, word, row, chunk, words = _chunk(
                x, more, y, a, bits, checkpoints, row, chunk, words, whole, T, step, inside, d, b, c, s, word, slope,
                RESET, G, H, MORE, Y, A, BITS, KEEP, K, True,
            )  # fmt: skip
    tl.store(last + origin + lane, s, mask=inside)


@triton.jit
def _step_back(
    from_y, more, from_a, from_x, row, inside, d, b, value, after, end, decay_part, threshold_part, slope, rate,
    scale,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, FORM: tl.constexpr, DETACHED: tl.constexpr,
    Y: tl.constexpr, MORE: tl.constexpr, A: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
):  # fmt: skip
    """One step back from a = ``value``: dL/da, and the parameters' sums with this step; ``end`` is added to dL/ds."""
    s = activated(G, slope, value)
    v = s - b
    y = put_out(H, v)
    gate = gated(RESET, y, inside)
    received = tl.zeros_like(d)
    if Y:
        received = tl.load(from_y + row, mask=inside, other=0.0).to(tl.float32)
    if MORE:
        received += tl.load(more + row, mask=inside, other=0.0)
    received += pulled_output(RESET, DETACHED, d, b, s, y, gate, after, inside)
    inner = received * differentiated(FORM, rate, scale, v)
    if DECAY:
        decay_part += pulled_decay(RESET, b, s, gate, after)
    if THRESHOLD:
        threshold_part += pulled_threshold(RESET, d, gate, after) - inner
    through = pulled_activation(G, slope, value, pulled_state(RESET, d, gate, after) + inner + end)
    if A:
        through += tl.load(from_a + row, mask=inside, other=0.0)
    tl.store(from_x + row, through.to(from_x.dtype.element_ty), mask=inside)
    return through, decay_part, threshold_part


@triton.jit
def _chunk_back(
    x, checkpoints, from_y, more, from_a, from_x, row, chunk, first, T, step, inside, d, b, after, ending,
    decay_sum, threshold_sum, slope, rate, scale,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, FORM: tl.constexpr, DETACHED: tl.constexpr,
    RECOMPUTE: tl.constexpr, Y: tl.constexpr, MORE: tl.constexpr, A: tl.constexpr, DECAY: tl.constexpr,
    THRESHOLD: tl.constexpr, K: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """K steps, of the LAST chunk those before T: a of each anew, then back; ``row`` is that of the first."""
    kept = ()
    nothing = tl.zeros_like(d)
    if RECOMPUTE:
        c = tl.load(checkpoints + chunk, mask=inside, other=0.0)
    for i in tl.static_range(K):
        value = nothing
        if LAST:
            if first + i < T:
                value = tl.load(x + row, mask=inside, other=0.0).to(tl.float32)
        else:
            value = tl.load(x + row, mask=inside, other=0.0).to(tl.float32)
        if RECOMPUTE:
            value = c + value
            state = activated(G, slope, value)
            c = carried(RESET, d, b, state, gated(RESET, put_out(H, state - b), inside))
        kept = kept + (value,)  # type: ignore[assignment] # noqa: RUF005  # it grows; Triton knows no starred tuples
        row += step
    decay_part, threshold_part = nothing, nothing
    for i in tl.static_range(K - 1, -1, -1):
        row -= step
        if LAST:
            if first + i < T:
                after, decay_part, threshold_part = _step_back(
                    from_y, more, from_a, from_x, row, inside, d, b, kept[i], after, ending, decay_part,
                    threshold_part, slope, rate, scale, RESET, G, H, FORM, DETACHED, Y, MORE, A, DECAY, THRESHOLD,
                )  # fmt: skip
                ending = nothing
        else:
            after, decay_part, threshold_part = _step_back(
                from_y, more, from_a, from_x, row, inside, d, b, kept[i], after, ending, decay_part,
                threshold_part, slope, rate, scale, RESET, G, H, FORM, DETACHED, Y, MORE, A, DECAY, THRESHOLD,
            )  # fmt: skip
            ending = nothing
    return after, ending, decay_sum + decay_part.to(tl.float64), threshold_sum + threshold_part.to(tl.float64)


@triton.jit(do_not_specialize=["T"])
def backward(
    x, checkpoints, from_y, more, from_a, from_last, following, decay, threshold, s_0, y_0,
    from_x, from_s, from_y_0, decay_sums, threshold_sums, T, N, M, slope, rate, scale,
    RESET: tl.constexpr, G: tl.constexpr, H: tl.constexpr, FORM: tl.constexpr, DETACHED: tl.constexpr,
    RECOMPUTE: tl.constexpr, Y: tl.constexpr, MORE: tl.constexpr, A: tl.constexpr, LAST: tl.constexpr,
    FOLLOWING: tl.constexpr, START: tl.constexpr, FIRST: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
    ADD: tl.constexpr,
    K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dL/dy (Y; plus ``more``), dL/da (A) and dL/ds of the last step (LAST) to those of x, and s_0 and y_0 (START).

    RECOMPUTE: a is computed anew from x and the checkpoints; otherwise x is a. ``following``: dL/da of the step after
    the last. The gradients of decay and threshold are summed over the steps, column by column in double, and with ADD
    added to what is there; the sum over the columns is made outside, always in the same order.
    """
    origin, lane, neuron, inside = _columns(RESET, BLOCK, N, M)
    step = tl.cast(M, tl.int64)
    d = tl.load(decay + neuron, mask=inside, other=0.0)
    b = tl.load(threshold + neuron, mask=inside, other=0.0)
    after, ending = tl.zeros_like(d), tl.zeros_like(d)
    if FOLLOWING:
        after = tl.load(following + origin + lane, mask=inside, other=0.0)
    if LAST:
        ending = tl.load(from_last + origin + lane, mask=inside, other=0.0)
    decay_sum, threshold_sum = tl.zeros_like(d).to(tl.float64), tl.zeros_like(d).to(tl.float64)
    whole = T // K
    chunk = origin + lane + tl.cast(whole, tl.int64) * step
    row = origin + lane + tl.cast(whole, tl.int64) * K * step
    if K > 1:  # noqa: SIM102  # a constant, and a value known to the program alone
        if whole * K < T:
            after, ending, decay_sum, threshold_sum = _chunk_back(
                x, checkpoints, from_y, more, from_a, from_x, row, chunk, whole * K, T, step, inside, d, b,
                after, ending, decay_sum, threshold_sum, slope, rate, scale, RESET, G, H, FORM, DETACHED, RECOMPUTE, Y,
                MORE, A, DECAY, THRESHOLD, K, True,
            )  # fmt: skip
    for n in range(whole):
        chunk -= step
        row -= K * step
        after, ending, decay_sum, threshold_sum = _chunk_back(
            x, checkpoints, from_y, more, from_a, from_x, row, chunk, (whole - 1 - n) * K, T, step, inside, d, b,
            after, ending, decay_sum, threshold_sum, slope, rate, scale, RESET, G, H, FORM, DETACHED, RECOMPUTE, Y,
            MORE, A, DECAY, THRESHOLD, K, False,
        )  # fmt: skip
    if START or FIRST:
        s = tl.load(s_0 + origin + lane, mask=inside, other=0.0)
        y = tl.load(y_0 + origin + lane, mask=inside, other=0.0)
        gate = gated(RESET, y, inside)
        if FIRST and DECAY:
            decay_sum += pulled_decay(RESET, b, s, gate, after).to(tl.float64)
        if FIRST and THRESHOLD:
            threshold_sum += pulled_threshold(RESET, d, gate, after).to(tl.float64)
        if START:
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

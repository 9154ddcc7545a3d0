"""The stages of a neuron's step, as Triton inlines them into the two kernels.

The order of operations is that of ``snubridge/reference/interpreter.py``, as in ``snubridge.nn.kernels.cpu.loops``; the
kernels are compiled without fused multiply-add, so that every product and every sum is rounded as there. exp, tanh and
the sigmoid are polynomials of ours: those of libdevice are written with fused multiply-add.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False
# mypy: check-untyped-defs=False
# Triton has no types, and reads annotations itself.

from __future__ import annotations

import math

import triton
import triton.language as tl

TO_ZERO, LATERAL, SUBTRACT, SUBTRACT_DECAYED, NONE = (tl.constexpr(code) for code in range(5))
IDENTITY, RELU, LEAKY_RELU = (tl.constexpr(code) for code in range(3))
STEP, STEP_AT_THRESHOLD, SIGMOID, TANH, LINEAR = (tl.constexpr(code) for code in range(5))
LOGISTIC, ARCTAN, TRIANGLE, SUPER_SPIKE, CONSTANT = (tl.constexpr(code) for code in range(5))
"""The derivative of h, or what stands for it: LOGISTIC is 4 scale * q / (1 + q)^2, q = 2^(-rate * |v|)."""

LOG2_E, LN_2_HIGH, LN_2_LOW = tl.constexpr(1 / math.log(2)), tl.constexpr(0.693359375), tl.constexpr(-2.12194440e-4)
SHIFTER = tl.constexpr(
    1.5 * 2**23
)  # added and taken off again, it rounds to an integer; its last bits are that integer
FARTHEST = tl.constexpr(120.0)  # 2^-120 and less is 0 to a derivative
LARGEST = tl.constexpr(104.0)  # exp(-104) is below half of the smallest subnormal of float32
E2, E3, E4, E5, E6, E7 = (tl.constexpr(1 / math.factorial(k)) for k in range(2, 8))  # exp, |r| <= ln(2) / 2
P1, P2, P3, P4, P5, P6 = (tl.constexpr(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))  # 2^r, |r| <= 1/2
ONES = tl.constexpr(0x3F800000)  # the bits of 1.0


@triton.jit
def _power_of_two(shifted):
    """2^k for ``shifted`` = SHIFTER + k: the integer k stands in the lowest bits, and moves into the exponent."""
    return ((shifted.to(tl.int32, bitcast=True) << 23) + ONES).to(tl.float32, bitcast=True)


@triton.jit
def _quick_power(z):
    """2^-z, z >= 0, to about 1e-7 absolutely: for derivatives."""
    size = tl.where(z > FARTHEST, FARTHEST, z)
    shifted = SHIFTER - size
    r = (SHIFTER - shifted) - size
    p = 1.0 + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * (P5 + r * P6)))))
    bits = (shifted.to(tl.int32, bitcast=True) << 23) + p.to(tl.int32, bitcast=True)
    return tl.where(z > FARTHEST, 0.0, bits.to(tl.float32, bitcast=True))


@triton.jit
def _reduced(z):
    """exp(-z) as (p + 1) * first * second: p = exp(r) - 1, the powers of two in two steps to reach subnormals."""
    x = -tl.where(z > LARGEST, LARGEST, z)
    k = (x * LOG2_E + SHIFTER) - SHIFTER
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW
    p = r + r * r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * E7)))))
    half = (k * 0.5 + SHIFTER) - SHIFTER
    return p, _power_of_two(half + SHIFTER), _power_of_two((k - half) + SHIFTER)


@triton.jit
def sigmoid(v):
    """1 / (1 + exp(-v))."""
    p, first, second = _reduced(tl.abs(v))
    q = (p * first + first) * second
    return tl.div_rn(tl.where(v < 0.0, q, 1.0), 1.0 + q)


@triton.jit
def tanh(v):
    """The hyperbolic tangent of v."""
    p, first, second = _reduced(2.0 * tl.abs(v))
    scale = first * second
    minus = p * scale + (scale - 1.0)  # exp(-2 |v|) - 1, without cancellation
    size = tl.div_rn(0.0 - minus, minus + 2.0)  # +0 for 0
    return tl.where(v < 0.0, -size, size)


@triton.jit
def activated(G: tl.constexpr, slope, a):
    """s = g(a); what is not a number stays so."""
    if G == RELU:
        s = tl.where(a <= 0.0, 0.0, a)
    elif G == LEAKY_RELU:
        s = tl.where(a > 0.0, a, slope * a)
    else:
        s = a
    return s


@triton.jit
def put_out(H: tl.constexpr, v):
    """y = h(v), v = s - threshold."""
    if H == STEP:
        y = (v > 0.0).to(tl.float32)
    elif H == STEP_AT_THRESHOLD:
        y = (v >= 0.0).to(tl.float32)
    elif H == SIGMOID:
        y = sigmoid(v)
    elif H == TANH:
        y = tanh(v)
    else:
        y = v
    return y


@triton.jit
def gated(RESET: tl.constexpr, y, inside):
    """What resets the carried state: y, or for LATERAL the largest y of the sample, which is one program's block."""
    if RESET == LATERAL:
        largest = tl.max(tl.where(inside, y, float("-inf")), 0)
        unknown = tl.max((inside & (y != y)).to(tl.int32), 0)  # a maximum may pass over what is not a number
        gate = tl.zeros_like(y) + tl.where(unknown > 0, float("nan"), largest)
    else:
        gate = y
    return gate


@triton.jit
def carried(RESET: tl.constexpr, decay, threshold, s, gate):
    """What of s reaches the next step."""
    if RESET <= LATERAL:
        c = decay * (s * (1.0 - gate))
    elif RESET == SUBTRACT:
        c = decay * s - threshold * gate
    elif RESET == SUBTRACT_DECAYED:
        c = decay * (s - threshold * gate)
    else:
        c = decay * s
    return c


@triton.jit
def differentiated(FORM: tl.constexpr, rate, scale, v):
    """The derivative of h at v, or its surrogate."""
    if FORM == LOGISTIC:
        q = _quick_power(rate * tl.abs(v))
        slope = scale * tl.div_rn(4.0 * q, (1.0 + q) * (1.0 + q))  # as 1 - tanh^2 it would lose a digit
    elif FORM == ARCTAN:
        z = rate * v
        slope = tl.div_rn(tl.zeros_like(v) + 1.0, 1.0 + z * z)
    elif FORM == TRIANGLE:
        z = 1.0 - tl.abs(v)
        slope = tl.where(z < 0.0, 0.0, z)
    elif FORM == SUPER_SPIKE:
        z = 1.0 + rate * tl.abs(v)
        slope = tl.div_rn(tl.zeros_like(v) + 1.0, z * z)
    else:
        slope = tl.zeros_like(v) + 1.0
    return slope


@triton.jit
def pulled_output(RESET: tl.constexpr, DETACHED: tl.constexpr, decay, threshold, s, y, gate, after, inside):
    """What reaches y through the reset that it makes: to be added to what reaches it from outside.

    LATERAL: through the largest of the sample, in equal parts where there are several.
    """
    if DETACHED or RESET == NONE:
        pulled = tl.zeros_like(s)
    elif RESET == TO_ZERO:
        pulled = -(after * decay * s)
    elif RESET == LATERAL:
        whole = tl.sum(tl.where(inside, -(after * decay * s), 0.0), 0)
        largest = inside & (y == gate)
        number = tl.maximum(tl.sum(largest.to(tl.int32), 0), 1).to(tl.float32)
        pulled = tl.where(largest, tl.div_rn(whole, number), 0.0)
    elif RESET == SUBTRACT:
        pulled = -(after * threshold)
    else:
        pulled = -(after * decay * threshold)
    return pulled


@triton.jit
def pulled_state(RESET: tl.constexpr, decay, gate, after):
    """What reaches s through the state that is carried on."""
    return after * decay * (1.0 - gate) if RESET <= LATERAL else after * decay


@triton.jit
def pulled_activation(G: tl.constexpr, slope, a, x):
    """dL/da of x = dL/ds."""
    if G == RELU:
        x = tl.where(a > 0.0, x, 0.0)
    elif G == LEAKY_RELU:
        x = tl.where(a > 0.0, x, slope * x)
    return x


@triton.jit
def pulled_decay(RESET: tl.constexpr, threshold, s, gate, after):
    """dL/d(decay) of one step."""
    if RESET <= LATERAL:
        part = after * (s * (1.0 - gate))
    elif RESET == SUBTRACT_DECAYED:
        part = after * (s - threshold * gate)
    else:
        part = after * s
    return part


@triton.jit
def pulled_threshold(RESET: tl.constexpr, decay, gate, after):
    """dL/d(threshold) of one step's reset."""
    if RESET == SUBTRACT:
        part = -(after * gate)
    elif RESET == SUBTRACT_DECAYED:
        part = -(after * decay * gate)
    else:
        part = tl.zeros_like(after)
    return part

"""What a unit computes, in the numbers that compiled kernels understand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from snubridge.ir.functions import Identity, LeakyReLU, ReLU, Reset, Sigmoid, Step, Tanh
from snubridge.nn.kernels.eager import Dynamics
from snubridge.nn.surrogates import ArctanDerivative, PiecewiseLinear, SigmoidDerivative, SuperSpike, TanhDerivative

PER_BIT = 1 / math.log(2)  # the loops count exponents in powers of two

RESETS: Mapping[Reset, int] = {
    Reset.TO_ZERO: 0,
    Reset.LATERAL: 1,
    Reset.SUBTRACT: 2,
    Reset.SUBTRACT_DECAYED: 3,
    Reset.NONE: 4,
}
G: Mapping[type, int] = {Identity: 0, ReLU: 1, LeakyReLU: 2}
H: Mapping[type, int] = {Step: 0, Sigmoid: 2, Tanh: 3, Identity: 4}
TIE = 1  # a step that fires at the threshold

Derivative = tuple[int, float, float]
"""The form of dy/dv, its rate and its scale."""
SURROGATES: Mapping[type, Callable[[Any], Derivative]] = {
    TanhDerivative: lambda surrogate: (0, 2 * PER_BIT, 1.0),
    SigmoidDerivative: lambda surrogate: (0, abs(surrogate.steepness) * PER_BIT, surrogate.steepness / 4),
    ArctanDerivative: lambda surrogate: (1, math.pi, 0.0),
    PiecewiseLinear: lambda surrogate: (2, 0.0, 0.0),
    SuperSpike: lambda surrogate: (3, surrogate.steepness, 0.0),
}
CONTINUOUS: Mapping[type, Derivative] = {
    Sigmoid: (0, PER_BIT, 0.25),
    Tanh: (0, 2 * PER_BIT, 1.0),
    Identity: (4, 0.0, 0.0),
}


def encoded(dynamics: Dynamics) -> tuple[list[int], list[float]]:
    """(reset, g, h, form of the derivative, detached) and (slope, rate, scale), as the operators take them."""
    form, rate, scale = (
        SURROGATES[type(dynamics.surrogate)](dynamics.surrogate)
        if isinstance(dynamics.h, Step)
        else CONTINUOUS[type(dynamics.h)]
    )
    h = TIE if isinstance(dynamics.h, Step) and dynamics.h.at_threshold else H[type(dynamics.h)]
    codes = [RESETS[dynamics.reset], G[type(dynamics.g)], h, form, int(dynamics.detach_reset)]
    return codes, [float(getattr(dynamics.g, "slope", 0.0)), rate, scale]


def uncoded(dynamics: Dynamics) -> str | None:
    """Why no compiled kernel computes these dynamics, or None."""
    if dynamics.grid is not None:
        return "FixedPoint is computed by the eager kernel"
    if isinstance(dynamics.h, Step) and type(dynamics.surrogate) not in SURROGATES:
        return f"the surrogate {dynamics.surrogate!r} is not one of {', '.join(kind.__name__ for kind in SURROGATES)}"
    return None

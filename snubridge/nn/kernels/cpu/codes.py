"""What a unit computes, in the numbers that the compiled loops understand; and what they do not compute."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch

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


def fusible(codes: Sequence[int]) -> bool:
    """Whether ``fused`` computes this unit: the paper's, and most that are trained."""
    reset, g, h, _, detached = codes
    return (reset, h, detached) == (RESETS[Reset.TO_ZERO], H[Step], 0) and g in (G[Identity], G[ReLU])


def missing() -> str | None:
    """What is not installed, or switched off, or None."""
    if not find_spec("numba"):
        return "numba is not installed; pip install 'snubridge[torch]'"
    off = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return "NUMBA_DISABLE_JIT is set, so that numba compiles nothing; unset it" if off else None


def obstacle(dynamics: Dynamics, parameter: torch.Tensor) -> str | None:
    """Why the compiled loops cannot run these dynamics with parameters like this one, or None."""
    if dynamics.grid is not None:
        return "FixedPoint is computed by the eager kernel"
    if isinstance(dynamics.h, Step) and type(dynamics.surrogate) not in SURROGATES:
        return f"the surrogate {dynamics.surrogate!r} is not one of {', '.join(kind.__name__ for kind in SURROGATES)}"
    return elsewhere(parameter)


def elsewhere(parameter: torch.Tensor) -> str | None:
    """Why compiled loops cannot work on tensors like this one, or None."""
    if parameter.device.type not in ("cpu", "meta"):
        return f"it runs on the CPU, the parameters are on {parameter.device.type}"
    if parameter.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, the parameters are {str(parameter.dtype).removeprefix('torch.')}"
    return None

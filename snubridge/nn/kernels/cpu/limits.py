"""What the compiled loops do not compute, and which of them compute what they do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from snubridge.ir.functions import Identity, ReLU, Reset, Step
from snubridge.nn.kernels.codes import RESETS, G, H, uncoded
from snubridge.nn.kernels.eager import Dynamics

INSTALLED = find_spec("numba") is not None  # asked once: Dynamo of PyTorch 2.11 cannot trace the question


def fusible(codes: Sequence[int]) -> bool:
    """Whether ``fused`` computes this unit: the paper's, and most that are trained."""
    reset, g, h, _, detached = codes
    return (reset, h, detached) == (RESETS[Reset.TO_ZERO], H[Step], 0) and g in (G[Identity], G[ReLU])


def missing() -> str | None:
    """What is not installed, or switched off, or None."""
    if not INSTALLED:
        return "numba is not installed; pip install 'snubridge[torch]'"
    off = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return "NUMBA_DISABLE_JIT is set, so that numba compiles nothing; unset it" if off else None


def obstacle(
    dynamics: Dynamics, parameter: torch.Tensor, given: Sequence[torch.Tensor] = (), placed: bool = True
) -> str | None:
    """Why the compiled loops cannot run these dynamics with parameters like this one, or None."""
    return uncoded(dynamics) or elsewhere(parameter)


def elsewhere(parameter: torch.Tensor) -> str | None:
    """Why compiled loops cannot work on tensors like this one, or None."""
    if parameter.device.type not in ("cpu", "meta"):
        return f"it runs on the CPU, the parameters are on {parameter.device.type}"
    if parameter.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 and float64, the parameters are {str(parameter.dtype).removeprefix('torch.')}"
    return None

"""What the Triton kernels do not compute, and where they cannot run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from snubridge.ir.functions import Reset
from snubridge.nn.kernels.codes import uncoded
from snubridge.nn.kernels.eager import Dynamics

INSTALLED = find_spec("triton") is not None  # asked once: Dynamo of PyTorch 2.11 cannot trace the question
WIDEST = 512  # neurons of a sample that one program holds, all K steps of them in registers: what LATERAL needs
ON_CHIP = 128  # neurons of a recurrent layer whose weights one program holds, in registers: none of them spills
MOST = 2**23  # neurons of a sample whose numbers, times a block of 256 columns, are below 2^31


def missing() -> str | None:
    """What is not installed, or None."""
    return None if INSTALLED else "triton is not installed; pip install 'snubridge[triton]'"


def interpreted() -> bool:
    """Whether Triton was told to interpret its kernels, on the CPU: it reads the variable when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def obstacle(
    dynamics: Dynamics, parameter: torch.Tensor, given: Sequence[torch.Tensor] = (), placed: bool = True
) -> str | None:
    """Why the kernels cannot run these dynamics with parameters like this one, or None.

    ``given``: the input and the state of a call. Not ``placed``: the parameters may yet be moved to another device.
    """
    return (
        uncoded(dynamics)
        or (_elsewhere(parameter) if placed else None)
        or _wide(parameter, given)
        or too_wide(dynamics.reset, parameter.numel())
    )


def _wide(parameter: torch.Tensor, given: Sequence[torch.Tensor]) -> str | None:
    if parameter.dtype != torch.float32:
        return f"its state is float32, the parameters are {str(parameter.dtype).removeprefix('torch.')}"
    wide = any(value.dtype == torch.float64 for value in given)
    return "its state is float32, the input or the state is float64" if wide else None


def _elsewhere(parameter: torch.Tensor) -> str | None:
    device = parameter.device.type
    if device not in ("cuda", "cpu", "meta"):
        return f"it runs on CUDA and ROCm devices, the parameters are on {device}"
    if device == "cpu" and not interpreted():
        return (
            "it runs on CUDA and ROCm devices, the parameters are on the CPU "
            "(TRITON_INTERPRET=1, set before Python starts, interprets it there, slowly)"
        )
    if device == "cuda" and interpreted():
        return "TRITON_INTERPRET=1 is set, under which Triton compiles nothing"
    return None


def too_wide(reset: Reset, neurons: int) -> str | None:
    """Why a sample does not fit, or None: LATERAL takes the largest of all of its outputs, in one program."""
    if reset is Reset.LATERAL and neurons > WIDEST:
        return f"it keeps a sample of LATERAL in one program, of {WIDEST} neurons at most, and here are {neurons}"
    if neurons > MOST:
        return f"it counts up to {MOST} neurons of a sample, and here are {neurons}"
    return None

"""The bytes that fused kernels read and write in global memory, forward and backward, counted from their tensors.

Each tensor counts once for each kernel that reads or writes it, as a kernel does that takes every step once. What torch
launches around the kernels, to fill initial states say, is not counted, for anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

FLOAT, DOUBLE = 4, 8


@dataclass(frozen=True)
class Traffic:
    """Bytes by what they are, the T * B * N elements of the sequence that caused them, and the bytes that are kept.

    Kept is for the way back, apart from x and the parameters, which the caller holds.
    """

    terms: Mapping[str, int]
    elements: int
    kept: int = 0

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.terms.values())

    @property
    def per_element(self) -> float:
        """Bytes."""
        return self.total / self.elements


def of_copy(x: Tensor) -> Traffic:
    """``y.copy_(x)``."""
    return Traffic({"x read": x.nbytes, "y written": x.nbytes}, x.numel())


def of_snubridge(x: Tensor, spacing: int, learned: int = 0) -> Traffic:
    """The Triton kernels, for a drive (T, B, N): y is all that is used of what they give.

    ``spacing``: steps from one checkpoint of the state to the next. ``learned``: how many of decay and threshold are.
    The state is float32; y and the gradients of y and x have the type of x.
    """
    state = x[0].numel() * FLOAT
    checkpoints, parameters = -(-len(x) // spacing) * state, 2 * x.shape[-1] * FLOAT
    return Traffic(
        {
            "forward: x read": x.nbytes,
            "forward: y written": x.nbytes,
            "forward: checkpoints written": checkpoints,
            "forward: s and y before the first step read": 2 * state,
            "forward: s after the last step written": state,
            "forward: decay and threshold read": parameters,
            "backward: x read": x.nbytes,
            "backward: checkpoints read": checkpoints,
            "backward: gradient of y read": x.nbytes,
            "backward: gradient of x written": x.nbytes,
            "backward: s and y before the first step read": 2 * state if learned else 0,
            "backward: decay and threshold read": parameters,
            "backward: sums of the parameters' gradients written": learned * x[0].numel() * DOUBLE,
        },
        x.numel(),
        kept=checkpoints + state,  # y before the first step; s is one number for all
    )


def of_spikingjelly(x: Tensor) -> Traffic:
    """SpikingJelly 2.0's fused LIF, native or Triton (``_ops/lif/triton.py``), for a drive (T, B, N), no v_seq stored.

    Kept for the way back is h, the state before its reset, of every step in float32, whatever the type of x.
    """
    state = x[0].numel() * FLOAT
    return Traffic(
        {
            "forward: x read": x.nbytes,
            "forward: spikes written": x.nbytes,
            "forward: h written": len(x) * state,
            "forward: v before the first step read": state,
            "forward: v after the last step written": state,
            "backward: h read": len(x) * state,
            "backward: gradient of the spikes read": x.nbytes,
            "backward: gradient of x written": x.nbytes,
            "backward: gradient of v after the last step read": state,
            "backward: gradient of v before the first step written": state,
        },
        x.numel(),
        kept=(len(x) + 1) * state,
    )

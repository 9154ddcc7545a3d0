"""How a call is cut into programs, and the launch of the two kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snubridge.errors import MissingEngine
from snubridge.ir.functions import Reset, Step
from snubridge.nn.kernels.codes import RESETS, TIE, H
from snubridge.nn.kernels.triton.limits import WIDEST

LATERAL, STEPPING = RESETS[Reset.LATERAL], (H[Step], TIE)
COLUMNS, WARPS = {"forward": 256, "backward": 128}, 4  # on the way back a chunk of steps is in a thread's registers
FAR, CLOSE = 16, 4  # steps between checkpoints; so few that every unit fits, and compiles in a tenth of the time
NARROWEST = 64


class Geometry(NamedTuple):
    """The constants of a launch that its unit and its sizes decide: columns, warps, steps to a checkpoint."""

    block: int
    warps: int
    steps: int


def spacing(codes: Sequence[int]) -> int:
    """Steps from one checkpoint to the next: all of them are in registers on the way back."""
    reset, _, h, _, _ = codes
    return FAR if h in STEPPING and reset != LATERAL else CLOSE


def geometry(kernel: str, codes: Sequence[int], steps: int, neurons: int) -> Geometry:
    """That of a sequence, or of a single step, as of a recurrent layer."""
    k = 1 if steps == 1 else spacing(codes)
    if codes[0] != LATERAL:
        return Geometry(COLUMNS[kernel], WARPS, k)
    block = max(NARROWEST, 1 << (neurons - 1).bit_length())
    return Geometry(block, block // 32, k)


def geometries(kernel: str, codes: Sequence[int]) -> Iterator[Geometry]:
    """Every one that ``geometry`` may give for a unit."""
    widths = [NARROWEST << k for k in range((WIDEST // NARROWEST).bit_length())] if codes[0] == LATERAL else [1]
    yield from (geometry(kernel, codes, steps, width) for steps in (1, FAR) for width in widths)


class Launch:
    """A call for the sequence ``like``, (T, B, N)."""

    def __init__(self, like: Tensor, codes: Sequence[int], numbers: Sequence[float]) -> None:
        self.steps, samples, self.neurons = like.shape
        self.reset, self.g, self.h, self.form, self.detached = codes
        self.slope, self.rate, self.scale = numbers
        self.columns = samples * self.neurons
        self._samples, self._codes, self._device = samples, codes, like.device

    def _on_device(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _run(
        self, kernel: str, nothing: Tensor, tensors: Sequence[Tensor | None], *rest: Any, **constants: Any
    ) -> None:
        pointers = [nothing if tensor is None else tensor for tensor in tensors]
        sizes = self.steps, self.neurons, self.columns
        block, warps, steps = geometry(kernel, self._codes, self.steps, self.neurons)
        programs = self._samples if self.reset == LATERAL else -(-self.columns // block)
        with self._on_device():
            getattr(_code(), kernel)[(programs,)](
                *pointers, *sizes, *rest, RESET=self.reset, G=self.g, H=self.h, **constants, K=steps, BLOCK=block,
                num_warps=warps, enable_fp_fusion=False,
            )  # fmt: skip

    def forward(
        self, x: Tensor, more: Tensor | None, parameters: Sequence[Tensor], before: Sequence[Tensor],
        y: Tensor | None, a: Tensor | None, bits: Tensor | None, checkpoints: Tensor | None, last: Tensor,
    ) -> None:  # fmt: skip
        """Fills y, a, the bits of y and the checkpoints, where wanted, and the last state; all next to each other."""
        tensors = (x, more, *parameters, *before, y, a, bits, checkpoints, last)
        self._run(
            "forward", x, tensors, self.slope, MORE=more is not None, Y=y is not None, A=a is not None,
            BITS=bits is not None, KEEP=checkpoints is not None,
        )  # fmt: skip

    def backward(
        self, x: Tensor, checkpoints: Tensor | None, received: Sequence[Tensor | None], following: Tensor | None,
        parameters: Sequence[Tensor], before: Sequence[Tensor], from_x: Tensor, from_before: Sequence[Tensor] | None,
        sums: Sequence[Tensor | None], add: bool = False,
    ) -> None:  # fmt: skip
        """Fills the gradients of x and of the state before, where wanted, and the columns' sums of the parameters'.

        ``received``: dL/dy, what is added to it, dL/da and dL/ds of the last step. Without checkpoints x is a.
        """
        into = (from_x, *(from_before or (None, None)), *sums)
        tensors = (x, checkpoints, *received, following, *parameters, *before, *into)
        y, more, a, last = (gradient is not None for gradient in received)
        decay, threshold = (total is not None for total in sums)
        self._run(
            "backward", x, tensors, self.slope, self.rate, self.scale, FORM=self.form, DETACHED=bool(self.detached),
            RECOMPUTE=checkpoints is not None, Y=y, MORE=more, A=a, LAST=last, FOLLOWING=following is not None,
            START=from_before is not None, DECAY=decay, THRESHOLD=threshold, ADD=add,
        )  # fmt: skip

    def sums(self, like: Tensor, wanted: bool) -> Tensor | None:
        """Room for a parameter's gradient, in double, one for each column."""
        return torch.zeros(self.columns, dtype=torch.float64, device=like.device) if wanted else None

    def summed(self, sums: Tensor | None, parameter: Tensor) -> Tensor:
        """The gradient (N,), rounded once."""
        return torch.zeros_like(parameter) if sums is None else sums.view(-1, self.neurons).sum(0).to(parameter.dtype)


def _code() -> Any:
    """The kernels; ``MissingEngine`` where Triton is there and does not import."""
    try:
        return import_module("snubridge.nn.kernels.triton.kernels")
    except ImportError as error:
        raise MissingEngine(
            f"kernel='triton': triton cannot be imported ({error}); kernel='eager' needs none"
        ) from error

"""How a call is cut into programs, and the launch of the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snubridge.errors import MissingEngine, Unsupported
from snubridge.ir.functions import Reset, Step
from snubridge.nn.kernels.codes import RESETS, TIE, H
from snubridge.nn.kernels.triton.limits import ON_CHIP, WIDEST, interpreted

LATERAL, STEPPING = RESETS[Reset.LATERAL], (H[Step], TIE)
COLUMNS, WARPS = {"forward": 256, "backward": 128}, 4  # on the way back a chunk of steps is in a thread's registers
FAR = {"cuda": 16, "hip": 8}  # steps between checkpoints: what the scalar registers of AMD hold, too
CLOSE = 4  # for units that need more registers: so few that every one fits, and compiles in a tenth of the time
PLATFORM = "hip" if torch.version.hip else "cuda"
REGISTERS, MOST_REGISTERS = 2**16, 255  # of a multiprocessor by Nvidia, of a thread
NARROWEST = 64
SMALLEST = 32  # neurons of a recurrent layer to a program, at least


class Geometry(NamedTuple):
    """The constants of a launch that its unit and its sizes decide: columns, warps, steps to a checkpoint."""

    block: int
    warps: int
    steps: int


def spacing(codes: Sequence[int], platform: str = PLATFORM) -> int:
    """Steps from one checkpoint to the next: all of them are in registers on the way back."""
    reset, _, h, _, _ = codes
    return FAR[platform] if h in STEPPING and reset != LATERAL else CLOSE


def options(warps: int, platform: str = PLATFORM) -> dict[str, Any]:
    """How Triton is to compile: without fused multiply-add, and on Nvidia with all the registers that there are.

    Left to itself, ptxas spills a few of them so that more warps fit.
    """
    fixed: dict[str, Any] = {"num_warps": warps, "enable_fp_fusion": False}
    return fixed | ({"maxnreg": min(MOST_REGISTERS, REGISTERS // (32 * warps))} if platform == "cuda" else {})


def geometry(kernel: str, codes: Sequence[int], steps: int, neurons: int, platform: str = PLATFORM) -> Geometry:
    """That of a sequence, or of a single step, as of a recurrent layer."""
    k = 1 if steps == 1 else spacing(codes, platform)
    if codes[0] != LATERAL:
        return Geometry(COLUMNS[kernel], WARPS, k)
    block = max(NARROWEST, 1 << (neurons - 1).bit_length())
    return Geometry(block, block // 32, k)


def geometries(kernel: str, codes: Sequence[int], platform: str = PLATFORM) -> Iterator[Geometry]:
    """Every one that ``geometry`` may give for a unit."""
    widths = [NARROWEST << k for k in range((WIDEST // NARROWEST).bit_length())] if codes[0] == LATERAL else [1]
    yield from (geometry(kernel, codes, steps, width, platform) for steps in (1, 2) for width in widths)


def square(neurons: int) -> tuple[int, int]:
    """Columns, and warps, of a program that holds the recurrent weights of so many neurons: 32 to 64 a thread."""
    block = max(SMALLEST, 1 << (neurons - 1).bit_length())
    return block, max(1, block * block // 2048)


def squares() -> list[tuple[int, int]]:
    """Every one that ``square`` may give."""
    return [square(SMALLEST << k) for k in range((ON_CHIP // SMALLEST).bit_length())]


class Call:
    """A call of a kernel of ``code`` for a sequence like ``like``, (T, B, N)."""

    code: str

    def __init__(self, like: Tensor, codes: Sequence[int], numbers: Sequence[float]) -> None:
        self.steps, self.samples, self.neurons = like.shape
        self.reset, self.g, self.h, self.form, self.detached = codes
        self.slope, self.rate, self.scale = numbers
        self.columns = self.samples * self.neurons
        self._codes, self._device = codes, like.device

    def _run(
        self, kernel: str, programs: int, warps: int, tensors: Sequence[Tensor | None], *rest: Any, **constants: Any
    ) -> None:
        """One launch; what is absent gets the first tensor's address, and a constant that says so."""
        pointers = [tensors[0] if tensor is None else tensor for tensor in tensors]
        with torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
            getattr(_code(self.code), kernel)[(programs,)](
                *pointers, self.steps, self.neurons, self.columns, *rest, RESET=self.reset, G=self.g, H=self.h,
                **constants, **options(warps),
            )  # fmt: skip

    def sums(self, like: Tensor, wanted: bool) -> Tensor | None:
        """Room for a parameter's gradient, in double, one for each column."""
        return torch.zeros(self.columns, dtype=torch.float64, device=like.device) if wanted else None

    def summed(self, sums: Tensor | None, parameter: Tensor) -> Tensor:
        """The gradient (N,), rounded once."""
        return torch.zeros_like(parameter) if sums is None else sums.view(-1, self.neurons).sum(0).to(parameter.dtype)


class Launch(Call):
    """Of ``kernels``: neurons that hear nothing of each other, or of others one step at a time."""

    code = "kernels"

    def _geometry(self, kernel: str) -> tuple[int, int, dict[str, int]]:
        block, warps, steps = geometry(kernel, self._codes, self.steps, self.neurons)
        programs = self.samples if self.reset == LATERAL else -(-self.columns // block)
        return programs, warps, {"K": steps, "BLOCK": block}

    def forward(
        self, x: Tensor, more: Tensor | None, parameters: Sequence[Tensor], before: Sequence[Tensor],
        y: Tensor | None, a: Tensor | None, bits: Tensor | None, checkpoints: Tensor | None, last: Tensor,
    ) -> None:  # fmt: skip
        """Fills y, a, the bits of y and the checkpoints, where wanted, and the last state; all next to each other."""
        programs, warps, sizes = self._geometry("forward")
        tensors = (x, more, *parameters, *before, y, a, bits, checkpoints, last)
        self._run(
            "forward", programs, warps, tensors, self.slope, MORE=more is not None, Y=y is not None, A=a is not None,
            BITS=bits is not None, KEEP=checkpoints is not None, **sizes,
        )  # fmt: skip

    def backward(
        self, x: Tensor, checkpoints: Tensor | None, received: Sequence[Tensor | None], following: Tensor | None,
        parameters: Sequence[Tensor], before: Sequence[Tensor], from_x: Tensor, from_before: Sequence[Tensor] | None,
        sums: Sequence[Tensor | None], add: bool = False, first: bool = True,
    ) -> None:  # fmt: skip
        """Fills the gradients of x and of the state before, where wanted, and the columns' sums of the parameters'.

        ``received``: dL/dy, what is added to it, dL/da and dL/ds of the last step. Without checkpoints x is a.
        ``first``: nothing comes before what is given, whose state reaches the sums too.
        """
        into = (from_x, *(from_before or (None, None)), *sums)
        y, more, a, last = (gradient is not None for gradient in received)
        decay, threshold = (total is not None for total in sums)
        first = first and (decay or threshold)
        read = before if first or from_before else (None, None)
        tensors = (x, checkpoints, *received, following, *parameters, *read, *into)
        programs, warps, sizes = self._geometry("backward")
        self._run(
            "backward", programs, warps, tensors, self.slope, self.rate, self.scale, FORM=self.form,
            DETACHED=bool(self.detached), RECOMPUTE=checkpoints is not None, Y=y, MORE=more, A=a, LAST=last,
            FOLLOWING=following is not None, START=from_before is not None, FIRST=first, DECAY=decay,
            THRESHOLD=threshold, ADD=add, **sizes,
        )  # fmt: skip


class RecurrentLaunch(Call):
    """Of ``persistent``: a recurrent layer of N <= ON_CHIP, all steps in one launch."""

    code = "persistent"

    def _geometry(self) -> tuple[int, int, dict[str, int]]:
        block, warps = square(self.neurons)
        return self.samples, warps, {"LEVELS": block.bit_length() - 1, "BLOCK": block}

    def forward(
        self, x: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y, a (T, B, N) and the last state; all that is given is contiguous."""
        y, a, last = torch.empty_like(x), torch.empty_like(x), torch.empty_like(s_0)
        programs, warps, sizes = self._geometry()
        tensors = (x, weight.t().contiguous(), decay, threshold, s_0, y_0, y, a, last)
        self._run("forward", programs, warps, tensors, self.slope, **sizes)
        return y, a, last

    def backward(
        self, from_y: Tensor | None, from_a: Tensor | None, from_last: Tensor | None, a: Tensor, weight: Tensor,
        decay: Tensor, threshold: Tensor, s_0: Tensor, y_0: Tensor, learned: Sequence[bool],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """The gradients of x, decay, threshold, s_0 and y_0; ``learned``: whether the parameters want theirs."""
        x, s, y = (torch.empty_like(like) for like in (a, s_0, y_0))
        sums = [self.sums(a, wanted) for wanted in learned]
        programs, warps, sizes = self._geometry()
        self._run(
            "backward", programs, warps,
            (a, weight, from_y, from_a, from_last, decay, threshold, s_0, y_0, x, s, y, *sums), self.slope, self.rate,
            self.scale, FORM=self.form, DETACHED=bool(self.detached), Y=from_y is not None, A=from_a is not None,
            LAST=from_last is not None, DECAY=bool(learned[0]), THRESHOLD=bool(learned[1]), **sizes,
        )  # fmt: skip
        return x, self.summed(sums[0], decay), self.summed(sums[1], threshold), s, y


def _code(name: str) -> Any:
    """The kernels; ``MissingEngine`` where Triton is there and does not import."""
    try:
        found = import_module(f"snubridge.nn.kernels.triton.{name}")
    except ImportError as error:
        raise MissingEngine(
            f"kernel='triton': triton cannot be imported ({error}); kernel='eager' needs none"
        ) from error
    if hasattr(found.forward, "device_caches") == interpreted():  # what compiles has caches, what interprets has none
        reason = "TRITON_INTERPRET has changed since Triton was imported and read it; set it before Python starts"
        raise Unsupported("kernel='triton'", [reason])
    return found

"""A sequence through the kernel that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snubridge.errors import BadInput, Unsupported, one_line
from snubridge.ir.functions import Identity, Reset, Step
from snubridge.nn.kernels import cpu, eager, triton
from snubridge.nn.kernels.choice import KERNELS, choose
from snubridge.nn.kernels.eager import Dynamics, State
from snubridge.nn.surrogates import TanhDerivative

AUTOCAST = [kind for kind in ("cpu", "cuda", "xpu", "mps", "hpu", "xla") if torch.amp.is_autocast_available(kind)]
"""Where autocast is, asked once: Dynamo of PyTorch 2.11 cannot trace the question."""


@dataclass(frozen=True)
class Run:
    """What a sequence gave: y (T, B, *shape) and the state after the last step."""

    y: Tensor
    last: State
    _states: Callable[[], Tensor]

    @property
    def states(self) -> Tensor:
        """s of every step (T, B, *shape)."""
        return self._states()


def run(
    kernel: str,
    dynamics: Dynamics,
    decay: Tensor,
    threshold: Tensor,
    state: State,
    drive: Tensor,
    recurrent: Tensor | None = None,
    narrow_spikes: bool = False,
) -> Run:
    """All steps of a drive (T, B, *shape) on ``kernel``; ``recurrent`` (N, N) adds ``recurrent @ y_{t-1}``.

    ``narrow_spikes``: y of a spiking unit has the type of a drive of 16 bits, which holds 0 and 1.

    The state has the type of the parameters or a wider one, and so has the recurrence, within ``torch.autocast`` too:
    only what comes before, the dense projection of the input, is done in the types that autocast chooses.
    """
    weights = () if recurrent is None else (recurrent,)
    narrow = drive.dtype in (torch.float16, torch.bfloat16)
    as_it_is = kernel == "triton" and narrow  # it widens x as it reads it
    wide, *tensors = _alike(drive[:0] if as_it_is else drive, decay, threshold, *state, *weights)
    if kernel == "triton" and wide.dtype != torch.float32:
        raise Unsupported(
            "kernel='triton'", [f"its state is float32, and here is {wide.dtype}; kernel='eager' runs it"]
        )
    wide = drive if as_it_is else wide
    kind = drive.dtype if narrow_spikes and narrow and isinstance(dynamics.h, Step) else None
    device = drive.device.type
    if device in AUTOCAST and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return _run(kernel, dynamics, kind, wide, *tensors)
    return _run(kernel, dynamics, kind, wide, *tensors)


def _alike(*tensors: Tensor) -> list[Tensor]:
    """All in the widest type among them; ``BadInput`` if they are on several devices, or not real numbers."""
    kind, device = tensors[0].dtype, tensors[0].device
    if any(tensor.device != device for tensor in tensors):
        devices = sorted({str(tensor.device) for tensor in tensors})
        raise BadInput(f"input, state and parameters are on {' and '.join(devices)}; all must be on one device")
    if any(tensor.is_complex() for tensor in tensors):
        raise BadInput("input, state or parameters are complex; real numbers are needed")
    for tensor in tensors[1:]:
        if tensor.dtype != kind:
            kind = torch.promote_types(kind, tensor.dtype)
    return [tensor.to(kind) for tensor in tensors]


def _run(
    kernel: str,
    dynamics: Dynamics,
    kind: torch.dtype | None,
    drive: Tensor,
    decay: Tensor,
    threshold: Tensor,
    s: Tensor,
    y: Tensor,
    recurrent: Tensor | None = None,
) -> Run:
    given = decay, threshold, State(s, y), drive, recurrent
    if kernel == "triton":
        outputs, last = triton.scan(dynamics, *given, kind)
        return Run(outputs, last, lambda: triton.states(dynamics, *given))
    if kernel == "eager":
        outputs, trail = eager.scan(dynamics, *given)
        run = Run(outputs, trail[-1], lambda: torch.stack([state.s for state in trail]))
    else:
        outputs, a, last = cpu.scan(dynamics, *given)
        run = Run(outputs, last, lambda: cpu.states(dynamics, a))
    return run if kind is None else replace(run, y=outputs.to(kind))


def examined() -> dict[str, str]:
    """Every kernel tried on one neuron: "ready", or what is wrong; the one that "auto" runs says so."""
    dynamics = Dynamics(Reset.TO_ZERO, Identity(), Step(), TanhDerivative())
    found = {}
    for kernel in KERNELS:
        on_gpu = kernel == "triton" and torch.cuda.is_available() and not triton.interpreted()
        one = torch.ones(1, device="cuda" if on_gpu else "cpu")
        try:
            auto = choose("auto", dynamics, one).kernel
            choose(kernel, dynamics, one)
            run(kernel, dynamics, one, one, State(one[None], one[None]), one.reshape(1, 1, 1))
            found[kernel] = "ready" + (', what kernel="auto" runs' if kernel == auto else "")
        except Exception as error:  # noqa: BLE001  # compiling may fail in any way, and the answer is how
            found[kernel] = f"{type(error).__name__}: {one_line(str(error))}"
    return found

"""A unit's dynamics through the Triton operators, for sequences of any shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snubridge.errors import BadInput, Unsupported
from snubridge.ir.functions import Step
from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.eager import Dynamics, G, State
from snubridge.nn.kernels.triton.limits import too_wide
from snubridge.nn.kernels.triton.operators import WORD, Unit, unit
from snubridge.nn.kernels.triton.recurrence import Recurrent, recurrent


def scan(
    dynamics: Dynamics,
    decay: Tensor,
    threshold: Tensor,
    state: State,
    drive: Tensor,
    weight: Tensor | None = None,
    kind: torch.dtype | None = None,
) -> tuple[Tensor, State]:
    """All steps of a drive (T, B, *shape): y (T, B, *shape) and the state after. ``weight`` (N, N) is H.

    All is float32 but the drive, which may be float16 or bfloat16; y is of this ``kind`` too, if it is given.
    """
    if weight is not None:
        y, _, last = _called(dynamics, decay, threshold, state, drive.to(state.s.dtype), weight, [True, True])
        spikes = y if kind is None else y.to(kind)
    else:
        spikes, _, last = _called(
            dynamics, decay, threshold, state, drive, None, [True, False, False, kind is not None]
        )
        y = spikes
    return spikes, State(last, y[-1].to(last.dtype, copy=True))  # spikes are the caller's to overwrite


def states(
    dynamics: Dynamics, decay: Tensor, threshold: Tensor, state: State, drive: Tensor, weight: Tensor | None = None
) -> Tensor:
    """s of every step (T, B, *shape), from a run of its own: the kernel keeps none."""
    drive = drive if weight is None else drive.to(state.s.dtype)
    _, a, _ = _called(dynamics, decay, threshold, state, drive, weight, [False, True, False, False])
    return G[type(dynamics.g)](dynamics.g, a)


def _called(
    dynamics: Dynamics,
    decay: Tensor,
    threshold: Tensor,
    state: State,
    drive: Tensor,
    weight: Tensor | None,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    shape = drive.shape[2:]
    decay, threshold, before, x, codes, numbers = _flat(dynamics, decay, threshold, state, drive)
    given = decay, threshold, *before, codes, numbers
    traced = torch.compiler.is_compiling()  # Dynamo takes the operators, torch.func the functions around them
    if weight is None:
        operator: Any = unit if traced else Unit.apply
        y, a, _, _, last = operator(x, *given, wanted)
    else:
        operator = recurrent if traced else Recurrent.apply
        y, a, last = operator(x, weight, *given)
    if len(shape) == 1:
        return y, a, last
    return y.reshape(-1, *drive.shape[1:]), a.reshape(-1, *drive.shape[1:]), last.reshape(drive.shape[1:])


def _flat(
    dynamics: Dynamics, decay: Tensor, threshold: Tensor, state: State, drive: Tensor
) -> tuple[Tensor, Tensor, State, Tensor, list[int], list[float]]:
    """Everything with one axis of neurons, and the codes; ``Unsupported`` where LATERAL has too many."""
    shape = drive.shape[2:]
    if reason := too_wide(dynamics.reset, shape.numel()):
        raise Unsupported("kernel='triton'", [f"{reason}; kernel='eager' runs it"])
    decay, threshold = (parameter.expand(shape).reshape(-1) for parameter in (decay, threshold))
    before = State(*(value.flatten(1) for value in state))
    return decay, threshold, before, drive.flatten(2), *encoded(dynamics)


def packed(
    dynamics: Dynamics, decay: Tensor, threshold: Tensor, state: State, drive: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes as bits alone (ceil(T / 32), B, *shape), the checkpoints and the last s, of float32, without gradients.

    Bit t % 32 of word t // 32 is y of step t: a thirty-second of the traffic of y in float32, for a consumer that takes
    events. The checkpoints are what ``snubridge::triton_unit_backward`` needs.
    """
    if not isinstance(dynamics.h, Step):
        raise Unsupported("packed", [f"h={dynamics.h} puts out no spikes, which alone are bits"])
    if wide := [value.dtype for value in (decay, threshold, *state, drive) if value.dtype == torch.float64]:
        raise Unsupported("packed", [f"the state is float32, and here is {wide[0]}"])
    decay, threshold, before, x, codes, numbers = _flat(dynamics, decay, threshold, state, drive)
    with torch.no_grad():
        _, _, bits, checkpoints, last = unit(x, decay, threshold, *before, codes, numbers, [False, False, True, False])
    return bits.reshape(-1, *drive.shape[1:]), checkpoints, last.reshape(drive.shape[1:])


def unpacked(bits: Tensor, steps: int) -> Tensor:
    """Bits of ``packed`` as y (T, B, *shape) in float32."""
    if len(bits) != -(-steps // WORD):
        raise BadInput(f"bits of {len(bits)} words; {steps} steps are in {-(-steps // WORD)}")
    places = torch.arange(WORD, dtype=torch.int32, device=bits.device).reshape(-1, *[1] * (bits.ndim - 1))
    return torch.cat([(word >> places) & 1 for word in bits.unbind(0)])[:steps].float()

"""Which kernel runs, and why not another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from snubridge.errors import BadInput, MissingEngine, Unsupported
from snubridge.nn.kernels import cpu, triton
from snubridge.nn.kernels.eager import Dynamics

KERNELS = ("eager", "cpu", "triton")
COMPILED = {"cpu": cpu, "triton": triton}


class Choice(NamedTuple):
    """The kernel that runs; for "auto", why it is not a faster one."""

    kernel: str
    reason: str | None = None

    def __str__(self) -> str:
        return self.kernel if self.reason is None else f"{self.kernel} ({self.reason})"


def choose(
    kernel: str,
    dynamics: Dynamics,
    parameter: Tensor,
    recurrent: bool = False,
    given: Sequence[Tensor] = (),
    placed: bool = True,
) -> Choice:
    """The kernel asked for, or for "auto" the fastest that runs these dynamics with parameters like this one.

    ``given``: the input and the state of a call, where there is one. Not ``placed``: the layer may yet be moved to a
    GPU, where the fastest is "triton"; elsewhere it is "cpu". ``BadInput`` for an unknown name, ``Unsupported`` or
    ``MissingEngine`` for a kernel that cannot run.
    """
    if kernel != "auto" and kernel not in KERNELS:
        raise BadInput(f"kernel={kernel!r}: choose from 'auto', {', '.join(map(repr, KERNELS))}")
    if kernel == "eager":
        return Choice(kernel)
    fastest = "triton" if parameter.device.type == "cuda" else "cpu"
    name = fastest if kernel == "auto" else kernel
    missing, reason = COMPILED[name].missing(), COMPILED[name].obstacle(dynamics, parameter, given, placed)
    if kernel == "auto":
        return Choice("eager", missing or reason) if missing or reason else _chosen(name, parameter.numel(), recurrent)
    if missing:
        raise MissingEngine(f"kernel={name!r}: {missing}")
    if reason:
        raise Unsupported(f"kernel={name!r}", [f"{reason}; kernel='eager' runs it"])
    return _chosen(name, parameter.numel(), recurrent)


def _chosen(name: str, neurons: int, recurrent: bool) -> Choice:
    return Choice(name, triton.way(neurons) if recurrent and name == "triton" else None)

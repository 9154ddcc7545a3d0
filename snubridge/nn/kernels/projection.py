"""How a layer multiplies its input by W: as a whole, or as a sum over the inputs that are 1."""

from __future__ import annotations

import torch
from torch import Tensor

from snubridge.errors import BadInput, MissingEngine, Unsupported
from snubridge.nn.kernels import cpu
from snubridge.nn.kernels.choice import Choice

PROJECTIONS = ("dense", "events", "auto")
RATE = 0.125  # share of ones up to which "auto" sums events: well below where a dense product catches up


def choose_projection(projection: str, weight: Tensor) -> Choice:
    """The projection asked for; where "auto" can never sum events, "dense" and why.

    ``BadInput`` for an unknown name, ``Unsupported`` or ``MissingEngine`` for events that cannot be summed.
    """
    if projection not in PROJECTIONS:
        raise BadInput(f"projection={projection!r}: choose from {', '.join(map(repr, PROJECTIONS))}")
    if projection == "dense":
        return Choice(projection)
    missing, reason = cpu.missing(), cpu.elsewhere(weight)
    if projection == "auto":
        return Choice("dense", missing or reason) if missing or reason else Choice(projection)
    if missing:
        raise MissingEngine(f"projection='events': {missing}")
    if reason:
        raise Unsupported("projection='events'", [f"{reason}; projection='dense' runs it"])
    return Choice(projection)


def project(projection: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W x + bias of x (T, B, in), with W (N, in) and bias (N,).

    "dense" is ``torch.nn.functional.linear``. "events" takes inputs of 0 and 1 (others: ``BadInput``) and adds up the
    columns of W whose input is 1, in ascending order, from 0, then the bias: see ``snubridge.nn.kernels.cpu.events``.
    "auto" does so call by call where all inputs are 0 or 1 and at most ``RATE`` of them are 1, and multiplies else.
    These two compute in the type of the weights, within ``torch.autocast`` too.

    Both orders of summation are within the error model of ``snubridge.certify``; they may differ in the last bits.
    """
    if projection == "dense":
        return torch.nn.functional.linear(x, weight, bias)
    if torch.promote_types(x.dtype, weight.dtype) != weight.dtype:
        raise BadInput(f"x of type {x.dtype}: projection={projection!r} needs {weight.dtype}, or a narrower type")
    with torch.autocast("cpu", enabled=False):
        y = cpu.projected(x, weight, projection == "events", RATE)
    return y if bias is None else y + bias

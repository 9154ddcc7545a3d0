"""Reductions over time, and the mean of a loss, for sequences of different lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from snubridge.errors import BadInput
from snubridge.ir.nodes import REDUCTIONS

Lengths = Tensor | Sequence[int]


def counted_steps(lengths: Lengths | None, x: Tensor) -> Tensor:
    """How many steps of each sample of x (T, B, ...) count: (B,), from 1 to T; all of them without ``lengths``."""
    if x.ndim < 2 or not x.shape[0] or not x.shape[1]:
        raise BadInput(f"x: shape {tuple(x.shape)}; needed (T, B, ...) with at least one step and one sample")
    steps, samples = x.shape[:2]
    if lengths is None:
        return torch.full((samples,), steps, device=x.device)
    return checked_lengths(lengths, samples, steps, x.device)


def checked_lengths(lengths: Lengths, samples: int, steps: int | None, device: torch.device) -> Tensor:
    """``lengths`` as integers (B,), each from 1 to ``steps``; None: however many there may be."""
    try:
        counted = torch.as_tensor(lengths, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"lengths: {error}; needed integers of shape ({samples},)") from None
    if counted.dtype == torch.bool or counted.is_floating_point() or counted.is_complex():
        raise BadInput(f"lengths: {counted.dtype}; needed integers of shape ({samples},)")
    if counted.shape != (samples,):
        raise BadInput(f"lengths: shape {tuple(counted.shape)}; needed ({samples},)")
    first, last = int(counted.min()), int(counted.max())
    if first < 1 or (steps is not None and last > steps):
        needed = "at least 1 step" if steps is None else f"1 to {steps} steps"
        raise BadInput(f"lengths: from {first} to {last}; needed {needed}")
    return counted.long()


def _padding(x: Tensor, counted: Tensor) -> Tensor:
    """True, (T, B, 1, ...), for the steps that do not count."""
    steps = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    return steps >= counted.reshape(-1, *[1] * (x.ndim - 2))


def reduced(x: Tensor, how: str, lengths: Lengths | None = None) -> Tensor:
    """(T, B, *shape) to (B, *shape) by "mean", "sum", "max" or "last", over the steps that count.

    Sums are taken step after step, as in the reference. What stands in the steps beyond
    ``lengths`` gives neither value nor gradient, NaN included.
    """
    counted = counted_steps(lengths, x)
    if how == "last":
        return x[counted - 1, torch.arange(x.shape[1], device=x.device)]
    if how == "max":
        return x.masked_fill(_padding(x, counted), -torch.inf).amax(0)
    total = torch.zeros_like(x[0])
    for value in x.masked_fill(_padding(x, counted), 0).unbind(0):
        total = total + value
    return total / counted.reshape(-1, *[1] * (x.ndim - 2)) if how == "mean" else total


class OverTime(torch.nn.Module):
    """A read-out reduced over time: "mean", "sum", "max" or "last" over a sample's steps.

    ``forward(x, lengths=None)`` takes x (T, B, *shape), or (B, T, *shape) with ``batch_first``,
    and returns (B, *shape). ``lengths`` (B,): only these many steps of each sample count.
    Captured as ``snubridge.Output(over_time=how)``, so nothing may come after it.
    """

    def __init__(self, how: str, batch_first: bool = False) -> None:
        super().__init__()
        if how not in REDUCTIONS:
            raise BadInput(f"how={how!r}: choose from {', '.join(map(repr, REDUCTIONS))}")
        self.how = how
        self.batch_first = batch_first

    def forward(self, x: Tensor, lengths: Lengths | None = None) -> Tensor:
        """The reduction of x over the steps that count."""
        return reduced(x.transpose(0, 1) if self.batch_first else x, self.how, lengths)

    def extra_repr(self) -> str:
        """What is taken over time."""
        return f"{self.how!r}, batch_first={self.batch_first}"


def mean_over_steps(loss: Tensor, lengths: Lengths | None = None, *, batch_first: bool = False) -> Tensor:
    """The mean of an elementwise loss (T, B, ...) over the first ``lengths`` (B,) steps of each sample.

    What stands in the steps beyond gives neither value nor gradient: there, the gradient that
    ``loss`` receives is 0, also where the loss is NaN. (A *target* that is NaN there turns this 0
    into 0 * NaN on the way back to the network; pad targets with numbers.) With ``batch_first``
    the loss is (B, T, ...).
    """
    x = loss.transpose(0, 1) if batch_first else loss
    counted = counted_steps(lengths, x)
    total = x.masked_fill(_padding(x, counted), 0).sum()
    return total / (counted.sum() * math.prod(x.shape[2:]))

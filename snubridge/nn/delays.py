"""A delay of whole steps."""

from __future__ import annotations

import torch
from torch import Tensor

from snubridge.errors import BadInput
from snubridge.ir.rules import MAX_DELAY


class Delay(torch.nn.Module):
    """y_t = x_{t - steps}, zero before the start.

    ``forward(x, state=None)`` takes x (T, B, *shape), or (B, T, *shape) with ``batch_first``, and
    returns y of the same shape and the state: the last ``steps`` values, (steps, B, *shape),
    latest last. Captured as the ``delay`` of the edges that leave it.
    """

    def __init__(self, steps: int, batch_first: bool = False) -> None:
        super().__init__()
        if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MAX_DELAY:
            raise BadInput(f"steps={steps!r}: an integer from 1 to {MAX_DELAY} is needed")
        self.steps = steps
        self.batch_first = batch_first

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x, ``steps`` steps later, and the values that are still on their way."""
        if x.ndim < 2:
            raise BadInput(f"x: shape {tuple(x.shape)}; needed {'(B, T, ...)' if self.batch_first else '(T, B, ...)'}")
        x = x.transpose(0, 1) if self.batch_first else x
        needed = (self.steps, *x.shape[1:])
        before = x.new_zeros(needed) if state is None else state
        if not isinstance(before, Tensor) or before.shape != needed:
            found = tuple(before.shape) if isinstance(before, Tensor) else f"a {type(before).__name__}"
            raise BadInput(f"state: {found}; needed the state of an earlier call, {needed}, or None")
        joined = torch.cat([before, x])
        y = joined[: len(x)]
        after = joined[len(x) :].clone()  # a view would keep the whole sequence in memory
        return (y.transpose(0, 1) if self.batch_first else y), after

    def extra_repr(self) -> str:
        """How long it takes."""
        return f"{self.steps}, batch_first={self.batch_first}"

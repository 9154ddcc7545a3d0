"""A chain of layers that threads the states of those that have one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import BadInput
from snubridge.nn.delays import Delay
from snubridge.nn.images import applied
from snubridge.nn.reductions import Lengths, OverTime
from snubridge.nn.units import Unit


class Sequential(torch.nn.Module):
    """Layers one after the other; ``forward(x, states=None, lengths=None)`` returns (y, states).

    Takes the layers of ``snubridge.nn``, chains of them, and modules of ``torch.nn`` that act on
    the last axis of (T, B, features), such as ``torch.nn.Linear``, as well as Dropout; torch's own
    Conv2d, AvgPool2d, BatchNorm1d, BatchNorm2d and Dropout2d are applied to each step. ``states``
    is a tuple with one entry per layer, None for those without a state; pass it on to go on from
    there. ``lengths`` (B,) is handed to ``nn.OverTime``.
    """

    def __init__(self, *layers: torch.nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            if not isinstance(layer, torch.nn.Module):
                raise BadInput(f"layer {index} is a {type(layer).__name__}, not a torch module")
            self.add_module(str(index), layer)

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> torch.nn.Module:
        return list(self)[index]

    def __iter__(self) -> Iterator[torch.nn.Module]:
        return (layer for layer in self._modules.values() if layer is not None)  # children() leaves out repetitions

    def forward(
        self, x: Tensor, states: Sequence[Any] | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """x (T, B, *shape) through all layers; the states after the last step, one per layer."""
        before = (None,) * len(self) if states is None else states
        if len(before) != len(self):
            raise BadInput(f"states: {len(before)} entries for {len(self)} layers")
        after: list[Any] = []
        for layer, state in zip(self, before, strict=True):
            new = None
            if isinstance(layer, Sequential):
                x, new = layer(x, state, lengths)
            elif isinstance(layer, Unit | Delay):
                x, new = layer(x, state)
            elif isinstance(layer, OverTime):
                if states is not None:
                    raise BadInput(f"states: layer {len(after)} reduces over time and cannot go on from an earlier run")
                x = layer(x, lengths)
            else:
                x = applied(layer, x)
                if isinstance(x, tuple | list | dict):
                    raise BadInput(
                        f"layer {len(after)}, a {type(layer).__name__}, returns a {type(x).__name__}; "
                        "only layers of snubridge.nn may return a state"
                    )
            after.append(new)
        return x, tuple(after)

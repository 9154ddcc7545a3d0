"""A chain of layers that threads the states of those that have one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import BadInput
from snubridge.nn.units import Unit


class Sequential(torch.nn.Module):
    """Layers one after the other; ``forward(x, states=None)`` returns (y, states).

    Takes ``nn.SNU``, ``nn.Unit``, ``nn.Sequential``, and modules of ``torch.nn`` that act on the
    last axis of (T, B, features), such as ``torch.nn.Linear``, as well as Dropout. ``states`` is a
    tuple with one entry per layer, None for those without a state; pass it on to go on from there.
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

    def forward(self, x: Tensor, states: Sequence[Any] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """x (T, B, features) through all layers; the states after the last step, one per layer."""
        if states is None:
            states = (None,) * len(self)
        elif len(states) != len(self):
            raise BadInput(f"states: {len(states)} entries for {len(self)} layers")
        after: list[Any] = []
        for layer, state in zip(self, states, strict=True):
            if isinstance(layer, Unit | Sequential):
                x, new = layer(x, state)
            else:
                x, new = layer(x), None
                if isinstance(x, tuple | list | dict):
                    raise BadInput(
                        f"layer {len(after)}, a {type(layer).__name__}, returns a {type(x).__name__}; "
                        "only layers of snubridge.nn may return a state"
                    )
            after.append(new)
        return x, tuple(after)

"""Surrogate gradients: what stands for the derivative of the step in the backward pass, as policy objects.

Each has ``gradient(v)``, the pseudo-derivative dy/dv at v = s - threshold (same shape as v,
without unit). The forward pass never depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Surrogate(Protocol):
    """The policy: any object with this method serves."""

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""


@dataclass(frozen=True)
class TanhDerivative:
    """1 - tanh(v)^2, the default: that of IBM's neuroaikit (Wozniak et al. 2020)."""

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""
        return 1 - torch.tanh(v).square()


@dataclass(frozen=True)
class SigmoidDerivative:
    """k sigmoid(k v) (1 - sigmoid(k v)), k = ``steepness``."""

    steepness: float = 4.0

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""
        p = torch.sigmoid(self.steepness * v)
        return self.steepness * p * (1 - p)


@dataclass(frozen=True)
class ArctanDerivative:
    """1 / (1 + (pi v)^2)."""

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""
        return 1 / (1 + (torch.pi * v).square())


@dataclass(frozen=True)
class PiecewiseLinear:
    """max(0, 1 - |v|): the triangle."""

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""
        return (1 - v.abs()).clamp(min=0)


@dataclass(frozen=True)
class SuperSpike:
    """1 / (1 + k |v|)^2, k = ``steepness`` (Zenke and Ganguli, Neural Computation 30, 1514, 2018)."""

    steepness: float = 10.0

    def gradient(self, v: Tensor) -> Tensor:
        """dy/dv at v = s - threshold."""
        return 1 / (1 + self.steepness * v.abs()).square()


def spike(v: Tensor, surrogate: Surrogate, at_threshold: bool = False) -> Tensor:
    """1 where v > 0 (or v >= 0), else 0, in v's dtype; the backward pass takes the surrogate's gradient."""
    y: Tensor = _Spike.apply(v, surrogate, at_threshold)  # type: ignore[no-untyped-call]  # torch has no annotation here
    return y


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, surrogate: Surrogate, tie: bool) -> Tensor:
        return (v >= 0 if tie else v > 0).to(v.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Surrogate, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.surrogate = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        return grad * ctx.surrogate.gradient(v), None, None

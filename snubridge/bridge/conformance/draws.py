"""Random parameters and inputs: on a coarse power-of-two grid, or any real numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from snubridge.ir.functions import Identity, ReLU, StateFunction
from snubridge.ir.nodes import Linear, Unit
from snubridge.ir.numbers import Array


class Draw(ABC):
    """Parameters of one family."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    @abstractmethod
    def values(self, shape: tuple[int, ...]) -> Array:
        """Each family draws its own."""

    @abstractmethod
    def decay(self, shape: tuple[int, ...]) -> Array:
        """Each family draws its own."""

    @abstractmethod
    def threshold(self, shape: tuple[int, ...]) -> Array:
        """Each family draws its own."""

    def inputs(self, shape: tuple[int, ...]) -> Array:
        spikes: Array = (self.rng.random(shape) < self.rng.uniform(0.1, 0.6)).astype(np.float32)
        return spikes if self.rng.random() < 0.6 else spikes * self.values(shape)

    def linear(self, outputs: int, inputs: int, scale: float = 1.0) -> Linear:
        bias = self.values((outputs,)) * 0.5 if self.rng.random() < 0.3 else None
        return Linear(self.values((outputs, inputs)) * scale, bias)

    def unit(self, size: int) -> Unit:
        shape = (size,) if self.rng.random() < 0.5 else ()
        g: StateFunction = ReLU() if self.rng.random() < 0.5 else Identity()
        initial = self.values(shape) if self.rng.random() < 0.3 else 0.0
        return Unit(self.decay(shape), self.threshold(shape), g=g, initial_state=initial)


class Dyadic(Draw):
    def __init__(self, rng: np.random.Generator, precision: str) -> None:
        super().__init__(rng)
        self.decays = [0.0, 0.25, 0.5, 0.75, 1.0] if precision == "float64" else [0.0, 1.0]

    def values(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.integers(-8, 11, shape) / 8)

    def decay(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.choice(self.decays, shape))

    def threshold(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.choice([-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25], shape, p=[0.05, 0.05, *[0.18] * 5]))


class Generic(Draw):
    def values(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.normal(0.2, 0.7, shape))

    def decay(self, shape: tuple[int, ...]) -> Array:
        special = self.rng.choice([0.0, 1.0], shape)
        return np.asarray(np.where(self.rng.random(shape) < 0.1, special, self.rng.uniform(0.0, 1.0, shape)))

    def threshold(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.uniform(0.2, 1.5, shape) * np.where(self.rng.random(shape) < 0.1, -1, 1))

"""The layers that are exported, and the same as a loop of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

import snubridge as sb

Array = np.ndarray[Any, Any]
DT, TAU, THRESHOLD = 1e-3, 10e-3, 1.0
DECAY = float(np.exp(-DT / TAU))


def drawn(size: int, rate: float, steps: int, seed: int = 0) -> tuple[Array, Array]:
    """Weights (size, size) that make a neuron fire now and then, and a stimulus (steps, size) of 0 and 1."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.02 / rate / size, 0.35 / np.sqrt(rate * size), (size, size))
    return weights, (rng.random((steps, size)) < rate).astype(np.float64)


def layer(weights: Array) -> sb.Graph:
    """An input of spikes, a matrix and spiking units, in the precision of the weights."""
    spikes = sb.Input((weights.shape[1],), 0.0, 1.0, 0)
    nodes = {"inp": spikes, "w": sb.Linear(weights), "unit": sb.Unit(DECAY, THRESHOLD)}
    numbers = sb.Float32() if weights.dtype == np.float32 else sb.Float64()
    return sb.Graph(nodes, [sb.Edge("inp", "w"), sb.Edge("w", "unit")], numbers=numbers)


class Dense:
    """A loop over steps, with a matrix-vector product in each."""

    def __init__(self, weights: Array, stimulus: Array, soft: bool = False) -> None:
        self.weights, self.stimulus, self.soft = weights, stimulus, soft
        self.first = self.unit = (np.zeros(len(weights)), np.zeros(len(weights)))
        self.outputs: list[Array] = []

    def run(self, steps: int) -> None:
        """So many steps more."""
        for _ in range(steps):
            arriving = self.stimulus[len(self.outputs)]
            if self.soft:
                self.first = self._step(self.first, arriving)
                arriving = self.first[1]
            self.unit = self._step(self.unit, self.weights @ arriving)
            self.outputs.append(self.unit[1])

    def _step(self, before: tuple[Array, Array], drive: Array) -> tuple[Array, Array]:
        s, y = before
        s = DECAY * (s * (1 - y)) + drive
        above = s - THRESHOLD
        return s, 0.5 * (1 + np.tanh(0.5 * above)) if self.soft else (above > 0).astype(np.float64)

    def spikes(self, steps: int) -> Array:
        """Of the first steps, (T, size); the soft outputs likewise."""
        return np.array(self.outputs[:steps])

    graded = spikes

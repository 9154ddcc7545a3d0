"""Random graphs of the two families in which equality can be demanded without a certificate.

*dyadic*: parameters and inputs on a coarse power-of-two grid, exact ties at the threshold
included, so that every sum is exact in any order; decay 0 or 1, or any dyadic decay where the
engine computes in float64.
*generic*: random real numbers; float64 engines must agree, float32 engines wherever no state
comes closer than ``GENERIC_MARGIN`` to its threshold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snubridge.ir.functions import Identity, ReLU, StateFunction
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Array

Family = Literal["dyadic", "generic"]
GENERIC_MARGIN = 1e-3


@dataclass(frozen=True)
class Case:
    """A graph, inputs (T, B, n) for it, and what they are called."""

    name: str
    graph: Graph
    inputs: Array


def random_case(
    seed: int, family: Family, *, precision: str = "float64", steps: int = 50, samples: int = 2, units: int = 6
) -> Case:
    """A dense or recurrent graph of one to three layers of at most ``units`` neurons.

    Layers are recurrent or not, with g identity or ReLU, parameters shared or per neuron, initial
    states, thresholds of either sign; skip connections, feedback and longer delays, dense
    read-outs and spikes as outputs occur. The same arguments give the same case.
    """
    rng = np.random.default_rng([seed, family == "dyadic", precision == "float64"])
    draw = _Dyadic(rng, precision) if family == "dyadic" else _Generic(rng)
    width = int(rng.integers(1, 8))
    nodes: dict[str, Node] = {"in": Input((width,))}
    edges: list[Edge] = []
    sizes: list[int] = []
    source, last = "in", width
    for layer in range(int(rng.integers(1, 4))):
        name, size = f"layer{layer}", int(rng.integers(1, units + 1))
        nodes[f"{name}.weight"] = draw.linear(size, last)
        nodes[name] = draw.unit(size)
        edges += [Edge(source, f"{name}.weight"), Edge(f"{name}.weight", name)]
        if rng.random() < 0.5:
            nodes[f"{name}.recurrent"] = draw.linear(size, size, scale=0.5)
            delay = 1 if rng.random() < 0.7 else int(rng.integers(2, 5))
            into = bool(rng.random() < 0.5)
            edges += [
                Edge(name, f"{name}.recurrent", delay if into else 0),
                Edge(f"{name}.recurrent", name, 0 if into else delay),
            ]
        if layer and rng.random() < 0.3:
            nodes[f"{name}.skip"] = draw.linear(size, width)
            edges += [Edge("in", f"{name}.skip", int(rng.integers(0, 3))), Edge(f"{name}.skip", name)]
        if layer and rng.random() < 0.3:
            nodes[f"{name}.feedback"] = draw.linear(sizes[-1], size, scale=0.5)
            edges += [Edge(name, f"{name}.feedback", 1), Edge(f"{name}.feedback", source)]
        sizes.append(size)
        source, last = name, size
    if rng.random() < 0.7:
        nodes["readout"] = draw.linear(3, last)
        nodes["out"] = Output()
        edges += [Edge(source, "readout"), Edge("readout", "out")]
    if rng.random() < 0.5:
        nodes["spikes"] = Output()
        edges.append(Edge(source, "spikes"))
    return Case(f"{family}-{seed}", Graph(nodes, edges), draw.inputs((steps, samples, width)))


class _Draw(ABC):
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


class _Dyadic(_Draw):
    def __init__(self, rng: np.random.Generator, precision: str) -> None:
        super().__init__(rng)
        self.decays = [0.0, 0.25, 0.5, 0.75, 1.0] if precision == "float64" else [0.0, 1.0]

    def values(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.integers(-8, 11, shape) / 8)

    def decay(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.choice(self.decays, shape))

    def threshold(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.choice([-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25], shape, p=[0.05, 0.05, *[0.18] * 5]))


class _Generic(_Draw):
    def values(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.normal(0.2, 0.7, shape))

    def decay(self, shape: tuple[int, ...]) -> Array:
        special = self.rng.choice([0.0, 1.0], shape)
        return np.asarray(np.where(self.rng.random(shape) < 0.1, special, self.rng.uniform(0.0, 1.0, shape)))

    def threshold(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.rng.uniform(0.2, 1.5, shape) * np.where(self.rng.random(shape) < 0.1, -1, 1))

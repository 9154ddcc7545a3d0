"""Random graphs in FixedPoint over the whole space: what is exact has to be equal to the bit, in any precision.

Both roundings, every reset, states that saturate on either side, negative carried states, integer slopes, images,
delays and recurrence occur; reductions over time only as far as they choose among values, "max" and "last".
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.draws import Dyadic
from snubridge.bridge.conformance.space import Network
from snubridge.errors import InvalidGraph
from snubridge.ir.budget import beyond, budget
from snubridge.ir.functions import Identity, LeakyReLU, OutputFunction, ReLU, Reset, StateFunction, Step
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Input, Linear, Output, Pair, Shape, SumPool2d, Unit
from snubridge.ir.numbers import ROUNDINGS, Array, FixedPoint
from snubridge.ir.rules import validate

INPUT_BITS = 3
"""Inputs are multiples of 1/8 from -2 to 2."""


@functools.cache
def random_fixed(seed: int, *, precision: str = "float64") -> Case:
    """A valid graph of one to three layers that engines of that precision take; the same arguments, the same case.

    For float64, a part of them is beyond the budget of float32.
    """
    rng = np.random.default_rng([seed, precision == "float64", 3])
    wide = precision == "float64" and bool(rng.random() < 0.5)
    while True:
        network = _OnTheGrid(rng, Dyadic(rng, "float64"), dyadic=True)
        network.grow()
        graph = _graph(rng, network, wide)
        if graph is not None and (precision == "float64" or not beyond(graph, precision)):
            break
    steps, samples = int(rng.integers(1, 21) if rng.random() < 0.3 else rng.integers(8, 21)), int(rng.integers(1, 4))
    inputs = {name: network.inputs(node, (steps, samples, *node.shape)) for name, node in graph.of_kind(Input).items()}
    return Case(
        f"fixed-{seed}",
        graph,
        inputs if len(inputs) > 1 else next(iter(inputs.values())),
        lengths=tuple(int(n) for n in rng.integers(1, steps + 1, samples)) if rng.random() < 0.5 else None,
        exact=True,
    )


def _graph(rng: np.random.Generator, network: _OnTheGrid, wide: bool) -> Graph | None:
    """The network in numbers whose states are a few times as large as what drives them; None where none fit it."""
    holders = [name for name, node in network.nodes.items() if isinstance(node, Linear | Conv2d | Unit)]
    most = 18 if wide else 4
    bits: Any = {name: int(rng.integers(0, most + 1)) for name in holders}
    if rng.random() < 0.3:
        bits = int(rng.integers(1, most + 1))
    settings: dict[str, Any] = {
        "decay_bits": int(rng.integers(1, 9 if wide else 7)),
        "rounding": ROUNDINGS[int(rng.integers(2))],
    }
    try:
        first = Graph(network.nodes, network.edges, numbers=FixedPoint(bits, 44 if wide else 17, **settings))
        validate(first)
        finest = max((grid.fraction_bits for grid in budget(first).states.values()), default=0)
        numbers = FixedPoint(bits, finest + int(rng.integers(2, 5)), **settings)
        graph = Graph(network.nodes, network.edges, numbers=numbers)
        validate(graph)
    except InvalidGraph:  # a grid that grows along a cycle, say
        return None
    return graph


class _OnTheGrid(Network):
    """A network of what FixedPoint can say."""

    def input(self) -> Input:
        return Input(super().input().shape, -2.0, 2.0, INPUT_BITS)

    def inputs(self, node: Input, shape: Shape) -> Array:
        return np.asarray(2 * self.draw.inputs(shape)).clip(-2.0, 2.0)

    def leak(self, source: str) -> str:
        return source  # a Linear that hears itself grows

    def pool(self, kind: type[AvgPool2d | SumPool2d], shape: Shape) -> AvgPool2d | SumPool2d:
        sizes = [n for n in (1, 2, 2, 4) if n <= min(shape[1:])]
        kernel: Pair = (self.pick(sizes), self.pick(sizes))
        padding = (kernel[0] // 2, kernel[1] // 2) if self.flip(0.4) else 0
        return kind(kernel, self.pick((None, 1, 2)), padding)

    def unit(self, shape: Shape) -> Unit:
        reset = self.pick(tuple(Reset))
        hard: tuple[OutputFunction, ...] = (Step(), Step(), Step(at_threshold=True))
        integrates = reset is Reset.NONE and self.flip(0.4)
        functions: tuple[StateFunction, ...] = (Identity(), Identity(), ReLU(), LeakyReLU(self.pick((-2, -1, 0, 1, 3))))
        each, one = shape, ()
        return Unit(
            self.rng.uniform(0, 1, self.pick((one, each))) if self.flip(0.7) else self.draw.decay(()),
            self.draw.threshold(self.pick((one, each))),
            reset=reset,
            g=self.pick(functions),
            h=Identity() if integrates else self.pick(hard),
            initial_state=self.draw.values(self.pick((one, each))) if self.flip(0.3) else 0.0,
        )

    def add(self, node: Any, source: str | None = None, delay: int = 0) -> str:
        if isinstance(node, Output) and node.over_time in ("mean", "sum"):  # which round
            node = Output()
        return super().add(node, source, delay)

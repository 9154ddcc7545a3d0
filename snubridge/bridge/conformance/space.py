"""Random graphs over the whole space of the representation: every node, reset, g, h, delay and reduction.

More than half of them have parameters and inputs on a coarse power-of-two grid, exact ties included, the
others real numbers. Where a state comes close to its threshold and sums may round, equality cannot
be demanded of an engine: ``decidable`` says where it can.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.draws import Draw, Dyadic, Generic
from snubridge.ir.functions import Identity, LeakyReLU, OutputFunction, ReLU, Reset, Sigmoid, StateFunction, Step, Tanh
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import (
    REDUCTIONS,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    Node,
    Output,
    Pair,
    Shape,
    SumPool2d,
    Unit,
)
from snubridge.ir.numbers import Array, Float32, Float64

MARGINS = {"float32": 1e-3, "float64": 1e-9}
"""How close a state may come to its threshold where sums round, as a share of the largest state (or of 1)."""
GRIDS = {"float32": 14, "float64": 40}
"""Fraction bits of a grid so coarse that no sum of states below ``LARGEST`` rounds."""
LARGEST = 2.0**8
BACK = 0.25
"""What weights that lead back are scaled by, so that few networks explode."""

Choice = TypeVar("Choice")


def decidable(case: Case, precision: str) -> bool:
    """Whether an engine of that precision has to spike as the reference does.

    So it is if no state comes close to its threshold, but for those on a grid so coarse that the
    sums that lead there do not round.
    """
    states = case.expected.states
    largest = max((float(np.abs(s).max()) for s in states.values()), default=0.0)
    for name, unit in case.graph.of_kind(Unit).items():
        if unit.spiking:
            s, grid = states[name], np.ldexp(states[name], GRIDS[precision])
            close = np.abs(s - unit.threshold.astype(np.float64)) <= MARGINS[precision] * max(largest, 1.0)
            if (close & ((grid != np.rint(grid)) | (np.abs(s) >= LARGEST))).any():
                return False
    return True


@functools.cache
def random_graph(seed: int, *, precision: str = "float64") -> Case:
    """A graph of one to three layers and whatever else the representation has, 1 to 20 steps, 1 to 3 samples.

    ``precision``: that of the engine; on the power-of-two grid, decays other than 0 and 1 are drawn
    for float64 only. The same arguments give the same case.
    """
    rng = np.random.default_rng([seed, precision == "float64", 2])
    dyadic, wide = bool(rng.random() < 0.6), bool(rng.random() < 0.3)
    draw = Dyadic(rng, "float64" if wide else precision) if dyadic else Generic(rng)
    network = Network(rng, draw, dyadic)
    network.grow()
    steps, samples = int(rng.integers(1, 21) if rng.random() < 0.5 else rng.integers(8, 21)), int(rng.integers(1, 4))
    inputs = {
        name: network.inputs(node, (steps, samples, *node.shape))
        for name, node in network.nodes.items()
        if isinstance(node, Input)
    }
    nodes, edges = list(network.nodes.items()), network.edges
    if rng.random() < 0.3:
        nodes = [nodes[place] for place in rng.permutation(len(nodes))]
        edges = [edges[place] for place in rng.permutation(len(edges))]
    return Case(
        f"space-{seed}",
        Graph(dict(nodes), edges, numbers=Float64() if wide else Float32()),
        inputs if len(inputs) > 1 else next(iter(inputs.values())),
        lengths=tuple(int(n) for n in rng.integers(1, steps + 1, samples)) if rng.random() < 0.5 else None,
    )


class Network:
    """A graph that grows from its inputs; ``shapes`` knows every node's."""

    def __init__(self, rng: np.random.Generator, draw: Draw, dyadic: bool) -> None:
        self.rng, self.draw, self.dyadic = rng, draw, dyadic
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.shapes: dict[str, Shape] = {}

    def flip(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)

    def pick(self, options: Sequence[Choice], odds: Sequence[float] | None = None) -> Choice:
        weights = None if odds is None else np.array(odds) / sum(odds)
        return options[int(self.rng.choice(len(options), p=weights))]

    def whole(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))

    def delay(self, least: int = 0) -> int:
        return self.whole(least, 5) if self.flip(0.2) else least

    def add(self, node: Node, source: str | None = None, delay: int = 0) -> str:
        """The new node's name; its input comes from ``source``."""
        name = f"{type(node).__name__.lower()}.{len(self.nodes)}"
        self.nodes[name] = node
        self.shapes[name] = node.shape if isinstance(node, Input) else node.output_shape(self.shapes[source or ""])
        if source is not None:
            self.edges.append(Edge(source, name, delay))
        return name

    def grow(self) -> None:
        last = self.add(self.input())
        second = self.add(self.input()) if self.flip(0.2) else None
        for _ in range(self.whole(1, 3)):
            for _ in range(2 if self.flip(0.2) else 1):
                last = self.operation(last)
            last = self.add(self.unit(self.shapes[last]), last, self.delay())
            if self.flip(0.35):
                self.join(last, last, least=1)
        names = list(self.nodes)  # each hears only those before it without a delay
        units = [name for name, node in self.nodes.items() if isinstance(node, Unit)]
        if second is not None and self.flip(0.9):
            self.join(second, self.pick(units))
        for place, unit in enumerate(units):
            if self.flip(0.2):
                self.join(self.pick(units[place:]), unit, least=1)
            if self.flip(0.2):
                self.join(self.pick(names[: names.index(unit)]), unit)
        self.listen(last)

    def listen(self, last: str) -> None:
        """One to three Outputs, the first of the last layer."""
        source = self.operation(last) if self.flip(0.4) else last
        heard = list(self.nodes)
        for _ in range(self.whole(1, 3)):
            reduction = self.pick((None, *REDUCTIONS), (4, 1, 1, 1, 1))
            output = self.add(Output(reduction), source, self.delay())
            alike = [name for name in heard if self.shapes[name] == self.shapes[source] and name != source]
            if alike and self.flip(0.2):
                self.edges.append(Edge(self.pick(alike), output, self.delay()))
            source = self.pick(heard)

    def input(self) -> Input:
        shape = self.pick(
            (
                (self.whole(1, 6),),
                (self.whole(1, 3), self.whole(1, 4)),
                (self.pick((1, 1, 2, 2, 3, 4)), self.whole(2, 6), self.whole(2, 6)),
            ),
            (3, 2, 6),
        )
        limits: dict[str, Any] = {"low": -2.0, "high": 2.0} if self.flip(0.2) else {}
        return Input(shape, **limits, fraction_bits=3 if self.dyadic and self.flip(0.2) else None)

    def inputs(self, node: Input, shape: Shape) -> Array:
        drawn = self.draw.inputs(shape)
        return drawn if node.low is None else drawn.clip(node.low, node.high)

    def operation(self, source: str) -> str:
        """A stateless node, at times on a cycle of its own, or ``source`` itself."""
        shape = self.shapes[source]
        kinds: dict[int, tuple[Sequence[Any], Sequence[float]]] = {
            1: ((self.linear, self.leak, Flatten, None), (10, 1, 0.5, 1)),
            2: ((self.linear, self.leak, Flatten, None), (6, 1, 3, 1)),
            3: ((self.conv, AvgPool2d, SumPool2d, Flatten, self.linear, None), (8, 2, 2, 1, 1, 1)),
        }
        kind = self.pick(*kinds[len(shape)])
        if kind is None:
            return source
        if kind == self.leak:
            return self.leak(source)
        if kind is Flatten:
            return self.add(Flatten(), source, self.delay())
        if kind in (AvgPool2d, SumPool2d):
            return self.add(self.pool(kind, shape), source, self.delay())
        node: Node = kind(shape)
        return self.add(node, source, self.delay())

    def scaled(self, shape: Shape, inputs: int) -> Array:
        """Weights for so many inputs, scaled by a power of two so that their sum stays about as large."""
        return self.draw.values(shape) * 2.0 ** -round(math.log2(max(1.0, math.sqrt(inputs) / 2)))

    def bias(self, outputs: int) -> Array | None:
        return self.draw.values((outputs,)) * 0.5 if self.flip(0.35) else None

    def linear(self, shape: Shape, outputs: int | None = None, scale: float = 1.0) -> Linear:
        outputs = outputs or self.whole(1, 5)
        return Linear(self.scaled((outputs, shape[-1]), shape[-1]) * scale, self.bias(outputs))

    def leak(self, source: str) -> str:
        """A Linear that hears itself, with a delay."""
        size = self.shapes[source][-1]
        name = self.add(self.linear((size,), size, scale=BACK), source, self.delay())
        self.edges.append(Edge(name, name, self.delay(least=1)))
        return name

    def conv(self, shape: Shape) -> Conv2d:
        groups = self.pick([n for n in range(1, shape[0] + 1) if shape[0] % n == 0])
        depth, outputs = shape[0] // groups, groups * self.whole(1, 2 if groups < 3 else 1)
        dilation, padding = self.pick(((1, 1), (1, 1), (2, 1), (2, 2))), self.pick(((0, 0), (1, 1), (0, 2), (1, 0)))
        kernel = tuple(
            self.whole(1, min(3, 1 + (n + 2 * p - 1) // d))
            for n, p, d in zip(shape[1:], padding, dilation, strict=True)
        )
        weight = self.scaled((outputs, depth, *kernel), depth * math.prod(kernel))
        stride = self.pick(((1, 1), (1, 1), (2, 1), (2, 2)))
        return Conv2d(weight, self.bias(outputs), stride, padding, dilation, groups)

    def pool(self, kind: type[AvgPool2d | SumPool2d], shape: Shape) -> AvgPool2d | SumPool2d:
        kernel: Pair = (self.whole(1, min(3, shape[1])), self.whole(1, min(3, shape[2])))
        padding = (kernel[0] // 2, kernel[1] // 2) if self.flip(0.4) else 0
        return kind(kernel, self.pick((None, 1, 2)), padding)

    def unit(self, shape: Shape) -> Unit:
        reset = self.pick(tuple(Reset))
        soft: tuple[OutputFunction, ...] = (Sigmoid(), Tanh())
        if reset is Reset.NONE:
            soft = (*soft, Identity(), Identity())
        hard: tuple[OutputFunction, ...] = (Step(), Step(), Step(at_threshold=True))
        h = self.pick(soft) if self.flip(0.15 if reset is Reset.LATERAL else 0.3) else self.pick(hard)
        slope = self.pick((0.5, 0.25, -0.5, 0.0) if self.dyadic else (0.1, 0.01, -0.3, 0.5))
        functions: tuple[StateFunction, ...] = (Identity(), ReLU(), LeakyReLU(slope))
        each, one = shape, ()
        return Unit(
            self.draw.decay(self.pick((one, each))),
            self.draw.threshold(self.pick((one, each))),
            reset=reset,
            g=self.pick(functions),
            h=h,
            initial_state=self.draw.values(self.pick((one, each))) if self.flip(0.3) else 0.0,
        )

    def join(self, source: str, unit: str, least: int = 0) -> None:
        """What ``source`` puts out, brought into the shape of ``unit`` if it can be, ``least`` steps later or more."""
        size, wanted, scale = self.shapes[source], self.shapes[unit], BACK if least else 1.0
        before = self.delay(least)
        after, before = (before, 0) if self.flip(0.5) else (0, before)
        if size == wanted and self.flip(0.3):
            edge = Edge(source, unit, before + after)
            if edge not in self.edges:
                self.edges.append(edge)
            return
        if len(wanted) == 1:
            flat = self.add(Flatten(), source, before) if len(size) > 1 else source
            joined = self.add(self.linear(self.shapes[flat], wanted[0], scale), flat, 0 if len(size) > 1 else before)
        elif size[:-1] == wanted[:-1]:
            joined = self.add(self.linear(size, wanted[-1], scale), source, before)
        elif len(size) == len(wanted) == 3 and size[1:] == wanted[1:]:
            weight = self.scaled((wanted[0], size[0], 3, 3), 9 * size[0]) * scale
            joined = self.add(Conv2d(weight, self.bias(wanted[0]), padding=1), source, before)
        else:
            return
        self.edges.append(Edge(joined, unit, after))

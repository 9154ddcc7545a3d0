"""Random graphs over the whole space of what a graph may mean, for adapters that claim all of it.

Every kind of node at any place, every reset, g and h, parameters shared or per neuron, thresholds
of any sign, decays from 0 to 1, delays of 0 to 5 and far beyond the run, sums of several edges,
self-loops and cycles through any node, inputs that nobody hears, several outputs with every
reduction, and samples of different lengths.

*dyadic* graphs stand on a coarse grid and have no soft units, so that sums are exact in any order
and ties at the threshold occur; *generic* ones have random reals and soft units anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import snubridge as sb
from snubridge.exactness import smallest_margin
from snubridge.ir.nodes import ShapeMisfit

Shape = tuple[int, ...]
STEPS, MOST_VALUES = 9, 300
"""Of most runs, and at each node of a graph."""
FAR = (STEPS - 1, STEPS, STEPS + 1, 64, 65, 2**15, 2**20)
MARGIN = 1e-3
"""Below, an engine that rounds may decide otherwise."""


@dataclass(frozen=True)
class Case:
    """A graph, what it is given, and how many steps of each sample count."""

    graph: sb.Graph
    inputs: dict[str, np.ndarray]
    lengths: np.ndarray | None


def random_case(seed: int, family: Literal["dyadic", "generic"], numbers: Any = sb.Float32()) -> Case:
    """The same arguments give the same case."""
    return _Drawing(np.random.default_rng([seed, family == "dyadic", numbers == sb.Float64()]), family, numbers).case()


class _Drawing:
    """One case under construction; ``shapes`` holds the nodes that may be heard."""

    def __init__(self, rng: np.random.Generator, family: str, numbers: Any) -> None:
        self.rng, self.dyadic, self.numbers = rng, family == "dyadic", numbers
        self.nodes: dict[str, Any] = {}
        self.edges: list[sb.Edge] = []
        self.shapes: dict[str, Shape] = {}

    def case(self) -> Case:
        for number in range(self.rng.integers(1, 4)):
            shape = self.choice([(1,), (3,), (2, 3), (2, 1, 2, 1, 2), *2 * [(2, 4, 5), (4, 5, 4), (1, 6, 3)]])
            self.nodes[f"in{number}"] = sb.Input(shape)
            if number == 0 or self.rng.random() < 0.7:
                self.shapes[f"in{number}"] = shape
        for number in range(self.rng.integers(2, 10)):
            self.add(number)
        for _ in range(self.rng.integers(0, 4)):
            self.close_a_cycle()
        if self.rng.random() < 0.2:  # a unit that no input reaches
            size = int(self.rng.integers(1, 4))
            self.nodes["pacemaker"] = self.unit((size,), per_neuron=1.0)
            self.shapes["pacemaker"] = (size,)
            self.edges.append(sb.Edge("pacemaker", "pacemaker", int(self.rng.integers(1, 4))))
        for name in list(self.shapes):
            if self.rng.random() < 0.5:
                how = self.choice([None, None, "mean", "sum", "max", "last"])
                self.nodes[f"{name}.out"] = sb.Output(how)
                self.edges.append(sb.Edge(name, f"{name}.out", self.delay()))
        if not any(isinstance(node, sb.Unit | sb.Output) for node in self.nodes.values()):
            self.nodes["out"] = sb.Output("sum")
            self.edges.append(sb.Edge(next(iter(self.shapes)), "out"))
        names = list(self.nodes)
        self.rng.shuffle(names)
        metadata = {"drawn": {"nodes": len(names), "by": [None, "ä", 0.1]}}
        graph = sb.Graph(
            {name: self.nodes[name] for name in names}, self.edges, numbers=self.numbers, metadata=metadata
        )
        steps, samples = self.choice([STEPS, STEPS, STEPS, 1, 2]), self.choice([1, 3])
        inputs = {
            name: self.values((steps, samples, *node.shape), 1.0) * (self.rng.random() < 0.9)
            for name, node in graph.of_kind(sb.Input).items()
        }
        lengths = self.rng.integers(1, steps + 1, samples) if self.rng.random() < 0.6 else None
        return Case(graph, inputs, lengths)

    def add(self, number: int) -> None:
        """A node behind a random one, and perhaps behind others of the same shape."""
        source = self.choice(list(self.shapes))
        shape = self.shapes[source]
        kinds = [self.linear, self.a_unit, self.a_unit]
        kinds += [self.conv, self.pool, self.conv, self.pool, self.flatten] if len(shape) == 3 else [self.flatten]
        made = self.choice(kinds)(shape)
        try:
            shape = made.output_shape(shape)
        except ShapeMisfit:  # a kernel larger than the sample
            return
        if math.prod(shape) > MOST_VALUES:
            return
        name = f"n{number}"
        heard = [source, *(other for other, size in self.shapes.items() if size == self.shapes[source])]
        taken = {(source, self.delay())}
        taken |= {(self.choice(heard), self.delay()) for _ in range(self.rng.integers(0, 3))}
        self.nodes[name], self.shapes[name] = made, shape
        self.edges += [sb.Edge(one, name, delay) for one, delay in sorted(taken)]

    def close_a_cycle(self) -> None:
        """An edge with a delay from anywhere to a node that receives such values."""
        targets = [edge for edge in self.edges if edge.target in self.shapes]
        if targets:
            edge = targets[self.rng.integers(len(targets))]
            likes = [name for name, shape in self.shapes.items() if shape == self.shapes[edge.source]]
            added = sb.Edge(self.choice(likes), edge.target, int(self.rng.integers(1, 6)))
            if added not in self.edges:
                self.edges.append(added)

    def choice(self, values: list[Any]) -> Any:
        return values[self.rng.integers(len(values))]

    def delay(self) -> int:
        draw = self.rng.random()
        return 0 if draw < 0.6 else int(self.rng.integers(1, 6)) if draw < 0.93 else self.choice(list(FAR))

    def values(self, shape: Shape, scale: float) -> np.ndarray:
        if self.dyadic:
            return np.asarray(self.rng.choice([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0], shape))
        return np.asarray(self.rng.normal(0.1, scale, shape))

    def bias(self, outputs: int) -> np.ndarray | None:
        return self.values((outputs,), 0.5) if self.rng.random() < 0.5 else None

    def linear(self, shape: Shape) -> sb.Linear:
        outputs = shape[-1] if self.rng.random() < 0.5 else int(self.rng.integers(1, 5))
        return sb.Linear(self.values((outputs, shape[-1]), 1.5 / math.sqrt(shape[-1])), self.bias(outputs))

    def conv(self, shape: Shape) -> sb.Conv2d:
        groups = self.choice([n for n in range(1, shape[0] + 1) if shape[0] % n == 0])
        outputs = groups * int(self.rng.integers(1, 3))
        weight = (outputs, shape[0] // groups, *self.rng.integers(1, 4, 2))
        stride, padding, dilation = (self.pair(*span) for span in ((1, 4), (0, 5), (1, 3)))
        values = self.values(weight, 1.5 / math.sqrt(math.prod(weight[1:])))
        return sb.Conv2d(values, self.bias(outputs), stride, padding, dilation, groups)

    def pool(self, shape: Shape) -> Any:
        kernel = self.pair(1, 4)
        if self.dyadic:
            kernel = tuple(1 << (k // 2) for k in kernel)
        padding = tuple(int(self.rng.integers(0, k // 2 + 1)) for k in kernel)
        stride = self.choice([None, self.pair(1, 4)])
        return self.choice([sb.AvgPool2d, sb.SumPool2d])(kernel, stride, padding)

    def pair(self, least: int, end: int) -> tuple[int, int]:
        first, second = (int(n) for n in self.rng.integers(least, end, 2))
        return first, second

    def flatten(self, shape: Shape) -> sb.Flatten:
        return sb.Flatten()

    def a_unit(self, shape: Shape) -> sb.Unit:
        return self.unit(shape, per_neuron=0.4)

    def unit(self, shape: Shape, per_neuron: float) -> sb.Unit:
        decay, threshold, initial = (shape if self.rng.random() < per_neuron else () for _ in range(3))
        reset, g = self.choice(list(sb.Reset)), self.choice([sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.5)])
        spiking = [sb.Step(), sb.Step(at_threshold=True)]
        soft = [] if self.dyadic else [sb.Sigmoid(), sb.Tanh()]
        integrating = [sb.Identity()] if reset is sb.Reset.NONE else []
        h = self.choice(spiking * 2 + soft + integrating)
        started = self.values(initial, 1.0) if self.rng.random() < 0.4 else 0.0
        return sb.Unit(self.decays(decay), self.thresholds(threshold), reset=reset, g=g, h=h, initial_state=started)

    def decays(self, shape: Shape) -> np.ndarray:
        grid = self.rng.choice([0.0, 1.0, 1.0] if self.numbers == sb.Float32() else [0.0, 0.5, 0.75, 1.0], shape)
        return np.asarray(grid if self.dyadic or self.rng.random() < 0.2 else self.rng.random(shape))

    def thresholds(self, shape: Shape) -> np.ndarray:
        grid = self.rng.choice([-0.5, 0.0, 0.5, 0.5, 1.0, 1.5], shape)
        return np.asarray(grid if self.dyadic or self.rng.random() < 0.1 else self.rng.normal(0.4, 0.5, shape))


def fits(case: Case, bits: int) -> bool:
    """Whether a significand of ``bits`` holds every sum of the run exactly, in whatever order it is formed.

    For each node and step, all terms are multiples of one power of two and the sum of their
    magnitudes is below 2^bits of it: sufficient, as section 6 of the design has it.
    """
    heard = {name for name, node in case.graph.nodes.items() if not isinstance(node, sb.Output)}
    probes = {f"probe-{name}": sb.Output() for name in heard}
    edges = [sb.Edge(name, f"probe-{name}") for name in sorted(heard)]
    probed = sb.Graph({**case.graph.nodes, **probes}, [*case.graph.edges, *edges], numbers=case.graph.numbers)
    trace = sb.simulate(probed, case.inputs, record=("spikes", "states"))
    values = {name: trace.outputs[f"probe-{name}"] for name in heard}
    return all(_node_fits(case.graph, name, values, trace.states, bits) for name in case.graph.nodes)


def _node_fits(graph: sb.Graph, name: str, values: dict[str, Any], states: Any, bits: int) -> bool:
    node, terms = graph.nodes[name], [values[edge.source] for edge in graph.incoming[name]]
    if isinstance(node, sb.Input):
        return True
    drive = sum(np.abs(term).max(initial=0.0) for term in terms)
    grid = max(_fraction(term) for term in terms)
    if isinstance(node, sb.Linear | sb.Conv2d):
        size = float(np.abs(node.weight).reshape(len(node.weight), -1).sum(axis=1).max()) * drive
        size += 0.0 if node.bias is None else float(np.abs(node.bias).max())
        biased = 0 if node.bias is None else _fraction(node.bias)
        return size * 2.0 ** max(grid + _fraction(node.weight), biased) < 2.0**bits
    if isinstance(node, sb.AvgPool2d | sb.SumPool2d):
        return drive * math.prod(node.kernel_size) * 2.0 ** (grid + _fraction(values[name])) < 2.0**bits
    if isinstance(node, sb.Unit):
        s, threshold = states[name], float(np.abs(node.threshold).max())
        finest = max(grid, _fraction(s) + _fraction(node.decay) + 1, _fraction(node.threshold) + _fraction(node.decay))
        spiking = 1.0 + float(np.abs(values[name]).max())
        return (drive + (float(np.abs(s).max()) + threshold) * spiking) * 2.0**finest < 2.0**bits
    return drive * 2.0**grid < 2.0**bits


def _fraction(values: Any) -> int:
    """The least f such that all values are multiples of 2^-f; 200 where there is none to speak of."""
    values = np.asarray(values, dtype=np.float64)
    return next((f for f in range(60) if (np.ldexp(values, f) == np.rint(np.ldexp(values, f))).all()), 200)


def demanded(case: Case, family: str, precision: str, expected: sb.Trace) -> bool:
    """Whether equal spikes can be demanded without a certificate; sections 6 and 7 of the design."""
    if precision == "float64" or (family == "dyadic" and fits(case, 24)):
        return True
    return smallest_margin(case.graph, expected) > MARGIN


def assert_alike(case: Case, expected: sb.Trace, actual: sb.Trace, tolerance: float) -> None:
    """Spikes equal to the bit, all other values within the tolerance of their scale."""
    assert actual.arrays().keys() == expected.arrays().keys()
    for name, wanted in expected.spikes.items():
        unit = case.graph.nodes[name]
        if unit.spiking:
            np.testing.assert_array_equal(actual.spikes[name], wanted, err_msg=name)
        else:
            _assert_close(name, actual.spikes[name], wanted, tolerance)
    for name, wanted in expected.outputs.items():
        _assert_close(name, actual.outputs[name], wanted, tolerance)
    for name, wanted in expected.states.items():
        _assert_close(name, actual.states[name], wanted, tolerance)


def _assert_close(name: str, found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale, err_msg=name)


EVERYTHING = {
    *("Input", "Linear", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "Unit", "Output"),
    *map(str, sb.Reset),
    *map(repr, (sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.5), sb.Step(), sb.Step(at_threshold=True))),
    *(f"over_time {how}" for how in (None, "mean", "sum", "max", "last")),
    *(f"delay {steps}" for steps in range(6)),
    *("a delay as long as the run", "a delay far beyond the run"),
    *("per neuron", "shared", "self-loop", "unheard input", "threshold <= 0", "decay 0", "decay 1", "groups"),
}
"""What a sweep should meet; generic graphs also have soft units and integrators."""


def features(graph: sb.Graph) -> set[str]:
    """What of section 2 of the design a graph makes use of."""
    found = {type(node).__name__ for node in graph.nodes.values()}
    for unit in graph.of_kind(sb.Unit).values():
        found |= {str(unit.reset), repr(unit.g), repr(unit.h), "per neuron" if unit.decay.ndim else "shared"}
        found |= {f"decay {value:.0f}" for value in (0, 1) if (unit.decay == value).any()}
        found |= {"threshold <= 0"} if (unit.threshold <= 0).any() else set()
    found |= {f"over_time {node.over_time}" for node in graph.of_kind(sb.Output).values()}
    found |= {f"delay {edge.delay}" for edge in graph.edges}
    found |= {"a delay as long as the run" for edge in graph.edges if abs(edge.delay - STEPS) <= 1}
    found |= {"a delay far beyond the run" for edge in graph.edges if edge.delay >= 64}
    found |= {"self-loop" for edge in graph.edges if edge.source == edge.target}
    found |= {"unheard input" for name in graph.of_kind(sb.Input) if not graph.outgoing[name]}
    return found | {"groups" for node in graph.of_kind(sb.Conv2d).values() if node.groups > 1}

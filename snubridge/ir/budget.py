"""Fixed point: the grid of every node's output, and how many steps of it any of its sums may take.

    node                output is a multiple of 2^-f, with f =
    Input               its fraction_bits
    Linear, Conv2d      f of what it receives + its own fraction_bits (its bias lies on a coarser grid)
    AvgPool2d           f of what it receives + log2 of its window, a power of two
    others              f of what it receives: the finest of the terms of a sum
    Unit                0 if it spikes; with h=Identity() its own grid F, the finer of its own fraction_bits and
                        of its drive's, which its state is rounded to

A sum of whole steps is exact in any order if the sum of the magnitudes of its terms fits the significand: 2^53 steps in
float64, 2^24 in float32. What a node needs, in steps of its own grid, is the most of

    sum         |weight| * max|x| + |bias| over all that one sum collects; of a Unit plus 2^(state_bits-1), plus
                |threshold| where it is subtracted (Identity h, subtractive resets)
    carried     (2^(state_bits-1) + |threshold| with subtractive resets) * 2^decay_bits
    parameter   the largest weight, or slope, by itself: what multiplies a zero may not overflow
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snubridge.errors import Breach
from snubridge.ir.functions import Identity, LeakyReLU, Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Input, Linear, Node, Output, SumPool2d, Unit
from snubridge.ir.numbers import Array, FixedPoint
from snubridge.ir.structure import order, shapes, strongly_connected

STEPS = {"float32": 2**24, "float64": 2**53}
"""Up to how many steps of a grid a floating-point format holds every whole number."""
FINEST = {"float32": 126, "float64": 1022}
"""Fraction bits of the finest grid whose steps are normal numbers, which no engine flushes to zero."""
ROUNDS, LEAST_ROUNDS, MOST_VISITS = 64, 4, 20_000
"""How often a bound is carried around a cycle without a spiking unit before it counts as growing: once for each of its
nodes and ROUNDS more, as long as no more than MOST_VISITS nodes are looked at for that."""
SHOWN = 20
"""Names of nodes in a message."""
SUBTRACTIVE = (Reset.SUBTRACT, Reset.SUBTRACT_DECAYED)


@dataclass(frozen=True)
class StateGrid:
    """What a unit's state is rounded and saturated to: steps of 2^-fraction_bits, from ``low`` to ``high``."""

    fraction_bits: int
    rounding: str
    low: float
    high: float


@dataclass(frozen=True)
class Need:
    """What a node needs: ``steps`` of 2^-``grid``, for its ``what``: "sum", "carried" or "parameter"."""

    steps: int
    grid: int
    what: str


@dataclass
class Budget:
    """Derived of a graph: ``grids`` (f of each output), ``states`` (of each Unit), ``needs``, and the ``breaches``.

    ``bounds``: the largest magnitude of each output, in steps of its grid, broadcastable to one sample.
    """

    grids: dict[str, int] = field(default_factory=dict)
    states: dict[str, StateGrid] = field(default_factory=dict)
    needs: dict[str, Need] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    bounds: dict[str, Array] = field(default_factory=dict)


def budget(graph: Graph) -> Budget:
    """The budget of a graph in FixedPoint that is sound otherwise, computed once."""
    found: Budget | None = graph.__dict__.get("_budget")
    if found is None:
        found = graph.__dict__["_budget"] = _Derivation(graph).budget
    return found


def state_grids(graph: Graph) -> Mapping[str, StateGrid]:
    """The grid of every unit's state, for a valid graph; of a graph in floats, none."""
    return dict(budget(graph).states) if isinstance(graph.numbers, FixedPoint) else {}


def beyond(graph: Graph, precision: str) -> tuple[str, ...]:
    """Why not every sum of a valid graph in FixedPoint is exact in ``precision``, node by node; empty if all are."""
    found, numbers = budget(graph), graph.numbers
    assert isinstance(numbers, FixedPoint)
    reasons = [
        f"node {name}: {_shown(need)}, above the {STEPS[precision]:,} up to which {precision} is exact: "
        f"{_what_fits(graph, name, need, precision)}"
        for name, need in found.needs.items()
        if need.steps > STEPS[precision]
    ]
    finest = {name: _finest(found, name, numbers) for name in graph.nodes}
    reasons += [
        f"node {name}: steps of 2^-{bits}, below the normal numbers of {precision}: take fewer fraction_bits"
        for name, bits in finest.items()
        if bits > FINEST[precision]
    ]
    return tuple(reasons)


def _finest(found: Budget, name: str, numbers: FixedPoint) -> int:
    """The fraction bits of the finest grid that a node's arithmetic meets."""
    own = found.states[name].fraction_bits + numbers.decay_bits if name in found.states else 0
    return max(own, found.grids.get(name, 0))


def _shown(need: Need) -> str:
    what = {
        "sum": "its sums reach",
        "carried": "its carried state before rounding reaches",
        "parameter": "its largest weight or slope is",
    }[need.what]
    return f"{what} {need.steps:,} steps of 2^-{need.grid}"


def _what_fits(graph: Graph, name: str, need: Need, precision: str) -> str:
    """A change that brings a node within the budget."""
    numbers, node = graph.numbers, graph.nodes[name]
    assert isinstance(numbers, FixedPoint)
    excess = (-(-need.steps // STEPS[precision]) - 1).bit_length()
    if need.what == "carried":
        less = {"decay_bits": numbers.decay_bits - excess}
        if not (isinstance(node, Unit) and node.reset in SUBTRACTIVE):  # whose threshold counts as well
            less["state_bits"] = numbers.state_bits - excess
        fitting = [f"{field}={bits}" for field, bits in less.items() if bits >= (2 if field == "state_bits" else 0)]
        return f"{' or '.join(fitting) or 'fewer state_bits and decay_bits, or a smaller threshold'} would fit"
    own = numbers.bits_of(name) if isinstance(node, Linear | Conv2d | Unit) else None
    if own is not None and own >= excess:
        fewer = f"{excess} fraction bit{'s' * (excess != 1)} fewer"
        return f"{fewer} ({own - excess} for {name}, or fewer in what it receives) would fit"
    return f"a range, or weights, smaller by a factor of 2^{excess} would fit"


class _Over(Exception):
    """More steps than float64 counts."""

    def __init__(self, need: Need) -> None:
        self.need = need


class _Derivation:
    """Walks through the parts of a graph, sources before targets; ``budget`` is what it finds."""

    def __init__(self, graph: Graph) -> None:
        numbers = graph.numbers
        assert isinstance(numbers, FixedPoint)
        self.graph, self.numbers, self.budget = graph, numbers, Budget()
        self.shapes = shapes(graph)
        self.spiking = {name for name, unit in graph.of_kind(Unit).items() if unit.spiking}
        for name in self.spiking:
            self.budget.grids[name], self.budget.bounds[name] = 0, np.ones((), np.int64)
        edges = [edge for edge in graph.edges if edge.source not in self.spiking]
        heard = {edge.source for edge in edges if edge.source == edge.target}
        place = {name: index for index, name in enumerate(order(graph))}
        for part in strongly_connected(graph.nodes, edges):
            self._visit(tuple(sorted(part, key=place.__getitem__)), len(part) > 1 or part[0] in heard)

    def _visit(self, part: tuple[str, ...], cyclic: bool) -> None:
        received = {edge.source for name in part for edge in self.graph.incoming[name]} - set(part)
        if not received <= self.budget.bounds.keys():
            return  # a breach upstream has been named
        if cyclic and not self._closes(part):
            return
        for name in part:
            self._set_grid(name)
        if cyclic:  # where no node refines the grid, all of a cycle have the finest one that enters it
            finest = max(self.budget.grids[name] for name in part)
            for name in part:
                self.budget.grids[name] = finest
                self.budget.bounds[name] = np.zeros((), np.int64)
                self._set_state(name, finest)
        if self._settles(part, cyclic):
            return
        for name in part:
            if name not in self.spiking:  # which puts out 0 or 1 whatever it receives
                self.budget.bounds.pop(name, None)

    def _settles(self, part: tuple[str, ...], cyclic: bool) -> bool:
        """Whether the bounds of a part are found within the budget; what is not is put down as a breach."""
        inner = [e for name in part for e in self.graph.incoming[name] if e.source in part]
        fed_back = [edge for edge in inner if not isinstance(self.graph.nodes[edge.source], Unit)]
        loops = any(edge.source == edge.target for edge in fed_back)
        grows = cyclic and (loops or len(strongly_connected(part, fed_back)) < len(part))
        try:
            for _ in range(max(LEAST_ROUNDS, min(ROUNDS + len(part), MOST_VISITS // len(part))) if cyclic else 1):
                before = {name: self.budget.bounds.get(name, 0) for name in part}
                for name in part:
                    self.budget.bounds[name] = self._bound(name)
                if not cyclic or all(np.array_equal(before[name], self.budget.bounds[name]) for name in part):
                    return True
        except _Over as over:
            self.budget.needs[name] = over.need
            if not grows:
                self._refuse(name, over.need)
                return False
        names = ", ".join(part[:SHOWN]) + (f" and {len(part) - SHOWN} more" if len(part) > SHOWN else "")
        needed = "on a cycle of fixed-point numbers a unit, whose state saturates, or weights that die out"
        remedy = "Put a Unit on the cycle, or scale the weights on it down."
        self.budget.breaches.append(
            Breach(f"cycle through {names}", "a bound that grows at every turn", needed, remedy)
        )
        return False

    def _refuse(self, name: str, need: Need) -> None:
        needed = f"at most 2^53 = {STEPS['float64']:,}, up to which every sum is exact in float64"
        remedy = _what_fits(self.graph, name, need, "float64")
        self.budget.breaches.append(Breach(f"node {name}", _shown(need), needed, f"{remedy[0].upper()}{remedy[1:]}."))

    def _closes(self, part: tuple[str, ...]) -> bool:
        """Whether no node of a cycle without a spiking unit refines the grid."""
        growing = {name: self._refines(self.graph.nodes[name], name) for name in part}
        finer = {name: bits for name, bits in growing.items() if bits}
        for name, bits in finer.items():
            self.budget.breaches.append(
                Breach(
                    f"node {name} on the cycle through {', '.join(part[:SHOWN])}",
                    f"a grid finer by {bits} bits at every turn",
                    "0 bits: fraction_bits 0, or a window of one value, or a spiking unit on the cycle",
                    f"Take fraction_bits={{{name!r}: 0}} (weights that are integers), or a Step unit on the cycle.",
                )
            )
        return not finer

    def _refines(self, node: Node, name: str) -> int:
        if isinstance(node, Linear | Conv2d):
            return int(self.numbers.bits_of(name))
        return math.prod(node.kernel_size).bit_length() - 1 if isinstance(node, AvgPool2d) else 0

    def _received_grid(self, name: str) -> int:
        return max((self.budget.grids.get(edge.source, 0) for edge in self.graph.incoming[name]), default=0)

    def _set_grid(self, name: str) -> None:
        node, found = self.graph.nodes[name], self.budget
        if isinstance(node, Input):
            found.grids[name] = int(node.fraction_bits or 0)
            return
        bits = self._received_grid(name) + self._refines(node, name)
        if isinstance(node, Unit):
            bits = max(bits, int(self.numbers.bits_of(name)))
            self._set_state(name, bits)
        if name not in self.spiking:
            found.grids[name] = bits

    def _set_state(self, name: str, bits: int) -> None:
        if isinstance(self.graph.nodes[name], Unit):
            most = 2 ** (self.numbers.state_bits - 1)
            step = math.ldexp(1.0, -bits) if bits <= FINEST["float64"] else 0.0
            self.budget.states[name] = StateGrid(bits, self.numbers.rounding, -most * step, (most - 1) * step)

    def _bound(self, name: str) -> Array:
        """The largest magnitude of a node's output in steps, its need noted; ``_Over`` beyond float64."""
        node = self.graph.nodes[name]
        if isinstance(node, Input):
            steps = np.ldexp(max(abs(float(node.low or 0)), abs(float(node.high or 0))), self.budget.grids[name])
            return self._within(name, "sum", self.budget.grids[name], lambda kind: np.floor(steps).astype(kind))
        into = self._received_grid(name)
        terms = [
            (self.budget.bounds[edge.source], into - self.budget.grids[edge.source])
            for edge in self.graph.incoming[name]
        ]
        return BOUNDS[type(node)](self, name, node, terms, into)

    def _within(self, name: str, what: str, grid: int, total: Callable[[type], Any]) -> Array:
        """``total`` in whole steps, first as floats, which cannot wrap around, then exactly."""
        with np.errstate(over="ignore"):
            rough = float(np.max(total(np.float64)))
        if rough > STEPS["float64"]:
            raise _Over(Need(int(min(rough, 2.0**1000)), grid, what))
        exact: Array = np.asarray(total(np.int64))
        need = Need(int(exact.max()), grid, what)
        if need.steps > STEPS["float64"]:
            raise _Over(need)
        if name not in self.budget.needs or need.steps > self.budget.needs[name].steps:
            self.budget.needs[name] = need
        return exact

    def drive(self, name: str, terms: list[tuple[Array, int]], into: int) -> Array:
        """The bound of what a node receives."""
        return self._within(name, "sum", into, lambda kind: sum(_shifted(bound, by, kind) for bound, by in terms))

    def magnitudes(self, name: str, array: Array, grid: int, what: str) -> Array:
        """|array| in steps of a grid that holds it."""
        with np.errstate(over="ignore"):
            steps = np.abs(np.ldexp(array, grid))
        return self._within(name, what, grid, lambda kind: steps.astype(kind))


def _shifted(bound: Array, by: int, kind: type) -> Array:
    """``bound`` in steps that are finer by ``by`` bits."""
    if by > 62 and bool(bound.any()):
        return np.asarray(np.ldexp(bound.astype(np.float64), min(by, 900)))  # far beyond what is counted
    return np.asarray(bound.astype(kind) * kind(2 ** min(by, 62)))


def _along(bound: Array, axis: int, size: int) -> Array:
    """The bound of each of ``size`` places along one axis, counted from the end of a sample's."""
    if bound.ndim >= -axis:
        bound = bound.max(axis=tuple(at for at in range(bound.ndim) if at != bound.ndim + axis))
        return np.broadcast_to(bound, size)
    return np.broadcast_to(bound.max(), size)


Terms = list[tuple[Array, int]]


def _linear(at: _Derivation, name: str, node: Linear, terms: Terms, into: int) -> Array:
    x = _along(at.drive(name, terms, into), -1, node.weight.shape[1])
    weight = at.magnitudes(name, node.weight, int(at.numbers.bits_of(name)), "parameter")
    return _weighted(at, name, weight, x, node.bias)


def _conv2d(at: _Derivation, name: str, node: Conv2d, terms: Terms, into: int) -> Array:
    outputs, depth = node.weight.shape[:2]
    x = _along(at.drive(name, terms, into), -3, depth * node.groups)
    magnitudes = at.magnitudes(name, node.weight, int(at.numbers.bits_of(name)), "parameter")
    grid = at.budget.grids[name]
    kernels = at._within(name, "sum", grid, lambda kind: magnitudes.astype(kind).sum(axis=(2, 3)))
    group = np.arange(outputs) // (outputs // node.groups)
    received = x.reshape(node.groups, depth)[group]
    bias = _bias(at, name, node.bias, grid)
    total = at._within(
        name, "sum", grid, lambda kind: (kernels.astype(kind) * received.astype(kind)).sum(axis=1) + bias.astype(kind)
    )
    return total[:, None, None]


def _weighted(at: _Derivation, name: str, weight: Array, x: Array, bias: Array | None) -> Array:
    grid = at.budget.grids[name]
    steps = _bias(at, name, bias, grid)
    return at._within(name, "sum", grid, lambda kind: weight.astype(kind) @ x.astype(kind) + steps.astype(kind))


def _bias(at: _Derivation, name: str, bias: Array | None, grid: int) -> Array:
    return np.zeros((), np.int64) if bias is None else at.magnitudes(name, bias, grid, "sum")


def _pool(at: _Derivation, name: str, node: AvgPool2d | SumPool2d, terms: Terms, into: int) -> Array:
    received = at.drive(name, terms, into)
    x = received.max() if received.ndim < 3 else received.max(axis=(1, 2), keepdims=True)
    window = math.prod(node.kernel_size)
    return at._within(name, "sum", at.budget.grids[name], lambda kind: x.astype(kind) * kind(window))


def _flatten(at: _Derivation, name: str, node: Flatten, terms: Terms, into: int) -> Array:
    received = at.drive(name, terms, into)
    source = at.graph.incoming[name][0].source
    return received if len(at.shapes[source]) == 1 else np.asarray(received.max())


def _unit(at: _Derivation, name: str, node: Unit, terms: Terms, into: int) -> Array:
    grid, numbers = at.budget.states[name].fraction_bits, at.numbers
    drive = at.drive(name, [(bound, by + grid - into) for bound, by in terms], grid)
    most, integrates = 2 ** (numbers.state_bits - 1), isinstance(node.h, Identity)
    threshold = np.zeros((), np.int64)
    if integrates or node.reset in SUBTRACTIVE:
        threshold = at.magnitudes(name, node.threshold, grid, "sum")
    if isinstance(node.g, LeakyReLU):
        at.magnitudes(name, np.asarray(node.g.slope), 0, "parameter")
    at._within(name, "sum", grid, lambda kind: drive.astype(kind) + kind(most) + threshold.astype(kind))
    taken = threshold if node.reset in SUBTRACTIVE else np.zeros((), np.int64)
    decay = 2**numbers.decay_bits
    at._within(name, "carried", grid + numbers.decay_bits, lambda kind: (kind(most) + taken.astype(kind)) * kind(decay))
    return threshold + most if integrates else np.ones((), np.int64)


def _output(at: _Derivation, name: str, node: Output, terms: Terms, into: int) -> Array:
    return at.drive(name, terms, into)


BOUNDS: Mapping[type[Node], Callable[..., Array]] = {
    Linear: _linear,
    Conv2d: _conv2d,
    AvgPool2d: _pool,
    SumPool2d: _pool,
    Flatten: _flatten,
    Unit: _unit,
    Output: _output,
}
"""By kind, the bound of an output from those of what is received: (bound, by how many bits its grid is coarser)."""


def breaches(graph: Graph) -> Iterator[Breach]:
    """What of a graph in FixedPoint cannot be exact in float64, or has no grid."""
    found = budget(graph)
    yield from found.breaches
    numbers = graph.numbers
    assert isinstance(numbers, FixedPoint)
    for name in graph.nodes:
        finest = _finest(found, name, numbers)
        if finest > FINEST["float64"]:
            needed = f"2^-{FINEST['float64']} or coarser, the normal numbers of float64"
            yield Breach(f"node {name}", f"a grid of 2^-{finest}", needed, "Take fewer fraction_bits along the way.")
    most = 2 ** (numbers.state_bits - 1)
    for name, unit in graph.of_kind(Unit).items():
        if name in found.states:
            steps = np.ldexp(unit.initial_state, found.states[name].fraction_bits)
            if (steps < -most).any() or (steps > most - 1).any():
                yield Breach(
                    f"node {name}, initial_state",
                    f"up to {np.abs(unit.initial_state).max()}, beyond the range of a state",
                    f"from {-most} to {most - 1} steps of 2^-{found.states[name].fraction_bits}",
                    "Take more state_bits, or a smaller initial state.",
                )


def divides_exactly(node: AvgPool2d) -> bool:
    """Whether a mean over the window divides without rounding."""
    count = math.prod(node.kernel_size)
    return count & (count - 1) == 0

"""The random graphs over the whole space: valid, reproducible, and neither silent, nor saturated, nor lopsided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import shapes, strongly_connected
from snubridge.bridge.conformance import Case, random_graph
from snubridge.bridge.conformance.space import decidable
from snubridge.bridge.conformance.suite import SEEDS_WHOLE
from snubridge.ir.nodes import REDUCTIONS

BOTH = pytest.mark.parametrize("precision", ["float32", "float64"])

SHARES = {
    **dict.fromkeys(["Linear"], 0.7),
    **dict.fromkeys(["Conv2d"], 0.3),
    **dict.fromkeys(["AvgPool2d", "SumPool2d", "Flatten"], 0.1),
    **dict.fromkeys(sb.Reset, 0.25),
    **dict.fromkeys([sb.Identity, sb.ReLU, sb.LeakyReLU], 0.35),
    "Step": 0.5,
    "at_threshold": 0.25,
    **dict.fromkeys(["Sigmoid", "Tanh"], 0.15),
    "h Identity": 0.04,
    **dict.fromkeys(REDUCTIONS, 0.15),
    "recorded whole": 0.5,
    **dict.fromkeys([f"delay {n}" for n in range(6)], 0.15),
    **dict.fromkeys(["cycle", "lengths", "several outputs", "chain of linear nodes"], 0.35),
    **dict.fromkeys(["self-loop", "initial state", "parameters per neuron", "one value for all"], 0.3),
    **dict.fromkeys(["several inputs", "unit over an image", "Linear on several axes", "threshold <= 0"], 0.1),
    **dict.fromkeys(["decay 0", "decay 1", "any decay", "groups", "dilation", "stride", "padding"], 0.1),
    **dict.fromkeys(["float32", "float64"], 0.25),
    **dict.fromkeys(["B = 1", "B > 1"], 0.25),
    "T = 1": 0.01,
    "an Input that nothing hears": 0.01,
    "spikes": 0.7,
    "neither silent nor saturated": 0.65,
}
"""What at least this share of the graphs holds."""


def traits(case: Case) -> Iterator[object]:
    """What a case holds, of the keys of ``SHARES``."""
    graph, expected, sizes = case.graph, case.expected, shapes(case.graph)
    steps, samples = next(iter(expected.spikes.values())).shape[:2]
    linear = {name for name, node in graph.nodes.items() if not isinstance(node, sb.Input | sb.Unit | sb.Output)}
    rates = [float(expected.spikes[name].mean()) for name, unit in graph.of_kind(sb.Unit).items() if unit.spiking]
    yield graph.numbers.name
    yield from (f"delay {edge.delay}" for edge in graph.edges)
    yield from holding(
        {
            "B = 1": samples == 1,
            "B > 1": samples > 1,
            "T = 1": steps == 1,
            "lengths": case.lengths is not None,
            "several inputs": len(graph.of_kind(sb.Input)) > 1,
            "several outputs": len(graph.of_kind(sb.Output)) > 1,
            "an Input that nothing hears": any(not graph.outgoing[name] for name in graph.of_kind(sb.Input)),
            "self-loop": any(edge.source == edge.target for edge in graph.edges),
            "cycle": any(len(part) > 1 for part in strongly_connected(graph.nodes, graph.edges)),
            "chain of linear nodes": any({edge.source, edge.target} <= linear for edge in graph.edges),
            "spikes": max(rates, default=0) > 0,
            "neither silent nor saturated": 0 < sum(rates) < 0.95 * len(rates),
        }
    )
    for name, node in graph.nodes.items():
        if isinstance(node, sb.Output):
            yield node.over_time or "recorded whole"
        elif isinstance(node, sb.Unit):
            yield from unit_traits(node, len(sizes[name]))
        else:
            yield type(node).__name__
        if isinstance(node, sb.Linear) and len(sizes[name]) > 1:
            yield "Linear on several axes"
        if isinstance(node, sb.Conv2d):
            plain = {"groups": 1, "dilation": (1, 1), "stride": (1, 1), "padding": (0, 0)}
            yield from (field for field, value in plain.items() if getattr(node, field) != value)


def unit_traits(unit: sb.Unit, axes: int) -> Iterator[object]:
    yield unit.reset
    yield type(unit.g)
    yield "h Identity" if isinstance(unit.h, sb.Identity) else type(unit.h).__name__
    yield from holding(
        {
            "at_threshold": unit.h == sb.Step(at_threshold=True),
            "initial state": unit.initial_state.any(),
            "threshold <= 0": (unit.threshold <= 0).any(),
            "decay 0": (unit.decay == 0).any(),
            "decay 1": (unit.decay == 1).any(),
            "any decay": ((unit.decay > 0) & (unit.decay < 1)).any(),
            "parameters per neuron": unit.decay.ndim > 0,
            "one value for all": unit.decay.ndim == 0,
            "unit over an image": axes == 3,
        }
    )


def holding(table: dict[str, object]) -> list[str]:
    return [trait for trait, holds in table.items() if holds]


@BOTH
def test_all_that_there_is_occurs(precision):
    cases = [random_graph(seed, precision=precision) for seed in range(SEEDS_WHOLE)]
    for case in cases:
        sb.validate(case.graph)
    found = Counter(trait for case in cases for trait in set(traits(case)))
    print({str(trait): found[trait] for trait in SHARES})
    scarce = {str(trait): found[trait] for trait, share in SHARES.items() if found[trait] < share * SEEDS_WHOLE}
    assert not scarce


@BOTH
def test_hardly_any_is_left_to_rounding(precision):
    cases = [random_graph(seed, precision=precision) for seed in range(SEEDS_WHOLE)]
    left = sum(not decidable(case, precision) for case in cases if case.graph.numbers.name != "float64")
    assert left <= (0 if precision == "float64" else 0.1 * SEEDS_WHOLE)


def test_a_near_tie_is_left_to_rounding_and_an_exact_one_is_not():
    def driven(threshold: float, drive: float) -> Case:
        nodes = {"in": sb.Input((1,)), "u": sb.Unit(0.5, threshold)}
        return Case("driven", sb.Graph(nodes, [sb.Edge("in", "u")]), np.full((3, 1, 1), drive))

    assert decidable(driven(0.5, 0.5), "float32")  # a tie on a coarse grid
    assert decidable(driven(0.3, 0.5), "float32")
    near = driven(0.3, 0.3 + 1e-6)
    assert not decidable(near, "float32")
    assert decidable(near, "float64")


def test_the_same_arguments_give_the_same_graph():
    one = random_graph.__wrapped__(7, precision="float32")
    two = random_graph.__wrapped__(7, precision="float32")
    assert one is not two
    assert one.graph == two.graph
    assert one.lengths == two.lengths
    for name, spikes in one.expected.spikes.items():
        np.testing.assert_array_equal(spikes, two.expected.spikes[name])

"""ONNX: random graphs over all that a graph may mean run on ONNX Runtime alike, and come back to the bit."""

from __future__ import annotations

from typing import Any

import pytest
from snubridge_onnx import OnnxAdapter

import snubridge as sb
from tests.adapters.onnx.models import TOLERANCE, read
from tests.adapters.sweep import EVERYTHING, assert_alike, demanded, features, random_case

SEEDS = 50


@pytest.mark.parametrize(
    ("family", "precision", "numbers", "least"),
    [
        ("dyadic", "float32", sb.Float32(), SEEDS),
        ("dyadic", "float64", sb.Float32(), SEEDS),
        ("dyadic", "float64", sb.Float64(), SEEDS),
        ("generic", "float32", sb.Float32(), 35),  # the others have a near-tie
        ("generic", "float64", sb.Float32(), SEEDS),
        ("generic", "float64", sb.Float64(), SEEDS),
    ],
)
def test_whatever_a_graph_means(family: Any, precision: str, numbers: Any, least: int) -> None:
    """None is refused, 0 spikes differ, all values lie within the tolerance, and each graph is read back."""
    compared = spikes = 0
    met: set[str] = set()
    for seed in range(SEEDS):
        case = random_case(seed, family, numbers)
        expected = sb.simulate(case.graph, case.inputs, record=("spikes", "states"), lengths=case.lengths)
        program = OnnxAdapter().lower(case.graph, precision=precision)
        back = read(program.native)
        assert back == case.graph
        assert back.metadata == case.graph.metadata
        actual = program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        if demanded(case, family, precision, expected):
            assert_alike(case, expected, actual, TOLERANCE[precision])
            compared += 1
            spikes += sum(int(y.sum()) for name, y in expected.spikes.items() if case.graph.nodes[name].spiking)
            met |= features(case.graph)
    assert compared >= least
    assert spikes > 3_000
    assert not (EVERYTHING | ({"Sigmoid()", "Tanh()"} if family == "generic" else set())) - met

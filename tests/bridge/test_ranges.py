"""No value of a run exceeds what its inputs and parameters allow."""

from __future__ import annotations

import math

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import largest_value, prepare
from snubridge.bridge.conformance.space import random_graph


def test_no_run_exceeds_its_range():
    finite = 0
    for seed in range(150):
        case = random_graph(seed, precision="float64")
        allowed = largest_value(case.graph, prepare(case.graph, case.inputs))
        trace = sb.simulate(case.graph, case.inputs, record=("spikes", "states"))
        values = [
            *trace.states.values(),
            *(array for name, array in trace.outputs.items() if name not in trace.reduced),
        ]
        reached = [np.abs(array).max() for array in values]
        assert max(reached, default=0) <= allowed * (1 + 1e-12)
        finite += allowed < 1e30
    assert finite > 50, "the range says nothing"


def test_what_runs_in_circles_has_no_range():
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[2.0]]), "out": sb.Output()}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "w", 1), sb.Edge("w", "out")]
    graph = sb.Graph(nodes, edges)
    assert largest_value(graph, prepare(graph, np.ones((3, 1, 1)))) == math.inf


@pytest.mark.parametrize("inputs", [[1e10, 1, 1, 1], [1, 1, 1e10, 1]])
def test_onnx_says_that_a_state_overflows(inputs):
    pytest.importorskip("onnxruntime")
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[1e30]]), "u": sb.Unit(0.5, 1.0)}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")])
    with pytest.raises(sb.BadInput, match="overflows float32"):
        sb.export(graph, "onnx").run(np.reshape(inputs, (-1, 1, 1)))

"""ONNX: every unit spikes on ONNX Runtime as the reference says."""

from __future__ import annotations

import numpy as np
import pytest
from snubridge_onnx import OnnxAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance
from tests.adapters.onnx.models import (
    BOTH,
    RESETS,
    G,
    H,
    check_alike,
    dyadic,
    recurrent,
)


class TestOnnx(AdapterConformance):
    adapter = OnnxAdapter()
    suffix = ".onnx"


class TestOnnxInFloat64(AdapterConformance):
    adapter = OnnxAdapter()
    suffix = ".onnx"
    options = {"precision": "float64"}  # noqa: RUF012  # as in the suite


# Every reset, g and h


@BOTH
@pytest.mark.parametrize("reset", RESETS)
def test_every_kind_of_unit(reset: sb.Reset, precision: str) -> None:
    """Step units on a dyadic grid (ties included) equal to the spike, soft ones within the tolerance."""
    inputs = dyadic((8, 3, 2, 3), 6) > 0.5
    decay = np.array([[0.0, 0.5, 1.0, 1.0], [1.0, 0.0, 1.0, 0.5]])
    spikes = ties = 0
    for g in G:
        for h in H:
            unit = sb.Unit(decay, 0.25, reset=reset, g=g, h=h, initial_state=dyadic((2, 4), 7))
            trace = check_alike(recurrent(unit), inputs, precision)
            if isinstance(h, sb.Step):
                spikes += int(trace.spikes["hidden"].sum())
                ties += int((trace.states["hidden"] == 0.25).sum())
    assert spikes > 100
    assert ties > 10


def test_a_slope_keeps_its_digits_in_float64() -> None:
    """LeakyRelu's alpha is a float32 attribute; 0.1 would be wrong by 1.5e-9."""
    unit = sb.Unit(1.0, 1.0, g=sb.LeakyReLU(0.1), reset=sb.Reset.NONE)
    graph = sb.Graph({"in": sb.Input((1,)), "u": unit}, [sb.Edge("in", "u")], numbers=sb.Float64())
    trace = sb.export(graph, "onnx").run(np.full((1, 1, 1), -1.0), record=("states",))
    assert trace.states["u"].item() == -0.1


@BOTH
def test_a_float64_graph_of_inconvenient_numbers(precision: str) -> None:
    rng = np.random.default_rng(8)
    unit = sb.Unit(rng.uniform(0, 1, (2, 4)), rng.uniform(0.1, 1, (2, 4)), g=sb.LeakyReLU(0.1))
    graph = recurrent(unit, sb.Float64())
    if precision == "float64":
        check_alike(graph, rng.normal(size=(40, 3, 2, 3)), precision)
    else:
        with pytest.raises(sb.Unsupported, match="precision float32 would round the parameters of a float64 graph"):
            sb.export(graph, "onnx", precision=precision)


def test_values_beyond_float32_are_no_result() -> None:
    integrator = sb.Unit(1.0, 0.0, reset=sb.Reset.NONE, h=sb.Identity())
    graph = sb.Graph({"in": sb.Input((1,)), "u": integrator}, [sb.Edge("in", "u")])
    inputs = np.full((2, 1, 1), 3e38)
    with pytest.raises(sb.BadInput, match="spikes/u overflows float32 on ONNX Runtime"):
        sb.export(graph, "onnx").run(inputs)
    check_alike(graph, inputs, "float64")


def test_subnormal_numbers_are_not_flushed() -> None:
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(1.0, 3e-40)}, [sb.Edge("in", "u")])
    trace = sb.export(graph, "onnx").run(np.full((4, 1, 1), 2e-40))
    assert trace.spikes["u"].ravel().tolist() == [0, 1, 0, 1]

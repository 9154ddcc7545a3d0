"""The torch network as a backend."""

from __future__ import annotations

import pytest
from snubridge_torch import TorchAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance


class TestTorch(AdapterConformance):
    adapter = TorchAdapter()
    suffix = ".safetensors"


class TestTorchFloat64(AdapterConformance):
    adapter = TorchAdapter()
    options = {"precision": "float64"}  # noqa: RUF012  # as in the suite
    suffix = ".safetensors"


def test_a_float64_graph_is_not_rounded_to_float32():
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.3, 0.5)}, [sb.Edge("in", "u")], numbers=sb.Float64())
    with pytest.raises(sb.Unsupported, match="would round the parameters"):
        sb.export(graph, "torch", precision="float32")
    assert sb.export(graph, "torch").rounding.precision == "float64"


def test_an_unknown_precision_is_refused():
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.3, 0.5)}, [sb.Edge("in", "u")])
    with pytest.raises(sb.BadInput, match="give one of float32, float64"):
        sb.export(graph, "torch", precision="bfloat16")

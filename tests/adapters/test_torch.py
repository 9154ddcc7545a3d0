"""The torch network as a backend."""

from __future__ import annotations

import itertools

import numpy as np
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


def convolutional(numbers):
    """Two inputs, every node kind, a recurrent core with a longer delay, outputs over time and not."""
    rng = np.random.default_rng(0)
    nodes = {
        "image": sb.Input((2, 6, 6)),
        "cue": sb.Input((3,)),
        "conv": sb.Conv2d(rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4), padding=1, groups=2),
        "maps": sb.Unit(0.7, 0.6, reset=sb.Reset.LATERAL, initial_state=rng.normal(size=(4, 6, 6))),
        "again": sb.Conv2d(rng.normal(size=(4, 4, 1, 1)) / 4),
        "sum": sb.SumPool2d(2),
        "avg": sb.AvgPool2d(3, 1, 1),
        "flat": sb.Flatten(),
        "dense": sb.Linear(rng.normal(size=(8, 36)) / 4),
        "cued": sb.Linear(rng.normal(size=(8, 3))),
        "unit": sb.Unit(rng.random(8), 0.4, g=sb.ReLU(), reset=sb.Reset.SUBTRACT),
        "soft": sb.Unit(0.5, 0.1, h=sb.Sigmoid(), reset=sb.Reset.NONE),
        **{how: sb.Output(how) for how in ("mean", "max", "last")},
        "total": sb.Output("sum"),
        "spikes": sb.Output(),
    }
    chain = ["image", "conv", "maps", "sum", "avg", "flat", "dense", "unit", "soft"]
    edges = [sb.Edge(a, b) for a, b in itertools.pairwise(chain)]
    edges += [sb.Edge("maps", "again", 2), sb.Edge("again", "maps"), sb.Edge("cue", "cued", 1), sb.Edge("cued", "unit")]
    edges += [sb.Edge("soft", how) for how in ("mean", "max", "last")]
    edges += [sb.Edge("unit", "total"), sb.Edge("unit", "spikes", 1)]
    return sb.Graph(nodes, edges, numbers=numbers)


@pytest.mark.parametrize(
    ("numbers", "precision"), [(sb.Float32(), None), (sb.Float32(), "float64"), (sb.Float64(), None)]
)
def test_a_convolutional_graph_with_all_there_is(numbers, precision):
    graph = convolutional(numbers)
    rng = np.random.default_rng(1)
    inputs = {"image": rng.normal(size=(15, 3, 2, 6, 6)), "cue": rng.normal(size=(15, 3, 3))}
    lengths = [15, 7, 1]
    report = sb.verify(graph, inputs, {"torch": ("torch", {"precision": precision})}, lengths=lengths)
    assert report.equal, report.to_text()
    program = sb.export(graph, "torch", precision=precision)
    trace = program.run(inputs, record=("spikes", "states"), lengths=lengths)
    expected = sb.simulate(graph, inputs, record=("spikes", "states"), lengths=lengths)
    assert trace.spikes["maps"].sum() > 100
    assert trace.spikes["unit"].sum() > 20
    single = program.rounding.precision == "float32"
    for group in ("states", "outputs"):
        for name, value in getattr(expected, group).items():
            scale = max(1.0, np.abs(value).max())
            tolerance = (1e-5 if single else 1e-9) * scale
            np.testing.assert_allclose(getattr(trace, group)[name], value, rtol=0, atol=tolerance)

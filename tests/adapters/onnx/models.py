"""Graphs and models that the tests of the ONNX adapter share."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import snubridge as sb

RESETS = tuple(sb.Reset)
G = (sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.5))
H = (sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh())
BOTH = pytest.mark.parametrize("precision", ["float32", "float64"])
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


def dyadic(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Multiples of 1/4 in [-1, 1.25]: sums of them are exact in any order, and ties occur."""
    return np.random.default_rng(seed).integers(-4, 6, shape) / 4


def recurrent(unit: sb.Unit, numbers: Any = None) -> sb.Graph:
    """An input of rank 2, a unit that hears itself, and what is flattened, delayed and integrated from it."""
    nodes = {
        "in": sb.Input((2, 3)),
        "w": sb.Linear(dyadic((4, 3), 1), dyadic((4,), 2)),
        "hidden": unit,
        "h": sb.Linear(dyadic((4, 4), 3) / 2),
        "flat": sb.Flatten(),
        "v": sb.Linear(dyadic((3, 8), 4)),
        "integrator": sb.Unit(0.5, 0.25, reset=sb.Reset.NONE, h=sb.Identity()),
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "w"),
        sb.Edge("w", "hidden"),
        sb.Edge("hidden", "h", 1),
        sb.Edge("h", "hidden"),
        sb.Edge("hidden", "flat", 2),
        sb.Edge("flat", "v"),
        sb.Edge("v", "integrator"),
        sb.Edge("integrator", "out"),
    ]
    return sb.Graph(nodes, edges, numbers=numbers or sb.Float32())


def small() -> sb.Graph:
    return recurrent(sb.Unit(dyadic((2, 4), 5) ** 2 / 2, 0.5, initial_state=0.25))


def convolutional() -> sb.Graph:
    """Two groups, every setting of a window, and both pools, of spikes."""
    nodes = {
        "in": sb.Input((4, 6, 7)),
        "conv": sb.Conv2d(dyadic((6, 2, 3, 2), 1), dyadic((6,), 2), (2, 1), (1, 2), (1, 2), groups=2),
        "spiking": sb.Unit(1.0, 0.5),
        "mean": sb.AvgPool2d((2, 4), (1, 2), (1, 1)),
        "sum": sb.SumPool2d(2, 1, 1),
        "flat": sb.Flatten(),
        "pooled": sb.Output(),
        "summed": sb.Output(),
    }
    chain = [("in", "conv"), ("conv", "spiking"), ("spiking", "mean"), ("mean", "flat"), ("flat", "pooled")]
    return sb.Graph(nodes, [sb.Edge(*ends) for ends in [*chain, ("spiking", "sum"), ("sum", "summed")]])


def read(source: Any) -> sb.Graph:
    return sb.import_graph(source, "onnx")


def model_bytes(graph: sb.Graph, **options: Any) -> bytes:
    data: bytes = sb.export(graph, "onnx", **options).native.SerializeToString(deterministic=True)
    return data


def check_alike(graph: sb.Graph, inputs: Any, precision: str, lengths: Any = None) -> sb.Trace:
    """Spikes equal, everything else within the tolerance, and the model sound and read back."""
    expected = sb.simulate(graph, inputs, record=("spikes", "states"), lengths=lengths)
    program = sb.export(graph, "onnx", precision=precision)
    actual = program.run(inputs, record=("spikes", "states"), lengths=lengths)
    for name, unit in graph.of_kind(sb.Unit).items():
        if unit.spiking:
            assert actual.spikes[name].dtype == np.uint8
    for key, wanted in expected.arrays().items():
        got = actual.arrays()[key]
        if wanted.dtype.kind == "f":
            scale = max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[precision] * scale, err_msg=key)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=key)
    onnx.checker.check_model(program.native, full_check=True)
    assert read(program.native) == graph
    return expected

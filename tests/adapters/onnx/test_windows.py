"""ONNX: convolution and pools, as kernels of the runtime and unrolled where it has none."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

import snubridge as sb
from tests.adapters.onnx.models import BOTH, check_alike, convolutional, dyadic, read


def windowed(node: Any, shape: tuple[int, ...] = (1, 3, 3)) -> sb.Graph:
    """An input, a node over windows of it, and an output."""
    nodes = {"in": sb.Input(shape), "w": node, "out": sb.Output()}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "out")])


@BOTH
def test_convolution_and_pooling(precision: str) -> None:
    trace = check_alike(convolutional(), dyadic((5, 2, 4, 6, 7), 3), precision)
    assert trace.spikes["spiking"].sum() > 100


@BOTH
def test_windows_of_every_form_are_exact(precision: str) -> None:
    """60 nodes of each kind: products and sums on a grid equal to the bit, and means divided as the reference does."""
    rng = np.random.default_rng(21)
    compared = 0
    while compared < 180:
        channels, groups, height, width = (int(n) for n in rng.integers(1, (5, 3, 15, 15)))
        kernel, stride, padding, dilation = (
            tuple(int(n) for n in rng.integers(least, end, 2)) for least, end in ((1, 6), (1, 4), (0, 7), (1, 4))
        )
        pad = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
        weight = rng.integers(-16, 17, (groups * int(rng.integers(1, 9)), channels, *kernel)) / 16
        bias = rng.integers(-16, 17, len(weight)) / 16 if rng.random() < 0.5 else None
        shape = (groups * channels, height, width)
        for node in (
            sb.Conv2d(weight, bias, stride, padding, dilation, groups),
            sb.AvgPool2d(kernel, stride, pad),
            sb.SumPool2d(kernel, None, pad),
        ):
            graph = windowed(node, shape)
            try:
                sb.validate(graph)
            except sb.InvalidGraph:  # not one window fits
                continue
            x = rng.integers(-16, 17, (2, int(rng.integers(1, 4)), *shape)) / 16
            found = sb.export(graph, "onnx", precision=precision).run(x).outputs["out"]
            wanted = sb.simulate(graph, x).outputs["out"].astype(precision)
            np.testing.assert_array_equal(found, wanted, err_msg=f"{node} on {shape}")
            compared += 1


def test_a_mean_before_a_product_keeps_its_digits_in_float64() -> None:
    """ONNX Runtime fuses a division by a constant into the product behind it, with a float32 factor: 2e-8 off."""
    nodes = {"in": sb.Input((1, 2, 3)), "mean": sb.AvgPool2d((2, 3)), "w": sb.Linear([[0.7]]), "out": sb.Output()}
    edges = [sb.Edge("in", "mean"), sb.Edge("mean", "w"), sb.Edge("w", "out")]
    graph = sb.Graph(nodes, edges, numbers=sb.Float64())
    x = np.random.default_rng(22).normal(size=(5, 2, 1, 2, 3))
    found = sb.export(graph, "onnx").run(x).outputs["out"]
    np.testing.assert_allclose(found, sb.simulate(graph, x).outputs["out"], rtol=1e-14)


def test_the_evaluator_of_onnx_agrees_on_what_is_unrolled() -> None:
    """A second implementation of the standard reads the same operators alike."""
    graph, x = convolutional(), dyadic((5, 2, 4, 6, 7), 3).astype(np.float32)
    model = sb.export(graph, "onnx", precision="float64").native
    names = [value.name for value in model.graph.output]
    found = dict(zip(names, ReferenceEvaluator(model).run(None, {"in": x}), strict=True))
    expected = sb.simulate(graph, x)
    np.testing.assert_array_equal(found["spikes/spiking"], expected.spikes["spiking"])
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(found[f"outputs/{name}"], values)


# The size of what is unrolled


def test_the_size_of_the_windows_is_stated_and_limited() -> None:
    """Positions times values of a window, over all channels."""
    sizes = {"conv": 4 * 3 * 2 * 3 * 9, "mean": 6 * 2 * 4 * 4 * 4, "sum": 6 * 2 * 2 * 4 * 10}
    program = sb.export(convolutional(), "onnx", precision="float64")
    assert program.facts == {"unrolled": sum(sizes.values())}
    with pytest.raises(sb.Unsupported) as refused:
        sb.export(convolutional(), "onnx", precision="float64", max_unrolled=min(sizes.values()) - 1)
    assert refused.value.reasons == tuple(
        f"node {name}: unrolls to {size:,} values, above the limit of 647: raise it with the option max_unrolled={size}"
        for name, size in sizes.items()
    )
    raised = sb.export(convolutional(), "onnx", precision="float64", max_unrolled=max(sizes.values()))
    assert raised.native == program.native
    for wrong in (0, -1, 1.5, True, "many"):
        with pytest.raises(sb.BadInput, match=r"max_unrolled=.*; needed a whole number"):
            sb.export(convolutional(), "onnx", max_unrolled=wrong)


def test_in_float32_only_a_kernel_of_ones_is_unrolled() -> None:
    assert sb.export(convolutional(), "onnx").facts == {"unrolled": 6 * 2 * 2}
    assert sb.export(windowed(sb.Conv2d(np.ones((1, 1, 2, 2)))), "onnx").facts == {}
    with pytest.raises(sb.Unsupported, match="node w: unrolls to 268,435,456 values"):
        sb.export(windowed(sb.SumPool2d(2**14, 1, 2**13)), "onnx")


@BOTH
@pytest.mark.parametrize(
    "node",
    [
        sb.Conv2d([[[[0.5]]]], stride=900, padding=900),
        sb.Conv2d(dyadic((1, 1, 2, 2), 3), stride=500, padding=500, dilation=499),
        sb.Conv2d([[[[0.5]]]], dilation=2**31 - 1, stride=2**31 - 1),
        sb.AvgPool2d(1000, 1000, 500),
    ],
    ids=repr,
)
def test_windows_far_beyond_the_sample(node: Any, precision: str) -> None:
    check_alike(windowed(node), dyadic((2, 2, 1, 3, 3), 4), precision)


@BOTH
def test_padding_costs_nothing(precision: str) -> None:
    """Of 3 x 3 windows of one value, 2^30 apart, the one in the middle meets the sample."""
    graph = windowed(sb.Conv2d([[[[0.5]]]], [4.0], stride=2**30, padding=2**30))
    found = sb.export(graph, "onnx", precision=precision).run(np.full((1, 1, 1, 3, 3), 2.0)).outputs["out"]
    assert found.reshape(3, 3).tolist() == [[4, 4, 4], [4, 5, 4], [4, 4, 4]]


@pytest.mark.parametrize("problem", ["Failed to allocate memory for requested buffer of size 8", "std::bad_alloc"])
def test_memory_that_does_not_suffice_is_said(problem: str) -> None:
    """Where the limit was raised beyond the machine; ONNX Runtime's other errors stay what they are."""
    program = sb.export(windowed(sb.SumPool2d(2)), "onnx", precision="float64")

    class Exhausted:
        get_inputs, get_outputs = program._session.get_inputs, program._session.get_outputs

        def run(self, *_: Any) -> None:
            raise RuntimeException(problem)

    object.__setattr__(program, "_session", Exhausted())
    with pytest.raises(sb.BadInput, match="not enough memory for 5 steps of 2 samples: pass fewer samples at a time"):
        program.run(np.ones((5, 2, 1, 3, 3)))
    problem = "another"
    with pytest.raises(RuntimeException, match="another"):
        program.run(np.ones((5, 2, 1, 3, 3)))


def test_a_small_file_of_huge_windows_is_small_work_to_read() -> None:
    """The model states sizes and holds no index, so neither it nor its reader grows with what would be unrolled."""
    graph = windowed(sb.SumPool2d(2**18, 2**10, 2**17), (2, 2**19, 2**19))
    program = sb.export(graph, "onnx", precision="float64", max_unrolled=2**80)
    data = program.native.SerializeToString(deterministic=True)
    assert len(data) < 10_000
    tracemalloc.start()
    began = time.process_time()
    assert read(data) == graph
    assert time.process_time() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert sb.export(graph, "onnx", precision="float64", max_unrolled=2**80).facts["unrolled"] > 2**50

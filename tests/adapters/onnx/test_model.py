"""ONNX: the model as a file, as an object, and what is refused before there is one."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from snubridge_onnx import adapter

import snubridge as sb
from snubridge.bridge.conformance import random_case
from tests.adapters.onnx.models import (
    BOTH,
    dyadic,
    read,
    small,
)


def test_refusals_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(sb.BadInput, match="precision='half'; give one of float32, float64"):
        sb.export(small(), "onnx", precision="half")
    with pytest.raises(sb.Unsupported, match=r"a model needs an output: add an sb\.Output"):
        sb.export(sb.Graph({"in": sb.Input((1,))}, []), "onnx")
    narrow = sb.Graph({"in": sb.Input((1,))}, [], numbers=sb.Float64())
    with pytest.raises(sb.Unsupported, match=r"would round the parameters(?s:.*)a model needs an output"):
        sb.export(narrow, "onnx", precision="float32")
    monkeypatch.setattr(adapter, "MAX_BYTES", 100)
    with pytest.raises(sb.Unsupported, match="bytes of parameters do not fit into one ONNX file of 2 GiB"):
        sb.export(small(), "onnx")


def test_the_format_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for cross in (lambda: sb.export(small(), "onnx"), lambda: read(b"")):
        with pytest.raises(sb.MissingEngine, match=r"pip install 'snubridge\[onnx\]'"):
            cross()


# The file


def test_the_saved_file_runs_without_snubridge(tmp_path: Path) -> None:
    """Three lines of plain ONNX Runtime, in a process where snubridge cannot be imported."""
    graph, inputs = small(), dyadic((12, 2, 2, 3), 13).astype(np.float32)
    sb.export(graph, "onnx").save(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs)
    script = """
import sys; sys.modules["snubridge"] = sys.modules["snubridge_onnx"] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
spikes, values, out = session.run(None, {"in": numpy.load("x.npy")})
numpy.savez("y.npz", spikes=spikes, out=out)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, check=True, timeout=60)
    expected = sb.simulate(graph, inputs)
    with np.load(tmp_path / "y.npz") as found:
        assert found["spikes"].dtype == np.uint8
        np.testing.assert_array_equal(found["spikes"], expected.spikes["hidden"])
        np.testing.assert_allclose(found["out"], expected.outputs["out"], atol=1e-5)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    """In this process and in others, whatever the seed of Python's hashes."""
    graph = small()
    sb.save(graph, tmp_path / "net.safetensors")
    sb.export(graph, "onnx").save(tmp_path / "0.onnx")
    script = 'import snubridge as sb; sb.export(sb.load("net.safetensors"), "onnx").save("{}.onnx")'
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", script.format(seed)],
            cwd=tmp_path, check=True, timeout=60, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
    first, *others = [(tmp_path / f"{seed}.onnx").read_bytes() for seed in "012"]
    assert all(other == first for other in others)
    assert read(tmp_path / "0.onnx") == read(str(tmp_path / "0.onnx")) == graph


def test_native_is_the_model_and_a_copy() -> None:
    program = sb.export(small(), "onnx")
    inputs = dyadic((3, 1, 2, 3), 1)
    before = program.run(inputs)
    del program.native.graph.node[:]
    np.testing.assert_array_equal(program.run(inputs).spikes["hidden"], before.spikes["hidden"])
    model = sb.export(small(), "onnx").native
    assert (model.opset_import[0].version, model.ir_version, model.functions) == (17, 8, [])
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "T",
        "B",
        2,
        3,
    ]
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


@BOTH
@pytest.mark.parametrize("seed", [0, 4, 9])
def test_the_evaluator_of_onnx_agrees(seed: int, precision: str) -> None:
    """A second implementation of the standard, in numpy, reads the same model alike."""
    case = random_case(seed, "dyadic", precision=precision, steps=12)
    model = sb.export(case.graph, "onnx", precision=precision).native
    names = [value.name for value in model.graph.output]
    results = dict(zip(names, ReferenceEvaluator(model).run(None, {"in": case.inputs.astype(np.float32)}), strict=True))
    for name, spikes in sb.simulate(case.graph, case.inputs).spikes.items():
        np.testing.assert_array_equal(results[f"spikes/{name}"], spikes)


def test_the_import_of_snubridge_leaves_onnx_alone() -> None:
    script = "import sys, snubridge, snubridge_onnx; assert not {'onnx', 'onnxruntime'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_runtime_is_the_foreign_one() -> None:
    """The spikes are ONNX Runtime's: a model that was tampered with in memory spikes differently."""
    program = sb.export(small(), "onnx")
    inputs = dyadic((12, 2, 2, 3), 13)
    expected = program.run(inputs).spikes["hidden"]
    model = program.native
    flip = next(tensor for tensor in model.graph.initializer if tensor.name == "parameters/w/weight")
    flip.raw_data = bytes(len(flip.raw_data))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    silent = session.run(["spikes/hidden"], {"in": inputs.astype(np.float32)})[0]
    assert (silent != expected).any()
    object.__setattr__(program, "_session", session)
    np.testing.assert_array_equal(program.run(inputs).spikes["hidden"], silent)


def test_the_batch_hint_is_checked_and_changes_nothing() -> None:
    assert sb.export(small(), "onnx", batch=64).native == sb.export(small(), "onnx").native
    for wrong in (0, -1, 1.5, True, "many"):
        with pytest.raises(sb.BadInput, match="a number of samples"):
            sb.export(small(), "onnx", batch=wrong)


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ({"u": sb.Unit(1 - 1e-9, 2 - 1e-9)}, [1.0, *[0.0] * 38, 1.0]),
        ({"u": sb.Unit(np.full((1,), 1 - 1e-9), 2 - 1e-9)}, [1.0, *[0.0] * 38, 1.0]),
        ({"w": sb.Linear([[1e-302]], [-1e-302]), "u": sb.Unit(0, 0)}, [1.0]),
        ({"u": sb.Unit(0.5, 1e-50, h=sb.Identity(), reset=sb.Reset.NONE)}, [1e-50, 0.0, 3e-50]),
        ({"w": sb.Conv2d([[[[1e-302]]]], [-1e-302]), "u": sb.Unit(0, 0)}, [1.0]),
    ],
)
def test_constants_that_float32_would_take_for_0_or_1(node: dict[str, sb.Node], inputs: list[float]) -> None:
    """Found by the fuzzer: ONNX Runtime eliminates x * c where the float32 of c is 1, x + c where it is 0."""
    shape = (1, 1, 1) if "Conv2d" in {type(made).__name__ for made in node.values()} else (1,)
    names = ["in", *node, "out"]
    graph = sb.Graph(
        {"in": sb.Input(shape), **node, "out": sb.Output()},
        [sb.Edge(a, b) for a, b in itertools.pairwise(names)],
        numbers=sb.Float64(),
    )
    x = np.reshape(inputs, (-1, 1, *shape))
    expected = sb.simulate(graph, x)
    session = onnxruntime.InferenceSession(sb.export(graph, "onnx").native.SerializeToString())  # a user's own
    assert np.array_equal(session.run(["outputs/out"], {"in": x})[0], expected.outputs["out"])
    assert sb.import_graph(sb.export(graph, "onnx").native, "onnx") == graph

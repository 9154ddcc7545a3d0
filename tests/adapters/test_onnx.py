"""The ONNX adapter: equal spikes on ONNX Runtime, a plain file, and a graph read back to the bit or refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from snubridge_onnx import OnnxAdapter, adapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, random_case

RESETS = tuple(sb.Reset)
G = (sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.5))
H = (sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh())
BOTH = pytest.mark.parametrize("precision", ["float32", "float64"])
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


class TestOnnx(AdapterConformance):
    adapter = OnnxAdapter()
    suffix = ".onnx"
    suffix = ".onnx"


class TestOnnxInFloat64(AdapterConformance):
    adapter = OnnxAdapter()
    suffix = ".onnx"
    options = {"precision": "float64"}  # noqa: RUF012  # as in the suite
    suffix = ".onnx"


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


# Wiring


@BOTH
def test_delays_of_1_to_5_skips_and_a_self_loop(precision: str) -> None:
    unit = sb.Unit([1.0, 0.0, 1.0], 0.5)
    nodes = {"in": sb.Input((3,)), "u": unit, "w": sb.Linear(dyadic((3, 3), 1), [0.5, 0, 0]), "out": sb.Output()}
    edges = [sb.Edge("in", "u", delay) for delay in (0, 1, 2, 3, 4, 5)]
    edges += [
        sb.Edge("u", "u", 4),
        sb.Edge("u", "w", 3),
        sb.Edge("w", "u", 2),
        sb.Edge("w", "out"),
        sb.Edge("u", "out"),
    ]
    trace = check_alike(sb.Graph(nodes, edges), dyadic((30, 2, 3), 9) / 4, precision)
    assert 10 < trace.spikes["u"].sum() < 170
    assert trace.outputs["out"][0, 0, 0] in (0.5, 1.5)  # the bias at t = 0


@BOTH
def test_a_bias_does_not_pass_a_delay_at_the_start(precision: str) -> None:
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[0.0]], [1.0]), "u": sb.Unit(0.0, 0.5)}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u", 1)])
    trace = sb.export(graph, "onnx", precision=precision).run(np.zeros((3, 1, 1)))
    assert trace.spikes["u"].ravel().tolist() == [0, 1, 1]


@BOTH
def test_names_that_look_like_our_own(precision: str) -> None:
    """Names with dots, dashes and leading digits, and all the words that the model itself uses."""
    nodes = {
        "spikes": sb.Input((3,)),
        "lengths": sb.Input((3,)),
        "shape": sb.Input((3,)),
        "outputs": sb.Linear(dyadic((3, 3), 1)),
        "decay": sb.Unit(0.5, 0.25),
        "0.a-b": sb.Unit(0.5, 0.5),
        "state": sb.Unit(1.0, 0.5),
        "weight": sb.Output(),
        "run": sb.Output("max"),
    }
    edges = [
        sb.Edge("spikes", "outputs"),
        sb.Edge("outputs", "decay"),
        sb.Edge("lengths", "0.a-b"),
        sb.Edge("decay", "0.a-b", 2),
        sb.Edge("shape", "state"),
        sb.Edge("0.a-b", "state"),
        sb.Edge("state", "decay", 5),
        sb.Edge("0.a-b", "weight"),
        sb.Edge("outputs", "run"),
    ]
    graph = sb.Graph(nodes, edges)
    inputs = {name: dyadic((12, 2, 3), seed) for seed, name in enumerate(("spikes", "lengths", "shape"))}
    check_alike(graph, inputs, precision, lengths=[12, 5])
    model = sb.export(graph, "onnx", precision=precision).native
    assert [value.name for value in model.graph.input] == ["spikes", "lengths", "shape", "run/lengths"]
    assert [value.name for value in model.graph.output] == [
        *("spikes/decay", "spikes/0.a-b", "spikes/state"),
        *("outputs/weight", "outputs/run"),
    ]


def test_spikes_come_in_the_order_of_the_graph() -> None:
    """The graph's order, though a step evaluates the nodes in another."""
    nodes = {"late": sb.Unit(1.0, 0.5), "early": sb.Unit(1.0, 0.25), "in": sb.Input((1,))}
    graph = sb.Graph(nodes, [sb.Edge("in", "early"), sb.Edge("early", "late")])
    model = sb.export(graph, "onnx").native
    assert [value.name for value in model.graph.output] == ["spikes/late", "spikes/early"]


@BOTH
@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (1, 3), (4, 1), (5, 2)])
def test_any_number_of_steps_and_samples(steps: int, samples: int, precision: str) -> None:
    check_alike(small(), dyadic((steps, samples, 2, 3), 11), precision)


@BOTH
def test_graphs_without_memory_and_with_loose_ends(precision: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An input straight to outputs, an unused input, a Linear that leads nowhere; nothing to warn of."""
    nodes = {
        "in": sb.Input((3,)),
        "unused": sb.Input((2,)),
        "loose": sb.Linear(dyadic((3, 3), 1), dyadic((3,), 2)),
        "out": sb.Output(),
        "again": sb.Output(),
    }
    edges = [sb.Edge("in", "loose"), sb.Edge("in", "out"), sb.Edge("in", "again")]
    check_alike(sb.Graph(nodes, edges), {"in": dyadic((4, 2, 3), 3), "unused": np.zeros((4, 2, 2))}, precision)
    check_alike(small(), dyadic((4, 2, 2, 3), 3), precision)
    assert capfd.readouterr() == ("", "")


@BOTH
@pytest.mark.parametrize("how", ["mean", "sum", "max", "last"])
def test_reductions_over_time(how: str, precision: str) -> None:
    """Over all steps, and over the first ones of each sample; of values of either sign, and of negative ones."""
    graph = small()
    nodes = {**graph.nodes, **{name: sb.Output(how) for name in ("of-values", "of-spikes", "of-inputs")}}
    edges = [*graph.edges, sb.Edge("v", "of-values"), sb.Edge("hidden", "of-spikes"), sb.Edge("in", "of-inputs")]
    for lengths in (None, [9, 1, 4]):
        check_alike(sb.Graph(nodes, edges), dyadic((9, 3, 2, 3), 12) - 2, precision, lengths)


# Convolution and pooling


def convolutional() -> sb.Graph:
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


def test_convolution_and_pooling_in_float32() -> None:
    trace = check_alike(convolutional(), dyadic((5, 2, 4, 6, 7), 3), "float32")
    assert trace.spikes["spiking"].sum() > 100


def test_convolution_and_pooling_are_refused_in_float64() -> None:
    with pytest.raises(sb.Unsupported) as refused:
        sb.export(convolutional(), "onnx", precision="float64")
    kinds = ("conv: ONNX Runtime has no float64 kernel for Conv2d", "for AvgPool2d", "for SumPool2d")
    assert len(refused.value.reasons) == 3
    assert all(kind in reason for kind, reason in zip(kinds, refused.value.reasons, strict=True))


# What is refused


def test_refusals_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(sb.BadInput, match="precision='half'; give one of float32, float64"):
        sb.export(small(), "onnx", precision="half")
    with pytest.raises(sb.Unsupported, match=r"a model needs an output: add an sb\.Output"):
        sb.export(sb.Graph({"in": sb.Input((1,))}, []), "onnx")
    monkeypatch.setattr(adapter, "MAX_BYTES", 100)
    with pytest.raises(sb.Unsupported, match="bytes of parameters do not fit into one ONNX file of 2 GiB"):
        sb.export(small(), "onnx")


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
            cwd=tmp_path, check=True, timeout=60, env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
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


# Reading back


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
def test_read_back_is_the_identity(numbers: Any) -> None:
    """Bit for bit: negative zeros, subnormals, arrays without axes, and the metadata with the graph."""
    unit = sb.Unit(np.array(0.7), [[-0.0, 1e-40, 1e-310, np.pi]] * 2, initial_state=np.array([[0.1, 0, -0.0, 3]] * 2))
    graph = recurrent(unit, numbers)
    noted = sb.Graph(graph.nodes, graph.edges, numbers=numbers, metadata={"author": "ä", "n": [1, None]})
    for precision in {numbers.name, "float64"}:
        back = read(model_bytes(noted, precision=precision))
        assert back == noted
        assert back.metadata == noted.metadata
        assert back.nodes["hidden"].decay.shape == ()
        assert model_bytes(back, precision=precision) == model_bytes(noted, precision=precision)


def flip_a_weight(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "parameters/w/weight")
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]


def scan(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "Scan")


def fire_at_ties(model: onnx.ModelProto) -> None:
    next(node for node in scan(model).attribute[0].g.node if node.op_type == "Greater").op_type = "GreaterOrEqual"


def swap_starts(model: onnx.ModelProto) -> None:
    node = scan(model)
    node.input[0], node.input[1] = node.input[1], node.input[0]


def run_backwards(model: onnx.ModelProto) -> None:
    scan(model).attribute.append(onnx.helper.make_attribute("scan_input_directions", [1]))


def drop_the_graph(model: onnx.ModelProto) -> None:
    del model.metadata_props[0]


def claim_another_layout(model: onnx.ModelProto) -> None:
    model.metadata_props[2].value = "0"


def claim_half_precision(model: onnx.ModelProto) -> None:
    model.metadata_props[3].value = "float16"


def repeat_a_key(model: onnx.ModelProto) -> None:
    model.metadata_props.append(model.metadata_props[1])


def lengthen_a_delay(model: onnx.ModelProto) -> None:
    entry = model.metadata_props[0]
    entry.value = entry.value.replace('["hidden","h",1]', '["hidden","h",2]')


def break_the_json(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value += "}"


def point_outside(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "parameters/w/weight")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/dev/zero")


def cut_an_array(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]


def grow_an_array(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**62


def turn_to_integers(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = onnx.TensorProto.INT32


def forget_an_array(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def put_nan(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "parameters/w/weight")
    weight.raw_data = np.float32(np.nan).tobytes() + weight.raw_data[4:]


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        (flip_a_weight, r"altered after it was written: model\.metadata_props\[1\]\.value is"),
        (fire_at_ties, "op_type is 'GreaterOrEqual', should be 'Greater'"),
        (swap_starts, r"model\.graph\.node\[\d+\]\.input\[0\] is 'run/hidden/"),
        (run_backwards, r"attribute has 3 entries, should have 2"),
        (drop_the_graph, "an ONNX model without a snubridge graph"),
        (claim_another_layout, "written in layout '0'; this snubridge reads 1"),
        (claim_half_precision, "computes in 'float16', not in float32 or float64"),
        (repeat_a_key, "metadata_props has 5 entries, should have 4"),
        (lengthen_a_delay, "altered after it was written: model"),
        (break_the_json, "the JSON cannot be read"),
        (point_outside, "parameters/w/weight lies in another file, which is never opened"),
        (cut_an_array, "bytes, which do not fill the shape"),
        (grow_an_array, "bytes, which do not fill the shape"),
        (turn_to_integers, "is of ONNX type 6; parameters are float32 or float64"),
        (forget_an_array, "is missing"),
        (put_nan, r"node w, weight: found nan at \(0, 0\)"),
    ],
)
def test_altered_models_are_refused(alter: Callable[[onnx.ModelProto], None], problem: str) -> None:
    """Most of these pass ONNX's checker, and ONNX Runtime runs them."""
    model = sb.export(small(), "onnx").native
    alter(model)
    for source in (model, model.SerializeToString()):
        with pytest.raises(sb.BadFile, match=problem):
            read(source)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "without a snubridge graph"),
        (b"not a model at all", "not a readable ONNX model"),
        (pickle.dumps(_Trap()), "not a readable ONNX model"),
        (model_bytes(small())[:-7], "not a readable ONNX model"),
        (model_bytes(small()) + b"\xc8\x3e\x01", "bytes that no field of the model accounts for"),
        (model_bytes(small()) + b"\x2a\x00", r"model\.model_version|bytes that no field"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(sb.BadFile, match=rf"net\.onnx: .*({problem})"):
        read(tmp_path / "net.onnx")


def test_other_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(sb.BadFile, match="cannot be read"):
        read(tmp_path / "absent.onnx")
    with pytest.raises(sb.BadInput, match=r"source: a int; give a path, bytes or an onnx\.ModelProto"):
        read(3)
    plain = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    with pytest.raises(sb.BadFile, match="only what snubridge exported can be read back"):
        read(plain)


def test_a_precision_that_the_graph_cannot_have_is_refused() -> None:
    model = sb.export(recurrent(sb.Unit(0.5, 0.5), sb.Float64()), "onnx").native
    model.metadata_props[3].value = "float32"
    with pytest.raises(sb.BadFile, match="no such model: precision float32 would round"):
        read(model)


def test_no_changed_byte_passes() -> None:
    """300 files with one changed byte each: every one is refused, and by a BadFile."""
    data, rng = model_bytes(small()), np.random.default_rng(14)
    for position in rng.choice(len(data), 300, replace=False):
        altered = bytearray(data)
        altered[position] ^= int(rng.integers(1, 256))
        with pytest.raises(sb.BadFile):
            read(bytes(altered))


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

"""FixedPoint in what adapters hand over and write: precisions, scripts, native networks, descriptions, models."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from nengo.exceptions import ValidationError

import snubridge as sb
from snubridge.bridge import draw_plan

E = sb.Edge
ENGINES = {"brian2": ".py", "nengo": ".py", "onnx": ".onnx", "pcm": ".pcm", "torch": ".safetensors"}


def graph(numbers=sb.FixedPoint(3, 9, 4, "zero"), **unit):
    nodes = {
        "in": sb.Input((3,), -1, 1, 2),
        "w": sb.Linear([[0.75, -0.5, 1.0], [0.25, 1.0, -0.75]], [0.125, 0.0]),
        "u": sb.Unit(0.7, 0.5, **unit),
        "h": sb.Linear([[0.5, -0.25], [-0.5, 0.5]]),
        "out": sb.Output(),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "out")]
    return sb.Graph(nodes, edges, numbers=numbers)


X = np.random.default_rng(0).integers(-4, 5, (20, 3, 3)) / 4


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_are_checked_and_not_rounded(engine):
    program = sb.export(graph(), engine)
    for x, message in ((X * 0.9, "no multiple of 2"), (X * 2, "outside of")):
        with pytest.raises(sb.BadInput, match=message):
            program.run(x)


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "torch"])
def test_what_is_saved_reads_back(engine, tmp_path):
    for g in (graph(), graph(sb.FixedPoint({"w": 2, "u": 3, "h": 3}, 12, 4), g=sb.LeakyReLU(-1))):
        path = tmp_path / f"net{ENGINES[engine]}"
        sb.export(g, engine).save(path)
        assert sb.import_graph(path, engine) == g


@pytest.mark.parametrize("engine", ["brian2", "nengo"])
def test_a_script_computes_it_and_refuses_inputs_off_the_grid(engine, tmp_path):
    g = graph()
    sb.export(g, engine).save(tmp_path / "net.py")
    np.save(tmp_path / "x.npy", X)
    for name, x in (("off", X * 0.9), ("beyond", X * 2), ("huge", np.full(X.shape, 2**53 + 1, np.int64))):
        np.save(tmp_path / f"{name}.npy", x)

    def run(name):
        command = [sys.executable, "net.py", f"{name}.npy", "trace.npz"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for name, message in (("off", "no multiple of 2^-2"), ("beyond", "outside of [-1"), ("huge", "do not fit float64")):
        done = run(name)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not (tmp_path / "trace.npz").exists()
    done = run("x")
    assert done.returncode == 0, done.stderr
    expected, actual = sb.simulate(g, X), sb.Trace.load(tmp_path / "trace.npz")
    np.testing.assert_array_equal(actual.spikes["u"], expected.spikes["u"])
    np.testing.assert_array_equal(actual.outputs["out"], expected.outputs["out"])


def test_the_frames_of_a_nengo_network_are_checked():
    frames = sb.export(graph(), "nengo").native.input.output
    frames.values = X[:, 0]
    for wrong in (X[:, 0] + 0.1, X[:, 0] * 2, X[:, 0] * np.nan):
        with pytest.raises(ValidationError, match=r"multiples of 2\^-2 from -1"):
            frames.values = wrong


@pytest.mark.parametrize("engine", ["brian2", "nengo"])
def test_a_native_network_reads_back_and_a_changed_rounding_is_seen(engine):
    floor, zero = (sb.export(graph(sb.FixedPoint(3, 9, 4, rounding)), engine).native for rounding in ("floor", "zero"))
    assert sb.import_graph(floor, engine) == graph(sb.FixedPoint(3, 9, 4, "floor"))
    if engine == "nengo":
        floor.units["u"].neuron_type = zero.units["u"].neuron_type
    else:
        (group,) = [thing for thing in floor.objects if thing.name == "u"]
        group.namespace["high"] = 99.0
    with pytest.raises(sb.BadFile, match="the network: "):
        sb.import_graph(floor, engine)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_float32_is_the_default_where_it_is_exact_and_refused_beyond(engine):
    assert sb.export(graph(), engine).rounding.precision == "float32"
    wide = graph(sb.FixedPoint(3, 30))
    assert sb.export(wide, engine).rounding.precision == "float64"
    with pytest.raises(
        sb.Unsupported, match=r"node u: its carried state before rounding reaches 137,438,953,472 steps"
    ) as no:
        sb.export(wide, engine, precision="float32")
    assert "state_bits=17" in str(no.value)


def test_a_model_takes_inputs_in_its_own_precision_and_says_so_in_its_layout(tmp_path):
    for precision, dtype in (("float32", np.float32), ("float64", np.float64)):
        program = sb.export(graph(), "onnx", precision=precision)
        program.save(tmp_path / "net.onnx")
        properties = {entry.key: entry.value for entry in program.native.metadata_props}
        assert properties["snubridge.layout"] == "3"
        onnx.checker.check_model(program.native, full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
        (spikes, _) = session.run(["spikes/u", "outputs/out"], {"in": X.astype(dtype)})
        np.testing.assert_array_equal(spikes, sb.simulate(graph(), X).spikes["u"])
    floats = sb.export(sb.Graph(graph().nodes, graph().edges), "onnx")
    assert {e.key: e.value for e in floats.native.metadata_props}["snubridge.layout"] == "1"


def test_a_description_says_how_neurons_round(tmp_path):
    sb.export(graph(), "pcm").save(tmp_path / "chip.pcm")
    hardware = json.loads((tmp_path / "chip.pcm" / "hardware.json").read_text())
    assert hardware["format"]["version"] == 3
    assert hardware["numbers"]["kind"] == "fixed_point"
    assert hardware["neurons"][0]["state"] == {"fraction_bits": 5, "rounding": "zero", "low": -8.0, "high": 7.96875}
    floats = sb.export(sb.Graph(graph().nodes, graph().edges), "pcm").native
    assert floats["format"]["version"] == 2


def test_a_plan_of_floats_is_as_it_was():
    plan, _ = draw_plan(sb.Graph(graph().nodes, graph().edges))
    assert plan["numbers"] == "float32"
    assert not [stop for stop in plan["stops"] if "grid" in stop]
    fixed, _ = draw_plan(graph())
    assert fixed["numbers"] == "fixed_point"
    assert [stop["grid"]["fraction_bits"] for stop in fixed["stops"] if stop["kind"] == "unit"] == [5]

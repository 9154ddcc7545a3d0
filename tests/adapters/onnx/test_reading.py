"""ONNX: a model read back to the bit, or refused with its reason."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import snubridge as sb
from tests.adapters.onnx.models import (
    convolutional,
    model_bytes,
    read,
    recurrent,
    small,
)


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


def flip_a_bias(model: onnx.ModelProto) -> None:
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "parameters/conv/bias")
    bias.raw_data = bytes([bias.raw_data[0] ^ 1]) + bias.raw_data[1:]


def pad_with_the_next_channel(model: onnx.ModelProto) -> None:
    next(node for node in scan(model).attribute[0].g.node if node.op_type == "Pad").input[1] = "constants/int64/[0]"


def sum_for_a_mean(model: onnx.ModelProto) -> None:
    next(node for node in scan(model).attribute[0].g.node if node.op_type == "ReduceMean").op_type = "ReduceSum"


def shift_the_windows(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Sub").input[1] = "constants/int64/0"


def stretch_the_stride(model: onnx.ModelProto) -> None:
    entry = model.metadata_props[0]
    entry.value = entry.value.replace('"stride":[2,1]', '"stride":[3,1]')


@pytest.mark.parametrize(
    "alter", [pad_with_the_next_channel, sum_for_a_mean, shift_the_windows, stretch_the_stride, flip_a_bias]
)
def test_altered_windows_are_refused(alter: Callable[[onnx.ModelProto], None]) -> None:
    model = sb.export(convolutional(), "onnx", precision="float64").native
    intact = model.SerializeToString(deterministic=True)
    alter(model)
    assert model.SerializeToString(deterministic=True) != intact
    with pytest.raises(sb.BadFile, match=r"altered after it was written: model\."):
        read(model)


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


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("graph", [small(), convolutional()], ids=["small", "convolutional"])
def test_no_changed_byte_passes(graph: sb.Graph, precision: str) -> None:
    """300 files with one changed byte each: every one is refused, and by a BadFile."""
    data, rng = model_bytes(graph, precision=precision), np.random.default_rng(14)
    for position in rng.choice(len(data), 300, replace=False):
        altered = bytearray(data)
        altered[position] ^= int(rng.integers(1, 256))
        with pytest.raises(sb.BadFile):
            read(bytes(altered))

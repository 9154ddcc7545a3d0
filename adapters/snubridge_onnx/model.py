"""The ONNX model of a graph: one Scan over time, whose body is one step.

    inputs        <input>            (T, B, *shape), in the graph's numbers (FixedPoint: in the model's precision)
                  run/lengths        (B,) int64, how many steps of each sample count; only where an output is reduced
    outputs       spikes/<unit>      (T, B, *shape), uint8 for spikes, else float; in the graph's order
                  outputs/<output>   (T, B, *shape), or (B, *shape) where it is reduced over time
                  states/<unit>      (T, B, *shape), in the variant that records them
    initializers  parameters/<node>/<field>: the graph's own arrays, bit for bit
    metadata      snubridge: the graph's document; snubridge.digest, snubridge.layout, snubridge.precision

All other names begin with constants/, wide/, run/ (computed once a run), step/ (at every step), before/ and
now/ (received by a step) or scan/. The name of a node holds no slash, so no two names are ever one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from snubridge.bridge import shapes
from snubridge.ir.document import describe, to_json
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Output, Unit
from snubridge.ir.numbers import NUMBERS, Array, FixedPoint
from snubridge_onnx.body import Body, has_long_memory
from snubridge_onnx.builder import Builder, Value, declare, tensor
from snubridge_onnx.operators import OVER_TIME

OPSET, IR_VERSION = 17, 8
LAYOUTS = (LAYOUT, LAYOUT_OF_LONG_DELAYS, LAYOUT_OF_FIXED_POINT) = ("1", "2", "3")
"""To be raised by whatever changes the model of a graph: a reader tells an older file from an altered one by it.
Layout 2 differs from 1 in delays above 64 steps, of which a run keeps no more than it has steps;
layout 3 is that of graphs in FixedPoint, whose carried states are rounded and whose states are bounded."""
LENGTHS = "run/lengths"
PARAMETERS = "parameters/"


def build(graph: Graph, precision: str, *, states: bool = False) -> onnx.ModelProto:
    """The model of a valid, supported graph that computes in ``precision``; the same graph gives the same model."""
    document, arrays = describe(graph)
    outer = Builder(NUMBERS[precision].dtype, "run", {f"{PARAMETERS}{key}": array for key, array in arrays.items()})
    body = Body(graph, outer, _parameters(graph, outer))
    position = {name: index for index, name in enumerate(graph.nodes)}
    recorded = {
        f"{group}/{name}": value
        for group in ("spikes", "outputs", "states")
        for name, value in sorted(body.recorded[group].items(), key=lambda item: position[item[0]])
        if states or group != "states"
    }
    same = input_dtype(graph, precision) == outer.dtype
    sequences = [name if same else _cast(outer, name) for name in graph.of_kind(Input)]
    starts = [carried.start for carried in body.carried]
    results = [f"scan/{name}" for name in (*(carried.before for carried in body.carried), *recorded)]
    outer.scan(starts, sequences, results, body.to_proto(recorded.values()))
    outputs = [_record(graph, outer, name) for name in recorded]
    model = helper.make_model(
        helper.make_graph(
            outer.nodes,
            "snubridge",
            _inputs(graph, outer),
            outputs,
            [tensor(name, array) for name, array in outer.initializers.items()],
        ),
        producer_name="snubridge",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    properties = {
        "": to_json(document),
        ".digest": digest(document, arrays),
        ".layout": layout(graph),
        ".precision": precision,
    }
    helper.set_model_props(model, {f"snubridge{key}": value for key, value in properties.items()})
    return model


def layout(graph: Graph) -> str:
    """The layout of a graph's model."""
    if isinstance(graph.numbers, FixedPoint):
        return LAYOUT_OF_FIXED_POINT
    return LAYOUT_OF_LONG_DELAYS if has_long_memory(graph) else LAYOUT


def serialize(model: onnx.ModelProto) -> bytes:
    """The bytes of a model: the same ones for the same model."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def digest(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """SHA-256 of the document and of every array: a changed bit of a parameter shows."""
    sha = hashlib.sha256(to_json(document).encode())
    for key in sorted(arrays):
        sha.update(tensor(key, arrays[key]).SerializeToString(deterministic=True))
    return sha.hexdigest()


def input_dtype(graph: Graph, precision: str) -> np.dtype[Any]:
    """What a model takes its inputs in: the graph's format, or for FixedPoint, which is none, the model's own."""
    return NUMBERS[precision].dtype if isinstance(graph.numbers, FixedPoint) else graph.numbers.dtype


def _parameters(graph: Graph, outer: Builder) -> dict[str, dict[str, Value]]:
    """By node and field, the arrays in the format that the model computes in."""
    same, given = graph.numbers.dtype == outer.dtype, next(iter(graph.of_kind(Input)))
    parameters: dict[str, dict[str, Value]] = {name: {} for name in graph.nodes}
    for name, node in graph.nodes.items():
        for field, array in node.arrays().items():
            value = f"{PARAMETERS}{name}/{field}"
            value = value if same else _cast(outer, value)
            parameters[name][field] = _kept(outer, value, given) if _mistaken(array.astype(outer.dtype)) else value
    return parameters


def _mistaken(array: Array) -> bool:
    """Whether ONNX Runtime takes a constant for 0 or 1: its elimination of no-ops asks the float32 of a float64.

    Measured on 1.31: x - 1e-50 becomes x, and a decay of 1 - 1e-9 no decay. It looks at single numbers only.
    """
    if array.size != 1:
        return False
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return bool(np.isin(narrow, (0, 1)).all() and (narrow != array).all())


def _kept(outer: Builder, value: Value, given: Value) -> Value:
    """The same number, known at run time only, so that nothing is eliminated for it."""
    ones = outer.op("Min", outer.op("Shape", given, start=1, end=2), outer.integers(1))
    return outer.op("Expand", value, ones)


def _cast(outer: Builder, value: Value) -> Value:
    """An input or a parameter in the format that the model computes in: exact, for the format is wider, or the values
    are those of FixedPoint within its budget."""
    return outer.cast(value, outer.dtype, name=f"wide/{value}")


def _inputs(graph: Graph, outer: Builder) -> list[onnx.ValueInfoProto]:
    dtype = outer.dtype if isinstance(graph.numbers, FixedPoint) else graph.numbers.dtype
    declared = [declare(name, dtype, ("T", "B", *node.shape)) for name, node in graph.of_kind(Input).items()]
    return [*declared, declare(LENGTHS, np.dtype(np.int64), ("B",))] if reduces(graph) else declared


def reduces(graph: Graph) -> bool:
    """Whether an output is reduced over time, so that the model asks for the lengths of the samples."""
    return any(node.over_time is not None for node in graph.of_kind(Output).values())


def _record(graph: Graph, outer: Builder, name: Value) -> onnx.ValueInfoProto:
    """Turn what the Scan stacked into an output of the model."""
    group, _, node_name = name.partition("/")
    node, shape = graph.nodes[node_name], shapes(graph)[node_name]
    outer.place = f"run/{group}/{node_name}"
    stacked = f"scan/{name}"
    if isinstance(node, Unit) and node.spiking and group == "spikes":
        outer.cast(stacked, np.dtype(np.uint8), name=name)
        return declare(name, np.dtype(np.uint8), ("T", "B", *shape))
    if isinstance(node, Output) and node.over_time is not None:
        steps, ends = _clock(outer, stacked, len(shape))
        outer.op("Identity", OVER_TIME[node.over_time](outer, stacked, steps, ends), name=name)
        return declare(name, outer.dtype, ("B", *shape))
    outer.op("Identity", stacked, name=name)
    return declare(name, outer.dtype, ("T", "B", *shape))


def _clock(outer: Builder, stacked: Value, rank: int) -> tuple[Value, Value]:
    """The steps 0 to T-1 as (T, 1, ...), and the number of steps of each sample as (1, B, ...)."""
    total = outer.op("Squeeze", outer.op("Shape", stacked, start=0, end=1))
    steps = outer.op("Range", outer.index(0), total, outer.index(1))
    column = [1] * rank
    return (
        outer.op("Reshape", steps, outer.integers(-1, 1, *column)),
        outer.op("Reshape", LENGTHS, outer.integers(1, -1, *column)),
    )

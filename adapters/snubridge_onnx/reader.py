"""Reading a model back: what is not, byte for byte, the model of the graph that it describes is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message

from snubridge.bridge import wide_enough
from snubridge.errors import BadFile, BadInput, InvalidGraph, InvalidGraphFile, Unsupported
from snubridge.ir.document import from_json, restore
from snubridge.ir.file import StrPath, read_bytes
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import NUMBERS, Array
from snubridge.ir.rules import validate
from snubridge_onnx.adapter import OnnxAdapter, refusals
from snubridge_onnx.builder import element_type
from snubridge_onnx.model import LAYOUTS, PARAMETERS, build, layout, serialize


def read(source: StrPath | bytes | onnx.ModelProto) -> Graph:
    """The graph of a model that the adapter wrote, exact to the bit.

    Parses, rebuilds the graph from the document and the initializers, lowers it anew, and compares the bytes.
    Nothing is run, and no other file is opened.
    """
    place = "the model" if isinstance(source, bytes | onnx.ModelProto) else str(source)
    data = _bytes(source)
    try:
        model = onnx.ModelProto.FromString(data)
        graph, precision, written = _describe(model)
    except BadFile as error:
        raise BadFile(f"{place}: {error}") from None
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise BadFile(f"{place}: not a readable ONNX model: {error}") from None
    try:
        validate(graph)
    except InvalidGraph as error:
        raise InvalidGraphFile(place, error.breaches) from None
    try:
        wide_enough("onnx", graph, precision)
        reasons = (*OnnxAdapter.support.reasons(graph), *refusals(graph))
    except Unsupported as error:
        reasons = error.reasons
    if reasons:
        raise BadFile(f"{place}: this graph has no such model: {reasons[0]}")
    if written != layout(graph):
        raise BadFile(f"{place}: {_other_layout(written, f'such a graph in layout {layout(graph)}')}")
    expected = build(graph, precision)
    if serialize(expected) != data:
        raise BadFile(f"{place}: altered after it was written: {first_difference(model, expected)}")
    return graph


def _bytes(source: Any) -> bytes:
    if isinstance(source, onnx.ModelProto):
        return serialize(source)
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return read_bytes(source, 2**31 - 1)  # the most that protobuf reads
    raise BadInput(f"source: a {type(source).__name__}; give a path, bytes or an onnx.ModelProto")


def _describe(model: onnx.ModelProto) -> tuple[Graph, str, str]:
    """The graph that the metadata and the initializers describe, not yet validated, the precision and the layout."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if "snubridge" not in properties:
        raise BadFile(
            "an ONNX model without a snubridge graph: only what snubridge exported can be read back, "
            "for an operator graph alone does not say which nodes are units"
        )
    written = properties.get("snubridge.layout", "")
    if written not in LAYOUTS:
        raise BadFile(_other_layout(written, " and ".join(LAYOUTS)))
    document = from_json(properties["snubridge"])
    precision = properties.get("snubridge.precision", "")
    if precision not in NUMBERS:
        raise BadFile(f"computes in {precision!r:.40}, not in {' or '.join(NUMBERS)}")
    arrays = {
        tensor.name.removeprefix(PARAMETERS): _array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.startswith(PARAMETERS)
    }
    return restore(document, arrays), precision, written


def _other_layout(written: str, known: str) -> str:
    return f"written in layout {written!r:.40}; this snubridge reads {known}: read it with the one that wrote it"


def _array(tensor: onnx.TensorProto) -> Array:
    """The values of an initializer, from its own bytes only: external data is never opened."""
    dtypes = {element_type(numbers.dtype): numbers.dtype for numbers in NUMBERS.values()}
    if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
        raise BadFile(f"{tensor.name:.120} lies in another file, which is never opened")
    dtype = dtypes.get(tensor.data_type)
    if dtype is None:
        raise BadFile(f"{tensor.name:.120} is of ONNX type {tensor.data_type}; parameters are {' or '.join(NUMBERS)}")
    shape = tuple(tensor.dims)
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(tensor.raw_data):
        raise BadFile(f"{tensor.name:.120} has {len(tensor.raw_data)} bytes, which do not fill the shape {shape!s:.80}")
    return np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def first_difference(found: Message, expected: Message) -> str:
    """Where two messages first differ, as a path of fields with both values."""
    return next(_differences("model", found, expected), "bytes that no field of the model accounts for")


def _differences(path: str, found: Any, expected: Any) -> Iterator[str]:
    if isinstance(expected, Message):
        ours, theirs = ({field.name: value for field, value in message.ListFields()} for message in (found, expected))
        for name in expected.DESCRIPTOR.fields_by_name:
            if name in ours and name in theirs:
                yield from _differences(f"{path}.{name}", ours[name], theirs[name])
            elif name in ours or name in theirs:
                yield f"{path}.{name} is {'there, should be absent' if name in ours else 'missing'}"
    elif not isinstance(expected, str | bytes | int | float):
        if len(found) != len(expected):
            yield f"{path} has {len(found)} entries, should have {len(expected)}"
        for index, pair in enumerate(zip(found, expected, strict=False)):
            yield from _differences(f"{path}[{index}]", *pair)
    elif found != expected:
        yield f"{path} is {found!r:.80}, should be {expected!r:.80}"

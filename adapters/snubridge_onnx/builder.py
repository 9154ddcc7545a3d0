"""The nodes of one ONNX graph under construction, with names that a reader of the model can follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper

from snubridge.ir.numbers import Array

Value = str
"""The name of a tensor in the model."""


@dataclass
class Builder:
    """Appends nodes; the initializers are those of the outermost graph, which a Scan's body sees.

    ``dtype``  what the model computes in
    ``place``  where the names of results begin, say "step/hidden"
    """

    dtype: np.dtype[Any]
    place: str
    initializers: dict[Value, Array]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    used: set[Value] = field(default_factory=set)

    def op(self, kind: str, *inputs: Value, name: Value | None = None, **attributes: Any) -> Value:
        """Append a node with one output, and return the output's name."""
        result = name or self._fresh(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result

    def cast(self, value: Value, dtype: np.dtype[Any], name: Value | None = None) -> Value:
        """Append a conversion to a numpy dtype."""
        return self.op("Cast", value, name=name, to=element_type(dtype))

    def scan(self, starts: list[Value], sequences: list[Value], results: list[Value], body: onnx.GraphProto) -> None:
        """Append a Scan of ``body`` over axis 0 of the sequences, carrying values on from ``starts``."""
        self.nodes.append(
            helper.make_node(
                "Scan", [*starts, *sequences], results, name="scan", body=body, num_scan_inputs=len(sequences)
            )
        )

    def integers(self, *values: int) -> Value:
        """A constant vector of int64."""
        return self._constant(np.array(values, dtype=np.int64))

    def index(self, value: int) -> Value:
        """A constant int64 without axes."""
        return self._constant(np.array(value, dtype=np.int64))

    def number(self, value: float) -> Value:
        """A constant without axes, in the format that the model computes in."""
        return self._constant(np.array(value, dtype=self.dtype))

    def _fresh(self, what: str) -> Value:
        names = (f"{self.place}/{what}" + (f"_{number}" if number > 1 else "") for number in count(1))
        name = next(name for name in names if name not in self.used)
        self.used.add(name)
        return name

    def _constant(self, array: Array) -> Value:
        name = f"constants/{array.dtype}/{array.tolist()}"
        self.initializers.setdefault(name, array)
        return name


def element_type(dtype: np.dtype[Any]) -> int:
    """The ONNX element type of a numpy dtype."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def declare(name: Value, dtype: np.dtype[Any], shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """A value with its type, and its shape with names for the axes that vary."""
    return helper.make_tensor_value_info(name, element_type(dtype), shape)


def tensor(name: Value, array: Array) -> onnx.TensorProto:
    """An initializer: the bytes as they are, little-endian."""
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return helper.make_tensor(name, element_type(array.dtype), array.shape, raw, raw=True)

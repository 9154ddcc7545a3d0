"""ONNX: a graph as a model of standard operators, run by ONNX Runtime, and read back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.bridge import (
    ALWAYS,
    Engine,
    ErrorModel,
    Requirement,
    Run,
    Support,
    Trace,
    largest_value,
    oversize,
    prepare,
    upper_limit,
    wide_enough,
)
from snubridge.errors import BadFile, BadInput, Unsupported
from snubridge.ir.disk import StrPath, checked_path, write_atomically
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Output, Unit
from snubridge.ir.numbers import NUMBERS, Array, FixedPoint
from snubridge.reference.inputs import Inputs
from snubridge_onnx.operators import CARRIED, OPERATORS, OVER_TIME, G, H
from snubridge_onnx.windows import unrolled

if TYPE_CHECKING:
    import onnx
    import onnxruntime

MAX_BYTES = 2**31 - 2**24
"""Of parameters: a model ends at 2 GiB, and 16 MiB are left for its nodes and its document."""
RANGE = 0.5
"""Of a format's largest number: what values may come to before they are looked at; the rest is for rounding."""
MAX_UNROLLED = 10_000_000
"""Values of a node, 80 MB in float64: what fits everywhere for a few samples at once."""


class OnnxAdapter:
    """Lowers to ONNX (opset 17, IR 8) and runs on ONNX Runtime's CPU provider, in one thread.

    Option ``precision``: "float32" or "float64", at least the graph's numbers, which are the default;
    for FixedPoint float32 where the budget allows it, else float64.
    Option ``max_unrolled``: the most values to which a node without a kernel of the runtime's own is unrolled. In
    float64 a convolution or a pool becomes the matrix of its windows, for each sample; in float32 a sum over windows
    becomes a convolution with ones. ``program.facts["unrolled"]`` states the sum over all such nodes.
    Option ``batch``: a hint at the batch size; the one layout that there is serves all, so it changes nothing yet.
    """

    name = "onnx"
    engine: Engine = "foreign"
    requirement = Requirement(("onnxruntime", "onnx"), ("onnxruntime", "onnx"), "snubridge[onnx]")
    support = Support.of_tables(
        [*ALWAYS, *OPERATORS],
        resets=CARRIED,
        g=G,
        h=H,
        over_time=[None, *OVER_TIME],
        numbers=[*NUMBERS.values(), FixedPoint],
    )

    def lower(
        self, graph: Graph, *, precision: str | None = None, batch: int | None = None, max_unrolled: int = MAX_UNROLLED
    ) -> OnnxProgram:
        """The graph as an ONNX model."""
        if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
            raise BadInput(f"onnx: batch={batch!r}; give a number of samples, at least 1, or None")
        limit = upper_limit(self.name, "max_unrolled", max_unrolled)
        try:
            chosen = wide_enough(self.name, graph, precision)
        except Unsupported as error:
            raise Unsupported(self.name, (*error.reasons, *refusals(graph))) from None
        sizes = unrolled(graph, chosen)
        reasons = (*refusals(graph), *oversize(sizes, "max_unrolled", limit, "values"))
        if reasons:
            raise Unsupported(self.name, reasons)
        return OnnxProgram(graph, chosen, MappingProxyType({"unrolled": sum(sizes.values())} if sizes else {}))

    def read(self, source: StrPath | bytes | onnx.ModelProto) -> Graph:
        """The graph of a model that ``save`` wrote: a path, bytes or a ModelProto; ``BadFile`` for any other."""
        from snubridge_onnx.reader import read

        return read(source)


def refusals(graph: Graph) -> tuple[str, ...]:
    """What the tables cannot say: why a graph that they cover has no model."""
    reasons: list[str] = []
    if not graph.of_kind(Unit) and not graph.of_kind(Output):
        reasons.append("a model needs an output: add an sb.Output or an sb.Unit to the graph")
    size = sum(array.nbytes for node in graph.nodes.values() for array in node.arrays().values())
    if size > MAX_BYTES:
        reasons.append(f"{size} bytes of parameters do not fit into one ONNX file of 2 GiB: split the graph")
    return tuple(reasons)


@dataclass(frozen=True)
class OnnxProgram:
    """A graph as an ONNX model; what runs, and what is saved, are the same bytes."""

    graph: Graph
    precision: str
    facts: Mapping[str, int]
    """{"unrolled": values of all nodes that are unrolled}, where there are such."""

    @property
    def rounding(self) -> ErrorModel:
        """ONNX Runtime computes in the format of the model's own tensors, and flushes nothing.

        Measured on 1.31.1: subnormals survive Add, Sub, Mul, MatMul and Conv; of 10^6 points Tanh is off by at most
        7.9 u of its value (5.2 u in float32), Sigmoid by 1.5 u of 1 (3.0 u in float32), u being half an ulp of 1.
        """
        return ErrorModel(self.precision)

    @cached_property
    def native(self) -> onnx.ModelProto:
        """The model, for onnx's own tools; to change it changes neither ``run`` nor ``save``."""
        import onnx

        model: onnx.ModelProto = onnx.ModelProto.FromString(self._bytes)
        return model

    @cached_property
    def _bytes(self) -> bytes:
        return self._serialized(states=False)

    def _serialized(self, *, states: bool) -> bytes:
        from snubridge_onnx.model import build, serialize

        return serialize(build(self.graph, self.precision, states=states))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return open_session(self._bytes)

    @cached_property
    def _session_with_states(self) -> onnxruntime.InferenceSession:
        return open_session(self._serialized(states=True))

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run on ONNX Runtime; see ``snubridge.simulate`` for the arguments."""
        run = prepare(self.graph, inputs, lengths, record)
        from snubridge_onnx.model import input_dtype

        groups: dict[str, dict[str, Array]] = {"spikes": {}, "outputs": {}, "states": {}}
        # An infinite state still compares with its threshold: where states may leave the range, they are looked at.
        risk = largest_value(self.graph, run) > RANGE * float(np.finfo(self.precision).max)
        session = self._session_with_states if risk or "states" in run.record else self._session
        for key, values in results(session, run, input_dtype(self.graph, self.precision)).items():
            group, _, name = key.partition("/")
            groups[group][name] = values
        return Trace.of_run(self.graph, run, **groups)

    def save(self, path: StrPath) -> None:
        """Write the .onnx file: ``onnxruntime.InferenceSession(path).run(None, {"<input>": (T, B, ...)})``."""
        if checked_path(path).suffix != ".onnx":
            raise BadFile(f"{path}: a model's file ends in .onnx")
        write_atomically(path, self._bytes)


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session on one core: small recurrent graphs gain nothing from more, and results do not depend on the load."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def results(session: Any, run: Run, dtype: np.dtype[Any]) -> dict[str, Array]:
    """All outputs of the model by name; ``BadInput`` where memory or the range of a format does not suffice."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

    from snubridge_onnx.model import LENGTHS

    names = [value.name for value in session.get_outputs()]
    given = {**{name: array.astype(dtype) for name, array in run.inputs.items()}, LENGTHS: run.lengths}
    feeds = {value.name: given[value.name] for value in session.get_inputs()}
    try:
        found = dict(zip(names, session.run(names, feeds), strict=True))
    except (Fail, RuntimeException) as error:
        if "alloc" not in str(error):
            raise
        size = f"{run.steps} steps of {run.samples} samples"
        raise BadInput(f"ONNX Runtime has not enough memory for {size}: pass fewer samples at a time") from None
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise BadInput(f"{name} overflows {values.dtype} on ONNX Runtime: scale the weights or the inputs down")
    return found

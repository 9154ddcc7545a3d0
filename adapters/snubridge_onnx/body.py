"""The body of the Scan: one step of a graph, node by node as the reference evaluates it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx
from onnx import helper

from snubridge.bridge import order, shapes
from snubridge.ir.budget import state_grids
from snubridge.ir.functions import Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Output, Unit
from snubridge_onnx.builder import Builder, Value, declare
from snubridge_onnx.operators import OPERATORS, Place, unit
from snubridge_onnx.windows import UNROLLED

Axes = tuple[int | str, ...]
"""Sizes of axes; "B" is the batch, other names are sizes that depend on the number of steps."""
SHORT = 64
"""Steps of memory that are kept in any run; of longer memory, a run keeps no more than it has steps."""


@dataclass(frozen=True)
class Carried:
    """What goes from step to step: its first value (outside of the body), and before and after a step (inside)."""

    start: Value
    before: Value
    after: Value
    shape: Axes


class Body:
    """One step of ``graph``; what is the same at every step goes to ``outer``.

    ``parameters``  by node and field, in the format that the model computes in
    ``carried``     the state of each unit, and the last outputs of each node that is heard later
    ``recorded``    by group ("spikes", "outputs", "states") and node, the values of this step
    """

    def __init__(self, graph: Graph, outer: Builder, parameters: Mapping[str, Mapping[str, Value]]) -> None:
        self.graph = graph
        self.outer = outer
        self.parameters = parameters
        self.step = Builder(outer.dtype, "step", outer.initializers)
        self.shapes, self._grids = shapes(graph), state_grids(graph)
        self.carried: list[Carried] = []
        self.recorded: dict[str, dict[str, Value]] = {"spikes": {}, "outputs": {}, "states": {}}
        given = next(iter(graph.of_kind(Input)))
        self._sizes = {"B": outer.op("Shape", given, start=1, end=2)}
        if has_long_memory(graph):
            self._steps = outer.op("Shape", given, start=0, end=1)
        self._operators = {**OPERATORS, **UNROLLED} if outer.dtype == np.float64 else OPERATORS
        self._reach = {name: self._longest_memory(name) for name in graph.nodes}
        self._trace()

    def _longest_memory(self, name: str) -> int:
        """For how many steps the output of a node is still heard: by its edges, or by its own reset."""
        node = self.graph.nodes[name]
        own = int(isinstance(node, Unit) and node.reset is not Reset.NONE)
        return max([own, *(edge.delay for edge in self.graph.outgoing[name])])

    def _trace(self) -> None:
        now: dict[str, Value] = {name: f"now/{name}" for name in self.graph.of_kind(Input)}
        for name in order(self.graph):
            self.step.place, self.outer.place = f"step/{name}", f"run/{name}"
            if name not in now:
                now[name] = self._evaluate(name, self._drive(name, now))
            if self._reach[name]:
                self._remember(name, now[name])

    def _drive(self, name: str, now: Mapping[str, Value]) -> Value:
        """The sum over the incoming edges, in the graph's order."""
        received = [
            self._past(edge.source, edge.delay) if edge.delay else now[edge.source]
            for edge in self.graph.incoming[name]
        ]
        return reduce(lambda total, term: self.step.op("Add", total, term), received)

    def _evaluate(self, name: str, drive: Value) -> Value:
        node = self.graph.nodes[name]
        received = self.shapes[self.graph.incoming[name][0].source]
        at = Place(self.outer, self.step, self.parameters[name], received, self.shapes[name], self._grids.get(name))
        if isinstance(node, Output):
            self.recorded["outputs"][name] = drive
            return drive
        if not isinstance(node, Unit):
            return self._operators[type(node)](node, at, drive)
        before = f"before/{name}/state"
        y = self._past(name, 1) if node.reset is not Reset.NONE else None
        s, y, recorded = unit(node, at, before, y, drive)
        self._carry(f"{name}/state", self.parameters[name]["initial_state"], s, ("B", *self.shapes[name]))
        self.recorded["spikes"][name] = recorded
        self.recorded["states"][name] = s
        return y

    def _past(self, name: str, delay: int) -> Value:
        """The output of a node of ``delay`` steps ago; one step ago where nothing older is kept."""
        before = f"before/{name}/outputs"
        if self._reach[name] == 1:
            return before
        index = self.step.index(delay - 1)
        if self._reach[name] > SHORT:  # what is beyond the run is zero, and so is the oldest that a run keeps
            kept = self._sizes[self._line(name)]
            index = self.outer.op(
                "Min", index, self.outer.op("Sub", self.outer.op("Squeeze", kept), self.outer.index(1))
            )
        return self.step.op("Gather", before, index, axis=0)

    def _remember(self, name: str, now: Value) -> None:
        """Carry the last outputs of a node, newest first, zero before the start."""
        key, zero, reach = f"{name}/outputs", self.outer.number(0.0), self._reach[name]
        if reach == 1:
            self._carry(key, zero, now, ("B", *self.shapes[name]))
            return
        newest = self.step.op("Unsqueeze", now, self.step.integers(0))
        length: int | str = self._line(name) if reach > SHORT else reach
        start, end, axis = (self.step.integers(value) for value in (0, -1 if reach > SHORT else reach - 1, 0))
        older = self.step.op("Slice", f"before/{key}", start, end, axis)
        self._carry(key, zero, self.step.op("Concat", newest, older, axis=0), (length, "B", *self.shapes[name]))

    def _line(self, name: str) -> str:
        """The length of a long line: what a node is heard for, or the whole run if that is shorter."""
        length = f"memory of {name}"
        if length not in self._sizes:
            reach = self.outer.integers(self._reach[name])
            self._sizes[length] = self.outer.op("Min", reach, self._steps)
        return length

    def _carry(self, key: str, start: Value, after: Value, shape: Axes) -> None:
        sizes = [self._sizes[size] if isinstance(size, str) else self.outer.integers(size) for size in shape]
        expanded = self.outer.op("Expand", start, self.outer.op("Concat", *sizes, axis=0))
        self.carried.append(Carried(expanded, f"before/{key}", after, shape))

    def to_proto(self, recorded: Iterable[Value]) -> onnx.GraphProto:
        """The body; it puts out what is carried, then what is recorded."""
        inputs = [(carried.before, carried.shape) for carried in self.carried]
        inputs += [(f"now/{name}", ("B", *self.shapes[name])) for name in self.graph.of_kind(Input)]
        outputs: list[Value] = []
        fresh = {node.output[0] for node in self.step.nodes}
        for value in (*(carried.after for carried in self.carried), *recorded):
            # An output of a body is the result of a node, and of no other output: only where it is not, a copy helps.
            outputs.append(value if value in fresh else self.step.op("Identity", value))
            fresh.discard(value)
        return helper.make_graph(
            self.step.nodes,
            "step",
            [declare(name, self.step.dtype, shape) for name, shape in inputs],
            [helper.make_empty_tensor_value_info(value) for value in outputs],
        )


def has_long_memory(graph: Graph) -> bool:
    """Whether a line of the graph is as long as a run, if that is shorter."""
    return any(edge.delay > SHORT for edge in graph.edges)

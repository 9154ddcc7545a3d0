"""An adapter from outside: networks without images, stepped in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snubridge.bridge import ALWAYS, ErrorModel, Support, Trace, order, prepare, shapes
from snubridge.ir import Flatten, Graph, Identity, LeakyReLU, Linear, Output, ReLU, Reset, Sigmoid, Step, Tanh, Unit
from snubridge.ir import load as load_graph
from snubridge.ir import save as save_graph

NODES = {
    Linear: lambda node, x: x @ node.weight.astype(float).T + (0.0 if node.bias is None else node.bias),
    Flatten: lambda node, x: x.reshape(len(x), -1),
    Output: lambda node, x: x,
}
CARRIED = {
    Reset.TO_ZERO: lambda decay, threshold, s, y: decay * (s * (1 - y)),
    Reset.LATERAL: lambda decay, threshold, s, y: decay * (s * (1 - y.max(tuple(range(1, y.ndim)), keepdims=True))),
    Reset.SUBTRACT: lambda decay, threshold, s, y: decay * s - threshold * y,
    Reset.SUBTRACT_DECAYED: lambda decay, threshold, s, y: decay * (s - threshold * y),
    Reset.NONE: lambda decay, threshold, s, y: decay * s,
}
G = {
    Identity: lambda g, s: s,
    ReLU: lambda g, s: np.maximum(s, 0),
    LeakyReLU: lambda g, s: np.where(s > 0, s, g.slope * s),
}
H = {
    Step: lambda h, s, threshold: s >= threshold if h.at_threshold else s > threshold,
    Sigmoid: lambda h, s, threshold: 0.5 + 0.5 * np.tanh((s - threshold) / 2),
    Tanh: lambda h, s, threshold: np.tanh(s - threshold),
    Identity: lambda h, s, threshold: s - threshold,
}
OVER_TIME = {  # of y (T, B, ...), where `counted` (T, B, 1, ...) says which steps are within a sample's length
    None: lambda y, counted: y,
    "sum": lambda y, counted: np.where(counted, y, 0).sum(0),
    "mean": lambda y, counted: np.where(counted, y, 0).sum(0) / counted.sum(0),
    "max": lambda y, counted: np.where(counted, y, -np.inf).max(0),
    "last": lambda y, counted: np.take_along_axis(y, counted.sum(0, keepdims=True) - 1, 0)[0],
}


@dataclass(frozen=True)
class PlainProgram:
    graph: Graph
    rounding = ErrorModel("float64")

    @property
    def native(self):
        """The arrays that the loop below computes with."""
        return {name: node.arrays() for name, node in self.graph.nodes.items()}

    def run(self, inputs, record: Sequence[str] = ("spikes",), lengths=None) -> Trace:
        run = prepare(self.graph, inputs, lengths, record)  # checks the inputs, and rounds them
        whole = {name: (run.steps, run.samples, *shape) for name, shape in shapes(self.graph).items()}
        y, s = ({name: np.zeros(shape) for name, shape in whole.items()} for _ in range(2))
        y |= {name: array.astype(float) for name, array in run.inputs.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # of_run refuses what overflowed
            for t in range(run.steps):
                for name in order(self.graph):  # as one step evaluates them
                    if name not in run.inputs:
                        self.step(name, y, s, t)
        outputs = {}
        for name, node in self.graph.of_kind(Output).items():
            steps = np.arange(run.steps).reshape(-1, *[1] * (y[name].ndim - 1))
            outputs[name] = OVER_TIME[node.over_time](y[name], steps < run.lengths.reshape(-1, *[1] * (steps.ndim - 2)))
        return Trace.of_run(self.graph, run, spikes=y, states=s, outputs=outputs)  # checks, and freezes

    def step(self, name, y, s, t):
        node, received = self.graph.nodes[name], self.graph.incoming[name]
        terms = [y[e.source][t - e.delay] if t >= e.delay else np.zeros_like(y[e.source][0]) for e in received]
        drive = sum(terms[1:], start=terms[0])
        if isinstance(node, Unit):
            decay, threshold, initial = (array.astype(float) for array in node.arrays().values())
            before = (s[name][t - 1], y[name][t - 1]) if t else (np.broadcast_to(initial, drive.shape), 0 * drive)
            s[name][t] = G[type(node.g)](node.g, CARRIED[node.reset](decay, threshold, *before) + drive)
            y[name][t] = H[type(node.h)](node.h, s[name][t], threshold)
        else:
            y[name][t] = NODES[type(node)](node, drive)

    def save(self, path) -> None:
        save_graph(self.graph, path)


class PlainAdapter:
    name = "plain"
    engine = "own"  # "foreign" where somebody else wrote what computes
    support = Support.of_tables([*ALWAYS, *NODES], resets=CARRIED, g=G, h=H, over_time=OVER_TIME)

    def lower(self, graph: Graph) -> PlainProgram:  # valid, and within `support`
        return PlainProgram(graph)

    def read(self, source) -> Graph:
        return load_graph(source)

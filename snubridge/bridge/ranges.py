"""How large the values of a run can become, from its inputs and parameters alone."""

from __future__ import annotations

import math

import numpy as np

from snubridge.ir.functions import Identity, LeakyReLU, Reset, Tanh
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Input, Linear, SumPool2d, Unit
from snubridge.ir.structure import zero_delay_order
from snubridge.reference.inputs import Run


def largest_value(graph: Graph, run: Run) -> float:
    """No value of any node, and no state, exceeds this magnitude in the run; infinite where nothing can be said.

    A spike is at most 1, so a state grows by at most its largest drive in each step. What runs in a circle without
    passing through a bounded output may grow without bound.
    """
    bounded = {name for name, unit in graph.of_kind(Unit).items() if not isinstance(unit.h, Identity)}
    most = {name: float(np.abs(array).max()) for name, array in run.inputs.items()} | dict.fromkeys(bounded, 1.0)
    waiting = [Edge(edge.source, edge.target) for edge in graph.edges if edge.source not in bounded]
    ordered = zero_delay_order(graph.nodes, waiting)
    if len(ordered) < len(graph.nodes):
        return math.inf
    largest = max(most.values())
    with np.errstate(over="ignore"):
        for name in ordered:
            node = graph.nodes[name]
            if isinstance(node, Input):
                continue
            drive = sum(most[edge.source] for edge in graph.incoming[name])
            value = _after(node, drive, run.steps)
            largest = max(largest, drive, value)
            most.setdefault(name, value)
    return largest


def _after(node: object, drive: float, steps: int) -> float:
    if isinstance(node, Linear | Conv2d):
        weight = np.abs(node.weight.astype(np.float64)).reshape(len(node.weight), -1).sum(axis=1)
        bias = 0.0 if node.bias is None else np.abs(node.bias.astype(np.float64))
        return float((weight * drive + bias).max())
    if isinstance(node, SumPool2d | AvgPool2d):
        return drive * math.prod(node.kernel_size)  # an average sums before it divides
    if isinstance(node, Unit):
        return _state(node, drive, steps)
    return drive


def _state(unit: Unit, drive: float, steps: int) -> float:
    """|s_t| <= L (growth |s_{t-1}| + drive + what a subtractive reset takes), L of g; and |y| of an Identity h."""
    threshold = float(np.abs(unit.threshold).max())
    taken = threshold if unit.reset in (Reset.SUBTRACT, Reset.SUBTRACT_DECAYED) else 0.0
    gated = unit.reset in (Reset.TO_ZERO, Reset.LATERAL)
    growth = float(unit.decay.max()) * (2.0 if gated and isinstance(unit.h, Tanh) else 1.0)  # 1 - tanh is below 2
    steepest = max(1.0, abs(unit.g.slope)) if isinstance(unit.g, LeakyReLU) else 1.0
    growth *= steepest
    if growth > 1 and steps * math.log(growth) > 700:
        return math.inf
    start = float(np.abs(unit.initial_state).max())
    return max(1.0, growth) ** steps * (start + steps * steepest * (drive + taken)) + threshold

"""Which decisions depend on which: what one that might fall otherwise could change.

A decision (one unit, neuron, step, sample) depends on every earlier or upstream decision that reaches its state: by
edges and delays through weights that are not 0, by the carried state unless it is multiplied by 0, and by the reset,
which with lateral inhibition looks at all neurons of the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snubridge.ir.functions import Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Conv2d, Input, Linear, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import order, shapes
from snubridge.reference.operators import OPERATORS

Marks = Mapping[str, NDArray[np.bool_]]
"""By unit, (T, B, *shape); units that decide nothing may be left out."""


def reached(graph: Graph, marks: Marks) -> dict[str, NDArray[np.bool_]]:
    """The decisions that depend on a marked one, by unit (T, B, *shape); a mark alone does not count as its own."""
    found = {name: np.zeros(mark.shape, dtype=bool) for name, mark in marks.items()}
    steps = {t for mark in marks.values() for t in np.flatnonzero(mark.reshape(len(mark), -1).any(axis=1)).tolist()}
    if not steps:
        return found
    total, samples = next(iter(marks.values())).shape[:2]
    sizes = {name: (samples, *shape) for name, shape in shapes(graph).items()}
    longest = {name: max((edge.delay for edge in graph.outgoing[name]), default=0) for name in graph.nodes}
    spread = {name: _spreading(node) for name, node in graph.nodes.items()}
    lines: dict[str, list[Array]] = {name: [] for name in graph.nodes}
    carried = {name: np.zeros(sizes[name], dtype=bool) for name in graph.of_kind(Unit)}
    for t in range(min(steps), total):
        now: dict[str, Array] = {}
        for name in order(graph):
            node = graph.nodes[name]
            if isinstance(node, Input):
                now[name] = np.zeros(sizes[name], dtype=bool)
                continue
            received = np.zeros(sizes[graph.incoming[name][0].source], dtype=bool)
            for edge in graph.incoming[name]:
                if not edge.delay:
                    received = received | now[edge.source]
                elif edge.delay <= len(lines[edge.source]):
                    received = received | lines[edge.source][edge.delay - 1]
            if isinstance(node, Unit):
                state = received | carried[name]
                now[name] = state
                if name in found:
                    found[name][t] = state
                    now[name] = state | marks[name][t]
                carried[name] = _kept(node, state, now[name])
            else:
                now[name] = spread[name](received) if received.any() else np.zeros(sizes[name], dtype=bool)
        for name, reach in longest.items():
            if reach:
                lines[name] = [now[name], *lines[name]][:reach]
    return found


def _spreading(node: Any) -> Callable[[Array], Array]:
    """What a linear node reaches, of what reaches it: through weights that are not 0."""
    if isinstance(node, Linear):
        joins = (node.weight != 0).astype(np.float32).T  # counts up to 2^24 are exact, and larger ones stay above 0
        return lambda x: np.asarray(x.astype(np.float32) @ joins > 0)
    if isinstance(node, Conv2d):
        node = node.replaced(weight=(node.weight != 0).astype(np.float64), bias=None)
    return lambda x: np.asarray(OPERATORS[type(node)](node, x.astype(np.float64)) > 0)


def _kept(unit: Unit, state: Array, output: Array) -> Array:
    """What the carried state depends on, of what the state and the output depend on."""
    if unit.reset is Reset.NONE:
        touched = state
    elif unit.reset is Reset.LATERAL:
        touched = state | output.any(axis=tuple(range(1, output.ndim)), keepdims=True)
    else:
        touched = output
    subtracts = unit.reset is Reset.SUBTRACT  # threshold * y is carried though the decay be 0
    return np.asarray(touched & ((unit.decay != 0) | subtracts))

"""How a row of the zoo is written: a unit driven by numbers, or nodes and wires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from snubridge.bridge.conformance.cases import Case, Figures
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Node, Output, Unit
from snubridge.ir.numbers import Array, Float32, Numbers

NOTHING: Mapping[str, Figures] = MappingProxyType({})
Wire = tuple[str, str] | tuple[str, str, int]


def driven(
    name: str,
    idea: str,
    unit: Unit,
    drive: Figures,
    spikes: Figures,
    states: Figures | None = None,
    *,
    exact: bool = True,
) -> Case:
    """An Input ``in`` straight into the unit ``u``: drive (T,), (T, n) or (T, B, *shape)."""
    array = np.asarray(drive, dtype=np.float64)
    array = array.reshape(len(array), 1, -1) if array.ndim < 3 else array
    nodes: dict[str, Node] = {"in": Input(array.shape[2:]), "u": unit}
    return Case(
        name,
        Graph(nodes, [Edge("in", "u")]),
        array,
        idea=idea,
        exact=exact,
        spikes={"u": spikes},
        states=NOTHING if states is None else {"u": states},
    )


def wired(
    name: str,
    idea: str,
    nodes: Mapping[str, Node],
    wires: Iterable[Wire],
    inputs: Figures | Mapping[str, Figures],
    *,
    lengths: tuple[int, ...] | None = None,
    numbers: Numbers = Float32(),
    exact: bool = True,
    spikes: Mapping[str, Figures] = NOTHING,
    states: Mapping[str, Figures] = NOTHING,
    outputs: Mapping[str, Figures] = NOTHING,
) -> Case:
    """Nodes and wires (source, target) or (source, target, delay); inputs nested as (T, B, *shape), or flat over T."""
    given = inputs if isinstance(inputs, Mapping) else {"in": inputs}
    shaped = {key: _shaped(np.asarray(array, dtype=np.float64), nodes[key]) for key, array in given.items()}
    return Case(
        name,
        Graph(nodes, [Edge(*wire) for wire in wires], numbers=numbers),
        shaped if isinstance(inputs, Mapping) else shaped["in"],
        lengths=lengths,
        idea=idea,
        exact=exact,
        spikes=spikes,
        states=states,
        outputs=outputs,
    )


def _shaped(array: Array, node: Node) -> Array:
    """(T, B, *shape) of an array that may leave out the batch and axes of length 1."""
    assert isinstance(node, Input)
    return array if array.ndim == 2 + len(node.shape) else array.reshape(len(array), 1, *node.shape)


def recorded(*sources: str) -> tuple[dict[str, Node], list[Wire]]:
    """Outputs ``out.<source>`` of these nodes, and the wires into them."""
    return {f"out.{source}": Output() for source in sources}, [(source, f"out.{source}") for source in sources]

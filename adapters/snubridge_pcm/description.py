"""A graph as a hardware description: a JSON document (see ``form``) beside arrays.

A Linear is one crossbar, a Conv2d one for each of its groups, side by side in the same arrays.
Biases, pools, neurons and routing are digital. A graph has exactly one description for a given g_max.

An entry of ``crossbars`` says of each of its ``crossbars``:

    rows, columns   what is driven and what is sensed; arrays hold rows x (crossbars * columns)
    uses_per_step   how often it is driven in one step: once for each position at which its weights act,
                    the positions of a Conv2d's window or of a Linear's last axis
    window          null, or {"kernel", "stride", "padding", "dilation"}: a row is one value of the window, in the
                    order of (channel of the group, height, width); what lies beyond the sample drives with 0

Version 2 added convolution and pools: ``crossbars``, ``uses_per_step`` and ``window`` of a crossbar, and the group
``pools``. A folder of version 1 is one without them, and is read as such.
Version 3 is that of graphs in FixedPoint: ``numbers`` is an object, and each entry of ``neurons`` has its ``state``,
the grid (steps of 2^-fraction_bits) to which the carried state is rounded, and the range in which the state saturates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from snubridge.bridge import order, shapes
from snubridge.errors import Unsupported
from snubridge.ir.budget import state_grids
from snubridge.ir.document import describe_numbers
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS, Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Input, Linear, Node, Output, Shape, SumPool2d, Unit
from snubridge.ir.numbers import NUMBERS, Array, FixedPoint
from snubridge_pcm import twin
from snubridge_pcm.archive import inventory
from snubridge_pcm.conductances import encode, losses

NAME, VERSION, VERSION_OF_FIXED_POINT = "snubridge.pcm", 2, 3
DEVICES_PER_WEIGHT = 2
Document = dict[str, Any]
Arrays = dict[str, Array]

POOL_KINDS: dict[str, type[Node]] = {"mean": AvgPool2d, "sum": SumPool2d}

# What the twin computes is what can be lowered: classes to the names in the description.
RESETS = {Reset(name): name for name in twin.CARRIED}
POOLS: dict[type[Node], str] = {POOL_KINDS[name]: name for name in twin.POOLED}
G: dict[type, str] = {STATE_FUNCTIONS[name]: name for name in twin.G}
H: dict[type, str] = {OUTPUT_FUNCTIONS[name]: name for name in twin.H}
OVER_TIME = twin.REDUCED
NUMBER_KINDS = (*NUMBERS.values(), FixedPoint)


def _input(node: Input, shape: Shape) -> Document:
    return {"low": node.low, "high": node.high, "fraction_bits": node.fraction_bits}


def _linear(node: Linear, shape: Shape) -> Document:
    return _crossbars(node, 1, math.prod(shape[:-1])) | {"window": None}


def _convolution(node: Conv2d, shape: Shape) -> Document:
    window = {"kernel": list(node.weight.shape[2:]), **_pairs(node, "stride", "padding", "dilation")}
    return _crossbars(node, node.groups, math.prod(shape[1:])) | {"window": window}


def _crossbars(node: Linear | Conv2d, crossbars: int, uses: int) -> Document:
    outputs, rows = len(node.weight), math.prod(node.weight.shape[1:])
    return {
        "crossbars": crossbars,
        "rows": rows,
        "columns": outputs // crossbars,
        "devices": DEVICES_PER_WEIGHT * rows * outputs,
        "uses_per_step": uses,
    }


def _pool(node: AvgPool2d | SumPool2d, shape: Shape) -> Document:
    window = {"kernel": list(node.kernel_size), **_pairs(node, "stride", "padding")}
    return {"operation": POOLS[type(node)], "window": window}


def _pairs(node: Node, *names: str) -> Document:
    return {name: list(getattr(node, name)) for name in names}


def _neurons(node: Unit, shape: Shape) -> Document:
    g, h = ({"kind": table[type(f)], **asdict(f)} for table, f in ((G, node.g), (H, node.h)))
    return {"size": math.prod(shape), "reset": RESETS[node.reset], "g": g, "h": h}


def _output(node: Output, shape: Shape) -> Document:
    return {"over_time": node.over_time}


NODES: dict[type[Node], tuple[str, Callable[[Any, Shape], Document]]] = {
    Input: ("inputs", _input),
    Linear: ("crossbars", _linear),
    Conv2d: ("crossbars", _convolution),
    AvgPool2d: ("pools", _pool),
    SumPool2d: ("pools", _pool),
    Flatten: ("reshapes", lambda node, shape: {}),
    Unit: ("neurons", _neurons),
    Output: ("outputs", _output),
}
GROUPS = tuple(dict.fromkeys(group for group, _ in NODES.values()))


def describe(graph: Graph, g_max_uS: float) -> tuple[Document, Arrays]:
    """The description of a valid graph, but for the hashes of the files; or ``Unsupported``."""
    groups: dict[str, list[Document]] = {group: [] for group in GROUPS}
    arrays: Arrays = {}
    reasons: list[str] = []
    samples, grids = shapes(graph), state_grids(graph)
    for name, node in graph.nodes.items():
        group, entry = NODES[type(node)]
        described = {"node": name, "shape": list(samples[name]), **entry(node, samples[name])}
        parts = node.arrays()
        if name in grids:
            described["state"] = asdict(grids[name])
        if isinstance(node, Linear | Conv2d):
            pairs = encode(node.weight, g_max_uS)
            reasons += [f"node {name}: {loss}" for loss in losses(node.weight, pairs, g_max_uS)]
            described |= {"id": f"crossbar_{len(groups[group])}", "bias": None}
            parts = {**vars(pairs), **{field: array for field, array in parts.items() if field != "weight"}}
        arrays |= {f"{name}/{field}": array for field, array in parts.items()}
        groups[group].append(described | {field: f"{name}/{field}" for field in parts})
    if reasons:
        raise Unsupported("pcm", reasons)
    version = VERSION_OF_FIXED_POINT if isinstance(graph.numbers, FixedPoint) else VERSION
    document = {
        "format": {"name": NAME, "version": version},
        "mode": "ideal",
        "numbers": describe_numbers(graph.numbers),
        "technology": {"device": "PCM"},
        "device": {"g_min_uS": 0.0, "g_max_uS": g_max_uS},
        "unit_cell": {"devices_per_weight": DEVICES_PER_WEIGHT, "encoding": "differential_one_sided"},
        "devices": sum(crossbar["devices"] for crossbar in groups["crossbars"]),
        **groups,
        "routing": [{"from": e.source, "to": e.target, "delay_steps": e.delay} for e in graph.edges],
        "schedule": list(order(graph)),
        "source": {"nodes": list(graph.nodes), "metadata": graph.metadata},
        "arrays": inventory(arrays),
    }
    return document, arrays

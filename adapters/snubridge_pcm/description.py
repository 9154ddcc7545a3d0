"""A graph as a hardware description: a JSON document (see ``form``) beside arrays.

Every Linear is one crossbar, used once per position where it acts on the last of several axes.
Biases, neurons and routing are digital. A graph has exactly one description for a given g_max.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from snubridge.bridge import order, shapes
from snubridge.errors import Unsupported
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS, Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Flatten, Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Array
from snubridge_pcm import twin
from snubridge_pcm.archive import inventory
from snubridge_pcm.conductances import encode, losses

FORMAT = {"name": "snubridge.pcm", "version": 1}
DEVICES_PER_WEIGHT = 2
Document = dict[str, Any]
Arrays = dict[str, Array]

# What the twin computes is what can be lowered: classes to the names in the description.
RESETS = {Reset(name): name for name in twin.CARRIED}
G: dict[type, str] = {STATE_FUNCTIONS[name]: name for name in twin.G}
H: dict[type, str] = {OUTPUT_FUNCTIONS[name]: name for name in twin.H}
OVER_TIME = twin.REDUCED


def _input(node: Input) -> Document:
    return {"low": node.low, "high": node.high, "fraction_bits": node.fraction_bits}


def _crossbar(node: Linear) -> Document:
    outputs, inputs = node.weight.shape
    return {"rows": inputs, "columns": outputs, "devices": DEVICES_PER_WEIGHT * inputs * outputs}


def _neurons(node: Unit) -> Document:
    g, h = ({"kind": table[type(f)], **asdict(f)} for table, f in ((G, node.g), (H, node.h)))
    return {"reset": RESETS[node.reset], "g": g, "h": h}


def _output(node: Output) -> Document:
    return {"over_time": node.over_time}


NODES: dict[type[Node], tuple[str, Callable[[Any], Document]]] = {
    Input: ("inputs", _input),
    Linear: ("crossbars", _crossbar),
    Flatten: ("reshapes", lambda node: {}),
    Unit: ("neurons", _neurons),
    Output: ("outputs", _output),
}
GROUPS = tuple(group for group, _ in NODES.values())


def describe(graph: Graph, g_max_uS: float) -> tuple[Document, Arrays]:
    """The description of a valid graph, but for the hashes of the files; or ``Unsupported``."""
    groups: dict[str, list[Document]] = {group: [] for group in GROUPS}
    arrays: Arrays = {}
    reasons: list[str] = []
    for name, node in graph.nodes.items():
        group, entry = NODES[type(node)]
        described = {"node": name, "shape": list(shapes(graph)[name]), **entry(node)}
        parts = node.arrays()
        if isinstance(node, Linear):
            pairs = encode(node.weight, g_max_uS)
            reasons += [f"node {name}: {loss}" for loss in losses(node.weight, pairs, g_max_uS)]
            described |= {"id": f"crossbar_{len(groups[group])}", "bias": None}
            parts = {**vars(pairs), **{field: array for field, array in parts.items() if field != "weight"}}
        if isinstance(node, Unit):
            described["size"] = math.prod(described["shape"])
        arrays |= {f"{name}/{field}": array for field, array in parts.items()}
        groups[group].append(described | {field: f"{name}/{field}" for field in parts})
    if reasons:
        raise Unsupported("pcm", reasons)
    document = {
        "format": FORMAT,
        "mode": "ideal",
        "numbers": graph.numbers.name,
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

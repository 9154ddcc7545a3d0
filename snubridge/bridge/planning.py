"""The wiring of a graph as plain data: what an engine module builds from, and what a script carries.

A plan is JSON; its arrays lie beside it. An engine module (which imports its engine and numpy,
nothing else) takes both, so that the module that is tested is the script that is exported.

    plan["numbers"]   "float32" | "float64": what inputs are rounded to on entry; "fixed_point": they are not rounded,
                      but have to lie on their grid and in their range
    plan["inputs"]    [{"name", "shape", "low", "high", "fraction_bits"}]; the last three may be null
    plan["stops"]     [{"name", "kind": "input" | "relay" | "unit" | "output", "shape", "size"}],
                      in the order in which one step evaluates them; a relay also has its "divisor",
                      an output "over_time" (a reduction or null), a unit
                      {"reset", "g": {"kind", ...}, "h": {"kind", ...}} and in fixed point its "grid",
                      {"fraction_bits", "rounding": "floor" | "zero", "low", "high"}: the carried state is rounded to
                      steps of 2^-fraction_bits before the drive is added, the state is clipped after g
    plan["paths"]     [{"source", "target", "delay", "weight": key of what couples, or null (one to one)}],
                      for each target in the graph's order of summation
    plan["biases"]    [{"target", "delay", "bias": key of an array}]: received at every step t >= delay

    arrays            "weight/<node>" (outputs, inputs); of a node that is unrolled instead
                      "weight/<node>/targets", ".../sources" (indices) and ".../values", each (couplings,);
                      "bias/<node>" (outputs,),
                      "decay/<unit>", "threshold/<unit>", "initial_state/<unit>", each (size,);
                      float64 and int64, over samples flattened in row-major order
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from snubridge.bridge.unrolling import Couplings, bias_vector, couple, divisor
from snubridge.bridge.wiring import wire
from snubridge.ir.budget import state_grids
from snubridge.ir.document import describe
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Node, Output, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import shapes

Plan = dict[str, Any]


def draw_plan(graph: Graph) -> tuple[Plan, dict[str, Array]]:
    """The plan of a valid graph and its arrays."""
    wiring = wire(graph)
    sizes = shapes(graph)
    grids = state_grids(graph)
    settings = {entry["name"]: entry for entry in describe(graph)[0]["nodes"]}
    arrays: dict[str, Array] = {}
    stops: list[dict[str, Any]] = []
    for name in wiring.stops:
        node = graph.nodes[name]
        size = math.prod(sizes[name])
        stop = {"name": name, "kind": _kind(node), "shape": list(sizes[name]), "size": size}
        if stop["kind"] == "relay":
            stop["divisor"] = divisor(node)
        if isinstance(node, Output):
            stop["over_time"] = node.over_time
        if isinstance(node, Unit):
            stop |= {key: settings[name][key] for key in ("reset", "g", "h")}
            if name in grids:
                stop["grid"] = asdict(grids[name])
            for field, array in node.arrays().items():
                whole = np.broadcast_to(array, sizes[name]).astype(np.float64)
                arrays[f"{field}/{name}"] = whole.reshape(size)
        stops.append(stop)
    weights: dict[str, str | None] = {}
    paths = []
    for path in wiring.paths:
        for node_name in path.nodes:
            if node_name not in weights:
                weights[node_name] = _store(arrays, f"weight/{node_name}", couple(graph, node_name))
        weight = weights[path.nodes[0]] if path.nodes else None
        paths.append({"source": path.source, "target": path.target, "delay": path.delay, "weight": weight})
    biases = []
    for bias in wiring.biases:
        arrays.setdefault(f"bias/{bias.node}", bias_vector(graph, bias.node))
        biases.append({"target": bias.target, "delay": bias.delay, "bias": f"bias/{bias.node}"})
    limits = ("low", "high", "fraction_bits")
    inputs = [
        {"name": name, "shape": list(sizes[name]), **{limit: getattr(node, limit) for limit in limits}}
        for name, node in graph.of_kind(Input).items()
    ]
    return {"numbers": graph.numbers.name, "inputs": inputs, "stops": stops, "paths": paths, "biases": biases}, arrays


def _store(arrays: dict[str, Array], key: str, coupled: Couplings | Array | None) -> str | None:
    """Put what couples under its key; None where there is nothing to put, each value passing on as it is."""
    if coupled is None:
        return None
    if isinstance(coupled, Couplings):
        arrays |= {f"{key}/{part}": array for part, array in vars(coupled).items()}
    else:
        arrays[key] = coupled
    return key


def _kind(node: Node) -> str:
    kinds: dict[type[Node], str] = {Input: "input", Unit: "unit", Output: "output"}
    return kinds.get(type(node), "relay")

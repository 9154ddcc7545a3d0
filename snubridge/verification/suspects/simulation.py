"""A run of a variant: the reference's own step and operators, with what the variant changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snubridge.ir.budget import state_grids
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array, Float64
from snubridge.ir.structure import order, shapes
from snubridge.reference.interpreter import step_unit
from snubridge.reference.operators import OPERATORS
from snubridge.reference.trace import State
from snubridge.verification.suspects.variants import Before, Variant


def widened(graph: Graph) -> Graph:
    """The same graph in Float64, so that what a variant computes of a parameter is not rounded once more."""
    return graph if isinstance(graph.numbers, Float64) else Graph(graph.nodes, graph.edges, numbers=Float64())


def respond(graph: Graph, inputs: Mapping[str, Array], variant: Variant) -> dict[str, Array]:
    """What the Step units of a valid graph put out under a variant: (T, B, *shape), 0 or 1.

    ``inputs``: (T, B, *shape) in the graph's numbers. Before and after the run there is nothing.
    """
    steps, samples = next(iter(inputs.values())).shape[:2]
    grids = state_grids(graph)
    graph = variant.graph(widened(graph))
    units = graph.of_kind(Unit)
    sizes = {name: (samples, *shape) for name, shape in shapes(graph).items()}
    initial = {
        name: np.broadcast_to(unit.initial_state, sizes[name]).astype(np.float64) for name, unit in units.items()
    }
    first = {name: variant.first(unit, initial[name]) for name, unit in units.items()}
    memory = State(graph.digest, sizes, s=dict(initial), y=dict(first))
    older = {name: np.zeros(sizes[name]) for name in units}
    longest = {name: max((edge.delay for edge in graph.outgoing[name]), default=0) for name in graph.nodes}
    spikes: dict[str, list[Array]] = {name: [] for name, unit in units.items() if unit.spiking}
    with np.errstate(all="ignore"):  # a meaning that overflows is not the engine's
        for t in range(steps):
            at = t - variant.inputs_late
            now = {
                name: array[at].astype(np.float64) if 0 <= at < steps else np.zeros(sizes[name])
                for name, array in inputs.items()
            }
            for name in order(graph):
                if name in now:
                    continue
                received = [memory.past(e.source, e.delay) if e.delay else now[e.source] for e in graph.incoming[name]]
                drive = sum(received[1:], start=received[0])
                if name not in units:
                    now[name] = OPERATORS[type(graph.nodes[name])](graph.nodes[name], drive)
                    continue
                s, y, _, drive = variant.given(units[name], Before(memory.s[name], memory.y[name], older[name], drive))
                older[name] = memory.y[name]
                memory.s[name], memory.y[name] = step_unit(units[name], s, y, drive, grids.get(name))
                now[name] = memory.y[name]
                if name in spikes:
                    spikes[name].append(now[name])
            memory.push(now, longest)
    return {name: np.stack(values).astype(np.uint8) for name, values in spikes.items()}

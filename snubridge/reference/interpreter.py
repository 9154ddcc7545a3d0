"""The definition of what a graph means (``simulate``), as plainly as it can be written, in float64.

Every doubt about a node is settled here and in ``operators.py``. The order of operations is
normative: the drive summed over edges in the graph's order, the carried state, carried + drive,
g, then the comparison s > threshold. In FixedPoint the carried state is rounded to the unit's grid
before the drive is added, the state saturates after g, and nothing else rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.errors import BadInput
from snubridge.ir.budget import StateGrid, state_grids
from snubridge.ir.functions import Identity, LeakyReLU, ReLU, Reset, Sigmoid, Step, Tanh
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Output, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.rules import validate
from snubridge.ir.structure import order, shapes
from snubridge.reference.inputs import Inputs, Run, prepare
from snubridge.reference.operators import OPERATORS
from snubridge.reference.trace import State, Trace


def most_active(y: Array) -> Array:
    """The largest y of all of a sample's neurons, (B, 1, ...)."""
    return np.asarray(y.max(axis=tuple(range(1, y.ndim)), keepdims=True))


CARRIED: Mapping[Reset, Callable[[Array, Array, Array, Array], Array]] = {
    Reset.TO_ZERO: lambda decay, threshold, s, y: decay * (s * (1 - y)),
    Reset.LATERAL: lambda decay, threshold, s, y: decay * (s * (1 - most_active(y))),
    Reset.SUBTRACT: lambda decay, threshold, s, y: decay * s - threshold * y,
    Reset.SUBTRACT_DECAYED: lambda decay, threshold, s, y: decay * (s - threshold * y),
    Reset.NONE: lambda decay, threshold, s, y: decay * s,
}
G: Mapping[type, Callable[[Any, Array], Array]] = {
    Identity: lambda g, x: x,
    ReLU: lambda g, x: np.maximum(x, 0.0),
    LeakyReLU: lambda g, x: np.where(x > 0, x, g.slope * x),
}
H: Mapping[type, Callable[[Any, Array, Array], Array]] = {
    Step: lambda h, s, threshold: (s >= threshold if h.at_threshold else s > threshold).astype(np.float64),
    Sigmoid: lambda h, s, threshold: 0.5 * (1.0 + np.tanh(0.5 * (s - threshold))),
    Tanh: lambda h, s, threshold: np.tanh(s - threshold),
    Identity: lambda h, s, threshold: s - threshold,
}


ROUNDED: Mapping[str, Callable[[Array], Array]] = {"floor": np.floor, "zero": np.trunc}


def step_unit(unit: Unit, s: Array, y: Array, drive: Array, grid: StateGrid | None = None) -> tuple[Array, Array]:
    """One step of a unit: (s_{t-1}, y_{t-1}, x_t) to (s_t, y_t), each (B, *shape); in FixedPoint on its ``grid``."""
    decay, threshold = unit.decay.astype(np.float64), unit.threshold.astype(np.float64)
    carried = CARRIED[unit.reset](decay, threshold, s, y)
    if grid is not None:
        carried = np.ldexp(ROUNDED[grid.rounding](np.ldexp(carried, grid.fraction_bits)), -grid.fraction_bits)
    s = G[type(unit.g)](unit.g, carried + drive)
    if grid is not None:
        s = np.clip(s, grid.low, grid.high)
    return s, H[type(unit.h)](unit.h, s, threshold)


def simulate(
    graph: Graph,
    inputs: Inputs,
    *,
    record: Sequence[str] = ("spikes",),
    lengths: ArrayLike | None = None,
    state: State | None = None,
) -> Trace:
    """Run a graph by its definition, in float64.

    ``inputs``   (T, B, *shape), or a dict from the name of each Input to such an array
    ``record``   of "spikes" (every Unit's y) and "states" (every Unit's s); outputs always are
    ``lengths``  (B,): only these many steps of each sample enter reductions over time
    ``state``    ``trace.state`` of an earlier run, to go on from it

    Returns a ``Trace``. Raises ``InvalidGraph`` and ``BadInput``.
    """
    validate(graph)
    run = prepare(graph, inputs, lengths, record)
    if not isinstance(state, State | None):
        raise BadInput(f"state: a {type(state).__name__}; pass trace.state of an earlier run")
    memory = _initial(graph, run) if state is None else state.resume(graph, run.samples)
    spikes: dict[str, list[Array]] = {name: [] for name in graph.of_kind(Unit)}
    states: dict[str, list[Array]] = {name: [] for name in spikes}
    outputs: dict[str, list[Array]] = {name: [] for name in graph.of_kind(Output)}
    evaluated, grids = order(graph), state_grids(graph)
    longest = {name: max((edge.delay for edge in graph.outgoing[name]), default=0) for name in graph.nodes}

    with np.errstate(all="ignore"):  # `_check` says what overflows, with its place
        for t in range(run.steps):
            now: dict[str, Array] = {name: array[t].astype(np.float64) for name, array in run.inputs.items()}
            for name in evaluated:
                if name in now:
                    continue
                received = [memory.past(e.source, e.delay) if e.delay else now[e.source] for e in graph.incoming[name]]
                drive = sum(received[1:], start=received[0])
                node = graph.nodes[name]
                if isinstance(node, Unit):
                    memory.s[name], now[name] = step_unit(node, memory.s[name], memory.y[name], drive, grids.get(name))
                    memory.y[name] = now[name]
                    spikes[name].append(now[name])
                    states[name].append(memory.s[name])
                else:
                    now[name] = OPERATORS[type(node)](node, drive)
                if isinstance(node, Output):
                    outputs[name].append(now[name])
                    if node.over_time is not None:
                        memory.reduce(name, node.over_time, now[name], alive=t < run.lengths)
            memory.push(now, longest)
            _check({**now, **memory.s}, t)

    return Trace.of_run(
        graph,
        run,
        spikes={name: np.stack(values) for name, values in spikes.items()},
        states={name: np.stack(values) for name, values in states.items()},
        outputs={
            name: np.stack(values) if node.over_time is None else memory.reduced(name, node.over_time)
            for (name, node), values in zip(graph.of_kind(Output).items(), outputs.values(), strict=True)
        },
        state=memory,
    )


def _initial(graph: Graph, run: Run) -> State:
    """s_{-1} as the units say, y_{-1} = 0, and nothing on the delay lines."""
    sizes = {name: (run.samples, *shape) for name, shape in shapes(graph).items()}
    units = graph.of_kind(Unit)
    return State(
        digest=graph.digest,
        sizes=sizes,
        s={name: np.broadcast_to(unit.initial_state, sizes[name]).astype(np.float64) for name, unit in units.items()},
        y={name: np.zeros(sizes[name]) for name in units},
    )


def _check(now: Mapping[str, Array], t: int) -> None:
    for name, value in now.items():
        if not np.isfinite(value).all():
            raise BadInput(f"node {name} overflows at step {t}: scale the weights or the inputs down")

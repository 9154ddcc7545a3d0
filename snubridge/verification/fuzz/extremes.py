"""Graphs at the edges of arithmetic: states on their thresholds, subnormal and huge numbers, decays next to 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Conv2d, Input, Linear, Node, Unit
from snubridge.ir.numbers import Array, Float64

ULPS = (0, 0, 0, 1, -1, 2, -2, 5, -5)
"""By how many units in the last place a threshold misses the state that it is laid on."""
POWERS = {"float32": (-145, -130, -120, -60, -20, 20, 60, 100, 118), "float64": (-1060, -1000, -300, -60, 60, 300, 900)}
"""Weights, thresholds and initial states are multiplied by one of these powers of two."""


def on_ties(case: Case, rng: np.random.Generator) -> Case:
    """The same with thresholds on, or next to, states that the reference reaches: each an early one of its neuron."""
    dtype = case.graph.numbers.dtype
    changed: dict[str, Node] = {}
    for name, unit in case.graph.of_kind(Unit).items():
        if not unit.spiking:
            continue
        states = case.expected.states[name]  # (T, B, *shape)
        steps = np.minimum(rng.geometric(0.3, states.shape[2:]) - 1, len(states) - 1)
        samples = rng.integers(0, states.shape[1], states.shape[2:])
        reached = states[(steps, samples, *np.indices(states.shape[2:]))].astype(dtype)
        with np.errstate(all="ignore"):
            beside = reached + rng.choice(ULPS, reached.shape) * np.spacing(reached)
        kept = rng.random(reached.shape) < 0.3
        changed[name] = unit.replaced(threshold=np.where(kept, unit.threshold, beside).astype(dtype))
    return _with(case, changed)


def stretched(case: Case, rng: np.random.Generator) -> Case:
    """The same with one or two of its parts at the edge of the format, often the wider one."""
    if rng.random() < 0.4:
        case = replace(case, graph=Graph(case.graph.nodes, case.graph.edges, numbers=Float64()))
    ways = (_scaled, _odd_decays, _odd_inputs)
    for way in rng.choice(len(ways), int(rng.integers(1, 3)), replace=False):
        case = ways[way](case, rng)
    return case


def _scaled(case: Case, rng: np.random.Generator) -> Case:
    """Everything that makes a state, by one power of two: spikes stay about the same, where nothing is lost."""
    factor = 2.0 ** int(rng.choice(POWERS[case.graph.numbers.name]))
    changed: dict[str, Node] = {}
    for name, node in case.graph.nodes.items():
        fields = ("weight", "bias") if isinstance(node, Linear | Conv2d) else ("threshold", "initial_state")
        arrays = {field: array for field, array in node.arrays().items() if field in fields}
        changed[name] = node.replaced(**{field: array.astype(np.float64) * factor for field, array in arrays.items()})
    return _with(case, changed)


def _odd_decays(case: Case, rng: np.random.Generator) -> Case:
    numbers = np.finfo(case.graph.numbers.dtype)
    odd = np.array(
        [
            *(0.0, 1.0, numbers.tiny, numbers.smallest_subnormal),
            *(1 - numbers.epsneg, 1 - 2 * numbers.epsneg, 1 - 2.0**-20),
            *(1 - 2.0**-27, 1 - 2.0**-30, 1 - 2.0**-35),  # 1 to what rounds float64 constants to float32 on the way
        ]
    )
    odd = np.unique(odd.astype(case.graph.numbers.dtype))
    return _with(
        case,
        {
            name: unit.replaced(decay=rng.choice(odd, unit.decay.shape))
            for name, unit in case.graph.of_kind(Unit).items()
        },
    )


def _odd_inputs(case: Case, rng: np.random.Generator) -> Case:
    """Inputs by powers of two of their own, and zeros of either sign; those with a range or a grid stay."""
    free = {name for name, node in case.graph.of_kind(Input).items() if node.low is None and node.fraction_bits is None}
    powers = POWERS[case.graph.numbers.name]

    def odd(array: Array) -> Array:
        factors = np.where(rng.random(array.shape) < 0.3, 2.0 ** rng.choice(powers, array.shape).astype(float), 1.0)
        scaled = np.asarray(array, dtype=np.float64) * factors
        return np.where(rng.random(array.shape) < 0.2, np.copysign(0.0, rng.normal(size=array.shape)), scaled)

    if isinstance(case.inputs, Mapping):
        return replace(case, inputs={name: odd(x) if name in free else x for name, x in case.inputs.items()})
    return replace(case, inputs=odd(case.inputs)) if free else case


def _with(case: Case, changed: Mapping[str, Node]) -> Case:
    """The case with other nodes in the same places."""
    nodes = {name: changed.get(name, node) for name, node in case.graph.nodes.items()}
    return replace(case, graph=Graph(nodes, case.graph.edges, numbers=case.graph.numbers))

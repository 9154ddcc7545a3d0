"""What calibration inputs show: which steps count, and what a change of numbers did to spikes and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.reference.trace import Trace


def alive(values: Array, lengths: Array) -> NDArray[np.bool_]:
    """(T, B): whether a step is within its sample's length."""
    return np.asarray(np.arange(len(values))[:, None] < lengths)


def counted(values: Array, lengths: Array) -> Array:
    """(T, B, *shape) as (N, *shape): the steps within the samples' lengths."""
    return np.asarray(values[alive(values, lengths)])


def held(values: Array, lengths: Array) -> Array:
    """The values with each sample's first step in place of what pads it, which would widen ranges and grids."""
    within = alive(values, lengths)
    return np.where(within.reshape(*within.shape, *[1] * (values.ndim - 2)), values, values[:1])


def changes(graph: Graph, before: Trace, after: Trace) -> dict[str, Any]:
    """By unit, how many spikes changed of how many bins; by output, the largest difference."""
    spikes = {}
    for name, unit in graph.of_kind(Unit).items():
        if unit.spiking:
            changed = counted(before.spikes[name] != after.spikes[name], before.lengths)
            spikes[name] = {"changed": int(changed.sum()), "total": changed.size}
    outputs = {}
    for name, value in before.outputs.items():
        gaps = np.abs(after.outputs[name] - value)
        outputs[name] = float((gaps if name in before.reduced else counted(gaps, before.lengths)).max())
    return {"spikes": spikes, "outputs": outputs}

"""How close a run came to another spike."""

from __future__ import annotations

import numpy as np

from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.reference.trace import Trace


def smallest_margin(graph: Graph, trace: Trace) -> float:
    """The smallest |s - threshold| over all decisions within the samples' lengths of a trace with states.

    In the unit of the states (none); infinite if no unit spikes.
    """
    smallest = np.inf
    for name, unit in graph.of_kind(Unit).items():
        if unit.spiking:
            gaps = np.abs(trace.states[name] - unit.threshold.astype(np.float64))
            smallest = min(smallest, float(gaps[np.arange(len(gaps))[:, None] < trace.lengths].min()))
    return float(smallest)

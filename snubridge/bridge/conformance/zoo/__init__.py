"""A zoo of small graphs with one idea each, most with their figures worked out by hand."""

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.zoo.connections import BIASES, DELAYS, FANS, PORTS, RECURRENCE
from snubridge.bridge.conformance.zoo.fixed import FIXED
from snubridge.bridge.conformance.zoo.images import NETWORKS, WINDOWS
from snubridge.bridge.conformance.zoo.read_outs import READ_OUTS
from snubridge.bridge.conformance.zoo.units import UNITS
from snubridge.ir.nodes import Node

ZOO: tuple[Case, ...] = (*UNITS, *DELAYS, *BIASES, *RECURRENCE, *FANS, *PORTS, *READ_OUTS, *WINDOWS, *NETWORKS, *FIXED)


def holding(*kinds: type[Node]) -> frozenset[str]:
    """The names of the cases that hold a node of one of these kinds: what an adapter without them refuses."""
    return frozenset(case.name for case in ZOO if any(type(node) in kinds for node in case.graph.nodes.values()))

"""Options that several engines have, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping

from snubridge.errors import BadInput, Unsupported, shown
from snubridge.ir.budget import beyond
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import NUMBERS, FixedPoint

SHORTEST, LONGEST = 1e-15, 1e15
"""Seconds between which engines keep time: beyond, their clocks under- or overflow in long runs."""


def time_step(backend: str, dt: float) -> float:
    """``dt`` in seconds, positive and finite; of engines that need one, though no spike depends on it."""
    if isinstance(dt, bool) or not isinstance(dt, int | float) or not SHORTEST <= dt <= LONGEST:
        raise BadInput(f"{backend}: dt={shown(dt)}; needed a positive number of seconds, say dt=1e-3")
    return float(dt)


def wide_enough(backend: str, graph: Graph, precision: str | None) -> str:
    """The precision to compute in: the graph's by default, and never one that would round its parameters again.

    For FixedPoint float32 where every sum is exact in it, else float64.
    """
    reasons = beyond(graph, "float32") if isinstance(graph.numbers, FixedPoint) else ()
    own = graph.numbers.name if not isinstance(graph.numbers, FixedPoint) else "float64" if reasons else "float32"
    chosen = own if precision is None else precision
    if not isinstance(chosen, str) or chosen not in NUMBERS:
        known = f"{', '.join(NUMBERS)}, or None for the graph's"
        raise BadInput(f"{backend}: precision={shown(precision)}; give one of {known}")
    if chosen == "float32" and reasons:
        raise Unsupported(backend, [*reasons, "take precision float64 for this graph as it is"])
    if chosen == "float32" and graph.numbers.name == "float64":
        raise Unsupported(
            backend,
            [
                "precision float32 would round the parameters of a float64 graph once more: "
                "take float64, or build the graph with sb.Float32()"
            ],
        )
    return chosen


def upper_limit(backend: str, option: str, value: int) -> int:
    """A limit that a caller can raise: a whole number, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{backend}: {option}={shown(value)}; needed a whole number, at least 1")
    return value


def oversize(sizes: Mapping[str, int], option: str, limit: int, what: str) -> tuple[str, ...]:
    """The reasons to refuse nodes that a lowering would unroll to more than ``limit``; ``sizes`` by node."""
    return tuple(
        f"node {name}: unrolls to {size:,} {what}, above the limit of {limit:,}: raise it with the option "
        f"{option}={size}"
        for name, size in sizes.items()
        if size > limit
    )

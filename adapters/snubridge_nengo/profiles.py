"""The ways in which a graph is lowered to Nengo: what each takes, and how its program rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from snubridge.bridge import ErrorModel, ScriptProgram, wire
from snubridge.errors import BadInput, Unsupported
from snubridge.ir import FixedPoint, Graph, Identity, ReLU, Reset, Step, Unit
from snubridge.ir.numbers import Array
from snubridge_nengo.engine.stock import GUARD, LEAST_DECAY, time_constant

LONGEST = 256
"""Steps that a stock network delays values by at most: it has a Node for each."""
LARGEST, SMALLEST_WEIGHT = 2.0**64, 2.0**-900
"""Of thresholds, which lie above 1 by this; and of weights, which are divided by powers of two without rounding."""
THRESHOLD_ERROR = GUARD + LEAST_DECAY + 2.0**-48
"""Relative: the guard, what a decay of 0 leaks, and what is rounded where the gain is computed."""
WEIGHT_ERROR = 2.0**-49
"""Relative: products with the gain, and J - v."""
REMEDY = "profile 'custom' takes it"


@dataclass(frozen=True)
class NengoProgram(ScriptProgram):
    """A program that says which profile it has, and why."""

    reason: str = "it was asked for"

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Couplings between single values, the profile, and why it was taken."""
        chosen = {"profile": self.options["profile"], "reason": self.reason}
        return MappingProxyType({**super().facts, **chosen})


def custom(graph: Graph, options: Mapping[str, Any]) -> NengoProgram:
    """Units of a neuron type of our own, which takes every graph."""
    import snubridge_nengo.engine as engine

    # numpy flushes no subnormal; measured on 2.3.5, its tanh is off by at most 1.6 u of its value
    return NengoProgram(graph, engine, ErrorModel("float64"), "nengo", {**options, "profile": "custom"})


def stock(graph: Graph, options: Mapping[str, Any]) -> NengoProgram:
    """Units of ``nengo.LIF``; refused with all reasons where they cannot be."""
    reasons = not_stock(graph)
    if reasons:
        raise Unsupported("nengo", reasons)
    import snubridge_nengo.engine as engine

    units = graph.of_kind(Unit)
    model = ErrorModel("float64")
    if units:
        error = max(_decay_error(unit, options["dt"]) for unit in units.values())
        model = ErrorModel("float64", False, WEIGHT_ERROR, error, THRESHOLD_ERROR)
    return NengoProgram(graph, engine, model, "nengo", {**options, "profile": "stock"})


def auto(graph: Graph, options: Mapping[str, Any]) -> NengoProgram:
    """Stock where it fits, else custom; ``facts`` say which, and why."""
    reasons = not_stock(graph)
    found = custom(graph, options) if reasons else stock(graph, options)
    reason = f"auto: {reasons[0]}" if reasons else "auto: nengo.LIF fits the graph"
    return NengoProgram(graph, found.module, found.rounding, found.engine, found.options, reason)


def loihi(graph: Graph, options: Mapping[str, Any]) -> ScriptProgram:
    """Integers on nengo-loihi's emulator, of what ``sb.quantize(graph, sb.Loihi())`` made."""
    from snubridge_nengo.loihi import lower_loihi

    if "batch" in options:
        raise BadInput("nengo: batch is an option of the other profiles; the emulator runs one sample after the other")
    return lower_loihi(graph, dt=options["dt"])


PROFILES: Mapping[str, Callable[[Graph, Mapping[str, Any]], ScriptProgram]] = MappingProxyType(
    {"custom": custom, "stock": stock, "auto": auto, "loihi": loihi}
)
"""By the option ``profile``: what makes the program of a graph, given the other options of the engine module."""


def not_stock(graph: Graph) -> list[str]:
    """Why the units of a graph cannot be ``nengo.LIF``: every reason, each with its place."""
    reasons = []
    if isinstance(graph.numbers, FixedPoint):
        reasons.append(f"numbers FixedPoint: nengo.LIF rounds no state to a grid; {REMEDY}")
    for name, unit in graph.of_kind(Unit).items():
        reasons += [f"node {name}: {reason}; {REMEDY}" for reason in _not_lif(unit)]
    for name, node in graph.nodes.items():
        for array in node.arrays().values() if not isinstance(node, Unit) else ():
            values = np.abs(array[array != 0]).astype(np.float64)
            if values.size and values.min() < SMALLEST_WEIGHT:
                reasons.append(f"node {name}: holds {values.min():.3g}, below 2^-900; {REMEDY}")
    late = sorted({(path.delay, path.target) for path in wire(graph).paths if path.delay > LONGEST})
    late += sorted({(bias.delay, bias.target) for bias in wire(graph).biases if bias.delay > LONGEST})
    reasons += [
        f"node {target}: a delay of {delay} steps; in profile 'stock' {LONGEST} at most; {REMEDY}"
        for delay, target in late
    ]
    return reasons


def _not_lif(unit: Unit) -> list[str]:
    """What ``nengo.LIF`` has no counterpart for."""
    reasons = []
    if not isinstance(unit.h, Step):
        reasons.append(f"h = {unit.h}; nengo.LIF has Step()")
    if unit.reset is not Reset.TO_ZERO:
        reasons.append(f"{unit.reset}; nengo.LIF has Reset.TO_ZERO")
    if not isinstance(unit.g, Identity | ReLU):
        reasons.append(f"g = {unit.g}; nengo.LIF has Identity() and ReLU()")
    decay, threshold, started = (
        np.asarray(array, np.float64) for array in (unit.decay, unit.threshold, unit.initial_state)
    )
    if not (threshold > 0).all():
        reasons.append(f"a threshold of {threshold.min():.6g}; nengo.LIF fires above 0 only")
    elif threshold.min() < 1 / LARGEST or threshold.max() > LARGEST:
        reasons.append(
            f"thresholds from {threshold.min():.3g} to {threshold.max():.3g}; they need to lie within 2^-64 and 2^64"
        )
    if ((decay > 0) & (decay < LEAST_DECAY)).any():
        reasons.append(f"a decay of {decay[decay > 0].min():.3g}; nengo.LIF takes 0, and 2^-44 to 1")
    ties = isinstance(unit.h, Step) and unit.h.at_threshold
    guarded = threshold * (1 - 2 * GUARD) if ties else threshold
    if ((started > guarded) & (threshold > 0) & (decay > 0)).any():
        at = "at its threshold or above" if ties else "above its threshold"
        reasons.append(f"an initial state {at}, of which nengo.LIF has no time of firing")
    return reasons


def _decay_error(unit: Unit, dt: float) -> float:
    """By how much, relative to it, a step of ``nengo.LIF`` is off the decay at most.

    That is the difference of 1 - share from it, and what J - v, the product and a vectorized expm1 round of v, which is
    kept from (1 - share)*v only by what (share*v) rounds. A decay of 0 counts as part of the threshold.
    """
    worst = 0.0
    for decay in np.unique(_positive(unit.decay)):
        share = time_constant(float(decay), dt)[1]
        off = abs(math.fsum([1.0, -share, -float(decay)])) + 2.0**-49 * share
        worst = max(worst, off / float(decay))
    return worst * (1 + 2.0**-50)


def _positive(decay: Array) -> Array:
    values = np.asarray(decay, np.float64)
    return values[values > 0]

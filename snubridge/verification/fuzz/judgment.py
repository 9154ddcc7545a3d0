"""The classes of differences: spikes by the ladder of claims, values by how far rounding can lead them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.errors import BadInput, Unsupported
from snubridge.exactness import ErrorModel, certify
from snubridge.ir.functions import Reset
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Node, Output, Unit
from snubridge.ir.numbers import Array, FixedPoint
from snubridge.reference.interpreter import simulate
from snubridge.reference.trace import Trace
from snubridge.verification.certificates import why_none
from snubridge.verification.comparison import Comparison, First, UnitComparison, compare, tolerated
from snubridge.verification.fuzz.outcome import Outcome
from snubridge.verification.ladder import Ladder, always_exact


def judge(case: Case, model: ErrorModel, actual: Trace) -> Outcome:
    """What the trace of an engine that rounds by ``model`` is, beside the reference's."""
    comparison = compare(case.expected, actual, precision=tolerated(model.precision))
    if always_exact(case.graph, model):
        return _exact(case, model, actual, comparison)
    if comparison.equal:
        return Outcome("equal", precision=model.precision)
    if isinstance(case.graph.numbers, FixedPoint):  # beyond what the model's format holds: nothing is claimed
        return Outcome("explained", why_unclaimed(case, model), model.precision, comparison.differing)
    try:
        if any(part.kind == "spikes" and part.differing for part in comparison.units.values()):
            return _spikes(case, model, actual, comparison.differing)
        return _values(case, model, actual, comparison)
    except BadInput as error:  # the model does not exclude an overflow: it claims nothing
        return Outcome("explained", str(error), model.precision, comparison.differing)


def _exact(case: Case, model: ErrorModel, actual: Trace, comparison: Comparison) -> Outcome:
    """Within the budget of FixedPoint nothing may differ, not by a bit; of reductions over time it does not speak."""
    expected, reduced = case.expected, case.expected.reduced
    apart = [
        name
        for one, other in ((expected.spikes, actual.spikes), (expected.outputs, actual.outputs))
        for name in one
        if name not in reduced and not np.array_equal(one[name], other[name])
    ]
    if not apart and comparison.equal:
        return Outcome("equal", precision=model.precision)
    reason = f"FixedPoint, and {', '.join(apart) or 'a reduction'} differs"
    return Outcome("bug", reason, model.precision, comparison.differing, place=comparison.first)


def why_unclaimed(case: Case, model: ErrorModel) -> str | None:
    """Why the model claims nothing, an overflow that it does not exclude, say; None if it does claim something."""
    try:
        certify(case.graph, case.inputs, model=model, lengths=case.lengths)
    except (BadInput, Unsupported) as error:
        return why_none(error)
    return None


def _spikes(case: Case, model: ErrorModel, actual: Trace, differing: int) -> Outcome:
    """Bug or explained, as a report would say."""
    expected = simulate(case.graph, case.inputs, lengths=case.lengths, record=("spikes", "states"))
    certificate = certify(case.graph, case.inputs, model=model, lengths=case.lengths, record=True)
    ladder = Ladder(case.graph, expected, actual, model, certificate)
    findings = [ladder.finding(name) for name in ladder.margins]
    bugs = any(found.bugs for found in findings)
    shown = [root for found in findings for root in found.shown if not (bugs and root.explained)]
    first = min(shown, key=lambda root: root.step)
    return Outcome(
        "bug" if bugs else "explained",
        precision=model.precision,
        differing=differing,
        roots=sum(found.roots for found in findings),
        place=First(*first[:4]),
        margin=first.margin,
        bound=first.bound,
    )


def _values(case: Case, model: ErrorModel, actual: Trace, comparison: Comparison) -> Outcome:
    """Explained where every value lies within its bound; the spikes are all equal."""
    apart = {key: part for key, part in _parts(comparison).items() if part.differing}
    bounds = _value_bounds(case, model, apart)
    for (group, name), part in apart.items():
        expected, found = (getattr(trace, group)[name].astype(np.float64) for trace in (case.expected, actual))
        beyond = ~(np.abs(found - expected) <= bounds[group, name])
        if name not in case.expected.reduced:
            alive = np.arange(len(expected))[:, None] < case.expected.lengths
            beyond &= alive.reshape(*alive.shape, *[1] * (expected.ndim - 2))
        if beyond.any():
            index = tuple(np.argwhere(beyond)[0].tolist())
            gap, bound = abs(found[index] - expected[index]), float(bounds[group, name][index])
            reason = f"{group} of {name} at {index}: {gap:.3g} apart, the bound is {bound:.3g}"
            return Outcome("values", reason, model.precision, comparison.differing, place=part.first)
    return Outcome("explained", "values within their bounds", model.precision, comparison.differing)


Key = tuple[str, str]


def _parts(comparison: Comparison) -> dict[Key, UnitComparison]:
    return {
        **{("spikes", name): part for name, part in comparison.units.items()},
        **{("outputs", name): part for name, part in comparison.outputs.items()},
    }


def _value_bounds(case: Case, model: ErrorModel, keys: Mapping[Key, object]) -> dict[Key, Array]:
    """How far values may be from the reference's: certificates bound states, so each value is made one.

    A unit that forgets everything and never spikes receives what the value is; its state is the value.
    """
    graph, sizes = case.graph, case.expected
    probe = Unit(0.0, np.finfo(graph.numbers.dtype).max, reset=Reset.NONE)
    nodes, edges, names = dict[str, Node](graph.nodes), list(graph.edges), dict[Key, str]()
    for group, name in keys:
        names[group, name] = f"probe.{len(nodes)}"
        while names[group, name] in nodes:
            names[group, name] += "_"
        nodes[names[group, name]] = probe
        heard = graph.incoming[name] if group == "outputs" else [Edge(name, "")]
        edges += [Edge(edge.source, names[group, name], edge.delay) for edge in heard]
    probed = Graph(nodes, edges, numbers=graph.numbers)
    found = certify(probed, case.inputs, model=model, record=True, lengths=case.lengths)
    bounds: dict[Key, Array] = {}
    for (group, name), probe_name in names.items():
        bound = found.bounds[probe_name]
        how = graph.nodes[name].over_time if isinstance(graph.nodes[name], Output) else None  # type: ignore[attr-defined]  # an Output
        if how is not None:
            magnitude = np.abs(found.margins[probe_name] + np.finfo(graph.numbers.dtype).max)
            bound = _over_time(how, bound, magnitude, sizes.lengths, model)
        bounds[group, name] = bound
    return bounds


def _over_time(how: str, bound: Array, magnitude: Array, lengths: Array, model: ErrorModel) -> Array:
    """The bound on a reduction over time of values with these bounds and magnitudes (T, B, *shape): (B, *shape)."""
    alive = (np.arange(len(bound))[:, None] < lengths).reshape(*bound.shape[:2], *[1] * (bound.ndim - 2))
    bound = np.where(alive, bound, 0.0)
    if how in ("max", "last"):
        return np.asarray(bound.max(axis=0))
    rounded = 2 * (len(bound) + 1) * model.format.unit * np.where(alive, magnitude + bound, 0.0).sum(axis=0)
    total = bound.sum(axis=0) + rounded + math.ldexp(float(len(bound)), model.least)
    return np.asarray(total / lengths.reshape(-1, *[1] * (total.ndim - 1)) if how == "mean" else total)

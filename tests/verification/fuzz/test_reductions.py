"""What shrinking tries: runnable, smaller, and with the same arithmetic for the neurons that stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import Case
from snubridge.errors import BadInput, InvalidGraph
from snubridge.verification.comparison import First
from snubridge.verification.fuzz import Outcome, draw
from snubridge.verification.fuzz.reductions import REDUCTIONS, with_named_inputs
from snubridge.verification.fuzz.shrinking import shrink
from snubridge.verification.fuzz.slices import axes, sliced


@pytest.fixture(scope="module")
def cases():
    drawn = [with_named_inputs(draw(8, number)) for number in range(60)]
    return [case for case in drawn if case.graph.of_kind(sb.Unit) and not case.name.startswith("populations")]


def test_most_reductions_give_graphs_that_run(cases):
    found: Counter[str] = Counter()
    for case in cases[:8]:
        unit = list(case.graph.of_kind(sb.Unit))[-1]
        for place in (None, First(0, 0, unit, 0)):
            for reduction in REDUCTIONS:
                for candidate in reduction(case, place):
                    try:
                        sb.validate(candidate.graph)
                        sb.simulate(candidate.graph, candidate.inputs, lengths=candidate.lengths)
                        found["run"] += 1
                    except (InvalidGraph, BadInput):
                        found["refused"] += 1
    assert found["run"] > 400
    assert found["refused"] < 0.3 * found["run"], found


def test_neurons_that_stay_compute_what_they_did(cases):
    """Where every axis is cut alone and no other neuron is heard: the states of the rest are equal to the bit."""
    compared = 0
    for case in cases:
        for axis in axes(case.graph):
            if any(
                side == "in" and not isinstance(case.graph.nodes[name], sb.Unit | sb.Output)
                for name, side, _ in axis.ports
            ):
                continue  # a matrix or a pool hears them together
            if any(unit.reset is sb.Reset.LATERAL for unit in case.graph.of_kind(sb.Unit).values()):
                continue
            places = np.arange(0, axis.length, 2)
            part = sliced(case, axis, places)
            sb.validate(part.graph)
            for name, side, at in axis.ports:
                if side == "out" and name in case.expected.states:
                    whole = np.take(case.expected.states[name], places, axis=2 + at)
                    np.testing.assert_allclose(part.expected.states[name], whole, rtol=1e-12, atol=0)
                    compared += 1
    assert compared > 5


def test_shrinking_ends_at_the_smallest_case_that_fails():
    """A failure that needs two neurons that spike at once: nothing else is left."""
    case = draw(8, next(n for n in range(99) if draw(8, n).name.startswith("dense")))
    ran: list[int] = []

    def run(candidate: Case) -> Outcome:
        ran.append(len(candidate.graph.nodes))
        for name, spikes in candidate.expected.spikes.items():
            together = np.argwhere(spikes.astype(bool).sum(axis=-1) >= 2)
            if len(together):
                return Outcome("bug", place=First(int(together[0][0]), int(together[0][1]), name, 0))
        return Outcome("equal")

    first = run(case)
    assert first.kind == "bug"
    small, last = shrink(case, first, run)
    assert last.same_failure(first)
    assert len(small.graph.nodes) == 2
    assert [array.shape for array in small.expected.spikes.values()] == [(1, 1, 2)]
    before = len(ran)
    again, _ = shrink(case, first, run, trials=7)
    assert len(ran) - before == 7
    assert len(again.graph.nodes) <= len(case.graph.nodes)


def test_what_ends_processes_is_tried_less_often():
    case = draw(8, 3)
    ran: list[Case] = []

    def run(candidate: Case) -> Outcome:
        ran.append(candidate)
        return Outcome("timeout", fatal=True)

    shrink(case, Outcome("timeout"), run, trials=50)
    assert len(ran) == 3

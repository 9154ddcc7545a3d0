"""What a campaign draws: the same for a seed, neither silent nor saturated, and at the edges of arithmetic."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import snubridge as sb
from snubridge.verification.fuzz import FAMILIES, draw

DRAWN = 150


@pytest.fixture(scope="module")
def cases():
    return [draw(5, number) for number in range(DRAWN)]


def family(case):
    return case.name.split("-")[0]


def test_shares_add_up_to_one():
    assert sum(family.share for family in FAMILIES.values()) == pytest.approx(1, abs=1e-12)


def test_a_seed_and_a_number_fix_the_case(cases):
    for number in (0, 7, 149):
        again = draw(5, number)
        assert (again.graph, again.lengths, again.name) == (
            cases[number].graph,
            cases[number].lengths,
            cases[number].name,
        )
        np.testing.assert_equal(again.inputs, cases[number].inputs)
    assert draw(6, 0).graph != cases[0].graph
    assert len({case.graph.digest for case in cases}) == DRAWN


def test_every_family_comes_up_as_its_share_says(cases):
    found = Counter(map(family, cases))
    for name, kind in FAMILIES.items():
        assert found[name] == pytest.approx(kind.share * DRAWN, abs=4 * np.sqrt(kind.share * DRAWN))


def test_most_graphs_spike_and_populations_are_neither_silent_nor_full(cases):
    rates = {"populations": [], "others": []}
    for case in cases:
        spikes = [s for name, s in case.expected.spikes.items() if case.graph.nodes[name].spiking]
        if spikes:
            rates["populations" if family(case) == "populations" else "others"].append(
                np.mean([s.mean() for s in spikes])
            )
    assert np.mean(np.array(rates["others"]) > 0) > 0.75
    assert np.mean((np.array(rates["populations"]) > 0.005) & (np.array(rates["populations"]) < 0.9)) > 0.7


def test_states_lie_on_their_thresholds(cases):
    exact = near = 0
    for case in cases:
        if family(case) != "ties":
            continue
        for name, unit in case.graph.of_kind(sb.Unit).items():
            if unit.spiking:
                gap = np.abs(case.expected.states[name] - unit.threshold.astype(np.float64))
                exact += bool((gap == 0).any())
                near += bool(((gap > 0) & (gap <= 8 * np.spacing(np.abs(unit.threshold)))).any())
    assert exact >= 8
    assert near >= 8


def test_numbers_are_at_the_edges_of_their_formats(cases):
    found: Counter[str] = Counter()
    for case in cases:
        edge = np.finfo(case.graph.numbers.dtype)
        inputs = case.inputs.values() if isinstance(case.inputs, dict) else [case.inputs]
        arrays = [a for node in case.graph.nodes.values() for a in node.arrays().values()]
        values = np.concatenate([np.abs(a).ravel() for a in (*arrays, *inputs)])
        found["subnormal"] += bool(((values > 0) & (values < edge.tiny)).any())
        found["huge"] += bool((values > edge.max * 2.0**-70).any())
        decays = [np.ravel(unit.decay) for unit in case.graph.of_kind(sb.Unit).values()]
        found["decay beside 1"] += bool(((1 - np.concatenate([*decays, [0]])) == edge.epsneg).any())
        found["lengths"] += case.lengths is not None
    assert found["subnormal"] >= 3
    assert found["huge"] >= 3
    assert found["decay beside 1"] >= 2
    assert found["lengths"] >= 30


def test_drawing_and_judging_need_no_pytest():
    script = """
import sys
sys.modules["pytest"] = None
from snubridge.verification.fuzz import draw
from snubridge.verification.fuzz.judgment import judge
import snubridge as sb
case = draw(5, 1)
print(judge(case, sb.ErrorModel("float64"), sb.export(case.graph, "pcm").run(case.inputs, lengths=case.lengths)).kind)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "equal\n", done.stderr

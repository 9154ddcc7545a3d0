"""Compiled targets on random graphs of both families, ties included: `make test-brian2`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_case
from snubridge.bridge.conformance.cases import Case
from tests.adapters.brian2.merging import merged

brian2 = pytest.importorskip("brian2")
pytestmark = [pytest.mark.usefixtures("quick_brian2"), pytest.mark.compiled, pytest.mark.timeout(600)]

GRAPHS = 22
"""Of each family."""


def alike(case: Case) -> bool:
    """Whether all units have the same g: fewer kinds of paths to compile in one project."""
    return len({unit.g for unit in case.graph.of_kind(sb.Unit).values()}) == 1


def drawn(**sizes: int) -> list[Case]:
    families: Any = ("dyadic", "generic")
    return [
        case
        for family in families
        for case in [found for found in (random_case(seed, family, **sizes) for seed in range(60)) if alike(found)][
            :GRAPHS
        ]
    ]


def assert_spikes(expected: Any, actual: Any, place: str) -> int:
    for name, spikes in expected.items():
        np.testing.assert_array_equal(actual[name], spikes, err_msg=f"{place} {name}")
    return sum(int(spikes.sum()) for spikes in expected.values())


def ties(case: Case) -> int:
    """How often a state is at its threshold."""
    return sum(
        int((case.expected.states[name] == unit.threshold).sum()) for name, unit in case.graph.of_kind(sb.Unit).items()
    )


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 1e-3 / 3])
def test_cython_spikes_alike(dt: float) -> None:
    spikes = tied = 0
    for case in drawn():
        actual = sb.export(case.graph, "brian2", target="cython", dt=dt).run(case.inputs)
        spikes += assert_spikes(case.expected.spikes, actual.spikes, case.name)
        tied += ties(case)
    assert spikes > 5000
    assert tied > 100, "hardly a tie was met"


def assert_project_agrees(cases: list[Case], **options: Any) -> None:
    """One project of all cases spikes in each part as the case alone."""
    whole = merged(cases)
    actual = sb.export(whole.graph, "brian2", target="cpp_standalone", **options).run(whole.inputs)
    spikes = sum(
        assert_spikes(case.expected.spikes, whole.part(actual.spikes, place), case.name)
        for place, case in enumerate(cases)
    )
    assert spikes > 30 * len(cases)


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 1e-3 / 3])
def test_a_project_spikes_alike_in_split_runs(dt: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """44 graphs, ties included, in one C++ project whose run is cut in three, as a user may cut it, at three steps."""
    run = brian2.Network.run
    runs: list[int] = []

    def cut(network: Any, duration: Any, **options: Any) -> None:
        for steps in (50, 1, 149):
            runs.append(steps)
            run(network, duration / 200 * steps, **options)

    monkeypatch.setattr(brian2.Network, "run", cut)
    cases = drawn(steps=200, samples=1)
    assert len(cases) == 2 * GRAPHS
    assert sum(map(ties, cases)) > 100
    assert any(edge.delay > 1 for case in cases for edge in case.graph.edges)
    assert_project_agrees(cases, dt=dt)
    assert runs == [50, 1, 149]


@pytest.mark.parametrize("target", ["cython", "cpp_standalone"])
def test_near_ties_that_fast_math_turns(target: str) -> None:
    """s = decay*s + u meets its threshold within a few roundings: with fused or reordered operations spikes turn."""
    rng = np.random.default_rng(0)
    size = 20_000
    decay, first, second = rng.uniform(0.1, 0.99, size), rng.uniform(0.1, 0.9, size), rng.uniform(0.1, 0.9, size)
    threshold = decay * first + second + rng.integers(-1, 2, size) * 2.0**-53
    nodes = {"in": sb.Input((size,)), "unit": sb.Unit(decay, np.maximum(threshold, first * 1.01))}
    graph = sb.Graph(nodes, [sb.Edge("in", "unit")], numbers=sb.Float64())
    inputs = np.stack([first, second])[:, np.newaxis]
    expected = sb.simulate(graph, inputs).spikes["unit"]
    actual = sb.export(graph, "brian2", target=target).run(inputs).spikes["unit"]
    assert 0.1 < expected[1].mean() < 0.9
    np.testing.assert_array_equal(actual, expected)


def test_cython_takes_the_whole_representation() -> None:
    """Fixed point, convolutions, every reset, g, h, delay and reduction."""
    from snubridge.bridge.conformance.fixed import random_fixed
    from snubridge.bridge.conformance.space import decidable, random_graph

    compared = 0
    for case in (
        *(random_graph(seed) for seed in range(8)),
        *(random_fixed(seed, precision="float64") for seed in range(3)),
    ):
        if not decidable(case, "float64"):
            continue
        program = sb.export(case.graph, "brian2", target="cython")
        actual = program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        for key, values in case.expected.arrays().items():
            if "/" not in key:
                continue  # which outputs are reduced, and lengths
            scale = max(1.0, float(np.abs(values).max()))
            tolerance = 0 if values.dtype == np.uint8 else 1e-9 * scale
            np.testing.assert_allclose(actual.arrays()[key], values, rtol=0, atol=tolerance, err_msg=case.name)
        compared += 1
    assert compared >= 9

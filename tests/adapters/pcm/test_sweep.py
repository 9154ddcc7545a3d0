"""PCM: random graphs over all that a graph may mean run on the twin alike, and come back to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from snubridge_pcm import PcmAdapter

import snubridge as sb
from tests.adapters.pcm.chips import READ
from tests.adapters.sweep import EVERYTHING, assert_alike, features, random_case

SEEDS = 50


@pytest.mark.parametrize("family", ["dyadic", "generic"])
@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
def test_whatever_a_graph_means(family: Any, numbers: Any, tmp_path: Path) -> None:
    """None is refused, 0 spikes differ, all values lie within the tolerance, and each graph is read back."""
    spikes = 0
    met: set[str] = set()
    for seed in range(SEEDS):
        case = random_case(seed, family, numbers)
        expected = sb.simulate(case.graph, case.inputs, record=("spikes", "states"), lengths=case.lengths)
        program = PcmAdapter().lower(case.graph)
        program.save(tmp_path / "chip.pcm")
        back = READ(tmp_path / "chip.pcm")
        assert back == case.graph
        assert back.metadata == case.graph.metadata
        actual = program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        assert_alike(case, expected, actual, 1e-9)
        spikes += sum(int(y.sum()) for name, y in expected.spikes.items() if case.graph.nodes[name].spiking)
        met |= features(case.graph)
    assert spikes > 3_000
    assert not (EVERYTHING | ({"Sigmoid()", "Tanh()"} if family == "generic" else set())) - met

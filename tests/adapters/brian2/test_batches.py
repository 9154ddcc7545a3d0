"""Samples one after the other in one run: between them silence, then every state as at the start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_case
from snubridge.bridge.conformance.space import decidable, random_graph

brian2 = pytest.importorskip("brian2")
engine = pytest.importorskip("snubridge_brian2.engine")
pytestmark = pytest.mark.usefixtures("quick_brian2")

STEPS, SAMPLES, SEED = 12, 4, 0
RNG = np.random.default_rng(11)
INPUTS = RNG.integers(-4, 9, (STEPS, SAMPLES, 3)) / 8
INPUTS[-1] = 2.0  # every sample ends on spikes, which are under way when it does


def recorded(trace: sb.Trace) -> dict[str, Any]:
    """Spikes, states and outputs."""
    return {key: values for key, values in trace.arrays().items() if "/" in key}


def assert_agrees(graph: sb.Graph, inputs: Any, **options: Any) -> sb.Trace:
    """Both batches and the reference: the same spikes, and values to within float64 rounding."""
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    for batch in ("concatenated", "side_by_side"):
        actual = sb.export(graph, "brian2", batch=batch, **options).run(inputs, record=("spikes", "states"))
        for key, values in recorded(expected).items():
            if values.dtype == np.uint8:
                np.testing.assert_array_equal(actual.arrays()[key], values, err_msg=f"{batch} {key}")
            np.testing.assert_allclose(actual.arrays()[key], values, rtol=1e-12, atol=1e-12, err_msg=f"{batch} {key}")
    return expected


def delayed(unit: sb.Unit, delay: int, over_time: Any = None) -> sb.Graph:
    """``unit`` excites a second one and itself ``delay`` steps later; a read-out hears both, through a relay too."""
    rng = np.random.default_rng(SEED)
    nodes = {
        "in": sb.Input((3,)),
        "w": sb.Linear(rng.integers(-3, 7, (4, 3)) / 4, [0.0, 0.25, 0.0, -0.25]),
        "unit": unit,
        "again": sb.Linear(rng.integers(-2, 5, (4, 4)) / 4, [0.0, 0.0, 0.5, 0.0]),
        "other": sb.Unit([0.5, 0.75, 1.0, 0.0], 0.5, reset=sb.Reset.SUBTRACT, initial_state=0.25),
        "mix": sb.Linear(rng.integers(-2, 5, (4, 4)) / 8),
        "readout": sb.Linear(rng.integers(-2, 5, (2, 4)) / 4, [0.5, -0.5]),
        "out": sb.Output(over_time),
    }
    edges = [
        sb.Edge("in", "w", delay - 1),
        sb.Edge("w", "unit"),
        sb.Edge("unit", "again", delay),
        sb.Edge("again", "unit"),
        sb.Edge("again", "other"),
        sb.Edge("unit", "other"),
        sb.Edge("unit", "other", delay),
        sb.Edge("other", "mix", 1),
        sb.Edge("mix", "readout", delay),
        sb.Edge("readout", "out"),
    ]
    return sb.Graph(nodes, edges, numbers=sb.Float64())


@pytest.mark.parametrize("target", ["numpy", pytest.param("cython", marks=pytest.mark.compiled)])
@pytest.mark.parametrize("delay", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["spiking", "lateral", "soft"])
def test_nothing_of_a_sample_reaches_the_next(kind: str, delay: int, target: str) -> None:
    unit = {
        "spiking": sb.Unit(0.75, [0.5, 1.0, -0.25, 0.75], initial_state=[0.5, 0.0, -1.0, 2.0]),
        "lateral": sb.Unit(1.0, 0.75, reset=sb.Reset.LATERAL, initial_state=0.5),
        "soft": sb.Unit(0.75, 0.5, h=sb.Sigmoid(), initial_state=0.5),
    }[kind]
    trace = assert_agrees(delayed(unit, delay), INPUTS, target=target)
    if kind != "soft":
        assert trace.spikes["unit"][-1].any(axis=1).all(), "no spike is under way when a sample ends"
    assert 0 < trace.spikes["other"].mean() < 1


@pytest.mark.parametrize("over_time", ["mean", "sum", "max", "last"])
def test_reductions_begin_anew_with_each_sample(over_time: str) -> None:
    graph = delayed(sb.Unit(0.75, 0.5), 2, over_time)
    assert_agrees(graph, -INPUTS)
    lengths = [1, 5, STEPS, 7]
    expected = sb.simulate(graph, INPUTS, lengths=lengths)
    actual = sb.export(graph, "brian2", batch="concatenated").run(INPUTS, lengths=lengths)
    np.testing.assert_allclose(actual.outputs["out"], expected.outputs["out"], rtol=1e-12)


def test_delays_beyond_a_sample_lead_nowhere() -> None:
    nodes = {
        "in": sb.Input((3,)),
        "unit": sb.Unit(1.0, 0.5),
        "soft": sb.Unit(1.0, 0.5, h=sb.Tanh()),
        "out": sb.Output(),
    }
    edges = [sb.Edge("in", "unit"), sb.Edge("in", "soft", STEPS - 1)]
    edges += [sb.Edge(name, "out", delay) for name in ("unit", "soft") for delay in (STEPS - 1, STEPS, 40)]
    edges += [sb.Edge("unit", "soft", STEPS)]
    assert_agrees(sb.Graph(nodes, edges), INPUTS)


def test_lateral_inhibition_among_soft_units_begins_anew() -> None:
    nodes = {"in": sb.Input((3,)), "soft": sb.Unit(0.5, 0.25, h=sb.Sigmoid(), reset=sb.Reset.LATERAL, initial_state=1)}
    assert_agrees(sb.Graph(nodes, [sb.Edge("in", "soft")]), INPUTS)


@pytest.mark.parametrize("family", ["dyadic", "generic"])
def test_random_graphs_one_sample_after_the_other(family: Any) -> None:
    spikes = 0
    for seed in range(20):
        case = random_case(seed, family, steps=25, samples=3)
        actual = sb.export(case.graph, "brian2", batch="concatenated").run(case.inputs)
        for name, expected in case.expected.spikes.items():
            np.testing.assert_array_equal(actual.spikes[name], expected, err_msg=f"{case.name} {name}")
            spikes += int(expected.sum())
    assert spikes > 3000


def test_the_whole_space_one_sample_after_the_other() -> None:
    """Fixed point, convolutions, every reset, g, h and reduction, samples of different lengths."""
    compared = 0
    for seed in range(60):
        case = random_graph(seed)
        if not decidable(case, "float64"):
            continue
        program = sb.export(case.graph, "brian2", batch="concatenated")
        actual = program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        for key, values in recorded(case.expected).items():
            scale = max(1.0, float(np.abs(values).max()))
            tolerance = 0 if values.dtype == np.uint8 else 1e-9 * scale
            np.testing.assert_allclose(actual.arrays()[key], values, rtol=0, atol=tolerance, err_msg=case.name)
        compared += 1
    assert compared >= 50


def test_auto_goes_by_the_synapses_of_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    program = sb.export(delayed(sb.Unit(0.75, 0.5), 3), "brian2")
    simulation = program._simulation
    assert (simulation.layout(STEPS, 4).side_by_side, simulation.layout(STEPS, 4).in_turn) == (4, 1)
    monkeypatch.setattr(engine, "SIDE_BY_SIDE", 100)
    layout = simulation.layout(STEPS, 4)
    assert (layout.side_by_side, layout.in_turn, layout.period, layout.total) == (1, 4, 15, 57)
    assert simulation.layout(STEPS, 1).in_turn == 1


@pytest.mark.parametrize("batch", ["both", 1, None])
def test_an_unknown_batch_is_refused(batch: Any) -> None:
    with pytest.raises(sb.BadInput, match=r"brian2: batch=.*auto, side_by_side, concatenated"):
        sb.export(delayed(sb.Unit(0.75, 0.5), 1), "brian2", batch=batch)


def test_progress_is_one_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    engine.progress(0.0, 0.0, 0.0, 1.0)
    engine.progress(30.0, 0.25, 0.0, 1.0)
    engine.progress(120.0, 1.0, 0.0, 1.0)
    engine.progress(2.0, 1.0, 0.0, 1.0)
    assert capsys.readouterr().err == "\rbrian2: 25%, about 90 s left\rbrian2: done in 120 s      \n"

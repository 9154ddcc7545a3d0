"""Brian2: the contract, and what is particular to event-driven groups, names, delays and scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snubridge_brian2 import Brian2Adapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, random_case

brian2 = pytest.importorskip("brian2")
pytestmark = pytest.mark.usefixtures("quick_brian2")

RNG = np.random.default_rng(7)
BINARY = (RNG.random((30, 2, 4)) < 0.4).astype(float)
REAL = BINARY * RNG.integers(-8, 9, BINARY.shape) / 8


class TestBrian2(AdapterConformance):
    adapter = Brian2Adapter()
    suffix = ".py"


@pytest.fixture
def preferences() -> Iterator[Any]:
    """Brian2's preferences, put back afterwards."""
    before = {name: brian2.prefs[name] for name in brian2.prefs}
    yield brian2.prefs
    for name, value in before.items():
        brian2.prefs[name] = value


def dyadic(*shape: int) -> np.ndarray[Any, Any]:
    """Weights on a grid of 1/8: sums are exact in any order, and ties at a threshold occur."""
    return np.random.default_rng(shape).integers(-6, 11, shape) / 8


def layered(unit: sb.Unit, *, size: int = 5, **options: Any) -> sb.Graph:
    """A recurrent layer of ``unit`` with a read-out."""
    return sb.Graph(
        nodes={
            "inp": sb.Input((4,)),
            "weight": sb.Linear(dyadic(size, 4), dyadic(size) / 4),
            "unit": unit,
            "recurrent": sb.Linear(dyadic(size, size) / 4),
            "readout": sb.Linear(dyadic(3, size)),
            "out": sb.Output(),
        },
        edges=[
            sb.Edge("inp", "weight"),
            sb.Edge("weight", "unit"),
            sb.Edge("unit", "recurrent", 1),
            sb.Edge("recurrent", "unit"),
            sb.Edge("unit", "readout"),
            sb.Edge("readout", "out"),
        ],
        **options,
    )


def assert_agrees(graph: sb.Graph, inputs: Any, **options: Any) -> sb.Trace:
    """Brian2 and the reference: equal spikes, and states and outputs within float64 rounding."""
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    actual = sb.export(graph, "brian2", **options).run(inputs, record=("spikes", "states"))
    for name, unit in graph.of_kind(sb.Unit).items():
        if unit.spiking:
            np.testing.assert_array_equal(actual.spikes[name], expected.spikes[name], err_msg=name)
    for key, values in expected.arrays().items():
        np.testing.assert_allclose(actual.arrays()[key], values, rtol=1e-12, atol=1e-12, err_msg=key)
    return actual


# --- What a unit does


@pytest.mark.parametrize("reset", list(sb.Reset))
def test_resets_and_ties(reset: sb.Reset) -> None:
    """One unit fires at its threshold and one only above it; both meet ties."""
    decay, threshold = [0.0, 0.0, 1.0, 1.0, 0.5], [0.5, 0.0, 1.0, 0.5, 1.0]
    units = {
        at: sb.Unit(decay, threshold, reset=reset, h=sb.Step(at_threshold=at), initial_state=0.5)
        for at in (False, True)
    }
    weight = sb.Linear(np.array([[1, 1, -1, -1], [1, -1, 1, -1], [-1, 1, 1, 0], [1, -1, 0, 0], [1, 1, 1, -1]]) / 2)
    graph = sb.Graph(
        {"inp": sb.Input((4,)), "weight": weight, "above": units[False], "at": units[True]},
        [
            sb.Edge("inp", "weight"),
            sb.Edge("weight", "above"),
            sb.Edge("weight", "at"),
            sb.Edge("above", "at", 1),
            sb.Edge("at", "above", 3),
        ],
    )
    trace = assert_agrees(graph, BINARY)
    for name, unit in graph.of_kind(sb.Unit).items():
        ties = trace.states[name] == unit.threshold
        assert ties.sum() >= 5, "hardly a tie was met"
        assert (trace.spikes[name][ties] == (name == "at")).all()
        assert 0.1 < trace.spikes[name].mean() < 0.9


@pytest.mark.parametrize("g", [sb.ReLU(), sb.LeakyReLU(0.3), sb.LeakyReLU(-0.5)], ids=str)
def test_state_functions(g: Any) -> None:
    trace = assert_agrees(layered(sb.Unit(0.75, 0.5, g=g, initial_state=-1.0)), -REAL)
    assert 0 < trace.spikes["unit"].mean() < 1
    assert (trace.states["unit"] < 0).any() == (g == sb.LeakyReLU(0.3))


@pytest.mark.parametrize("h", [sb.Sigmoid(), sb.Tanh()], ids=str)
@pytest.mark.parametrize("reset", sb.Reset)
def test_soft_units(h: Any, reset: sb.Reset) -> None:
    trace = assert_agrees(layered(sb.Unit(0.75, 0.25, h=h, reset=reset, initial_state=0.5), numbers=sb.Float64()), REAL)
    assert np.ptp(trace.spikes["unit"]) > 0.1


def test_a_leaky_integrator_reads_out() -> None:
    graph = sb.Graph(
        {"inp": sb.Input((4,)), "leak": sb.Unit(0.9, 0.5, h=sb.Identity(), reset=sb.Reset.NONE), "out": sb.Output()},
        [sb.Edge("inp", "leak"), sb.Edge("leak", "out", 2)],
    )
    assert_agrees(graph, REAL)


def test_lateral_inhibition_stays_within_a_sample() -> None:
    graph = layered(sb.Unit(1.0, 0.5, reset=sb.Reset.LATERAL))
    both = assert_agrees(graph, BINARY).spikes["unit"]
    alone = sb.export(graph, "brian2").run(BINARY[:, 1:]).spikes["unit"]
    np.testing.assert_array_equal(both[:, 1:], alone)


# --- What travels, and when


@pytest.mark.parametrize("delays", [(0, 0), (1, 0), (0, 1), (2, 3), (40, 0)], ids=str)
def test_relays_and_biases_wait_for_their_delay(delays: tuple[int, int]) -> None:
    """Two Linears in a row, delayed before and between, beside a direct and a delayed way from the input."""
    graph = sb.Graph(
        nodes={
            "inp": sb.Input((4,)),
            "first": sb.Linear(dyadic(3, 4), [0.5, 0.0, -0.25]),
            "second": sb.Linear(dyadic(4, 3), dyadic(4)),
            "unit": sb.Unit(0.5, 0.5),
            "out": sb.Output(),
        },
        edges=[
            sb.Edge("inp", "first", delays[0]),
            sb.Edge("first", "second", delays[1]),
            sb.Edge("second", "unit", delays[0]),
            sb.Edge("inp", "unit"),
            sb.Edge("inp", "unit", 3),
            sb.Edge("unit", "out", delays[1]),
            sb.Edge("inp", "out", 1),
            sb.Edge("second", "out", 1),
        ],
    )
    assert_agrees(graph, REAL)


def test_cycles_of_graded_values_and_of_spikes() -> None:
    """Feedback through a relay, from a later layer, and recurrence of several delays at once."""
    graph = sb.Graph(
        nodes={
            "inp": sb.Input((4,)),
            "mix": sb.Linear(dyadic(4, 4) / 8, dyadic(4)),
            "down": sb.Linear(dyadic(2, 4)),
            "low": sb.Unit(0.5, 0.25, g=sb.ReLU()),
            "top": sb.Unit(1.0, [0.5, -0.5]),
            "up": sb.Linear(dyadic(2, 2)),
            "back": sb.Linear(dyadic(4, 2) / 2),
            "out": sb.Output(),
        },
        edges=[
            sb.Edge("inp", "mix"),
            sb.Edge("mix", "mix", 2),
            sb.Edge("back", "mix"),
            sb.Edge("top", "back", 1),
            sb.Edge("mix", "down"),
            sb.Edge("down", "low"),
            sb.Edge("low", "low", 1),
            sb.Edge("low", "low", 5),
            sb.Edge("low", "up"),
            sb.Edge("low", "up", 1),
            sb.Edge("up", "top"),
            sb.Edge("top", "out"),
        ],
        numbers=sb.Float64(),
    )
    trace = assert_agrees(graph, REAL[:20])
    assert all(0 < spikes.mean() < 1 for spikes in trace.spikes.values())


def test_a_linear_acts_on_the_last_axis_and_several_inputs_add_up() -> None:
    graph = sb.Graph(
        {
            "a": sb.Input((3, 4)),
            "b": sb.Input((3, 2)),
            "w": sb.Linear(dyadic(2, 4), [0.25, -0.5]),
            "unit": sb.Unit(0.5, dyadic(3, 2)),
            "out": sb.Output(),
        },
        [sb.Edge("a", "w"), sb.Edge("w", "unit", 1), sb.Edge("b", "unit"), sb.Edge("unit", "out"), sb.Edge("b", "out")],
    )
    inputs = {"a": RNG.random((9, 2, 3, 4)) < 0.5, "b": RNG.integers(-4, 5, (9, 2, 3, 2)) / 4}
    trace = assert_agrees(graph, inputs)
    assert trace.spikes["unit"].shape == (9, 2, 3, 2)


def test_a_lone_neuron_and_weights_of_zero() -> None:
    graph = sb.Graph(
        {
            "inp": sb.Input((1,)),
            "w": sb.Linear([[0.5]]),
            "unit": sb.Unit(1.0, 1.0),
            "cut": sb.Linear([[0.0]], [0.5]),
            "silent": sb.Unit(1.0, 10.0),
            "out": sb.Output(),
        },
        [
            sb.Edge("inp", "w"),
            sb.Edge("w", "unit"),
            sb.Edge("unit", "cut", 1),
            sb.Edge("cut", "silent"),
            sb.Edge("silent", "out"),
        ],
    )
    trace = assert_agrees(graph, np.ones((25, 1, 1)))
    np.testing.assert_array_equal(trace.spikes["unit"][:6, 0, 0], [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(np.flatnonzero(trace.spikes["silent"]), [20])


def test_the_order_of_operations_is_the_reference_s() -> None:
    """carried + (drive + bias): Brian2 would regroup it in one statement, and the tie would be lost."""
    carried, drive, bias = 1.0, 2.0**-53, 2.0**-53
    assert (carried + drive) + bias != carried + (drive + bias)
    graph = sb.Graph(
        {"inp": sb.Input((1,)), "w": sb.Linear([[drive]], [bias]), "unit": sb.Unit(1, 1, initial_state=1)},
        [sb.Edge("inp", "w"), sb.Edge("w", "unit")],
        numbers=sb.Float64(),
    )
    trace = sb.export(graph, "brian2").run(np.ones((1, 1, 1)), record=("spikes", "states"))
    assert trace.states["unit"].item() == carried + (drive + bias)
    assert trace.spikes["unit"].item() == 1


# --- Time, preferences, and what is left behind


@pytest.mark.parametrize("dt", [1e-4, 1e-3 / 3, 0.1, 1])
def test_dt_changes_no_spike(dt: float) -> None:
    case = random_case(12, "dyadic", steps=400, samples=1)
    expected = sb.simulate(case.graph, case.inputs)
    actual = sb.export(case.graph, "brian2", dt=dt).run(case.inputs)
    for name in expected.spikes:
        np.testing.assert_array_equal(actual.spikes[name], expected.spikes[name])


@pytest.mark.parametrize("dt", [0, -1e-3, float("nan"), float("inf"), True, "1 ms"])
def test_a_dt_that_is_no_time_is_refused(dt: Any) -> None:
    with pytest.raises(sb.BadInput, match=r"brian2: dt=.*positive number of seconds"):
        sb.export(layered(sb.Unit(0.5, 1.0)), "brian2", dt=dt)


def test_a_run_leaves_brian2_as_it_was_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    preferences, dt = brian2.prefs.as_file, brian2.defaultclock.dt_
    program = sb.export(layered(sb.Unit(0.5, 1.0, reset=sb.Reset.LATERAL)), "brian2", dt=0.002)
    program.run(REAL)
    assert program.native is program.native
    assert brian2.prefs.as_file == preferences
    assert (brian2.defaultclock.dt_, brian2.defaultclock.t_) == (dt, 0.0)
    assert not brian2.core.magic.collect()
    assert not caplog.records


def test_a_native_network_need_not_be_run() -> None:
    """Else Brian2 warns of each of its objects when they are deleted."""
    code = (
        "import gc, snubridge as sb; unit = sb.Unit([0.5], 1.0); "
        "graph = sb.Graph({'in': sb.Input((1,)), 'unit': unit}, [sb.Edge('in', 'unit')]); "
        "print(sb.export(graph, 'brian2').native['unit'].name); gc.collect()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "unit\n", "")


def test_preferences_change_no_spike(preferences: Any) -> None:
    preferences.core.default_float_dtype = np.float32
    preferences.core.network.default_schedule = ["end", "resets", "synapses", "thresholds", "groups", "start"]
    preferences.codegen.target = "cython"
    preferences.codegen.loop_invariant_optimisations = False
    assert_agrees(random_case(4, "generic").graph, random_case(4, "generic").inputs)
    assert preferences.codegen.target == "cython"


def test_standalone_mode_is_refused() -> None:
    brian2.set_device("cpp_standalone", build_on_run=False)
    try:
        with pytest.raises(sb.Unsupported, match=r"standalone mode; brian2.set_device\('runtime'\)"):
            sb.export(layered(sb.Unit(0.5, 1.0)), "brian2")
    finally:
        brian2.set_device("runtime")


# --- What a Brian2 user gets


def feed(network: Any, name: str, stream: Any, dt: float) -> None:
    """Hand an input (T, size) to a native network."""
    network[network.object_names[name]].namespace["stream"] = brian2.TimedArray(stream, dt=dt * brian2.second)


def raster(network: Any, name: str, steps: int, dt: float) -> Any:
    """What a SpikeMonitor of a native network recorded, (T, size)."""
    monitor = network[name]
    spikes = np.zeros((steps, len(monitor.source)), dtype=np.uint8)
    spikes[np.rint(monitor.t_[:] / dt).astype(int), monitor.i[:]] = 1
    return spikes


def test_native_runs_in_parts_as_in_one() -> None:
    case = random_case(21, "dyadic", steps=200, samples=1)
    expected = sb.simulate(case.graph, case.inputs, record=("spikes", "states"))
    network = sb.export(case.graph, "brian2").native
    feed(network, "in", case.inputs[:, 0], 1e-3)
    for steps in (50, 1, 149):
        network.run(steps * brian2.ms)
    assert sum(spikes.sum() for spikes in expected.spikes.values()) > 100
    for name in expected.spikes:
        np.testing.assert_array_equal(raster(network, f"spikes_{name}", 200, 1e-3), expected.spikes[name][:, 0])
        np.testing.assert_array_equal(network[f"state_{name}"].s.T, expected.states[name][:, 0])


def test_native_is_named_after_the_nodes_and_open_to_additions(preferences: Any) -> None:
    network = sb.export(layered(sb.Unit(0.5, 0.25)), "brian2").native
    named = {"inp", "unit", "out", "ff_inp_unit", "rec_unit_unit", "ff_unit_out", "spikes_unit", "state_unit"}
    assert {*named, "state_out"} == {thing.name for thing in network.objects}
    preferences.codegen.target = "numpy"
    generator = brian2.SpikeGeneratorGroup(5, [2], [4] * brian2.ms, clock=network["unit"].clock)
    synapses = brian2.Synapses(generator, network["unit"], on_pre="u_post += 100", clock=network["unit"].clock)
    synapses.connect(j="i")
    network.add(generator, synapses)
    network.run(10 * brian2.ms)
    assert raster(network, "spikes_unit", 10, 1e-3)[5, 2] == 1


def test_names_that_brian2_cannot_take() -> None:
    units = ["class", "dt", "t", "i", "N", "clock", "a.b", "a-b", "a_b", "0", "_0", "u", "u_update", "u_pre", "ff_t_i"]
    nodes: dict[str, Any] = {"defaultclock": sb.Input((4,))} | {name: sb.Unit(0.5, 0.5) for name in units}
    chain = ["defaultclock", *units]
    edges = [sb.Edge(*pair) for pair in pairwise(chain)]
    graph = sb.Graph(nodes, edges)
    trace = assert_agrees(graph, BINARY)
    assert trace.spikes["ff_t_i"].any()
    names = sb.export(graph, "brian2").native.object_names
    assert list(names) == chain
    assert len(set(names.values())) == len(chain)
    assert (names["class"], names["a.b"], names["a-b"], names["a_b"]) == ("class", "a_b", "a_b_2", "a_b_3")


def test_the_script_runs_without_snubridge(tmp_path: Path) -> None:
    case = random_case(8, "generic")
    program = sb.export(case.graph, "brian2", dt=1e-3 / 3)
    script = tmp_path / "net_brian2.py"
    program.save(script)
    np.save(tmp_path / "inputs.npy", case.inputs)
    blocked = (
        "import runpy, sys; sys.modules['snubridge'] = sys.modules['snubridge_brian2'] = None; "
        f"sys.argv = {[str(script), 'inputs.npy', 'trace.npz']}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", blocked], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = sb.simulate(case.graph, case.inputs)
    actual = sb.Trace.load(tmp_path / "trace.npz")
    assert sum(spikes.sum() for spikes in expected.spikes.values()) > 50
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(actual.spikes[name], spikes)
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(actual.outputs[name], values, rtol=0, atol=1e-9)


def test_the_adapter_imports_without_brian2() -> None:
    code = (
        "import sys; sys.modules['brian2'] = None; import snubridge; "
        "print(snubridge.bridge.plugins.adapter('brian2').name)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "brian2"), done.stderr


# --- What is refused


def test_what_would_take_too_many_synapses_is_refused_with_every_reason() -> None:
    nodes = {
        "inp": sb.Input((1, 6, 6)),
        "conv": sb.Conv2d(np.ones((2, 1, 3, 3))),
        "unit": sb.Unit(0.5, 1.0, reset=sb.Reset.LATERAL),
        "pool": sb.SumPool2d(2),
        "out": sb.Output(),
    }
    graph = sb.Graph(nodes, [sb.Edge(*pair) for pair in pairwise(nodes)])
    with pytest.raises(sb.Unsupported) as refusal:
        sb.export(graph, "brian2", max_synapses=31)
    conv, pool, unit = refusal.value.reasons
    assert conv.startswith("node conv: unrolls to 288 couplings, above the limit of 31: raise it with the option")
    assert "max_synapses=288" in conv
    assert "node pool: unrolls to 32" in pool
    assert "node unit: unrolls to 1,024 synapses of each pair" in unit
    assert_agrees(graph, RNG.random((9, 2, 1, 6, 6)), max_synapses=1024)
    with pytest.raises(sb.BadInput, match="max_synapses=0; needed a whole number"):
        sb.export(graph, "brian2", max_synapses=0)

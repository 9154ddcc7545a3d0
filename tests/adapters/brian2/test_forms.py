"""Equations with a potential in volts, and the continuous leaky integrate-and-fire form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_case

brian2 = pytest.importorskip("brian2")
engine = pytest.importorskip("snubridge_brian2.engine.equations")
pytestmark = pytest.mark.usefixtures("quick_brian2")

FAMILIES: Any = ("dyadic", "generic")
LEAKY = (sb.Reset.TO_ZERO, sb.Reset.SUBTRACT_DECAYED, sb.Reset.NONE)


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def one_layer(unit: sb.Unit, numbers: Any = sb.Float64()) -> sb.Graph:  # frozen
    nodes = {
        "in": sb.Input((4,)),
        "w": sb.Linear(rng().integers(-3, 7, (5, 4)) / 8, rng().integers(-1, 2, 5) / 8),
        "unit": unit,
        "rec": sb.Linear(rng().integers(-3, 4, (5, 5)) / 8),
    }
    edges = [sb.Edge("in", "w"), sb.Edge("w", "unit"), sb.Edge("unit", "rec", 2), sb.Edge("rec", "unit")]
    return sb.Graph(nodes, edges, numbers=numbers)


def fed(program: Any, inputs: Any) -> Any:
    network = program.native
    network["in"].namespace["stream"] = brian2.TimedArray(inputs[:, 0], dt=1 * brian2.ms, name="given")
    network.run(len(inputs) * brian2.ms, namespace={})
    return network


# --- Volts


def test_volts_change_no_spike() -> None:
    """On 40 graphs: the same spikes and states to the bit; v is the state's view, and passes v_fire where it spikes."""
    spikes = 0
    for family in FAMILIES:
        for seed in range(20):
            case = random_case(seed, family, samples=1)
            program = sb.export(case.graph, "brian2", units="SI", v_rest=-0.065, v_threshold=-0.05)
            trace = program.run(case.inputs, record=("spikes", "states"))
            for name in case.graph.of_kind(sb.Unit):
                np.testing.assert_array_equal(trace.spikes[name], case.expected.spikes[name], err_msg=case.name)
                spikes += int(trace.spikes[name].sum())
            if seed < 5:
                plain = sb.export(case.graph, "brian2").run(case.inputs, record=("spikes", "states"))
                for name, states in plain.states.items():
                    np.testing.assert_array_equal(trace.states[name], states)
                network = fed(program, case.inputs)
                for name in case.graph.of_kind(sb.Unit):
                    s, v = network[f"state_{name}"].s, network[f"state_{name}"].v
                    assert brian2.have_same_dimensions(v, brian2.volt)
                    np.testing.assert_array_equal(np.asarray(v), -0.065 + s * (-0.05 - -0.065))
                    fired = case.expected.spikes[name][:, 0].T == 1
                    fire = np.broadcast_to(np.asarray(network[name].v_fire)[:, None], v.shape)
                    assert (np.asarray(v)[fired] >= fire[fired] - 1e-15).all()
                    assert (np.asarray(v)[~fired] <= fire[~fired] + 1e-15).all()
    assert spikes > 3000


def test_volts_are_those_asked_for_and_read_back(tmp_path: Path) -> None:
    graph = one_layer(sb.Unit(0.5, [0.0, 0.5, 1.0, -1.0, 2.0]))
    program = sb.export(graph, "brian2", units="SI")
    network = program.native
    assert network["unit"].v[:] / brian2.mV == pytest.approx([-70] * 5)
    assert network["unit"].v_fire[:] / brian2.mV == pytest.approx([-70, -60, -50, -90, -30])
    network = sb.export(graph, "brian2", units="SI").native
    assert sb.import_graph(network, "brian2") == graph
    program.save(tmp_path / "net.py")
    assert sb.import_graph(tmp_path / "net.py", "brian2") == graph
    assert "units='SI', v_rest=-0.07, v_threshold=-0.05" in (tmp_path / "net.py").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "mV"}, "units='mV'; give one of none, SI"),
        ({"v_rest": -0.07}, "give units='SI' with them"),
        ({"units": "SI", "v_rest": -0.04}, "v_rest=-0.04 is not below v_threshold"),
        ({"units": "SI", "v_threshold": float("nan")}, "v_threshold=nan; needed a number of volts"),
        ({"units": "SI", "v_rest": True}, "v_rest=True; needed a number of volts"),
        ({"form": "analog"}, "form='analog'; give one of discrete, continuous"),
    ],
    ids=str,
)
def test_units_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(sb.BadInput, match=message):
        sb.export(one_layer(sb.Unit(0.5, 1.0)), "brian2", **options)


# --- ds/dt = -s/tau


def test_tau_carries_a_decay_to_the_bit_or_says_by_how_much_it_does_not() -> None:
    decay = np.concatenate([rng().random(3000), [0.0, 1.0, 0.5, 0.9, 1 - 2.0**-53, 2.0**-52, 1e-300]])
    for target in ("numpy", "cython"):
        for dt in (1e-3, 1e-4, 0.1):
            tau, reached = engine.time_constants(decay, dt, target)
            np.testing.assert_array_equal(reached, engine.decays_of(tau, dt, target))
            with np.errstate(divide="ignore"):
                plain = engine.decays_of(-dt / np.log(np.where(decay > 0, decay, 1)), dt, target)
            assert (reached == decay)[decay > np.exp(-1)].mean() > 0.95
            assert (np.abs(reached - decay) <= np.abs(plain - decay))[:3000].all()
            assert (reached == decay)[:3000].sum() > (plain == decay)[:3000].sum() > 2000
            assert (tau > 0).all()
            assert reached[3000] == 0
            assert reached[3001] == 1
            np.testing.assert_allclose(reached[:3000], decay[:3000], rtol=1e-14)
            np.testing.assert_allclose(reached, decay, rtol=1e-13)


@pytest.mark.parametrize("reset", LEAKY, ids=str)
@pytest.mark.parametrize("batch", ["side_by_side", "concatenated"])
def test_where_tau_carries_the_decay_states_are_equal_to_the_bit(reset: sb.Reset, batch: str) -> None:
    """Ties included, in the first steps from an initial state and after spikes."""
    decay = [0.5, 1.0, 1.0, 0.0, 1.0]
    unit = sb.Unit(decay, [0.5, 0.25, 1.0, 0.5, 1.5], reset=reset, initial_state=[1.0, 0.5, -1.0, 2.0, 0.25])
    graph = one_layer(unit)
    inputs = rng().integers(-1, 2, (40, 3, 4))
    program = sb.export(graph, "brian2", form="continuous", batch=batch)
    assert program.rounding == sb.ErrorModel("float64")
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    actual = program.run(inputs, record=("spikes", "states"))
    np.testing.assert_array_equal(actual.states["unit"], expected.states["unit"])
    np.testing.assert_array_equal(actual.spikes["unit"], expected.spikes["unit"])
    assert (expected.states["unit"] == unit.threshold).sum() >= 5, "hardly a tie was met"
    assert 0 < expected.spikes["unit"].mean() < 1


def test_a_decay_that_no_tau_carries_has_an_error_model_of_its_own() -> None:
    decay = rng().uniform(0.01, 0.3, 200)
    graph = sb.Graph(
        {"in": sb.Input((200,)), "unit": sb.Unit(decay, 0.5)}, [sb.Edge("in", "unit")], numbers=sb.Float64()
    )
    program = sb.export(graph, "brian2", form="continuous")
    assert 0 < program.rounding.decay_error < 1e-14
    assert not program.rounding.keeps_parameters
    inputs = rng().random((30, 2, 200))
    report = sb.verify(graph, inputs, {"continuous": ("brian2", {"form": "continuous"})})
    (row,) = [row for row in report.rows if row.unit == "unit"]
    assert (row.verdict, row.differing) == ("equal", 0)
    assert row.rung in ("certified", "measured")
    certificate = sb.certify(graph, inputs, model=program.rounding)
    assert 0 < certificate.certified <= 1


def test_random_graphs_in_the_continuous_form() -> None:
    ran = spikes = 0
    for seed in range(40):
        case = random_case(seed, "generic", samples=1)
        if any(unit.g != sb.Identity() for unit in case.graph.of_kind(sb.Unit).values()):
            with pytest.raises(sb.Unsupported, match=r"g = ReLU\(\), while form 'continuous' has g = Identity"):
                sb.export(case.graph, "brian2", form="continuous")
            continue
        program = sb.export(case.graph, "brian2", form="continuous", units="SI", dt=1e-4)
        ran += 1
        actual = program.run(case.inputs, record=("spikes", "states"))
        for name, expected in case.expected.spikes.items():
            np.testing.assert_array_equal(actual.spikes[name], expected, err_msg=case.name)
            np.testing.assert_allclose(actual.states[name], case.expected.states[name], rtol=0, atol=1e-12)
            spikes += int(expected.sum())
    assert ran >= 8
    assert spikes > 500


def test_soft_units_without_a_reset_decay_continuously() -> None:
    for h in (sb.Sigmoid(), sb.Tanh(), sb.Identity()):
        graph = one_layer(sb.Unit(0.75, 0.25, h=h, reset=sb.Reset.NONE, initial_state=0.5))
        inputs = rng().normal(0, 1, (20, 2, 4))
        expected = sb.simulate(graph, inputs)
        actual = sb.export(graph, "brian2", form="continuous").run(inputs)
        np.testing.assert_allclose(actual.spikes["unit"], expected.spikes["unit"], rtol=0, atol=1e-12)


def test_the_continuous_form_is_the_idiom() -> None:
    network = sb.export(one_layer(sb.Unit(0.5, 1.0)), "brian2", form="continuous").native
    unit = network["unit"]
    assert "ds/dt = -s/tau : 1" in str(unit.user_equations)
    assert (unit.event_codes["spike"], unit.events["spike"]) == ("s = 0", "s > threshold")
    assert unit.tau[:] / brian2.ms == pytest.approx([1 / np.log(2)] * 5)


def test_what_does_not_decay_continuously_is_refused_with_every_reason() -> None:
    nodes = {
        "in": sb.Input((2,)),
        "a": sb.Unit(0.5, 1.0, g=sb.ReLU(), reset=sb.Reset.LATERAL),
        "b": sb.Unit(0.5, 1.0, h=sb.Sigmoid()),
        "c": sb.Unit(0.5, 1.0, reset=sb.Reset.SUBTRACT),
        "d": sb.Unit(0.5, 1.0),
    }
    graph = sb.Graph(nodes, [sb.Edge("in", name) for name in "abcd"])
    with pytest.raises(sb.Unsupported) as refusal:
        sb.export(graph, "brian2", form="continuous")
    places = [reason.partition(":")[0] for reason in refusal.value.reasons]
    assert places == ["node a", "node a", "node b", "node c"]
    assert all("form 'discrete' takes it" in reason for reason in refusal.value.reasons)
    fixed = sb.FixedPoint(fraction_bits=2, state_bits=8, decay_bits=4)
    grid = sb.Graph(
        {"in": sb.Input((2,), low=-1, high=1, fraction_bits=1), "u": sb.Unit(0.5, 1.0)},
        [sb.Edge("in", "u")],
        numbers=fixed,
    )
    with pytest.raises(sb.Unsupported, match="rounds no state to a grid"):
        sb.export(grid, "brian2", form="continuous")

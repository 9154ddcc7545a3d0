"""Profiles: which is taken, what ``nengo.LIF`` is refused for, and that it spikes as the graph says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import pytest
import snubridge_nengo.engine.stock as engine
from nengo.exceptions import BuildError
from snubridge_nengo import NengoAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, random_case
from tests.adapters.nengo.networks import bins, network, stack

UNIT = sb.Unit(0.75, 1.0)


class TestOneByOne(AdapterConformance):
    """The conformance suite on one network that is reset for each sample; test_nengo.py has the other."""

    adapter = NengoAdapter()
    options = {"batch": "one_by_one"}  # noqa: RUF012  # as the suite declares it
    suffix = ".py"


# Stock: equal within its stated model


@pytest.mark.parametrize("family", ["generic", "lattice"])
def test_stock_spikes_as_the_graph_says(family: str) -> None:
    """200 networks, decays of 0 and 1 included; on the lattice thousands of states are exactly the threshold."""
    found = bins(family, range(200), profile="stock")
    print(f"{family}: {found}")
    assert found["differing"] == 0
    assert found["networks"] == 200
    assert found["bins"] / 10 < found["spikes"] < 9 * found["bins"] / 10
    assert found["ties"] > 1000 or family == "generic"


@pytest.mark.parametrize("decay", [1.0, 1 - 2.0**-45, 0.5, 0.0])
@pytest.mark.parametrize("ties", [False, True])
def test_it_starts_as_close_to_its_threshold_as_is_taken(decay: float, ties: bool) -> None:
    """Nengo takes a voltage above 1 for a spike long ago, and is refractory since."""
    started = 1 - 2.0**-24 if ties else 1.0
    graph = stack(sb.Unit(decay, 1.0, h=sb.Step(at_threshold=ties), initial_state=started), size=1)
    inputs = np.array([0, 2, 2, 0, 2, 2, 0.25, 0.5])[:, np.newaxis, np.newaxis]
    expected = sb.simulate(graph, inputs).spikes["u0"]
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(sb.export(graph, "nengo", profile="stock").run(inputs).spikes["u0"], expected)


@pytest.mark.parametrize("family", ["generic", "lattice"])
@pytest.mark.parametrize("dt", [1.0, 1 / 3, 7e-4])
def test_dt_changes_no_spike(family: str, dt: float) -> None:
    assert bins(family, range(300, 310), profile="stock", dt=dt)["differing"] == 0


@pytest.mark.parametrize("guard", [0.0, 2.0**-20])
def test_without_the_guard_ties_turn(monkeypatch: pytest.MonkeyPatch, guard: float) -> None:
    """None at all, and one so large that states above it count as ties on finer grids."""
    monkeypatch.setattr(engine, "GUARD", guard)
    if guard:
        graph = stack(sb.Unit(1.0, 1.0), size=1)
        inputs = np.full((1, 1, 1), np.float32(1 + 2.0**-22))
        assert sb.simulate(graph, inputs).spikes["u0"].sum() == 1
        assert sb.export(graph, "nengo", profile="stock").run(inputs).spikes["u0"].sum() == 0
    else:
        assert bins("lattice", range(20), profile="stock")["differing"] > 100


def rows(graph: sb.Graph, inputs: Any, **options: Any) -> list[Any]:
    return list(sb.verify(graph, inputs, {"stock": ("nengo", {"profile": "stock", **options})}).rows)


def test_a_difference_within_the_guard_is_explained() -> None:
    """A tie decays by 2^-20, and comes back 2^-42 above the threshold: it fires, and LIF within its guard does not."""
    graph = stack(sb.Unit(1 - 2.0**-20, 1.0), size=1)
    graph = sb.Graph(graph.nodes, graph.edges, numbers=sb.Float64())
    inputs = np.array([1.0, 2.0**-20 + 2.0**-42, 0.0, 0.25])[:, None, None]
    assert sb.simulate(graph, inputs).spikes["u0"].ravel().tolist() == [0, 1, 0, 0]
    (row,) = (row for row in rows(graph, inputs) if row.unit == "u0")
    assert row.differing > 0
    assert row.bugs == 0
    assert row.explained > 0
    assert row.rung is None


@pytest.mark.parametrize("family", ["generic", "lattice"])
def test_certificates_are_honest(family: str) -> None:
    """Under the stated model every tie is open, and most decisions of a generic network are certified."""
    for seed in range(8):
        graph, inputs = network(seed, family)
        program = sb.export(graph, "nengo", profile="stock")
        certificate = sb.certify(graph, inputs, model=program.rounding)
        states = sb.simulate(graph, inputs, record=("states",)).states
        found = {(o.step, o.sample, o.unit, tuple(np.atleast_1d(o.neuron))) for o in certificate.open}
        for name, unit in graph.of_kind(sb.Unit).items():
            for step, sample, *neuron in np.argwhere(states[name] == unit.threshold.astype(np.float64)).tolist():
                assert (step, sample, name, tuple(neuron)) in found
        assert all(row.verdict == "equal" and row.rung != "exact" for row in rows(graph, inputs))
        if family == "generic":
            assert certificate.conditional > 0.999


def test_a_random_graph_is_refused_or_explained() -> None:
    """Of the whole space: whatever LIF cannot be is refused with reasons, nothing else differs without being open."""
    refused: list[str] = []
    for seed in range(60):
        case = random_case(seed, ("dyadic", "generic")[seed % 2])
        try:
            found = rows(case.graph, case.inputs)
        except sb.Unsupported as error:
            refused.append(error.reasons[0])
            continue
        assert not sum(row.bugs or 0 for row in found)
    assert 10 < len(refused) < 60
    assert all(reason.endswith("profile 'custom' takes it") for reason in refused)


def test_what_the_model_says() -> None:
    program = sb.export(stack(sb.Unit([0.0, 0.5, 1 - 2.0**-20, 1.0], 0.7)), "nengo", profile="stock")
    model = program.rounding
    assert model.threshold_error > 2.0**-40
    assert 0 < model.decay_error < 1e-12
    small = sb.export(stack(sb.Unit(2.0**-44, 0.7)), "nengo", profile="stock").rounding
    assert small.decay_error > 2.0**-10  # of a decay that is next to nothing


# What is refused


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        (sb.Unit(0.5, 0.0), "a threshold of 0"),
        (sb.Unit(0.5, [1.0, 1.0, -0.5, 1.0]), "a threshold of -0.5"),
        (sb.Unit(0.5, 1.0, g=sb.LeakyReLU(0.1)), "g = LeakyReLU"),
        (sb.Unit(0.5, 1.0, h=sb.Sigmoid()), "h = Sigmoid"),
        (sb.Unit(0.5, 1.0, reset=sb.Reset.LATERAL), "Reset.LATERAL"),
        (sb.Unit(0.5, 1.0, reset=sb.Reset.SUBTRACT), "Reset.SUBTRACT"),
        (sb.Unit(0.5, 1.0, initial_state=1.5), "an initial state above its threshold"),
        (
            sb.Unit(1.0, 1.0, h=sb.Step(at_threshold=True), initial_state=1.0),
            "an initial state at its threshold or above",
        ),
        (sb.Unit(1.0, 1.0, h=sb.Step(at_threshold=True), initial_state=1 - 2.0**-41), "an initial state at its thresh"),
        (sb.Unit(2.0**-50, 1.0), "a decay of 8.88e-16"),
        (sb.Unit(0.5, 1e30), "thresholds from 1e+30"),
    ],
    ids=str,
)
def test_what_lif_cannot_be_is_refused(unit: sb.Unit, reason: str) -> None:
    with pytest.raises(sb.Unsupported) as caught:
        sb.export(stack(UNIT, unit), "nengo", profile="stock")
    (found,) = caught.value.reasons
    assert found.startswith("node u1: ")
    assert reason in found
    assert found.endswith("profile 'custom' takes it")
    program = sb.export(stack(UNIT, unit), "nengo", profile="auto")
    assert program.facts["profile"] == program.options["profile"] == "custom"
    assert reason in program.facts["reason"]


def test_all_reasons_are_given() -> None:
    graph = stack(sb.Unit(0.5, -1.0, h=sb.Sigmoid()), sb.Unit(0.5, 1.0, g=sb.LeakyReLU(0.1)))
    graph = sb.Graph(graph.nodes, [*graph.edges, sb.Edge("u0", "u1", 300)])
    with pytest.raises(sb.Unsupported) as caught:
        sb.export(graph, "nengo", profile="stock")
    assert len(caught.value.reasons) == 4
    assert "node u1: a delay of 300 steps" in caught.value.reasons[-1]


def test_numbers_and_weights_that_are_refused() -> None:
    edges = [sb.Edge("in", "w"), sb.Edge("w", "out")]
    nodes = {"in": sb.Input((1,), 0, 1, 0), "w": sb.Linear([[0.5]]), "out": sb.Output()}
    with pytest.raises(sb.Unsupported, match=r"FixedPoint: nengo.LIF rounds no state"):
        sb.export(sb.Graph(nodes, edges, numbers=sb.FixedPoint(1)), "nengo", profile="stock")
    nodes["w"] = sb.Linear([[1e-280]])
    with pytest.raises(sb.Unsupported, match=r"node w: holds 1e-280"):
        sb.export(sb.Graph(nodes, edges, numbers=sb.Float64()), "nengo", profile="stock")


@pytest.mark.parametrize("option", ["profile", "batch"])
@pytest.mark.parametrize("value", ["", "lif", None, 1, ["stock"]])
def test_options_that_are_none(option: str, value: Any) -> None:
    with pytest.raises(sb.BadInput, match=f"nengo: {option}=.*give one of"):
        sb.export(stack(UNIT), "nengo", **{option: value})


# Never chosen in silence


def test_which_profile_was_taken() -> None:
    for profile, taken in (("custom", "custom"), ("stock", "stock"), ("auto", "stock")):
        program = sb.export(stack(UNIT), "nengo", profile=profile)
        assert program.facts["profile"] == program.options["profile"] == taken
        assert (program.facts["reason"] == "it was asked for") == (profile != "auto")
    default = sb.export(stack(UNIT), "nengo")
    assert default.facts["profile"] == "custom"
    assert default.rounding == sb.ErrorModel("float64")


# A network as a Nengo user expects it


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("profile", ["custom", "stock"])
def test_native_runs_unchanged(profile: str, optimize: bool) -> None:
    for seed in range(12):
        graph, inputs = network(seed, ("generic", "lattice")[seed % 2])
        net = sb.export(graph, "nengo", profile=profile, dt=7e-4).native
        expected = sb.simulate(graph, inputs)
        net.input.output.values = inputs[:, 1]
        with nengo.Simulator(net, dt=7e-4, progress_bar=False, optimize=optimize) as sim:
            sim.run_steps(len(inputs))
        for name, probe in net.spikes.items():
            np.testing.assert_array_equal(sim.data[probe], expected.spikes[name][:, 1])
        np.testing.assert_array_equal(sim.data[net.outputs["out"]], expected.outputs["out"][:, 1])


def test_what_a_stock_network_is_made_of() -> None:
    unit = sb.Unit([0.5, 0.75, 0.5, 1.0], [0.5, 1.0, 2.0, 1.0], g=sb.ReLU(), initial_state=[0.25, 0, 0, -1])
    nodes = {"in": sb.Input((3,)), "w": sb.Linear(np.full((4, 3), 0.5)), "u": unit, "v": UNIT, "out": sb.Output()}
    edges = [sb.Edge("in", "w", 4), sb.Edge("w", "u"), sb.Edge("u", "v", 2), sb.Edge("v", "out")]
    net = sb.export(sb.Graph(nodes, edges), "nengo", profile="stock").native
    assert [e.label for e in net.ensembles] == [*(f"u with decay {d}" for d in (0.5, 0.75, 1)), "v"]
    assert net.units["u"] == tuple(net.ensembles[:3])
    assert net.units["v"] == net.ensembles[3]
    for ensemble in net.ensembles:
        assert type(ensemble.neuron_type) is nengo.LIF
        assert ensemble.neuron_type.tau_ref == 0
    assert [e.neuron_type.min_voltage for e in net.ensembles] == [0, 0, 0, -np.inf]
    kinds = {type(c.synapse) for c in net.connections}
    assert kinds == {type(None), nengo.Lowpass}
    assert {type(c.transform) for c in net.connections} <= {nengo.Dense, nengo.transforms.NoTransform}
    assert net.input.label == "in"
    assert net.output.label == "out"
    own = [type(n.output).__name__ for n in net.nodes if type(n.output).__module__.startswith("snubridge")]
    assert own == ["Frames"]


def test_another_dt_is_refused_where_it_would_spike_otherwise() -> None:
    net = sb.export(stack(UNIT), "nengo", profile="stock", dt=5e-4).native
    with pytest.raises(BuildError, match=r"for steps of 0.0005 s, not 0.001: Simulator\(net, dt=0.0005\)"):
        nengo.Simulator(net, progress_bar=False)
    nengo.Simulator(net, dt=5e-4, progress_bar=False).close()


@pytest.mark.parametrize("profile", ["custom", "stock"])
def test_files_and_networks_are_read_back(tmp_path: Path, profile: str) -> None:
    graph, inputs = network(3, "lattice")
    program = sb.export(graph, "nengo", profile=profile, dt=7e-4)
    program.save(tmp_path / "net.py")
    assert sb.import_graph(tmp_path / "net.py", "nengo") == graph
    assert sb.import_graph(program.native, "nengo") == graph
    np.save(tmp_path / "x.npy", inputs)
    command = [sys.executable, "-I", "net.py", "x.npy", "trace.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    trace, expected = sb.Trace.load(tmp_path / "trace.npz"), sb.simulate(graph, inputs)
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(trace.spikes[name], spikes)


def test_a_stock_network_that_was_altered_is_not_read() -> None:
    net = sb.export(stack(UNIT), "nengo", profile="stock").native
    net.ensembles[0].neuron_type = nengo.LIF()
    with pytest.raises(sb.BadFile, match=r"neuron_type.amplitude is 1; exported was 0.001"):
        sb.import_graph(net, "nengo")

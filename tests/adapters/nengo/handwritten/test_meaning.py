"""Networks written by hand: the graph that was read has the spikes that Nengo's Simulator computes, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.nengo.handwritten.networks import (
    STEPS,
    Array,
    Written,
    differing,
    given,
    model_of,
    nengo,
    random,
    read,
    simulated,
    simulator,
    stream,
    unwarned,
)


def assert_read(written: Written, **options: Any) -> sb.Graph:
    """The graph has the spikes that Nengo computes, in every step, optimized or not."""
    with unwarned():
        graph = read(written, **options)
    for optimize in (False, True):
        expected = simulated(written, optimize)
        spikes = np.concatenate([values.ravel() for values in expected.values()])
        assert 0.02 < spikes.mean() < 0.9, f"a rate of {spikes.mean()} hardly tells anything"
        assert differing(graph, written, expected) == 0
    return graph


@pytest.mark.parametrize(
    ("seed", "largest"), [*((seed, 11) for seed in range(6, 46)), *((seed, 90) for seed in range(3))]
)
def test_random_networks(seed: int, largest: int) -> None:
    """Gains, biases and transforms, given or drawn; slices, delays, relays, encoders, networks within networks."""
    written = random(seed, largest)
    graph = assert_read(written)
    assert sb.certify(graph, given(graph, written), model=model_of(graph)).complete


def lattice(seed: int, guard: float) -> tuple[Written, Array]:
    """A recurrent network of sums of eighths, thresholds of quarters, and decays that keep states on the threshold."""
    rng = np.random.default_rng(seed)
    decay, thresholds = float(rng.choice([0.5, 0.75, 0.8])), rng.choice([0.5, 0.75, 1.0, 1.25], 12)
    values = rng.integers(0, 2, (STEPS, 6)) * 1.0
    tau = -1e-3 / np.log(decay)
    with nengo.Network(seed=1) as network:
        source = nengo.Node(stream(values, 1e-3), size_out=6, label="source")
        ensemble = nengo.Ensemble(
            12,
            1,
            gain=1 / (thresholds * (1 + guard) * -np.expm1(-1e-3 / tau)),
            bias=np.zeros(12),
            neuron_type=nengo.LIF(
                tau_rc=tau, tau_ref=0, amplitude=1e-3, initial_state={"voltage": nengo.dists.Choice([0.0])}
            ),
            label="ensemble",
        )
        weight, recurrent = rng.integers(-2, 6, (12, 6)) / 8, rng.integers(-3, 3, (12, 12)) / 8
        nengo.Connection(source, ensemble.neurons, transform=weight, synapse=None)
        nengo.Connection(ensemble.neurons, ensemble.neurons, transform=recurrent, synapse=0)
    return Written(network, inputs={"source": values[:, None]}), thresholds


@pytest.mark.parametrize("seed", range(10))
def test_a_guard_decides_ties(seed: int) -> None:
    """Weights that are read have the bits of the transforms, and thresholds hold the guard."""
    written, thresholds = lattice(seed, 2.0**-40)
    graph = assert_read(written)
    unit, weight = graph.nodes["ensemble"], graph.nodes["source_to_ensemble"]
    assert isinstance(unit, sb.Unit)
    assert isinstance(weight, sb.Linear)
    np.testing.assert_array_equal(weight.weight, written.network.connections[0].transform.init)
    np.testing.assert_allclose(unit.threshold, thresholds * (1 + 2.0**-40), rtol=1e-15)
    states = sb.simulate(graph, written.inputs, record=("states",)).states["ensemble"]
    assert (abs(states - thresholds) < 1e-12).sum() > 3, "states lie on the thresholds without the guard"
    assert sb.certify(graph, written.inputs, model=model_of(graph)).complete


def test_ties_without_a_guard_are_left_open() -> None:
    """Nengo's rounding decides them: the certificate says which, and what differs otherwise follows from them."""
    turned = 0
    for seed in range(10):
        written, _ = lattice(seed, 0.0)
        with unwarned():
            graph = read(written)
        certificate = sb.certify(graph, written.inputs, model=model_of(graph), record=True)
        wrong = sb.simulate(graph, written.inputs).spikes["ensemble"] != simulated(written)["ensemble"]
        turned += wrong.sum()
        assert certificate.opened
        assert not (wrong & ~certificate.uncertified["ensemble"]).any()
        assert certificate.certified < 1
    assert turned > 20


def plain(**options: Any) -> Written:
    """Six neurons behind a stimulus; ``options`` of the Ensemble, or of its neurons."""
    rng = np.random.default_rng(2)
    values = rng.random((STEPS, 5))
    kind = {"tau_rc": 0.01, "tau_ref": 0, "min_voltage": -np.inf, "amplitude": 1e-3}
    kind |= {name: options.pop(name) for name in (*kind, "initial_state") if name in options}
    with nengo.Network(seed=4) as network:
        source = nengo.Node(stream(values, 1e-3), size_out=5, label="source")
        settings = {"gain": np.full(6, 10.0), "bias": np.zeros(6), "neuron_type": nengo.LIF(**kind), **options}
        ensemble = nengo.Ensemble(6, 1, label="ensemble", **settings)
        weight = rng.normal(0.2, 0.3, (6, 5))
        nengo.Connection(source, ensemble.neurons, transform=weight, synapse=None)
    return Written(network, inputs={"source": values[:, None]})


@pytest.mark.parametrize("tau", [4e-5, 2e-4, 1e3, 1e12])
def test_time_constants_far_from_the_step(tau: float) -> None:
    """A certificate holds where hardly anything is left of v in a step, and where hardly anything is lost."""
    share = -np.expm1(-1e-3 / tau)
    written = plain(tau_rc=tau, gain=np.linspace(1, 2, 6) / share, initial_state={"voltage": nengo.dists.Choice([0.9])})
    graph = assert_read(written)
    about, unit = graph.metadata["nengo"], graph.nodes["ensemble"]
    assert isinstance(unit, sb.Unit)
    assert float(unit.decay) == 1 - share
    assert about["rounding"] == {"ensemble": "relative to J - v"}
    assert sb.certify(graph, written.inputs, model=model_of(graph)).complete


def test_what_nengo_draws_is_read_with_its_seed_and_told() -> None:
    written = plain(gain=None, bias=None, max_rates=nengo.dists.Uniform(100, 300))
    graph = assert_read(written)
    assert graph.metadata["nengo"]["drawn"] == {"ensemble": ["max_rates", "intercepts", "initial voltage"]}
    with simulator(written) as sim:
        built = sim.data[written.network.ensembles[0]]
    unit = graph.nodes["ensemble"]
    assert isinstance(unit, sb.Unit)
    np.testing.assert_allclose(unit.threshold, 1 / (built.gain * -np.expm1(-0.1)), rtol=1e-15)


def test_seeds_within_a_network_without_one() -> None:
    """Those of an Ensemble, a Connection and a network within; what has none is refused."""
    rng = np.random.default_rng(0)
    values = rng.random((STEPS, 5))
    written = Written(nengo.Network(), inputs={"source": values[:, None]})
    kind = nengo.LIF(tau_ref=0, amplitude=1e-3)
    options = {"gain": nengo.dists.Uniform(15, 40), "bias": nengo.dists.Uniform(-1, 1), "neuron_type": kind}
    weights = {"transform": nengo.dists.Uniform(-0.5, 1), "synapse": None}
    with written.network:
        source = nengo.Node(stream(values, 1e-3), size_out=5, label="source")
        first = nengo.Ensemble(8, 1, label="first", seed=11, **options)
        nengo.Connection(source, first.neurons, seed=12, **weights)
        with nengo.Network(seed=13):
            second = nengo.Ensemble(6, 2, label="second", **options)
            nengo.Connection(first.neurons, second.neurons, **weights)
            nengo.Connection(source[:2], second, synapse=0)
    graph = assert_read(written)
    assert graph.metadata["nengo"]["drawn"]["second"] == ["gain", "bias", "initial voltage", "encoders"]
    first.seed = None
    with pytest.raises(sb.Unsupported, match="Ensemble first: Nengo draws its gain and bias and initial voltage anew"):
        read(written)


def test_the_state_is_the_voltage_by_the_threshold() -> None:
    written = plain(bias=np.linspace(-0.5, 1.2, 6))
    with unwarned():
        graph = read(written)
        with written.network:
            probe = nengo.Probe(written.network.ensembles[0].neurons, "voltage")
        with simulator(written) as sim:
            sim.run_steps(STEPS)
            voltage = sim.data[probe]
    trace = sb.simulate(graph, written.inputs, record=("spikes", "states"))
    unit = graph.nodes["ensemble"]
    assert isinstance(unit, sb.Unit)
    before_reset = (trace.states["ensemble"] / unit.threshold)[:, 0]
    np.testing.assert_allclose(np.where(trace.spikes["ensemble"][:, 0] == 1, 0, before_reset), voltage, rtol=1e-9)


def test_a_relay_that_leads_nowhere_is_an_output() -> None:
    written = plain()
    with written.network:
        out = nengo.Node(size_in=2, label="out")
        ensemble = written.network.ensembles[0]
        nengo.Connection(ensemble.neurons[::3], out, synapse=0)
        nengo.Connection(nengo.Node([0.5, 0.25]), out, synapse=nengo.LinearFilter([1], [1, 0, 0], analog=False))
        probe = nengo.Probe(out, synapse=None)
    graph = assert_read(written)
    with unwarned(), simulator(written) as sim:
        sim.run_steps(STEPS)
        expected = sim.data[probe]
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(sb.simulate(graph, written.inputs).outputs["out"][:, 0], expected)


def test_what_is_named_is_given() -> None:
    """A Node that computes, an ensemble of another kind, and a constant; by name or as they are."""
    written = plain()
    network = written.network
    with network:
        ensemble = network.ensembles[0]
        loop = nengo.Node(lambda t, x: np.sin(30 * t + x), size_in=6, size_out=6, label="loop")
        nengo.Connection(ensemble.neurons, loop, synapse=None)
        nengo.Connection(loop, ensemble.neurons, transform=0.3, synapse=0)
        level = nengo.Node([0.1, 0.2, 0.3, 0.4, 0.3, 0.2], label="level")
        nengo.Connection(level, ensemble.neurons, synapse=None)
        rates = nengo.Ensemble(4, 1, neuron_type=nengo.LIFRate(), label="rates")
        nengo.Connection(rates.neurons, ensemble.neurons, transform=np.full((6, 4), 1e-3), synapse=None)
        probes = {
            thing.label: nengo.Probe(port) for thing, port in ((loop, loop), (level, level), (rates, rates.neurons))
        }
        spikes = nengo.Probe(ensemble.neurons)
    with unwarned():
        graph = read(written, inputs=["loop", level, rates])
        with simulator(written) as sim:
            sim.run_steps(STEPS)
            inputs = {name: sim.data[probe][:, None] for name, probe in probes.items()} | written.inputs
            expected = sim.data[spikes] > 0
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(sb.simulate(graph, inputs).spikes["ensemble"][:, 0], expected)


def test_neurons_by_themselves() -> None:
    """A bias alone makes them fire; what nothing reaches is silent, whatever the seed drew for its voltage."""
    written = plain()
    with written.network:
        for name, bias in (("driven", 1.3), ("silent", 0.0)):
            kind = nengo.LIF(tau_rc=0.004, tau_ref=0)
            nengo.Ensemble(7, 1, gain=np.ones(7), bias=np.full(7, bias), neuron_type=kind, label=name)
        dead = nengo.Node(size_in=3)
        nengo.Connection(dead, written.network.ensembles[1].neurons[:3], synapse=None)
    graph = assert_read(written)
    assert sb.simulate(graph, written.inputs).spikes["driven"].any()


def test_names_are_those_of_labels_as_far_as_they_go() -> None:
    written = plain()
    with written.network:
        source = written.network.nodes[0]
        for label in ("ensemble", None, "a b.c", "-x" + 60 * "y", "ensemble_2", "bias"):
            kind = nengo.LIF(tau_ref=0)
            found = nengo.Ensemble(2, 1, gain=np.ones(2), bias=np.ones(2), neuron_type=kind, label=label)
            nengo.Connection(source[:2], found, transform=[[1, 1]], synapse=None)
    with unwarned():
        graph = read(written)
    units = ["ensemble", "ensemble_2", "ensemble2", "a_b_c", "_x" + 38 * "y", "ensemble_2_2", "bias"]
    assert list(graph.of_kind(sb.Unit)) == units
    assert {f"{name}.encoders" for name in units[1:]} < graph.nodes.keys()


def test_reading_changes_nothing() -> None:
    """Not the network, nor its seeds, nor numpy's generator or settings, nor what Nengo draws next."""
    from nengo.params import iter_params
    from snubridge_nengo.reading.exported import KINDS

    def described(network: Any) -> dict[str, str]:
        found: dict[str, Any] = {}
        for kind in KINDS:
            for index, thing in enumerate(getattr(network, f"all_{kind}")):
                found |= {f"{kind}[{index}] {name}": repr(getattr(thing, name)) for name in iter_params(thing)}
                found[f"{kind}[{index}]"] = sorted(vars(thing))
        return found

    written = random(5)
    before, state, errors = described(written.network), np.random.get_state(), np.geterr()
    graph = read(written)
    assert described(written.network) == before
    assert all(np.array_equal(one, other) for one, other in zip(np.random.get_state(), state, strict=True))
    assert np.geterr() == errors
    assert read(written) == graph


def test_the_graph_runs_and_exports() -> None:
    written = random(6)
    graph = assert_read(written)
    exported = sb.export(graph, "nengo").run(given(graph, written))
    for name, spikes in simulated(written).items():
        np.testing.assert_array_equal(exported.spikes[name], spikes)

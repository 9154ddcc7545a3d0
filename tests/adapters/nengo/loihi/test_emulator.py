"""Graphs in Loihi's integers on the emulator of nengo-loihi: every spike, every current, every planned integer.

Needs an environment of its own: `make test-loihi`.
"""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import snubridge as sb
from snubridge.exactness.loihi import read_layers
from snubridge.exactness.loihi.chip import synapse_memory
from tests.adapters.nengo.loihi.networks import DECAYS, random_network

nengo_loihi = pytest.importorskip("nengo_loihi", reason="nengo-loihi is not installed", exc_type=ImportError)

E = sb.Edge
SEEDS, COMPARED = 60, 100_000


@pytest.fixture(scope="module")
def compared():
    """What all random networks together have shown."""
    return {"outputs": 0, "spikes": 0, "networks": 0}


def assert_equal(graph, x, dt=1e-3):
    """The emulator's spikes, currents and outputs are the reference's, bit for bit; how many spikes of how many."""
    expected, found = sb.simulate(graph, x), sb.export(graph, "nengo", profile="loihi", dt=dt).run(x)
    spiking = {name: unit.spiking for name, unit in graph.of_kind(sb.Unit).items()}
    for name in expected.spikes:
        np.testing.assert_array_equal(found.spikes[name], expected.spikes[name], err_msg=name)
    for name in expected.outputs:
        np.testing.assert_allclose(found.outputs[name], expected.outputs[name], rtol=1e-9, atol=1e-12)
    units = [expected.spikes[name] for name, spikes in spiking.items() if spikes]
    return sum(int(y.sum()) for y in units), sum(y.size for y in units)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_networks(seed, compared):
    graph, x = random_network(seed)
    chip = sb.Loihi(weight_bits=(8, 8, 6, 4)[seed % 4])
    spikes, bins = assert_equal(sb.quantize(graph, chip, x), x, dt=(1e-3, 1.0, 2.0**-10)[seed % 3])
    compared["outputs"] += bins
    compared["spikes"] += spikes
    compared["networks"] += 1


def test_enough_was_compared(compared):
    if compared["networks"] < SEEDS:
        pytest.skip("a part of the networks, in this process")
    assert compared["outputs"] >= COMPARED
    assert compared["spikes"] >= COMPARED / 50


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("g", [sb.Identity(), sb.ReLU()], ids=str)
def test_decays_from_0_to_1(decay, g):
    rng = np.random.default_rng(7)
    nodes = {
        "in": sb.Input((12,)),
        "w": sb.Linear(rng.normal(0.1, 0.3, (20, 12))),
        "u": sb.Unit(decay, 1.0, g=g),
        "out": sb.Output(),
    }
    graph = sb.Graph(nodes, [E("in", "w"), E("w", "u"), E("u", "out")])
    x = (rng.random((120, 1, 12)) < 0.4).astype(float)
    spikes, bins = assert_equal(sb.quantize(graph, sb.Loihi()), x)
    assert 0 < spikes < bins


@pytest.mark.parametrize("seed", range(0, SEEDS, 3))
def test_planned_integers_are_those_that_nengo_loihi_builds(seed):
    graph, x = random_network(seed)
    assert_built_as_planned(sb.quantize(graph, sb.Loihi(), x))


def test_a_unit_of_several_cores():
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((40,)),
        "w": sb.Linear(rng.normal(0, 0.3, (1100, 40))),
        "u": sb.Unit(0.8, 1.0),
        "w2": sb.Linear(rng.normal(0, 0.1, (200, 1100))),
        "v": sb.Unit(np.repeat([0.5, 0.9], 100), 1.0, g=sb.ReLU()),
        "out": sb.Output(),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "w2"), E("w2", "v"), E("v", "out")]
    lowered = sb.quantize(sb.Graph(nodes, edges), sb.Loihi())
    cores = {layer.name: len(layer.groups) for layer in read_layers(lowered)}
    assert cores["u"] == 2
    assert cores["v"] >= 2
    assert_built_as_planned(lowered)
    spikes, bins = assert_equal(lowered, (rng.random((20, 1, 40)) < 0.3).astype(float))
    assert 0 < spikes < bins


def assert_built_as_planned(lowered):
    """Thresholds, leaks, weights and memory of every core that nengo-loihi builds are those of the plan."""
    program, layers = sb.export(lowered, "nengo", profile="loihi"), read_layers(lowered)
    net = program.native
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lost .* extra bits in weight rounding")
        with nengo_loihi.Simulator(net, target="sim") as sim:
            built = sim.model.objs
    cores = {layer.name: layer.groups for layer in layers}
    for layer in layers:
        for ensemble, group in zip(net.units[layer.name], layer.groups, strict=True):
            (block,) = built[ensemble]["in"]  # which a split would have made more of
            assert set((block.compartment.vth // 64).tolist()) == {group.threshold}
            assert set((4096 - block.compartment.decay_v).tolist()) == {group.decay}
            assert set(block.compartment.decay_u.tolist()) == {4094}
            assert block.compartment.vmax == 2**23 - 1
            expected = [np.full((len(group.neurons), 1), 254)]
            for synapses in layer.synapses:
                one = [np.arange(synapses.weights.shape[1])]
                senders = [g.neurons for g in cores[synapses.source]] if synapses.source in cores else one
                expected += [synapses.weights[np.ix_(group.neurons, some)] for some in senders]
            expected = [weights for weights in expected if weights.any()]
            found = [np.concatenate(synapse.weights).T for synapse in block.synapses]
            for weights, integers in zip(expected, found, strict=True):
                np.testing.assert_array_equal(weights * 64, integers)
            used = block.utilization()
            assert all(now <= most for now, most in used.values())
            memory = sum(weights.shape[1] * synapse_memory(len(group.neurons)) for weights in expected)
            assert used["synapses"][0] == memory


def test_a_trained_graph_is_laid_on_the_grid_again():
    """As a fine-tuning leaves it: weights moved by steps of the grid, thresholds too."""
    graph, x = random_network(2)
    lowered = sb.quantize(graph, sb.Loihi(), x)
    rng = np.random.default_rng(0)
    nodes = dict(lowered.nodes)
    for layer in read_layers(lowered):
        nodes[layer.name] = nodes[layer.name].replaced(threshold=nodes[layer.name].threshold * 1.5)
        for synapses in layer.synapses:
            weight = nodes[synapses.name].weight
            nodes[synapses.name] = nodes[synapses.name].replaced(weight=weight * rng.uniform(0, 1, weight.shape))
    moved = sb.Graph(nodes, lowered.edges, numbers=lowered.numbers)
    assert moved != lowered
    assert_equal(moved, x)


def test_the_script_writes_the_same_trace(tmp_path):
    graph, x = random_network(3, steps=20)
    lowered = sb.quantize(graph, sb.Loihi(), x)
    program = sb.export(lowered, "nengo", profile="loihi")
    program.save(tmp_path / "net_loihi.py")
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-I", "net_loihi.py", "x.npy", "trace.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    trace = np.load(tmp_path / "trace.npz")
    for name, spikes in sb.simulate(lowered, x).spikes.items():
        np.testing.assert_array_equal(trace[f"spikes/{name}"], spikes)


def test_states_are_refused():
    graph, x = random_network(0)
    with pytest.raises(sb.BadInput, match="voltages after their reset"):
        sb.export(sb.quantize(graph, sb.Loihi()), "nengo", profile="loihi").run(x, record=("spikes", "states"))

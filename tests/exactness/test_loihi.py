"""Graphs in Loihi's integers: what quantize chooses, what is refused, and fine-tuning on the grid."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import snubridge as sb
from snubridge.exactness.loihi import read_layers, trainable_ranges
from snubridge.exactness.loihi.chip import synapse_memory
from tests.adapters.nengo.loihi.networks import random_network

E = sb.Edge


def layer(unit=sb.Unit(0.8, 1.0), weight=((0.5, 0.25), (1.0, -0.5)), extra=None, edges=(), **linear):
    """in -> w -> u -> out, with more nodes and edges if wanted."""
    nodes = {"in": sb.Input((2,)), "w": sb.Linear(weight, **linear), "u": unit, "out": sb.Output(), **(extra or {})}
    return sb.Graph(nodes, [E("in", "w"), E("w", "u"), E("u", "out"), *edges])


def integers(unit, decays, thresholds, weights, x):
    """The emulator's integer dynamics of one layer as written in its source, (T, B, n) spikes."""
    u = v = np.zeros((x.shape[1], len(thresholds)), np.int64)
    y, found = u, []
    for now in x.astype(np.int64):
        u = np.sign(u) * (np.abs(u) * 1 >> 12) + now @ weights.T * 64
        v = np.where(y, 0, v)
        v = np.sign(v) * (np.abs(v) * decays >> 12) + u
        v = np.maximum(v, 0) if isinstance(unit.g, sb.ReLU) else v
        y = (v > thresholds * 64).astype(np.int64)
        found.append(y)
    return np.array(found)


@pytest.mark.parametrize("seed", range(40))
def test_the_reference_has_the_integer_dynamics(seed):
    rng = np.random.default_rng(seed)
    unit = sb.Unit(rng.random(), rng.uniform(0.5, 2, 12), g=sb.ReLU() if seed % 2 else sb.Identity())
    nodes = {"in": sb.Input((9,)), "w": sb.Linear(rng.normal(0.1, 0.4, (12, 9))), "u": unit, "out": sb.Output()}
    lowered = sb.quantize(sb.Graph(nodes, [E("in", "w"), E("w", "u"), E("u", "out")]), sb.Loihi())
    (found,) = read_layers(lowered)
    x = (rng.random((80, 3, 9)) < 0.4).astype(float)
    expected = integers(unit, found.decay, found.threshold, found.synapses[0].weights, x)
    np.testing.assert_array_equal(sb.simulate(lowered, x).spikes["u"], expected)
    assert 0 < expected.sum() < expected.size


def test_a_lattice_of_weights_is_kept_exactly():
    lowered = sb.quantize(layer(sb.Unit(0.5, 0.75)), sb.Loihi())
    unit, weight = lowered.nodes["u"], lowered.nodes["w"].weight
    np.testing.assert_array_equal(weight / unit.threshold, np.array([[0.5, 0.25], [1.0, -0.5]]) / 0.75)
    (found,) = read_layers(lowered)
    assert found.decay.tolist() == [2048, 2048]


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_what_is_on_the_grid_stays(seed):
    graph, x = random_network(seed)
    lowered = sb.quantize(graph, sb.Loihi(), x)
    again = sb.quantize(lowered, sb.Loihi(), x)
    assert again == lowered
    assert not sum(unit["changed"] for unit in again.metadata["quantized"]["spikes"].values())


def test_what_is_stated():
    graph, x = random_network(3)
    stated = json.loads(json.dumps(sb.quantize(graph, sb.Loihi(), x).metadata))["quantized"]
    assert stated["from"] == graph.digest
    assert stated["spikes"].keys() == stated["units"].keys() == graph.of_kind(sb.Unit).keys()
    latencies = [unit["latency"] for unit in stated["units"].values()]
    assert all(isinstance(lag, int) for lag in latencies)
    assert all(unit["cores"] >= 1 and unit["step"] < 1 for unit in stated["units"].values())


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (layer(sb.Unit(0.8, 1.0, g=sb.LeakyReLU())), "g = "),
        (layer(sb.Unit(0.8, 1.0, h=sb.Sigmoid())), "h = "),
        (layer(sb.Unit(0.8, 1.0, h=sb.Step(at_threshold=True))), "fires above its threshold"),
        (layer(sb.Unit(0.8, 1.0, reset=sb.Reset.LATERAL)), "resets to zero"),
        (layer(sb.Unit(0.8, 1.0, reset=sb.Reset.SUBTRACT)), "resets to zero"),
        (layer(sb.Unit(0.8, 1.0, initial_state=0.5)), "initial state"),
        (layer(sb.Unit(0.8, -1.0)), "above 0"),
        (layer(bias=[0.1, 0.2]), "a bias would reach"),
        (layer(weight=np.full((2, 2), 1000.0)), "times its threshold"),
        (layer(extra={"s": sb.Linear(np.eye(2))}, edges=[E("u", "s"), E("s", "u", 2)]), "a delay of 1 would fit"),
        (layer(extra={"in2": sb.Input((2,), low=-1)}, edges=[E("in2", "out")]), "from -1"),
        (layer(edges=[E("in", "u", 1)]), "only an sb.Linear"),
        (
            layer(
                extra={"w2": sb.Linear(np.eye(2)), "skip": sb.Linear(np.eye(2)), "v": sb.Unit(0.5, 1.0)},
                edges=[E("u", "w2"), E("w2", "v"), E("in", "skip"), E("skip", "v"), E("v", "out")],
            ),
            "every hop takes one step",
        ),
    ],
)
def test_what_the_emulator_lacks_is_refused(graph, words):
    with pytest.raises(sb.Unsupported, match=words):
        sb.quantize(graph, sb.Loihi())


def test_all_reasons_are_told():
    graph = layer(sb.Unit(0.8, -1.0, reset=sb.Reset.LATERAL, g=sb.LeakyReLU()), bias=[0.1, 0.2])
    with pytest.raises(sb.Unsupported) as caught:
        sb.quantize(graph, sb.Loihi())
    assert len(caught.value.reasons) == 4


@pytest.mark.parametrize("bits", [1, 9, True, 8.0, None])
def test_weight_bits_outside_of_the_chip(bits):
    with pytest.raises(sb.BadInput, match="weight_bits"):
        sb.Loihi(weight_bits=bits)


def test_inputs_that_are_no_spikes():
    with pytest.raises(sb.BadInput, match="other than 0 and 1"):
        sb.quantize(layer(), sb.Loihi(), np.full((3, 1, 2), 0.5))


def altered(field, value, node="w"):
    """A lowered layer with one parameter changed, its weights on the finer of the two grids."""
    lowered = sb.quantize(layer(), sb.Loihi())
    numbers = replace(lowered.numbers, fraction_bits={**lowered.numbers.fraction_bits, "w": FINE})
    nodes = dict(lowered.nodes)
    nodes[node] = nodes[node].replaced(**{field: np.asarray(value, float)})
    return sb.Graph(nodes, lowered.edges, numbers=numbers)


FINE = sb.quantize(layer(), sb.Loihi()).numbers.fraction_bits["u"]


def test_what_leaves_the_chip_is_refused_when_it_is_read():
    (read,) = read_layers(sb.quantize(layer(), sb.Loihi()))
    one = 2.0 ** (6 - read.fraction_bits)
    for graph, words in [
        (layer(), "sb.quantize"),
        (altered("weight", np.full((2, 2), 300 * one)), "above 254"),
        (altered("weight", [[0, one], [one, 0]]), "builds as 2"),
        (altered("weight", [[200 * one, one], [0, 0]]), "even multiples"),
        (altered("threshold", 2**17 * one, "u"), "beyond 1 to"),
        (altered("threshold", 0, "u"), "above 0"),
        (altered("decay", 0.5, "u.current"), "no current of its own"),
        (altered("decay", 0.0, "u"), "keeps at least"),
        (altered("decay", 1.0, "u"), "decay 1 without a lower bound"),
    ]:
        with pytest.raises(sb.Unsupported, match=words):
            read_layers(graph)


def test_an_accumulator_never_wraps_around():
    """600 inputs that all weigh as much as they can would wrap around: the scale is lowered until they do not."""
    nodes = {"in": sb.Input((600,)), "w": sb.Linear(np.ones((3, 600))), "u": sb.Unit(0.9, 1.0), "out": sb.Output()}
    (found,) = read_layers(sb.quantize(sb.Graph(nodes, [E("in", "w"), E("w", "u"), E("u", "out")]), sb.Loihi()))
    total = found.synapses[0].weights.sum(axis=1).max() * 64
    assert 2**20 < total < 2**21


def test_as_many_decays_as_are_wanted():
    rng = np.random.default_rng(0)
    decays = np.concatenate([rng.normal(0.3, 0.01, 40), rng.normal(0.9, 0.01, 60)])
    nodes = {"in": sb.Input((5,)), "w": sb.Linear(rng.normal(0, 1, (100, 5))), "u": sb.Unit(decays, 1.0)}
    graph = sb.Graph({**nodes, "out": sb.Output()}, [E("in", "w"), E("w", "u"), E("u", "out")])
    (two,) = read_layers(sb.quantize(graph, sb.Loihi(decays=2)))
    np.testing.assert_allclose(two.decay / 4096, np.repeat([0.3, 0.9], [40, 60]), atol=0.01)
    assert len(two.groups) == 2
    (all_of_them,) = read_layers(sb.quantize(graph, sb.Loihi(decays=100)))
    np.testing.assert_array_equal(all_of_them.decay, np.rint(decays * 4096))


def test_memory_of_synapses():
    assert [synapse_memory(n) for n in (1, 6, 7, 64, 65)] == [64, 64, 128, 576, 640]


def test_fine_tuning_on_the_grid():
    """The loss of a quantized network falls, and what was trained is on the chip's grids and within its ranges."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from snubridge import nn

    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((20,)),
        "w": sb.Linear(rng.normal(0.05, 0.3, (30, 20))),
        "u": sb.Unit(0.8, 1.0, g=sb.ReLU()),
        "h": sb.Linear(rng.normal(0, 0.1, (30, 30))),
        "r": sb.Linear(rng.normal(0, 0.3, (2, 30)), np.zeros(2)),
        "out": sb.Output("mean"),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "r"), E("r", "out")]
    x = (rng.random((25, 32, 20)) < 0.3).astype(float)
    classes = torch.tensor((x[:, :, :10].sum((0, 2)) > x[:, :, 10:].sum((0, 2))).astype(int))
    lowered = sb.quantize(sb.Graph(nodes, edges), sb.Loihi(weight_bits=7), x)
    network = nn.to_module(lowered)
    ranges = trainable_ranges(lowered)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        logits, _ = network(torch.tensor(x))
        loss = torch.nn.functional.cross_entropy(logits, classes)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for (node, field), (low, high) in ranges.items():
                network.parameter(node, field).clamp_(low, high)
    trained = nn.capture(network, (20,))
    assert losses[-1] < 0.5 * losses[0]
    assert trained.nodes["w"] != lowered.nodes["w"]
    assert trained.nodes["h"] != lowered.nodes["h"]
    assert len(read_layers(trained)) == 1
    logits, _ = network(torch.tensor(x))
    np.testing.assert_array_equal(sb.simulate(trained, x).outputs["out"], logits.detach().numpy())


@pytest.mark.parametrize("seed", range(8))
def test_every_engine_has_the_integers(seed):
    """Currents, voltages' spikes: rung exact on engines that we did not write, and on ours."""
    graph, x = random_network(seed)
    lowered = sb.quantize(graph, sb.Loihi(), x)
    options = {
        "brian2": {},
        "nengo": {},
        "onnx": {"precision": "float64"},
        "torch": {"precision": "float64"},
        "pcm": {},
    }
    chosen = {name: (name, given) for name, given in options.items() if name in sb.backends()}
    if not chosen:
        pytest.skip("no engine is installed here")
    report = sb.verify(lowered, x, chosen)
    report.raise_if_unequal()
    assert not report.silent
    assert {row.rung for row in report.rows if row.unit in lowered.of_kind(sb.Unit)} == {"exact"}

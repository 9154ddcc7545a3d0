"""Every node, reset, g, h, delay and reduction in torch, against the reference."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.bridge.conformance.families import random_case
from snubridge.nn.kernels.run import Run

E = sb.Edge
RESETS = list(sb.Reset)
GS = [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)]
HS = [sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh()]


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("g", GS)
@pytest.mark.parametrize("h", HS)
def test_every_unit_recurrent(reset, g, h):
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((3,)),
        "w": sb.Linear(rng.normal(size=(4, 3))),
        "u": sb.Unit(rng.random(4), rng.uniform(0.3, 1, 4), reset=reset, g=g, h=h, initial_state=rng.normal(size=4)),
        "r": sb.Linear(rng.normal(size=(4, 4)) / 3),
        "out": sb.Output(),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "r", 1), E("r", "u"), E("u", "out")]
    graph = sb.Graph(nodes, edges, numbers=sb.Float64())
    report = sb.verify(graph, rng.normal(size=(60, 3, 3)), ["torch"])
    assert report.equal, report.to_text()


@pytest.mark.parametrize("how", ["mean", "sum", "max", "last"])
def test_convolution_pools_and_reductions(how):
    rng = np.random.default_rng(1)
    nodes = {
        "in": sb.Input((2, 7, 8)),
        "conv": sb.Conv2d(rng.normal(size=(4, 1, 3, 2)), rng.normal(size=4), (2, 1), (1, 0), (1, 2), groups=2),
        "u": sb.Unit(0.7, 0.5),
        "avg": sb.AvgPool2d(2, padding=1),
        "sum": sb.SumPool2d((1, 2), stride=1),
        "flat": sb.Flatten(),
        "w": sb.Linear(rng.normal(size=(3, 36))),
        "out": sb.Output(how),
    }
    names = list(nodes)
    graph = sb.Graph(nodes, [E(a, b) for a, b in itertools.pairwise(names)], numbers=sb.Float64())
    report = sb.verify(graph, rng.normal(size=(9, 3, 2, 7, 8)), ["torch"], lengths=[9, 4, 1])
    assert report.equal, report.to_text()


@pytest.mark.parametrize("seed", range(20))
def test_graph_to_module_to_graph_is_the_identity(seed):
    for numbers in (sb.Float32(), sb.Float64()):
        drawn = random_case(seed, "generic").graph
        graph = sb.Graph(drawn.nodes, drawn.edges, numbers=numbers)
        assert nn.capture(nn.to_module(graph), graph.nodes["in"].shape) == graph


@pytest.mark.parametrize("seed", range(10))
def test_a_run_in_pieces_is_the_whole_run(seed):
    case = random_case(seed, "dyadic", precision="float32")
    network = nn.to_module(case.graph)
    x = torch.tensor(case.inputs, dtype=torch.float32)
    whole, _ = network(x)
    parts, state = [], None
    for piece in x.split([1, 6, 20, 23]):
        y, state = network(piece, state)
        parts.append(y)
    together = [
        torch.cat(list(p)) for p in zip(*(p.values() if isinstance(p, dict) else [p] for p in parts), strict=True)
    ]
    for one, two in zip(whole.values() if isinstance(whole, dict) else [whole], together, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_a_module_trains_and_is_captured_again():
    case = random_case(2, "generic")
    network = nn.to_module(case.graph, learn_decay=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    x = torch.tensor(case.inputs, dtype=torch.float32)
    for _ in range(3):
        y, _ = network(x)
        loss = sum(v.square().mean() for v in (y.values() if isinstance(y, dict) else [y]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = nn.capture(network, case.graph.nodes["in"].shape)
    assert trained != case.graph
    assert list(trained.nodes) == list(case.graph.nodes)
    sb.validate(trained)  # a learned decay is clamped to [0, 1]


def test_states_are_computed_where_they_are_asked_for(monkeypatch):
    module, x = nn.to_module(nn.capture(nn.SNU(3, 4), 3)), torch.rand(4, 2, 3)
    expected = module(x)[0]
    assert module.evaluate(x)[0].states
    monkeypatch.setattr(Run, "states", property(lambda self: pytest.fail("nobody asked")))
    assert torch.equal(module(x)[0], expected)


def test_wrong_inputs_are_refused():
    network = nn.to_module(random_case(0, "dyadic").graph)
    with pytest.raises(sb.BadInput, match="needed \\(T, B"):
        network(torch.zeros(3, 99))
    width = network._graph.nodes["in"].shape[0]
    with pytest.raises(sb.BadInput, match="a ndarray; a tensor is needed"):
        network(np.zeros((3, 1, width)))
    with pytest.raises(sb.BadInput, match="at least one step"):
        network(torch.zeros(0, 1, width))
    _, state = network(torch.zeros(3, 2, width))
    for wrong in (state, (None,)):
        with pytest.raises(sb.BadInput, match="the NetworkState of a run"):
            network(torch.zeros(3, 1, width), wrong)
    with pytest.raises(sb.BadInput, match="the network's inputs are"):
        network({"x": torch.zeros(3, 1, 1)})


def test_a_network_can_be_copied_and_pickled():
    graph = random_case(3, "generic").graph
    network = nn.to_module(graph)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert nn.capture(twin, graph.nodes["in"].shape) == graph


def test_a_program_does_not_follow_what_its_user_does_to_the_module(tmp_path):
    case = random_case(4, "dyadic", precision="float32")
    program = sb.export(case.graph, "torch")
    before = program.run(case.inputs)
    for parameter in program.native.parameters():
        parameter.data.zero_()
    assert sb.compare(before, program.run(case.inputs)).equal
    program.save(tmp_path / "net.safetensors")
    assert sb.load(tmp_path / "net.safetensors") == case.graph


def test_how_a_module_was_trained_is_chosen_anew():
    torch.manual_seed(0)
    net = nn.Sequential(nn.SNU(8, 6, threshold=0.3, detach_reset=True), nn.SNU(6, 4, threshold=0.2, detach_reset=True))
    graph, x = nn.capture(net, (8,)), torch.rand(20, 3, 8)
    y, _ = net(x)
    expected = torch.autograd.grad(y.sum(), net[0].weight)[0]
    for detached in (True, False):
        module = nn.to_module(graph, detach_reset=detached)
        assert ("detach_reset=True" in repr(module)) is detached
        found = torch.autograd.grad(module(x)[0].sum(), module.parameter("0.weight", "weight"))[0]
        assert torch.allclose(found, expected) is detached

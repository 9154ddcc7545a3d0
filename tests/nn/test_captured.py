"""What is captured computes what its module computes: every unit, convolutional nets, several inputs and outputs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn

RESETS, GS = list(sb.Reset), [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)]
HS = [sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh()]
E = sb.Edge


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


DYNAMICS = [(reset, g, h) for reset in RESETS for g in GS for h in HS]
DYNAMICS += [(sb.Reset.NONE, g, sb.Identity()) for g in GS]


@pytest.mark.parametrize(("reset", "g", "h"), DYNAMICS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_unit(reset, g, h, batch_first):
    rng = np.random.default_rng(0)
    layer = nn.SNU(
        3, 5, decay=rng.random(5), threshold=rng.uniform(0.1, 0.5, 5), initial_state=rng.normal(size=5), bias=True,
        recurrent=True, reset=reset, g=g, h=h, batch_first=batch_first, learn_decay=True, learn_initial_state=True,
    ).double()  # fmt: skip
    graph = nn.capture(layer, 3)
    x = torch.randn(50, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        y, state = layer(x.transpose(0, 1) if batch_first else x)
    y = (y.transpose(0, 1) if batch_first else y).numpy()
    trace = sb.simulate(graph, x, record=("spikes", "states"))
    if isinstance(h, sb.Step):
        np.testing.assert_array_equal(trace.spikes["unit"], y)
        assert 50 < y.sum() < 950
    np.testing.assert_allclose(trace.spikes["unit"], y, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(trace.states["unit"][-1], state.s.numpy(), rtol=1e-9, atol=1e-9)


class Vision(torch.nn.Module):
    """Convolutions, batch norms, pools, skips, delays, lateral inhibition, initial states, a read-out over time."""

    def __init__(self, batch_first=False):
        super().__init__()
        self.batch_first = batch_first
        self.conv = nn.Conv2d(2, 4, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(4)
        first = torch.linspace(-0.2, 0.4, 4).reshape(4, 1, 1).expand(4, 6, 6)
        options = {"batch_first": batch_first, "threshold": 0.3}
        self.lateral = nn.Unit((4, 6, 6), reset=sb.Reset.LATERAL, initial_state=first, **options)
        self.sum = nn.SumPool2d(2)
        self.deep = nn.Sequential(
            torch.nn.Conv2d(4, 4, 3, padding=1, groups=2), torch.nn.BatchNorm2d(4, affine=False),
            nn.Unit((4, 3, 3), g=sb.ReLU(), reset=sb.Reset.SUBTRACT, learn_initial_state=True, **options),
        )  # fmt: skip
        self.late = nn.Delay(2, batch_first)
        self.short = torch.nn.Conv2d(4, 4, 1)
        self.mix = nn.Unit((4, 3, 3), h=sb.Sigmoid(), reset=sb.Reset.SUBTRACT_DECAYED, **options)
        self.pool = torch.nn.AvgPool2d(3, 2, 1)
        self.head = nn.Sequential(
            nn.Flatten(), torch.nn.Linear(16, 12), nn.BatchNorm1d(12), torch.nn.Dropout(0.3),
            nn.SNU(12, 8, recurrent=True, **options), torch.nn.Linear(8, 3), nn.OverTime("mean", batch_first),
        )  # fmt: skip

    def forward(self, x, states=None, lengths=None):
        first, second = x.shape[:2]
        y, _ = self.lateral(self.norm(self.conv(x)))
        pooled = self.sum(y)
        deep, _ = self.deep(pooled)
        late, _ = self.late(deep)
        deep = deep + late
        short = self.short(pooled.flatten(0, 1)).reshape(first, second, 4, 3, 3)
        mixed, _ = self.mix(deep + short)
        merged = self.pool(mixed.flatten(0, 1))
        logits, states = self.head(merged.view(first, second, 4, 2, 2), states, lengths)
        return {"lateral_spikes": y, "late": deep, "logits": logits}, states


def trained(batch_first=False, dtype=torch.float64):
    """A net whose norms have seen something."""
    net = Vision(batch_first).to(dtype)
    x = torch.randn(12, 3, 2, 6, 6, dtype=dtype)
    for _ in range(5):
        net(1.5 * torch.randn_like(x) + 0.3)
    return net, x


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_convolutional_net(batch_first, dtype):
    net, x = trained(batch_first, dtype)
    graph = nn.capture(net, (2, 6, 6))
    assert list(graph.nodes) == [
        *("input", "conv", "lateral", "sum", "deep.0", "deep.2", "short", "mix", "pool", "head.0", "head.1"),
        *("head.4.weight", "head.4", "head.4.recurrent", "head.5", "lateral_spikes", "late", "logits"),
    ]
    assert [node.over_time for node in graph.of_kind(sb.Output).values()] == [None, None, "mean"]
    assert graph.incoming["mix"] == (E("deep.2", "mix"), E("deep.2", "mix", 2), E("short", "mix"))
    lengths = [12, 5, 1]
    report = sb.verify(graph, x, ["torch"], lengths=lengths)
    assert report.equal, report.to_text()
    assert not report.silent
    trace = sb.simulate(graph, x, lengths=lengths)
    with torch.no_grad():
        found, _ = net.eval()(x.transpose(0, 1) if batch_first else x, lengths=lengths)
    turned = {name: y.transpose(0, 1) if batch_first and name != "logits" else y for name, y in found.items()}
    np.testing.assert_array_equal(trace.spikes["lateral"], turned["lateral_spikes"])
    tolerance = 1e-9 if dtype is torch.float64 else 1e-5
    for name, y in turned.items():
        np.testing.assert_allclose(trace.outputs[name], y, rtol=0, atol=tolerance * max(1, float(y.abs().max())))
    assert trace.spikes["lateral"].sum() > 50
    assert trace.spikes["deep.2"].sum() > 50
    assert trace.spikes["head.4"].sum() > 10


def test_capture_leaves_statistics_and_modes_alone():
    net, _ = trained()
    net.train()
    net.norm.eval()
    modes = [module.training for module in net.modules()]
    before = copy.deepcopy(net.state_dict())
    nn.capture(net, (2, 6, 6))
    assert [module.training for module in net.modules()] == modes
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_lateral_inhibition_is_over_one_samples_neurons():
    unit = nn.Unit((2, 2, 2), decay=1.0, threshold=1.0, reset=sb.Reset.LATERAL)
    x = torch.zeros(2, 2, 2, 2, 2)
    x[0, 0] = 0.5
    x[0, 0, 1, 1, 1] = 2.0  # one neuron of the first sample fires and inhibits that sample, not the second
    x[0, 1] = 0.5
    _, state = unit(x)
    state = state.detach()
    assert state.s[0].abs().max() == 0
    assert bool((state.s[1] == 0.5).all())
    graph = nn.capture(unit, (2, 2, 2))
    np.testing.assert_array_equal(sb.simulate(graph, x, record=("states",)).states["unit"][-1], state.s.numpy())


def module_of(forward, **children):
    module = type("Made", (torch.nn.Module,), {"forward": forward})()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def test_delays_are_edges():
    def forward(self, x):
        a, _ = self.one(x)
        b, _ = self.two(a + self.linear(x))
        return b, x + self.two(x)[0]

    module = module_of(forward, one=nn.Delay(1), two=nn.Delay(2), linear=torch.nn.Linear(3, 3)).double()
    graph = nn.capture(module, 3)
    assert list(graph.nodes) == ["input", "linear", "output", "output_2"]
    assert graph.edges == (
        E("input", "linear"),
        E("input", "output", 3),
        E("linear", "output", 2),
        E("input", "output_2"),
        E("input", "output_2", 2),
    )
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    outputs = sb.simulate(graph, x).outputs
    for name, y in zip(("output", "output_2"), module(x), strict=True):
        np.testing.assert_allclose(outputs[name], y.detach().numpy(), rtol=1e-12, atol=1e-12)
    root = nn.capture(nn.Delay(4), 3)
    assert root.edges == (E("input", "output", 4),)
    with pytest.raises(sb.Unsupported, match="a value added to itself"):
        nn.capture(module_of(lambda self, x: self.d(x)[0] + self.d(x)[0], d=nn.Delay(1)), 3)
    with pytest.raises(sb.InvalidGraph, match="an integer from 0 to 1048576"):
        nn.capture(nn.Sequential(nn.Delay(2**20), nn.Delay(1)), 3)


def test_a_bias_is_not_delayed_but_the_value_of_a_linear_is():
    linear = torch.nn.Linear(2, 2).double()
    x = torch.randn(5, 1, 2, dtype=torch.float64)
    for net in (nn.Sequential(nn.Delay(2), linear), nn.Sequential(linear, nn.Delay(2))):
        y = sb.simulate(nn.capture(net, 2), x).outputs["output"]
        np.testing.assert_allclose(y, net(x)[0].detach().numpy(), rtol=1e-12)
        assert bool(y[:2].any()) is (net[1] is linear)


@pytest.mark.parametrize("how", ["mean", "sum", "max", "last"])
def test_a_read_out_over_time(how):
    net = nn.Sequential(nn.SNU(3, 6, threshold=0.1), torch.nn.Linear(6, 2), nn.OverTime(how)).double()
    graph = nn.capture(net, 3)
    assert graph.nodes["output"] == sb.Output(how)
    x, lengths = torch.randn(9, 3, 3, dtype=torch.float64), [9, 4, 1]
    expected = net(x, lengths=lengths)[0].detach().numpy()
    np.testing.assert_allclose(sb.simulate(graph, x, lengths=lengths).outputs["output"], expected, rtol=1e-12)
    assert nn.capture(nn.OverTime(how), 3).nodes["output"] == sb.Output(how)
    assert nn.capture(nn.to_module(graph), 3) == graph


class TwoEars(torch.nn.Module):
    """Two inputs, of which one may be left out; outputs in a dict, a state beside them."""

    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Linear(3, 4), torch.nn.Linear(5, 4)
        self.unit = nn.Unit(4, threshold=0.2)

    def forward(self, left, right=None, scale=1.0):
        drive = self.left(left) if right is None else self.left(left) + self.right(right)
        y, state = self.unit(drive)
        return {"spikes": y, "drive": drive}, state


def test_several_inputs_and_outputs():
    module = TwoEars().double()
    graph = nn.capture(module, {"left": 3, "right": (5,)})
    assert list(graph.nodes) == ["left", "right", "left_2", "right_2", "unit", "spikes", "drive"]
    x = {"left": torch.randn(20, 2, 3, dtype=torch.float64), "right": torch.randn(20, 2, 5, dtype=torch.float64)}
    found, _ = module(**x)
    outputs = sb.simulate(graph, {name: value.numpy() for name, value in x.items()}).outputs
    np.testing.assert_array_equal(outputs["spikes"], found["spikes"].detach().numpy())
    np.testing.assert_allclose(outputs["drive"], found["drive"].detach().numpy(), rtol=1e-12)
    assert outputs["spikes"].sum() > 10
    assert sb.verify(graph, {name: value.numpy() for name, value in x.items()}, ["torch"]).equal
    network = nn.to_module(graph)
    assert nn.capture(network, {"left": 3, "right": 5}) == graph
    torch.testing.assert_close(network(x)[0]["drive"], found["drive"])
    one = nn.capture(module, {"left": 3})
    assert list(one.of_kind(sb.Input)) == ["left"]
    assert list(nn.capture(module, 3).of_kind(sb.Input)) == ["input"]


def test_an_input_may_be_named():
    assert list(nn.capture(nn.SNU(3, 2), {"x": 3}).nodes) == ["x", "unit.weight", "unit", "output"]
    assert list(nn.capture(torch.nn.Linear(3, 2), {"input": 3}).nodes) == ["input", "unit", "output"]
    assert list(nn.capture(nn.Sequential(torch.nn.Linear(3, 2)), {"x": 3}).nodes) == ["x", "0", "output"]


def test_inputs_that_do_not_fit_are_refused():
    module = TwoEars()
    for shapes in ({"left": 3, "middle": 2}, {"right": 5}, {"x": 3}):
        with pytest.raises(sb.BadInput, match="forward takes left, right, scale"):
            nn.capture(module, shapes)
    with pytest.raises(sb.Unsupported, match="does not depend on right; leave that input out"):
        nn.capture(module_of(lambda self, left, right: left), {"left": 3, "right": 3})
    network = nn.to_module(nn.capture(module, {"left": 3, "right": 5}))
    for shapes in (3, {"left": 3}, {"left": 3, "right": 4}):
        with pytest.raises(sb.BadInput, match="the network's inputs have the shapes"):
            nn.capture(network, shapes)


def test_every_input_and_output_is_tried():
    """A branch that only the second input and the second output show."""

    def forward(self, x, y):
        return x, (self.a(y) if isinstance(y, torch.Tensor) else self.b(y))

    module = module_of(forward, a=torch.nn.Linear(3, 3), b=torch.nn.Linear(3, 3))
    with pytest.raises(sb.Unsupported, match="computes something else"):
        nn.capture(module, {"x": 3, "y": 3})


def test_graph_to_module_to_graph_with_images_inputs_and_outputs():
    rng = np.random.default_rng(0)
    nodes = {
        "image": sb.Input((2, 5, 5)),
        "sound": sb.Input((3,)),
        "conv.a": sb.Conv2d(rng.normal(size=(4, 1, 3, 2)), rng.normal(size=4), (2, 1), (1, 0), (1, 2), groups=2),
        "u": sb.Unit(0.5, 0.3, reset=sb.Reset.LATERAL, h=sb.Step(at_threshold=True), initial_state=0.25),
        "avg": sb.AvgPool2d(2, 1, 1),
        "sum": sb.SumPool2d((2, 1)),
        "flat": sb.Flatten(),
        "w": sb.Linear(rng.normal(size=(3, 32))),
        "out": sb.Output("last"),
        "spikes": sb.Output(),
    }
    edges = [E("image", "conv.a"), E("conv.a", "u"), E("u", "avg", 2), E("u", "avg"), E("avg", "sum"), E("sum", "flat")]
    edges += [E("flat", "w"), E("w", "out"), E("sound", "out", 1), E("u", "spikes", 3)]
    for numbers in (sb.Float32(), sb.Float64()):
        graph = sb.Graph(nodes, edges, numbers=numbers)
        assert nn.capture(nn.to_module(graph), {"image": (2, 5, 5), "sound": 3}) == graph
        assert nn.capture(nn.to_module(graph), {"sound": 3, "image": (2, 5, 5)}) == graph


@pytest.mark.parametrize(
    ("layer", "unit"),
    [
        (torch.nn.ReLU(), {"g": sb.ReLU(), "h": sb.Identity()}),
        (torch.nn.LeakyReLU(0.2), {"g": sb.LeakyReLU(0.2), "h": sb.Identity()}),
        (torch.nn.Tanh(), {"h": sb.Tanh()}),
        (torch.nn.Sigmoid(), {"h": sb.Sigmoid()}),
    ],
)
def test_the_units_that_refusals_recommend_are_the_same(layer, unit):
    recommended = nn.Unit(4, decay=0, threshold=0, learn_threshold=False, reset=sb.Reset.NONE, **unit)
    x = torch.randn(6, 2, 4)
    torch.testing.assert_close(recommended(x)[0], layer(x), rtol=4e-7, atol=0)
    recommended.kernel = "eager"
    assert torch.equal(recommended(x)[0], layer(x))


def test_merging_in_all_spellings():
    def forward(self, x):
        (first, second), sample = x.shape[:2], x.shape[2:]
        a = self.conv(x.reshape(-1, sample[0], sample[1], sample[2])).view(first, -1, 2, 4, 4)
        b = self.conv(x.view(first * second, *(sample[i] for i in range(3)))).reshape(-1, second, 2, 4, 4)
        c = torch.unflatten(self.conv(torch.flatten(x, 0, 1)), 0, (first, second))
        d = self.conv(torch.reshape(x, (x.size(0) * x.size()[1], 1, 6, 6))).unflatten(0, sizes=(-1, second))
        both = self.pool((a + b + c + d).flatten(start_dim=0, end_dim=1))
        flat = both.flatten(1, -1).reshape(first, second, -1)
        return self.out(flat.flatten(0, 1)).unflatten(0, (first, second))

    module = module_of(
        forward,
        conv=torch.nn.Conv2d(1, 2, 3),
        pool=torch.nn.AvgPool2d(2, divisor_override=1),
        out=torch.nn.Linear(8, 3),
    ).double()
    graph = nn.capture(module, (1, 6, 6))
    assert [type(node).__name__ for node in graph.nodes.values()][5:] == ["SumPool2d", "Flatten", "Linear", "Output"]
    x = torch.randn(5, 2, 1, 6, 6, dtype=torch.float64)
    np.testing.assert_allclose(sb.simulate(graph, x).outputs["output"], module(x).detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("padding", ["same", "valid", 2, (1, 0)])
def test_paddings_of_a_convolution(padding):
    conv = nn.Conv2d(1, 2, (3, 5), dilation=(1, 2), padding=padding).double()
    x = torch.randn(3, 2, 1, 9, 12, dtype=torch.float64)
    graph = nn.capture(conv, (1, 9, 12))
    np.testing.assert_allclose(sb.simulate(graph, x).outputs["output"], conv(x).detach().numpy(), rtol=0, atol=1e-12)


def test_pools_that_divide_by_the_window_are_average_pools():
    x = torch.randn(3, 2, 1, 6, 6)  # without parameters, a graph is in float32
    same = [nn.AvgPool2d(2, count_include_pad=False), nn.AvgPool2d((2, 2), divisor_override=4), nn.AvgPool2d(2)]
    for pool in same:
        graph = nn.capture(nn.Sequential(pool, torch.nn.Identity()), (1, 6, 6))
        assert graph.nodes["0"] == sb.AvgPool2d(2)
        np.testing.assert_allclose(sb.simulate(graph, x).outputs["output"], pool(x), rtol=0, atol=1e-6)

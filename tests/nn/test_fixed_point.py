"""Training on the grid: parameters rounded in the forward pass, gradients straight through, a FixedPoint graph back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.bridge.conformance.fixed import random_fixed
from snubridge.ir.budget import StateGrid, beyond
from snubridge.nn.kernels import Dynamics, State, on_grid, step

E = sb.Edge
NUMBERS = sb.FixedPoint(4, state_bits=12)


def recurrent(numbers=NUMBERS):
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((6,), 0, 1, 0),
        "w": sb.Linear(rng.normal(0.2, 0.6, (10, 6))),
        "u": sb.Unit(0.8, np.full(10, 0.7), g=sb.ReLU()),
        "h": sb.Linear(rng.normal(0, 0.3, (10, 10))),
        "r": sb.Linear(rng.normal(0, 0.4, (3, 10)), np.zeros(3)),
        "out": sb.Output(),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "r"), E("r", "out")]
    return sb.Graph(nodes, edges, numbers=numbers)


@pytest.mark.parametrize("rounding", ["floor", "zero"])
def test_gradients_pass_rounding_and_saturation_as_they_are(rounding):
    x = torch.tensor([-1.3, -0.2, 0.3, 1.7], requires_grad=True)
    y = on_grid(x, 1, rounding)
    expected = {"floor": [-1.5, -0.5, 0.0, 1.5], "zero": [-1.0, 0.0, 0.0, 1.5]}[rounding]
    assert y.tolist() == expected
    y.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [1, 2, 3, 4]
    grid = StateGrid(1, rounding, -2.0, 1.5)
    dynamics = Dynamics(sb.Reset.NONE, sb.Identity(), sb.Identity(), nn.TanhDerivative(), grid)
    s, drive = (torch.tensor([[-1.3, 9.0]], requires_grad=True) for _ in range(2))
    after = step(dynamics, torch.tensor(0.5), torch.tensor(0.0), State(s, torch.zeros(1, 2)), drive)
    assert after.s[0].tolist() == pytest.approx([{"floor": -2.0, "zero": -1.8}[rounding], 1.5])
    after.s.sum().backward()
    assert s.grad.tolist() == [[0.5, 0.5]]  # of a saturated state too
    assert drive.grad.tolist() == [[1, 1]]


def test_an_untrained_module_is_the_graph():
    graph = recurrent()
    module = nn.to_module(graph)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert nn.capture(module, (6,)) == graph
    for seed in range(40):
        case = random_fixed(seed)
        module = nn.to_module(case.graph)
        shapes = {name: node.shape for name, node in case.graph.of_kind(sb.Input).items()}
        assert nn.capture(module, shapes if len(shapes) > 1 else next(iter(shapes.values()))) == case.graph


def test_a_graph_beyond_float32_becomes_a_module_in_float64():
    module = nn.to_module(recurrent(sb.FixedPoint(12, state_bits=30)))
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}


def test_a_type_that_does_not_hold_every_sum_is_refused():
    wide, narrow = recurrent(sb.FixedPoint(12, state_bits=30)), recurrent()
    x = torch.ones(3, 2, 6)
    y, _ = nn.to_module(wide)(x.double())
    np.testing.assert_array_equal(y.detach().numpy(), sb.simulate(wide, x.numpy()).outputs["out"])
    for module, given in (
        (nn.to_module(wide).float(), x),
        (nn.to_module(wide), x),
        (nn.to_module(wide).float(), x.double()),
    ):
        with pytest.raises(sb.BadInput, match=r"of type torch.float32: node u: .* above the 16,777,216 .*\.double\(\)"):
            module(given)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(sb.BadInput, match=f"of type {dtype}: float32 or float64 is needed"):
            nn.to_module(narrow).to(dtype)(x.to(dtype))
    for dtype in (torch.float32, torch.float64):
        y, _ = nn.to_module(narrow).to(dtype)(x.to(dtype))
        np.testing.assert_array_equal(y.detach().numpy(), sb.simulate(narrow, x.numpy()).outputs["out"])


def test_a_type_is_looked_at_once(monkeypatch):
    asked = []

    def counted(graph, precision):
        asked.append(precision)
        return beyond(graph, precision)

    module = nn.to_module(recurrent())
    monkeypatch.setattr("snubridge.nn.network.beyond", counted)
    for _ in range(3):
        module(torch.ones(3, 2, 6))
    assert asked == ["float32"]


@pytest.mark.parametrize("learn_decay", [False, True])
def test_training_on_the_grid_lowers_the_loss_and_what_is_captured_is_what_ran(learn_decay):
    torch.manual_seed(0)
    graph = recurrent()
    module = nn.to_module(graph, learn_decay=learn_decay)
    x = (torch.rand(12, 16, 6) < 0.4).float()
    target = torch.stack([x[..., :2].sum(-1), x[..., 2:4].sum(-1), x[..., 4]], -1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        y, _ = module(x)
        loss = (y - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0], losses
    moved = module.parameter("w", "weight").detach().numpy()
    assert (np.ldexp(moved, 4) % 1).any()  # trained as they are
    with torch.no_grad():
        y, _ = module(x)
    captured = nn.capture(module, (6,))
    assert captured.numbers == NUMBERS
    assert captured != graph
    assert not (np.ldexp(captured.nodes["w"].weight, 4) % 1).any()
    assert ((captured.nodes["u"].decay != graph.nodes["u"].decay).any()) == learn_decay
    np.testing.assert_array_equal(sb.simulate(captured, x.numpy()).outputs["out"], y.numpy())
    assert sb.verify(captured, x.numpy(), ["torch", "pcm"]).equal


def test_inputs_off_the_grid_are_bad():
    module = nn.to_module(recurrent())
    for value in (0.5, 2.0, -1.0, float("nan")):
        with pytest.raises(sb.BadInput, match="input in: values that are no multiples of 2"):
            module(torch.full((1, 1, 6), value))


def test_a_convolution_forms_every_product():
    """In float32, sums of integers near 2^24: an algorithm that leaves the grid on its way would show."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-(2**11), 2**11, (4, 2, 3, 3)).astype(float)
    nodes = {
        "in": sb.Input((4, 12, 12), -64, 64, 0),
        "conv": sb.Conv2d(weight, groups=2, padding=1),
        "out": sb.Output(),
    }
    graph = sb.Graph(nodes, [E("in", "conv"), E("conv", "out")], numbers=sb.FixedPoint(0))
    x = rng.integers(-64, 65, (4, 20, 4, 12, 12)).astype(float)
    expected = sb.simulate(graph, x).outputs["out"]
    assert np.abs(expected).max() > 2**18
    for backend in ("torch", "onnx"):
        program = sb.export(graph, backend, precision="float32")
        np.testing.assert_array_equal(program.run(x).outputs["out"], expected)

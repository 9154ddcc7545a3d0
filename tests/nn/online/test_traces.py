"""Gradients by traces against backpropagation through time by autograd, which shares no line with them."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch
from torch.nn import functional

import snubridge as sb
from snubridge import nn
from snubridge.nn import online
from snubridge.nn.kernels import State, step

STEPS, SAMPLES, SIZE, UNITS = 12, 3, 4, 5
SURROGATES = [
    nn.TanhDerivative(),
    nn.SigmoidDerivative(),
    nn.ArctanDerivative(),
    nn.PiecewiseLinear(),
    nn.SuperSpike(),
]
LOCAL = [reset for reset in sb.Reset if reset is not sb.Reset.LATERAL]
G = [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)]
SOFT = [(sb.Sigmoid(), nn.TanhDerivative()), (sb.Tanh(), nn.TanhDerivative())]
HARD = list(product([sb.Step(), sb.Step(at_threshold=True)], SURROGATES))
CASES = [*product(LOCAL, G, SOFT + HARD), *product([sb.Reset.NONE], G, [(sb.Identity(), nn.TanhDerivative())])]


def made(dtype=torch.float64, *, size=SIZE, units=UNITS, detach_reset=False, seed=0, **options):
    """A layer of which everything is learned, with decays 0 and 1 among others."""
    torch.manual_seed(seed)
    decay = torch.linspace(0, 1, units)
    options = {"learn_decay": True, "learn_initial_state": True, "bias": True, "kernel": "eager"} | options
    layer = nn.SNU(size, units, decay=decay, threshold=torch.linspace(0.1, 0.5, units), initial_state=0.2, **options)
    layer.dynamics = dataclasses.replace(layer.dynamics, detach_reset=detach_reset)
    with torch.no_grad():
        layer.weight.mul_(2)
        if options["bias"]:
            layer.bias.normal_(0.1, 0.2)
    return layer.to(dtype)


def task(layer, steps=STEPS, samples=SAMPLES, seed=1):
    """An input and a loss of y_t that is another one at each step, and of every sample up to its own length."""
    generator = torch.Generator().manual_seed(seed)
    dtype = layer.weight.dtype
    x = torch.randn(steps, samples, layer.in_features, generator=generator, dtype=dtype)
    mixed = torch.randn(steps, layer.shape[0], 2, generator=generator, dtype=dtype)
    lengths = torch.randint(1, steps + 1, (samples,), generator=generator)
    lengths[0] = steps

    def loss(t, y):
        counted = (t < lengths).to(dtype)
        return (((y @ mixed[t] - 0.3) ** 2).sum(-1) * counted).sum()

    return x, loss


def by_traces(layer, x, loss):
    """The summed gradients, and y of every step."""
    traces, summed, outputs = online.start(layer, x.shape[1]), {}, []
    for t, x_t in enumerate(x):
        y, traces = online.advance(layer, traces, x_t)
        outputs.append(y)
        y = y.clone().requires_grad_()
        (signal,) = torch.autograd.grad(loss(t, y), y)
        for name, found in online.gradients(layer, traces, signal).items():
            summed[name] = summed.get(name, 0) + found
    return online.lead_back(layer, summed), torch.stack(outputs)


def by_autograd(layer, y, loss):
    total = sum(loss(t, y_t) for t, y_t in enumerate(y.unbind(0)))
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    return dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))


def stepwise(layer, x):
    """y of the layer called step by step."""
    state, outputs = None, []
    for x_t in x:
        y, state = layer(x_t[None], state)
        outputs.append(y[0])
    return torch.stack(outputs)


def demand_same(found, expected, rtol=1e-9):
    """Within ``rtol`` of the largest gradient of each parameter."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert bool(torch.isfinite(value).all())
        largest = float(value.abs().max())
        assert float((found[name] - value).abs().max()) <= rtol * largest, name
    assert float(expected["weight"].abs().max()) > 0


@pytest.mark.parametrize(("reset", "g", "readout"), CASES, ids=str)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_feed_forward_layer_has_the_gradient_of_backpropagation(reset, g, readout, detach_reset):
    h, surrogate = readout
    layer = made(reset=reset, g=g, h=h, surrogate=surrogate, detach_reset=detach_reset)
    x, loss = task(layer)
    found, outputs = by_traces(layer, x, loss)
    y, _ = layer(x)
    torch.testing.assert_close(outputs, y, rtol=1e-12, atol=1e-12)
    demand_same(found, by_autograd(layer, y, loss))


@pytest.mark.parametrize("h", [sb.Step(), sb.Sigmoid()])
def test_a_detached_lateral_reset_is_local(h):
    layer = made(reset=sb.Reset.LATERAL, h=h, detach_reset=True)
    x, loss = task(layer)
    demand_same(by_traces(layer, x, loss)[0], by_autograd(layer, layer(x)[0], loss))


def test_detaching_the_reset_changes_the_gradient_and_no_spike():
    flowing, detached = made(), made(detach_reset=True)
    x, loss = task(flowing)
    (gradient, y), (other, same) = by_traces(flowing, x, loss), by_traces(detached, x, loss)
    assert torch.equal(y, same)
    assert not torch.allclose(gradient["weight"], other["weight"])


@pytest.mark.parametrize("reset", LOCAL)
def test_float32_is_as_close_as_its_rounding(reset):
    layer = made(torch.float32, reset=reset, size=20, units=30)
    x, loss = task(layer, steps=100, samples=8)
    found, outputs = by_traces(layer, x, loss)
    y = stepwise(layer, x)
    assert torch.equal(outputs, y)  # else the gradients would be those of other spikes
    demand_same(found, by_autograd(layer, y, loss), rtol=1e-5)


def test_a_decay_beyond_its_range_follows_the_rule_of_the_clamp():
    """The rule looks at the sum over all steps: by each step's own gradient another part would pass."""
    stuck, passed = 0, 0
    for seed in range(4):
        layer = made(seed=seed, units=8)
        with torch.no_grad():
            layer.decay.copy_(torch.tensor([1.2, 1.2, 1.2, 1.2, -0.1, -0.1, -0.1, 0.5]))
        x, loss = task(layer, seed=seed)
        found, _ = by_traces(layer, x, loss)
        expected = by_autograd(layer, layer(x)[0], loss)
        demand_same(found, expected)
        stuck += int((expected["decay"][:7] == 0).sum())
        passed += int((expected["decay"][:7] != 0).sum())
    assert stuck
    assert passed


def within_neurons(layer, x):
    """y of the layer, where what enters H is detached but for each neuron's own part."""
    state, outputs = layer.rest(x.shape[1]), []
    own = layer.recurrent.diagonal().detach()
    for x_t in x:
        held = state.y.detach()
        drive = functional.linear(x_t, layer.weight, layer.bias) + functional.linear(held, layer.recurrent)
        state = step(layer.dynamics, layer.effective_decay, layer.threshold, state, drive + own * (state.y - held))
        outputs.append(state.y)
    return torch.stack(outputs)


@pytest.mark.parametrize("reset", LOCAL)
@pytest.mark.parametrize("h", [sb.Step(), sb.Sigmoid()])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_recurrent_layer_leaves_out_the_paths_from_neuron_to_neuron_and_no_other(reset, h, detach_reset):
    layer = made(reset=reset, h=h, recurrent=True, detach_reset=detach_reset)
    x, loss = task(layer)
    found, outputs = by_traces(layer, x, loss)
    y, _ = layer(x)
    torch.testing.assert_close(outputs, y, rtol=1e-12, atol=1e-12)
    demand_same(found, by_autograd(layer, within_neurons(layer, x), loss))
    assert not torch.allclose(found["weight"], by_autograd(layer, y, loss)["weight"], rtol=1e-3)


def test_a_diagonal_recurrent_matrix_leaves_nothing_out():
    layer = made(recurrent=True, h=sb.Sigmoid())
    with torch.no_grad():
        layer.recurrent.copy_(layer.recurrent.diagonal().diag())
    x, loss = task(layer)
    demand_same(by_traces(layer, x, loss)[0], by_autograd(layer, layer(x)[0], loss))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_step_is_the_layers_own_bit_for_bit(recurrent, dtype):
    layer = made(dtype, recurrent=recurrent, size=37, units=53)
    x = torch.randn(60, 7, 37, dtype=dtype)
    traces, state = online.start(layer, 7), None
    for x_t in x:
        y, traces = online.advance(layer, traces, x_t)
        expected, state = layer(x_t[None], state)
        assert torch.equal(y, expected[0])
        assert torch.equal(traces.state.s, state.s)
        assert torch.equal(traces.state.y, state.y)


def test_with_exact_sums_the_whole_sequence_spikes_alike():
    """Weights on a grid: no order of summation can matter, so neither can the size of a product."""
    layer = made(torch.float32, size=37, units=53)
    with torch.no_grad():
        layer.weight.copy_((layer.weight * 256).round() / 256)
        layer.bias.copy_((layer.bias * 256).round() / 256)
    x = (torch.rand(60, 7, 37) < 0.3).float()
    y, _ = layer(x)
    outputs = by_traces(layer, x, lambda t, y: y.sum())[1]
    assert 0 < float(y.detach().mean()) < 1
    assert torch.equal(outputs, y)


def test_only_what_is_learned_is_traced():
    layer = nn.SNU(4, 5, recurrent=True)
    assert {name: tuple(e.shape) for name, e in online.start(layer, 3).eligibilities.items()} == {
        "weight": (3, 5, 4),
        "recurrent": (3, 5, 5),
        "threshold": (3, 5),
    }
    layer.weight.requires_grad_(False)
    assert set(online.start(layer, 3).eligibilities) == {"recurrent", "threshold"}
    assert set(online.start(made(), 3).eligibilities) == {"weight", "bias", "threshold", "decay", "initial_state"}


@pytest.mark.parametrize("recurrent", [False, True])
def test_advance_changes_no_traces_unless_it_may(recurrent):
    layer = made(recurrent=recurrent)
    x, _ = task(layer)
    _, before = online.advance(layer, online.start(layer, SAMPLES), x[0])
    kept = {name: e.clone() for name, e in before.eligibilities.items()}
    y, after = online.advance(layer, before, x[1])
    assert all(torch.equal(before.eligibilities[name], e) for name, e in kept.items())
    same, reused = online.advance(layer, before, x[1], reuse=True)
    assert torch.equal(y, same)
    assert all(torch.equal(reused.eligibilities[name], e) for name, e in after.eligibilities.items())
    assert reused.eligibilities["weight"] is before.eligibilities["weight"]
    assert not any(e.requires_grad for e in (*after.eligibilities.values(), *after.state, after.slope))


class Doubled(nn.SNU):
    def forward(self, x, state=None):
        return super().forward(2 * x, state)


def test_a_layer_that_is_not_local_is_refused_with_all_reasons():
    layer = made(reset=sb.Reset.LATERAL)
    layer.register_forward_hook(lambda module, received, returned: None)
    with pytest.raises(sb.BadInput, match=r"LATERAL leads the gradient .* detach the reset.*; forward hooks are"):
        online.start(layer, 2)
    with pytest.raises(sb.BadInput, match="a Doubled, which may compute otherwise"):
        online.start(Doubled(4, 5), 2)
    reparametrized = nn.SNU(4, 5)
    torch.nn.utils.parametrizations.weight_norm(reparametrized)
    with pytest.raises(sb.BadInput, match="a ParametrizedSNU"):
        online.start(reparametrized, 2)


def test_what_does_not_fit_is_refused():
    layer = nn.SNU(4, 5)
    for samples in (0, True, 2.0):
        with pytest.raises(sb.BadInput, match=f"samples={samples}: an integer"):
            online.start(layer, samples)
    traces = online.start(layer, 2)
    for x in (torch.zeros(2, 3), torch.zeros(1, 4), torch.zeros(1, 2, 4)):
        with pytest.raises(sb.BadInput, match=r"x_t: shape .*; needed a tensor \(2, 4\)"):
            online.advance(layer, traces, x)
    with pytest.raises(sb.BadInput, match="x_t: a list"):
        online.advance(layer, traces, [[0.0] * 4] * 2)
    with pytest.raises(sb.BadInput, match=r"x_t of type torch.float64; needed torch.float32"):
        online.advance(layer, traces, torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(sb.BadInput, match=r"signal: shape \(2, 1\); needed \(2, 5\)"):
        online.gradients(layer, traces, torch.zeros(2, 1))


def test_the_start_is_cut_from_a_learned_initial_state():
    layer = made()
    traces = online.start(layer, 2)
    with torch.no_grad():
        layer.initial_state.add_(1)
    assert traces.state == State(traces.state.s, traces.state.y)
    assert float(traces.state.s.max()) == pytest.approx(0.2)
    assert not traces.state.s.requires_grad

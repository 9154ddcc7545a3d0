"""The projection of inputs of 0 and 1: the sum over the events, in ascending order, and its gradients."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import RATE, project, run
from snubridge.nn.kernels.cpu.projection import project as operator

SHAPES = [(1, 1, 1, 1), (1, 1, 33, 5), (7, 3, 31, 17), (4, 5, 64, 16), (20, 4, 200, 1500), (3, 2, 32, 2049)]


def events(*shape, rate=0.2, dtype=torch.float32, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).to(dtype)


def summed_in_order(x, weight):
    """The documented order, one column after the other."""
    out = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
    for place in np.ndindex(x.shape[:-1]):
        for k in np.flatnonzero(x[place]):
            out[place] = out[place] + weight[:, k]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("steps", "samples", "inputs", "units"), SHAPES)
def test_events_are_summed_in_ascending_order_bit_for_bit(steps, samples, inputs, units, dtype):
    x, weight = events(steps, samples, inputs, dtype=dtype), torch.randn(units, inputs, dtype=dtype)
    y = project("events", x, weight, None)
    assert np.array_equal(y.numpy(), summed_in_order(x.numpy(), weight.numpy()))
    bias = torch.randn(units, dtype=dtype)
    assert torch.equal(project("events", x, weight, bias), y + bias)


@pytest.mark.parametrize(("steps", "samples", "inputs", "units"), SHAPES)
def test_the_gradient_of_the_weights_is_summed_in_ascending_order_bit_for_bit(steps, samples, inputs, units):
    x, g = events(steps, samples, inputs), torch.randn(steps, samples, units)
    weight = torch.randn(units, inputs, requires_grad=True)
    project("events", x, weight, None).backward(g)
    expected = summed_in_order(x.flatten(0, 1).t().numpy(), g.flatten(0, 1).t().numpy()).T
    assert np.array_equal(weight.grad.numpy(), expected)


@pytest.mark.parametrize("mode", ["events", "auto"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_and_its_gradients_are_those_of_the_dense_one(mode, bias):
    dense = nn.SNU(60, 40, bias=bias, recurrent=True, learn_decay=True).double()
    sparse = nn.SNU(60, 40, bias=bias, recurrent=True, learn_decay=True, projection=mode).double()
    sparse.load_state_dict(dense.state_dict())
    x = events(30, 4, 60, rate=0.1, dtype=torch.float64)
    found = []
    for layer in (dense, sparse):
        given = x.clone().requires_grad_()
        y, _ = layer(given)
        (y * torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        found.append([y, given.grad, *(parameter.grad for parameter in layer.parameters())])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    assert found[0][0].any()


def test_threads_do_not_change_a_bit():
    x, weight, g = events(50, 40, 300, rate=0.1), torch.randn(900, 300), torch.randn(50, 40, 900)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            given = weight.clone().requires_grad_()
            y = project("events", x, given, None)
            y.backward(g)
            found.append((y.detach(), given.grad))
    finally:
        torch.set_num_threads(before)
    for y, gradient in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf"), 1e-45])
def test_events_refuse_any_other_value_and_say_where(value):
    layer = nn.SNU(70, 3, projection="events")
    x = events(6, 4, 70)
    x[3, 2, 65] = value
    with pytest.raises(sb.BadInput, match=re.escape("for input 65; projection='events' needs inputs of 0 and 1")):
        layer(x)
    auto = nn.SNU(70, 3, projection="auto")
    dense = nn.SNU(70, 3)
    dense.load_state_dict(auto.state_dict())
    assert torch.equal(auto(x)[0], dense(x)[0])


def test_auto_sums_events_up_to_its_rate():
    weight, inputs = torch.randn(16, 1000), torch.zeros(8, 1000)
    limit = int(RATE * inputs.numel())
    inputs.view(-1)[:limit] = 1
    assert operator(inputs, weight, False, RATE)[2].item()
    inputs.view(-1)[limit] = 1
    assert not operator(inputs, weight, False, RATE)[2].item()
    inputs.zero_()[0, 0] = 0.5
    assert not operator(inputs, weight, False, RATE)[2].item()
    assert operator(inputs.zero_(), weight, False, RATE)[2].item()


def test_the_choice_stands_in_the_repr_and_cannot_be_silent(monkeypatch):
    assert "projection=dense" in repr(nn.SNU(2, 3))
    assert "projection=events" in repr(nn.SNU(2, 3, projection="events"))
    with pytest.raises(sb.BadInput, match=r"projection='sparse': choose from 'dense', 'events', 'auto'"):
        nn.SNU(2, 3, projection="sparse")
    low = nn.SNU(2, 3, projection="events").bfloat16()
    with pytest.raises(sb.Unsupported, match="float32 and float64, the parameters are bfloat16; projection='dense'"):
        low(torch.zeros(2, 2, 2, dtype=torch.bfloat16))
    assert "projection=none: " in repr(low)
    assert "projection=dense (it computes in float32" in repr(nn.SNU(2, 3, projection="auto").bfloat16())
    monkeypatch.setattr("snubridge.nn.kernels.cpu.limits.INSTALLED", False)
    with pytest.raises(sb.MissingEngine, match="projection='events': numba is not installed; pip install"):
        nn.SNU(2, 3, projection="events")
    assert "projection=dense (numba is not installed" in repr(nn.SNU(2, 3, projection="auto"))


def test_saved_for_the_way_back_are_bits():
    kept = []

    def count(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept.append(tensor.untyped_storage().nbytes())
        return tensor

    x, weight = events(100, 8, 256), torch.nn.Parameter(torch.randn(32, 256))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        project("events", x, weight, None)
    assert 0 < sum(kept) <= x.numel() / 8 + 64


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_the_operators_are_as_torch_wants_them(always, rate):
    x, weight = events(9, 40, rate=rate).requires_grad_(), torch.randn(7, 40, requires_grad=True)
    torch.library.opcheck(operator, (x, weight, always, RATE))


def test_a_layer_of_events_is_captured():
    net = nn.Sequential(nn.SNU(12, 8, projection="events", threshold=0.1), torch.nn.Linear(8, 2))
    graph = nn.capture(net, (12,))
    assert net[0].projection == "events"
    x = events(20, 3, 12, rate=0.4)
    trace = sb.simulate(graph, x.numpy())
    assert trace.spikes["0"].any()
    assert np.array_equal(trace.spikes["0"], net[0](x)[0].detach().numpy().astype(np.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_the_certificate_covers_the_order_of_events(seed):
    """In float32 no decided spike differs from the reference, and no state is off by more than its bound."""
    torch.manual_seed(seed)
    layer = nn.SNU(200, 50, projection="events", threshold=0.3, bias=bool(seed % 2))
    x = events(40, 3, 200, rate=0.1, seed=seed)
    graph = nn.capture(layer, (200,))
    (unit,) = graph.of_kind(sb.Unit)
    certificate = sb.certify(graph, x.numpy(), "float32", record=True)
    reference = sb.simulate(graph, x.numpy(), record=("spikes", "states"))
    with torch.no_grad():
        before = layer.rest(3)
        ran = run("cpu", layer.dynamics, layer.decay, layer.threshold, before, layer.project(x))
    decided = np.abs(certificate.margins[unit]) > certificate.bounds[unit]
    assert decided.mean() > 0.99
    assert np.array_equal(ran.y.numpy()[decided], reference.spikes[unit][decided])
    if decided.all():  # then every state follows the same spikes
        assert (np.abs(ran.states.numpy() - reference.states[unit]) <= certificate.bounds[unit]).all()
    assert reference.spikes[unit].any()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("mode", ["auto", "events"])
def test_autocast_leaves_events_in_the_type_of_the_weights(mode, recurrent, kind):
    layer = nn.SNU(20, 8, projection=mode, recurrent=recurrent, threshold=0.2)
    for rate in (0.1, 0.6):
        x = events(10, 4, 20, rate=rate)
        wanted, _ = layer(x)
        expected = torch.autograd.grad(wanted.sum(), layer.weight)
        with torch.autocast("cpu", dtype=kind):
            y, state = layer(x)
        assert torch.equal(y, wanted)
        assert state.s.dtype == torch.float32
        assert torch.equal(*torch.autograd.grad(y.sum(), layer.weight), *expected)
    if mode == "auto":
        with torch.autocast("cpu", dtype=kind):
            y, _ = layer(torch.rand(10, 4, 20))
        y.sum().backward()


@pytest.mark.parametrize("mode", ["auto", "events"])
def test_types_that_would_be_rounded_are_refused(mode):
    layer, x = nn.SNU(20, 8, projection=mode), events(3, 2, 20)
    for wider in (x.double() * (1 + 1e-12), x.double()):
        with pytest.raises(sb.BadInput, match=r"x of type torch.float64: projection='\w+' needs torch.float32"):
            layer(wider)
    for narrower in (x.bool(), x.to(torch.uint8), x.bfloat16()):
        assert torch.equal(layer(narrower)[0], layer(x)[0])


@pytest.mark.parametrize("mode", ["dense", "auto", "events"])
def test_no_steps_and_no_samples_are_refused(mode):
    layer = nn.SNU(20, 8, projection=mode)
    for shape in ((0, 2, 20), (3, 0, 20)):
        with pytest.raises(sb.BadInput, match="at least one step and one sample"):
            layer(torch.zeros(shape))


def test_samples_are_mapped_over_without_a_warning():
    layer = nn.SNU(20, 8, projection="events", threshold=0.2)
    parameters = dict(layer.named_parameters())

    def total(values, x):
        given = {**values, **dict(layer.named_buffers())}
        return torch.func.functional_call(layer, given, (x[:, None],))[0].sum()

    x = events(10, 3, 20)
    found = torch.func.vmap(torch.func.grad(total), in_dims=(None, 1))(parameters, x)
    for sample in range(3):
        (expected,) = torch.autograd.grad(total(parameters, x[:, sample]), layer.weight)
        torch.testing.assert_close(found["weight"][sample], expected)

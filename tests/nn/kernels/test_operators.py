"""What torch demands of operators: opcheck, torch.compile, torch.func, and that they keep no more than they say."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import run
from snubridge.nn.kernels.codes import encoded
from tests.nn.kernels.cases import RESETS, drawn, dynamics

KINDS = {
    "the paper's": dynamics(),
    "lateral": dynamics(sb.Reset.LATERAL, sb.ReLU(), surrogate=nn.SuperSpike()),
    "soft": dynamics(sb.Reset.SUBTRACT_DECAYED, sb.LeakyReLU(0.3), sb.Sigmoid(), detach_reset=True),
    "integrator": dynamics(sb.Reset.NONE, h=sb.Identity()),
}


def arguments(unit, dtype, recurrent, leaves=True):
    """What the operator takes, all of it with gradients."""
    decay, threshold, state, drive, weight = drawn(4, 3, (5,), dtype, recurrent=recurrent)
    tensors = [drive, *([weight] if recurrent else []), decay, threshold, *state]
    return [*(x.requires_grad_(leaves) for x in tensors), *encoded(unit)]


def backward_arguments(unit, dtype, recurrent, present):
    """What the gradient's operator takes; ``present``: which gradients reach it."""
    _, *parameters, codes, numbers = arguments(unit, dtype, recurrent, leaves=False)
    a, last = torch.randn(4, 3, 5, dtype=dtype), torch.randn(3, 5, dtype=dtype)
    received = [x if there else None for x, there in zip((torch.randn_like(a), a.clone(), last), present, strict=True)]
    return [*received, a, *parameters, codes, numbers, [True, False, True][: 3 if recurrent else 2]]


@pytest.mark.parametrize("recurrent", [False, True], ids=["unit", "recurrent"])
@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind, recurrent):
    operator = torch.ops.snubridge.recurrent if recurrent else torch.ops.snubridge.unit
    for dtype in (torch.float32, torch.float64):
        torch.library.opcheck(operator, arguments(KINDS[kind], dtype, recurrent))


@pytest.mark.parametrize("recurrent", [False, True], ids=["unit", "recurrent"])
@pytest.mark.parametrize("kind", KINDS)
def test_opcheck_of_the_gradient(kind, recurrent):
    operator = torch.ops.snubridge.recurrent_backward if recurrent else torch.ops.snubridge.unit_backward
    for present in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        torch.library.opcheck(operator, backward_arguments(KINDS[kind], torch.float32, recurrent, present))


class Net(torch.nn.Module):
    """Two layers, one of them recurrent."""

    def __init__(self, kernel="cpu"):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.SNU(4, 7, threshold=0.2, learn_decay=True, kernel=kernel)
        self.second = nn.SNU(7, 5, threshold=0.1, recurrent=True, g=sb.LeakyReLU(0.2), bias=True, kernel=kernel)

    def forward(self, x, state=None):
        return self.second(self.first(x)[0], state)


def results(net, like, x):
    """y, the state after, and the gradients of x and all parameters, in order."""
    x = x.clone().requires_grad_()
    y, state = net(x)
    gradients = torch.autograd.grad(y.sum() + state.s.square().sum(), [x, *like.parameters()])
    return [y, *state, *gradients]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does it, to trace _Clamp
@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")  # inductor, when it is loaded
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend):
    if backend == "inductor" and not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("inductor needs a C++ compiler")
    net = Net()
    compiled = torch.compile(net, fullgraph=True, backend=backend, dynamic=True)
    for steps, samples in ((9, 3), (14, 3), (5, 6)):
        x = torch.randn(steps, samples, 4)
        expected, found = results(net, net, x), results(compiled, net, x)
        for one, other in zip(found[:3], expected[:3], strict=True):
            assert torch.equal(one, other)
        for one, other in zip(found[3:], expected[3:], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(other.abs().max()))
        assert bool(found[0].any())


def test_functional_gradients():
    """torch.func.grad through functional_call, and vmap over it: the gradient of each sample."""
    for recurrent in (False, True):
        torch.manual_seed(0)
        layer = nn.SNU(3, 4, threshold=0.2, learn_decay=True, recurrent=recurrent, kernel="cpu").double()
        parameters = {name: value.detach() for name, value in layer.named_parameters()}
        x = torch.randn(6, 5, 3).double()

        def loss(parameters, sample, layer=layer):
            y, state = torch.func.functional_call(layer, parameters, (sample[:, None],))
            return y.sum() + state.s.square().sum()

        one_by_one = []
        for sample in x:
            value = loss(dict(layer.named_parameters()), sample)
            one_by_one.append(torch.autograd.grad(value, list(layer.parameters())))
        expected = dict(zip(parameters, map(torch.stack, zip(*one_by_one, strict=True)), strict=True))
        together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        for name, gradient in together.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(
                torch.func.grad(loss)(parameters, x[2])[name], expected[name][2], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("recurrent", [False, True])
def test_vmap_over_networks(recurrent):
    """An ensemble: parameters of several layers stacked, every axis at another place; the same spikes as each alone."""
    layers = [nn.SNU(3, 4, threshold=0.2, recurrent=recurrent, kernel="cpu") for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    x = torch.randn(6, 2, 3)

    def call(parameters, buffers, x):
        return torch.func.functional_call(layers[0], (parameters, buffers), (x,))[0]

    y = torch.func.vmap(call, in_dims=(0, 0, None), out_dims=1)(parameters, buffers, x)
    for index, layer in enumerate(layers):
        assert torch.equal(y[:, index], layer(x)[0])
    assert bool(y.any())


def saved(call):
    """What autograd keeps for the way back, in bytes: every storage once, without those of leaves."""
    kept = {}

    def pack(x):
        if not (x.is_leaf and x.requires_grad):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        outputs = call()
    return sum(kept.values()), outputs


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_what_is_kept(reset, recurrent):
    """At most 4.3 bytes of each neuron and step in float32; the eager kernel, measured alike, keeps far more."""
    steps, samples, size = 100, 16, 32

    def kept(kernel, g):
        decay, threshold, state, drive, weight = drawn(steps, samples, (size,), recurrent=recurrent)
        leaves = [x.requires_grad_() for x in (decay, threshold, drive, weight) if x is not None]

        def call():
            projected = drive * 1.0  # no leaf, as in a layer
            return run(kernel, dynamics(reset, g), decay, threshold, state, projected, weight)

        size_of_all, ran = saved(call)
        torch.autograd.grad(ran.y.sum(), leaves)  # what was kept suffices
        return size_of_all / (steps * samples * size)

    for g in (sb.Identity(), sb.LeakyReLU(0.3)):
        assert 4 <= kept("cpu", g) <= 4.3
        assert kept("eager", g) > 7.9


@pytest.mark.parametrize("recurrent", [False, True])
def test_without_gradients_nothing_is_kept(recurrent):
    layer = nn.SNU(3, 4, recurrent=recurrent, kernel="cpu")
    with torch.no_grad():
        kept, (y, state) = saved(lambda: layer(torch.randn(5, 2, 3)))
    assert kept == 0
    assert not y.requires_grad
    assert not state.s.requires_grad

"""What torch demands of the Triton operators: opcheck, torch.compile, torch.func; and the layers they run in.

On CPU tensors, interpreted: run in a process started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import Choice, examined
from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.triton.launch import spacing
from tests.nn.kernels.cases import drawn, dynamics

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the interpreter needs a process started with TRITON_INTERPRET=1", allow_module_level=True)

KINDS = {
    "the paper's": dynamics(),
    "soft": dynamics(sb.Reset.SUBTRACT_DECAYED, sb.LeakyReLU(0.3), sb.Sigmoid(), detach_reset=True),
}


def arguments(unit, recurrent, leaves=True):
    """What the operator takes, all of it with gradients."""
    decay, threshold, state, drive, weight = drawn(3, 2, (5,), recurrent=recurrent)
    tensors = [drive, *([weight] if recurrent else []), decay, threshold, *state]
    options = [] if recurrent else [[True, True, True, False]]
    return [*(x.requires_grad_(leaves) for x in tensors), *encoded(unit), *options]


def backward_arguments(unit, recurrent, present):
    """What the gradient's operator takes; ``present``: which gradients reach it."""
    x, *parameters, codes, numbers = arguments(unit, recurrent, leaves=False)[: 8 if recurrent else 7]
    received = [g if there else None for g, there in zip((x * 2, x - 1, x[0]), present, strict=True)]
    chunks = [] if recurrent else [torch.randn(-(-len(x) // spacing(codes)), *x.shape[1:])]
    return [*received, x, *chunks, *parameters, codes, numbers, [True, False, True]]


@pytest.mark.parametrize("recurrent", [False, True], ids=["unit", "recurrent"])
@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind, recurrent, short_chunks):
    operators = torch.ops.snubridge
    forward = operators.triton_recurrent if recurrent else operators.triton_unit
    backward = operators.triton_recurrent_backward if recurrent else operators.triton_unit_backward
    torch.library.opcheck(forward, arguments(KINDS[kind], recurrent))
    for present in ((True, True, True), (True, False, False)):
        torch.library.opcheck(backward, backward_arguments(KINDS[kind], recurrent, present))


class Net(torch.nn.Module):
    """Two layers, one of them recurrent."""

    def __init__(self, kernel="triton"):
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


def assert_alike(found, expected):
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(found[3:], expected[3:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(other.abs().max()))
    assert bool(found[0].any())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does it, to trace _Clamp
def test_compile(short_chunks):
    net, eager = Net(), Net("eager")
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager", dynamic=True)
    for steps, samples in ((9, 3), (5, 2)):
        x = torch.randn(steps, samples, 4)
        expected = results(eager, eager, x)
        assert_alike(results(net, net, x), expected)
        assert_alike(results(compiled, net, x), expected)


def test_functional_gradients(short_chunks):
    """torch.func.grad through functional_call, and vmap over it: the gradient of each sample."""
    for recurrent in (False, True):
        torch.manual_seed(0)
        layer = nn.SNU(3, 4, threshold=0.2, learn_decay=True, recurrent=recurrent, kernel="triton")
        parameters = {name: value.detach() for name, value in layer.named_parameters()}
        x = torch.randn(3, 4, 3)

        def loss(parameters, sample, layer=layer):
            y, state = torch.func.functional_call(layer, parameters, (sample[:, None],))
            return y.sum() + state.s.square().sum()

        together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        for index, sample in enumerate(x):
            value = loss(dict(layer.named_parameters()), sample)
            alone = torch.autograd.grad(value, list(layer.parameters()))
            for name, gradient in zip(parameters, alone, strict=True):
                torch.testing.assert_close(together[name][index], gradient, rtol=1e-6, atol=1e-6)


def test_second_derivatives_are_refused():
    layer = nn.SNU(3, 4, h=sb.Sigmoid(), kernel="triton")
    x = torch.randn(2, 2, 3, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(sb.Unsupported, match=r"kernel='triton'.*first derivatives, backward; kernel='eager' gives"):
        first.sum().backward()


def test_networks_and_the_choice(short_chunks):
    """Asked for by name it runs, and says so; "auto" stays with the compiled loops on the CPU."""
    layer = nn.SNU(2, 3, kernel="triton")
    assert layer.running_kernel == Choice("triton")
    assert "kernel=triton" in repr(layer)
    recurrent = nn.SNU(2, 3, recurrent=True, kernel="triton")
    assert "kernel=triton (one launch for all steps, the recurrent weights in registers)" in repr(recurrent)
    assert nn.SNU(2, 3).running_kernel == Choice("cpu")
    assert examined()["triton"] == "ready"
    module = nn.to_module(nn.capture(layer, 2), kernel="triton")
    other = nn.to_module(nn.capture(layer, 2), kernel="eager")
    assert set(module.running_kernels().values()) == {Choice("triton")}
    x = torch.randn(6, 2, 2)
    found, expected = module.evaluate(x)[0], other.evaluate(x)[0]
    for name, values in expected.values.items():
        assert torch.equal(found.values[name], values)
    for name, states in expected.states.items():
        assert torch.equal(found.states[name], states)


def test_autocast(short_chunks):
    """Only the projection is in bfloat16; the state is float32, and the spikes are the eager kernel's."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers = [nn.SNU(4, 6, threshold=0.2, kernel=kernel) for kernel in ("eager", "triton")]
        layers[1].load_state_dict(layers[0].state_dict())
        x = torch.randn(9, 3, 4)
        (expected, before), (found, after) = (layer(x) for layer in layers)
    assert torch.equal(found.float(), expected)
    assert torch.equal(after.s, before.s)
    assert after.s.dtype == after.y.dtype == torch.float32
    assert bool(found.any())


def test_training_as_the_eager_kernel_does(short_chunks):
    """10 steps of gradient descent: the same spikes at the end, and nearly the same parameters."""
    ends = []
    for kernel in ("eager", "triton"):
        net, x = Net(kernel), torch.randn(4, 2, 4, generator=torch.Generator().manual_seed(1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(10):
            optimizer.zero_grad()
            y, state = net(x)
            (y.mean(0).square().sum() + state.s.square().mean()).backward()
            optimizer.step()
        ends.append((net(x)[0], list(net.parameters())))
    (y, parameters), (z, others) = ends
    assert torch.equal(y, z)
    for one, other in zip(parameters, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)

"""The gradients of the compiled kernel against the same formulas in float64, its spikes held fixed."""

from __future__ import annotations

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import State, run
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, SURROGATES, G, drawn, dynamics, named, threads
from tests.nn.kernels.comparison import EXACT, NAMES, OUTPUTS, compare
from tests.nn.kernels.reference import reference

HS = [*((step, surrogate) for surrogate in SURROGATES for step in STEPS[:1]), (STEPS[1], SURROGATES[0])]


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize(("reset", "g"), named(RESETS, G[:4]))
def test_every_unit(reset, g, detach_reset):
    for seed, (h, surrogate) in enumerate([*HS, *((h, SURROGATES[0]) for h in SOFT)]):
        unit = dynamics(reset, g, h, surrogate, detach_reset)
        for dtype in EXACT:
            gradients = compare(unit, 10, 3, (5,), dtype, seed=seed)
            assert bool(gradients["drive"].any())
            assert bool(gradients["threshold"].any())


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize(("reset", "g"), named(RESETS, G[:3]))
def test_every_recurrent_unit(reset, g, detach_reset):
    for seed, (h, surrogate) in enumerate([HS[0], HS[4], (SOFT[0], SURROGATES[0]), (SOFT[1], SURROGATES[0])]):
        for dtype in EXACT:
            compare(dynamics(reset, g, h, surrogate, detach_reset), 10, 3, (5,), dtype, recurrent=True, seed=seed)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("g", G[:3], ids=str)
def test_integrators(g, recurrent):
    unit = dynamics(sb.Reset.NONE, g, sb.Identity())
    for dtype in EXACT:
        compare(unit, 10, 3, (2, 3) if not recurrent else (5,), dtype, recurrent=recurrent)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_a_thousand_steps(reset, recurrent):
    for hold in (False, True):
        compare(dynamics(reset), 1000, 2, (5,), recurrent=recurrent, largest=1.0 if hold else 0.95, hold=hold)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("shape", [(1, 1, (1,)), (2, 5, (700,)), (3, 2, (2049,)), (5, 1, (2, 3, 2))], ids=str)
def test_shapes(shape, reset):
    steps, samples, size = shape
    compare(dynamics(reset, sb.LeakyReLU(0.3)), steps, samples, size, outputs=OUTPUTS[:3])


def test_two_threads():
    with threads(2):
        compare(dynamics(sb.Reset.LATERAL), 90, 9, (701,), hold=True)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "outputs", [("y",), ("states",), ("last s",), ("last y",), ("y", "last s"), ("states", "last s")]
)
def test_some_outputs_alone(outputs, recurrent):
    for reset in RESETS:
        compare(dynamics(reset, sb.LeakyReLU(0.3)), 7, 3, (5,), recurrent=recurrent, outputs=outputs)


@pytest.mark.parametrize(
    ("name", "recurrent"), [*((name, False) for name in NAMES[:-1]), *((name, True) for name in NAMES)]
)
def test_some_gradients_alone(name, recurrent):
    for reset in RESETS:
        compare(dynamics(reset), 7, 3, (5,), recurrent=recurrent, learned=(name,))


@pytest.mark.parametrize("recurrent", [False, True])
def test_ties_for_the_largest_output_share_its_gradient(recurrent):
    """LATERAL: several neurons of a sample spike at once, or none does and all outputs are 0."""
    for h in STEPS:
        for seed in range(5):
            compare(dynamics(sb.Reset.LATERAL, h=h), 12, 4, (9,), seed=seed, dyadic=True, recurrent=recurrent)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize("reset", RESETS)
def test_soft_units_pass_gradcheck(reset, detach_reset, recurrent):
    """All outputs by all inputs; a detached reset has other gradients than its differences, where there is a reset."""
    decay, threshold, state, drive, weight = drawn(4, 2, (3,), torch.float64, recurrent=recurrent)
    leaves = [x.requires_grad_() for x in (decay, threshold, state.s, state.y + 0.1, drive, weight) if x is not None]
    for h in [*SOFT, *([sb.Identity()] if reset is sb.Reset.NONE else [])]:
        for g in (sb.Identity(), sb.LeakyReLU(0.3)):

            def outputs(
                decay, threshold, s, y, drive, weight=None, *, unit=dynamics(reset, g, h, detach_reset=detach_reset)
            ):
                ran = run("cpu", unit, decay, threshold, State(s, y), drive, weight)
                return ran.y, ran.states, *ran.last

            right = torch.autograd.gradcheck(outputs, leaves, raise_exception=not detach_reset)
            assert right == (not detach_reset or reset is sb.Reset.NONE)


@pytest.mark.parametrize("recurrent", [False, True])
def test_layers_have_the_gradients_of_the_eager_kernel(recurrent):
    """What stands around the kernel too: the projection, a decay that is clamped, one value for all neurons."""
    common = {"bias": True, "recurrent": recurrent, "threshold": 0.3, "learn_decay": True, "learn_initial_state": True}
    torch.manual_seed(0)
    layers = [nn.SNU(6, 5, kernel=kernel, **common).double() for kernel in ("eager", "cpu")]
    with torch.no_grad():
        layers[0].decay[:] = torch.tensor([0.0, 0.5, 1.0, 1.2, -0.1])
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(20, 3, 6).double()
    w = torch.randn(20, 3, 5).double()
    inputs = [x.clone().requires_grad_() for _ in layers]
    for layer, given in zip(layers, inputs, strict=True):
        y, last = layer(given)
        ((y * w).sum() + last.s.square().sum()).backward()
    expected, found = (
        {"x": x.grad} | {n: p.grad for n, p in m.named_parameters()} for m, x in zip(layers, inputs, strict=True)
    )
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("recurrent", [False, True])
def test_one_value_for_all_neurons(recurrent):
    for values in ((0.8, 0.3), (0.0, 1.0), (1.0, 0.5)):
        given = [torch.tensor(value, requires_grad=True) for value in values]
        _, _, state, drive, weight = drawn(12, 3, (5,), recurrent=recurrent)
        ours = run("cpu", dynamics(), *given, state, drive, weight)
        single = torch.autograd.grad(ours.y.sum() + ours.last.s.sum(), given)
        exact = [x.detach().double().requires_grad_() for x in given]
        y, states = reference(
            dynamics(),
            *exact,
            *(x.double() for x in state),
            drive.double(),
            weight if weight is None else weight.double(),
            ours.y.detach().double(),
        )
        for one, other in zip(single, torch.autograd.grad(y.sum() + states[-1].sum(), exact), strict=True):
            assert one.shape == ()
            assert float(one) == pytest.approx(float(other), rel=1e-6)


def second_derivative(kernel, recurrent):
    layer = nn.SNU(3, 4, h=sb.Sigmoid(), kernel=kernel, recurrent=recurrent).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    y, last = layer(x)
    (first,) = torch.autograd.grad(y.square().sum() + last.s.sum(), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), [x, *layer.parameters()])


@pytest.mark.parametrize("recurrent", [False, True])
def test_second_derivatives_are_the_eager_kernel_s(recurrent):
    with pytest.raises(sb.Unsupported, match=r"kernel='cpu'.*first derivatives, backward; kernel='eager' gives second"):
        second_derivative("cpu", recurrent)
    assert all(bool(gradient.any()) for gradient in second_derivative("eager", recurrent))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_graph_that_is_kept_gives_its_gradients_again(recurrent):
    layer = nn.SNU(3, 4, recurrent=recurrent, threshold=0.2, kernel="cpu")
    y, _ = layer(torch.randn(5, 2, 3))
    parameters = list(layer.parameters())
    first = torch.autograd.grad(y.sum(), parameters, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(y.sum(), parameters)))


@pytest.mark.parametrize("recurrent", [False, True])
def test_truncated_backpropagation_sees_no_further_than_its_piece(recurrent):
    layer = nn.SNU(3, 4, recurrent=recurrent, threshold=0.2, kernel="cpu")
    x = torch.randn(10, 2, 3, requires_grad=True)
    _, state = layer(x[:5])
    y, last = layer(x[5:], state.detach())
    (y.sum() + last.s.sum()).backward()
    assert not bool(x.grad[:5].any())
    assert bool(x.grad[5:].any())

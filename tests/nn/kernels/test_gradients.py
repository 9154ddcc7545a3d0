"""The gradients of the compiled kernel against the same formulas in float64, its spikes held fixed."""

from __future__ import annotations

import itertools

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import State, run
from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.cpu.limits import fusible
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, SURROGATES, G, drawn, dynamics, named, threads
from tests.nn.kernels.comparison import EXACT, NAMES, OUTPUTS, compare
from tests.nn.kernels.reference import reference

HS = [*((step, surrogate) for surrogate in SURROGATES for step in STEPS[:1]), (STEPS[1], SURROGATES[0])]
WAYS = (OUTPUTS, ("y", "last s"), ("y",))
"""Gradients from all states, from the last one, from none: the fused loops take no step back, all but one, all.

In stages, the last two are compared with the states held, for the way back alone: a gradient that comes from y alone
hangs on the slopes at the float32 states, and those are off by up to 2e-6 of it on either kernel.
"""


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize(("reset", "g"), named(RESETS, G[:4]))
def test_every_unit(reset, g, detach_reset):
    for seed, (h, surrogate) in enumerate([*HS, *((h, SURROGATES[0]) for h in SOFT)]):
        unit = dynamics(reset, g, h, surrogate, detach_reset)
        for dtype, outputs in itertools.product(EXACT, WAYS):
            hold = outputs is not OUTPUTS and not fusible(encoded(unit)[0])
            gradients = compare(unit, 10, 3, (5,), dtype, seed=seed, outputs=outputs, hold=hold)
            assert bool(gradients["drive"].any())
            assert bool(gradients["threshold"].any())


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize(("reset", "g"), named(RESETS, G[:3]))
def test_every_recurrent_unit(reset, g, detach_reset):
    for seed, (h, surrogate) in enumerate([HS[0], HS[4], (SOFT[0], SURROGATES[0]), (SOFT[1], SURROGATES[0])]):
        unit = dynamics(reset, g, h, surrogate, detach_reset)
        for dtype, outputs in itertools.product(EXACT, WAYS):
            hold = outputs is not OUTPUTS and not fusible(encoded(unit)[0])
            compare(unit, 10, 3, (5,), dtype, recurrent=True, seed=seed, outputs=outputs, hold=hold)


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


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_thousand_fused_steps(recurrent):
    for g, outputs in itertools.product(G[:2], WAYS[1:]):
        compare(dynamics(g=g), 1000, 2, (5,), recurrent=recurrent, largest=0.95, hold=True, outputs=outputs)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_states_at_the_threshold_and_at_zero(reset, recurrent):
    """Where a step and a ReLU have two sides, the derivative is that of the lower one, as torch has it."""
    for g, outputs in itertools.product(G[:2], WAYS):
        compare(dynamics(reset, g), 12, 7, (5,), recurrent=recurrent, dyadic=True, outputs=outputs)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("shape", [(1, 1, (1,)), (2, 5, (700,)), (3, 2, (2049,)), (5, 1, (2, 3, 2))], ids=str)
def test_shapes(shape, reset):
    steps, samples, size = shape
    compare(dynamics(reset, sb.LeakyReLU(0.3)), steps, samples, size, outputs=OUTPUTS[:3])
    compare(dynamics(reset, sb.ReLU()), steps, samples, size, outputs=("y",))


@pytest.mark.parametrize("reset", [sb.Reset.TO_ZERO, sb.Reset.SUBTRACT])
def test_many_samples(reset):
    """Whose gradients of decay and threshold are sums of as many terms."""
    unit = dynamics(reset, sb.ReLU())
    compare(unit, 2, 4096, (512,), hold=True, outputs=("y",), learned=("decay", "threshold"))
    compare(unit, 3, 4097, (63,), hold=True, outputs=("y", "last s"), learned=("decay", "threshold", "drive"))


@pytest.mark.parametrize("g", [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.5)], ids=str)
@pytest.mark.parametrize("reset", [sb.Reset.TO_ZERO, sb.Reset.SUBTRACT])
def test_what_is_not_a_number_reaches_the_gradient(reset, g):
    """As on the eager kernel, where the derivative of a ReLU does not hide it."""
    found = []
    for kernel in ("eager", "cpu"):
        unit = nn.Unit(3, reset=reset, g=g, kernel=kernel)
        x = torch.tensor([[[0.5, torch.nan, 0.2]]] * 4).requires_grad_()
        unit(x)[0].sum().backward()
        found.append(x.grad.isnan())
    assert torch.equal(*found)
    assert found[0].any()


@pytest.mark.parametrize("reset", [sb.Reset.LATERAL, sb.Reset.TO_ZERO])
def test_two_threads(reset):
    with threads(2):
        for outputs in WAYS:
            compare(dynamics(reset), 90, 9, (701,), hold=True, largest=0.95, outputs=outputs)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "outputs", [("y",), ("states",), ("last s",), ("last y",), ("y", "last s"), ("states", "last s")]
)
def test_some_outputs_alone(outputs, recurrent):
    for reset, g in itertools.product(RESETS, (sb.LeakyReLU(0.3), sb.Identity())):
        compare(dynamics(reset, g), 7, 3, (5,), recurrent=recurrent, outputs=outputs)


@pytest.mark.parametrize(
    ("name", "recurrent"), [*((name, False) for name in NAMES[:-1]), *((name, True) for name in NAMES)]
)
def test_some_gradients_alone(name, recurrent):
    for reset, outputs in itertools.product(RESETS, WAYS):
        hold = outputs is not OUTPUTS
        compare(dynamics(reset), 7, 3, (5,), recurrent=recurrent, learned=(name,), outputs=outputs, hold=hold)


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

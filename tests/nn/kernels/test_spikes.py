"""The compiled kernel gives the spikes and states of the eager one, to the last bit."""

from __future__ import annotations

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import State, run
from snubridge.nn.kernels.cpu.threads import TILE, parts
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, G, assert_same, drawn, dynamics, named, threads

FLOATS = [torch.float32, torch.float64]
SHAPES = [
    (1, 1, (1,)),
    (1, 3, (5,)),
    (9, 1, (1,)),
    (13, 3, (2, 3, 5)),
    (6, 5, (700,)),  # more than a fused tile
    (4, 3, (2049,)),  # a sample is more than a tile
    (5, 21, (63,)),  # the last fused tile holds fewer samples
    (60, 7, (31,)),
]


@pytest.mark.parametrize(("reset", "g", "h"), named(RESETS, G, STEPS))
def test_all_options_over_all_shapes(reset, g, h):
    for seed, (steps, samples, shape) in enumerate(SHAPES):
        for dtype in FLOATS:
            given = drawn(steps, samples, shape, dtype, seed)
            assert_same(dynamics(reset, g, h), *given, spikes=steps > 9)


@pytest.mark.parametrize(("reset", "g", "h"), named(RESETS, G, STEPS))
def test_recurrent_layers(reset, g, h):
    for seed, (steps, samples, size) in enumerate([(1, 1, 1), (9, 1, 5), (12, 3, 7), (20, 5, 33), (7, 2, 130)]):
        for dtype in FLOATS:
            given = drawn(steps, samples, (size,), dtype, seed, recurrent=True)
            assert_same(dynamics(reset, g, h), *given, spikes=steps > 9)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("reset", "g", "h"), named(RESETS, G[:3], STEPS))
def test_ties(reset, g, h, recurrent):
    """Values that are not rounded: many states meet their threshold, and Step(at_threshold=True) fires there."""
    given = drawn(12, 5, (9,), dyadic=True, recurrent=recurrent)
    ran = assert_same(dynamics(reset, g, h), *given)
    met = ran.states == given[1]
    assert bool(met.any())
    assert bool((ran.y[met] == float(h.at_threshold)).all())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_a_thousand_steps(reset, recurrent):
    assert_same(dynamics(reset), *drawn(1000, 3, (7,), recurrent=recurrent))


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS + SOFT))
@pytest.mark.parametrize("g", G[:4], ids=str)
def test_what_is_not_finite_goes_the_same_way(reset, h, g):
    """inf and NaN in the drive, and numbers that overflow."""
    decay, threshold, state, drive, _ = drawn(8, 3, (11,))
    bad = torch.tensor([float("inf"), float("-inf"), float("nan"), 3e38, -3e38])
    for step, value in enumerate(bad):
        drive[step : step + 2, step % 3, 2 * step : 2 * step + 2] = value
    expected, found = (
        run(kernel, dynamics(reset, g, h), decay, threshold, state, drive) for kernel in ("eager", "cpu")
    )
    for one, other in [(found.y, expected.y), (found.states, expected.states)]:
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.isinf(), other.isinf())
        torch.testing.assert_close(
            one, other, rtol=0 if h in STEPS else 2e-6, atol=0 if h in STEPS else 2e-6, equal_nan=True
        )
    assert bool(found.states.isnan().any())
    assert not bool(found.states.isnan().all())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("h", SOFT, ids=str)
def test_soft_outputs_are_right_to_four_units_in_the_last_place(h, dtype):
    """Against float64 (for float32), or torch's own (for float64), from 0 over all scales to where they saturate."""
    scales = torch.logspace(-30, 2.2, 20_001, dtype=torch.float64).to(dtype)
    v = torch.cat([-scales, torch.zeros(1, dtype=dtype), scales])
    nothing = torch.zeros_like(v)
    ran = run("cpu", dynamics(sb.Reset.NONE, h=h), nothing, nothing, State(nothing[None], nothing[None]), v[None, None])
    exact = (torch.sigmoid if h == sb.Sigmoid() else torch.tanh)(v.double())
    off = (ran.y[0, 0].double() - exact).abs()
    info = torch.finfo(dtype)
    smallest = info.tiny * info.eps  # of the subnormal numbers
    assert bool((off <= 4 * info.eps / 2 * exact.abs() + smallest).all())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("reset", "g", "h"), named(RESETS, G[:4], SOFT))
def test_soft_sequences_are_close(reset, g, h, recurrent):
    given = drawn(20, 3, (7,), recurrent=recurrent)
    expected, found = (run(kernel, dynamics(reset, g, h), *given) for kernel in ("eager", "cpu"))
    torch.testing.assert_close(found.y, expected.y, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.states, expected.states, rtol=0, atol=1e-5 * float(expected.states.abs().max()))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_pieces_are_the_whole_on_either_kernel(reset, recurrent):
    decay, threshold, state, drive, weight = drawn(30, 3, (7,), recurrent=recurrent)
    g = sb.LeakyReLU(0.3)  # s is not what is kept
    whole = run("eager", dynamics(reset, g), decay, threshold, state, drive, weight)
    pieces = []
    for kernel, piece in zip(("cpu", "eager", "cpu", "cpu"), drive.split([7, 5, 1, 17]), strict=True):
        ran = run(kernel, dynamics(reset, g), decay, threshold, state, piece, weight)
        pieces.append(ran.y)
        state = ran.last
    assert torch.equal(torch.cat(pieces), whole.y)
    assert torch.equal(state.s, whole.last.s)
    assert torch.equal(state.y, whole.last.y)


VIEWS = {
    "turned": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every other": lambda x: x.repeat_interleave(2, 0)[::2],
    "columns": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "one sample for all": lambda x: x[:, :1].expand_as(x),
    "one step for all": lambda x: x[:1].expand_as(x),
    "at an odd address": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
}


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("view", VIEWS)
def test_the_layout_of_the_drive_and_the_state_says_nothing(view, recurrent):
    decay, threshold, state, drive, weight = drawn(12, 5, (7,), recurrent=recurrent)
    seen = VIEWS[view](drive)
    before = State(*(VIEWS[view](x[None].expand(4, *x.shape))[0] for x in state))
    found = assert_same(dynamics(), decay, threshold, before, seen, weight)
    copied = run("cpu", dynamics(), decay, threshold, State(*(x.clone() for x in before)), seen.clone(), weight)
    assert torch.equal(found.y, copied.y)


@pytest.mark.parametrize("recurrent", [False, True])
def test_recurrence_where_the_address_decides_the_order_of_a_sum(recurrent):
    """Odd N and B: the rows of y stand at addresses that are not aligned, where BLAS may sum in another order."""
    for size, samples in [(1, 1), (3, 1), (5, 3), (17, 1), (63, 3), (65, 7), (127, 1), (129, 5)]:
        for dtype in FLOATS:
            assert_same(dynamics(), *drawn(25, samples, (size,), dtype, size, recurrent=recurrent))


@pytest.mark.parametrize("reset", RESETS)
def test_two_threads_give_what_one_gives(reset):
    steps, samples, shape = 90, 9, (701,)
    decay, threshold, state, drive, _ = drawn(steps, samples, shape)
    results = []
    for number in (1, 2):
        with threads(number):
            assert parts(steps, samples * shape[0], TILE // shape[0] * shape[0]) == number
            leaves = [x.clone().requires_grad_() for x in (decay, threshold, drive, *state)]
            ran = run("cpu", dynamics(reset), *leaves[:2], State(*leaves[3:]), leaves[2])
            (ran.y.sum() + ran.last.s.sum()).backward()
            results.append((ran, leaves))
    (one, alone), (two, together) = results
    assert torch.equal(one.y, two.y)
    assert torch.equal(one.states, two.states)
    for name, first, second in zip(("decay", "threshold", "drive", "s", "y"), alone, together, strict=True):
        size = 0 if name in ("drive", "s", "y") else 1.2e-7 * float(first.grad.abs().max())  # one rounding of the sum
        torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=size)


def test_two_threads_run_a_recurrent_layer():
    decay, threshold, state, drive, weight = drawn(20, 200, (151,), recurrent=True)
    with threads(2):
        weight.requires_grad_()
        found = assert_same(dynamics(), decay, threshold, state, drive, weight)
        (ours,) = torch.autograd.grad(found.y.sum(), weight)
        (theirs,) = torch.autograd.grad(
            run("eager", dynamics(), decay, threshold, state, drive, weight).y.sum(), weight
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{"recurrent": True, "bias": True}, {}])
def test_layers(batch_first, options):
    torch.manual_seed(0)
    common = {"threshold": torch.linspace(0, 0.4, 7), "decay": torch.linspace(0, 1, 7), "batch_first": batch_first}
    layers = [nn.SNU(5, 7, kernel=kernel, initial_state=0.3, **common, **options) for kernel in ("eager", "cpu")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(4, 20, 5)
    (expected, last), (found, ours) = (layer(x if batch_first else x.transpose(0, 1)) for layer in layers)
    assert torch.equal(found, expected)
    assert bool(found.any())
    assert torch.equal(ours.s, last.s)
    assert torch.equal(ours.y, last.y)


def test_types_are_promoted_alike():
    decay, threshold, state, drive, _ = drawn(9, 3, (5,))
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        assert_same(dynamics(), decay, threshold, state, drive.to(kind))
    assert_same(dynamics(), decay, threshold, state, drive.round().to(torch.int64))
    assert_same(dynamics(), decay, threshold, State(state.s.double(), state.y), drive)


def test_the_outputs_may_be_overwritten():
    """What a call returned is the caller's: changed, it changes neither the state nor what comes next."""
    layer = nn.Unit(5, threshold=0.3)
    x = torch.randn(9, 3, 5)
    with torch.no_grad():
        expected = layer(x)[1]
        y, state = layer(x)
        y.fill_(7)
    assert torch.equal(state.y, expected.y)
    assert torch.equal(state.s, expected.s)

"""The Triton kernels, interpreted on the CPU: spikes and states of the eager kernel, to the last bit.

Run in a process started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import itertools
import os

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import State, run
from snubridge.nn.kernels import triton as ours
from snubridge.nn.kernels.triton import launch, limits, recurrence
from snubridge.nn.kernels.triton.limits import WIDEST
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, G, assert_same, drawn, dynamics, named

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the interpreter needs a process started with TRITON_INTERPRET=1", allow_module_level=True)

SHAPES = [(1, 1, (1,)), (15, 1, (5,)), (16, 1, (7,)), (17, 1, (3, 5)), (33, 3, (86,)), (4, 1, (257,))]
"""Around the steps between two checkpoints, and the columns of a program."""


@pytest.mark.parametrize("reset", RESETS)
def test_shapes(reset):
    for seed, (steps, samples, shape) in enumerate(SHAPES):
        given = drawn(steps, samples, shape, seed=seed)
        assert_same(dynamics(reset), *given, spikes=steps > 9, kernel="triton")


@pytest.mark.parametrize(("reset", "g", "h"), named(RESETS, G[1:4], STEPS))
def test_all_options(reset, g, h, short_chunks):
    assert_same(dynamics(reset, g, h), *drawn(6, 2, (5,)), kernel="triton")


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS))
def test_ties(reset, h, short_chunks):
    """Values that are not rounded: many states meet their threshold, and Step(at_threshold=True) fires there."""
    given = drawn(8, 3, (9,), dyadic=True)
    ran = assert_same(dynamics(reset, h=h), *given, kernel="triton")
    met = ran.states == given[1]
    assert bool(met.any())
    assert bool((ran.y[met] == float(h.at_threshold)).all())


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")  # numpy's, in the interpreter
@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS[:1] + SOFT[1:]))
@pytest.mark.parametrize("g", G[2:3], ids=str)
def test_what_is_not_finite_goes_the_same_way(reset, h, g, short_chunks):
    decay, threshold, state, drive, _ = drawn(8, 3, (11,))
    bad = torch.tensor([float("inf"), float("-inf"), float("nan"), 3e38, -3e38])
    for step, value in enumerate(bad):
        drive[step : step + 2, step % 3, 2 * step : 2 * step + 2] = value
    expected, found = (
        run(kernel, dynamics(reset, g, h), decay, threshold, state, drive) for kernel in ("eager", "triton")
    )
    for one, other in [(found.y, expected.y), (found.states, expected.states)]:
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.isinf(), other.isinf())
        size = 0 if h in STEPS else 2e-6
        torch.testing.assert_close(one, other, rtol=size, atol=size, equal_nan=True)
    assert bool(found.states.isnan().any())
    assert not bool(found.states.isnan().all())


@pytest.mark.parametrize("h", SOFT, ids=str)
def test_soft_outputs_are_right_to_four_units_in_the_last_place(h):
    scales = torch.logspace(-30, 2.2, 1001, dtype=torch.float64).float()
    v = torch.cat([-scales, torch.zeros(1), scales])
    nothing = torch.zeros_like(v)
    given = nothing, nothing, State(nothing[None], nothing[None]), v[None, None]
    ran = run("triton", dynamics(sb.Reset.NONE, h=h), *given)
    exact = (torch.sigmoid if h == sb.Sigmoid() else torch.tanh)(v.double())
    off, info = (ran.y[0, 0].double() - exact).abs(), torch.finfo(torch.float32)
    assert bool((off <= 4 * info.eps / 2 * exact.abs() + info.tiny * info.eps).all())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reset", [sb.Reset.TO_ZERO, sb.Reset.SUBTRACT])
def test_narrow_drives(reset, kind, short_chunks):
    """The state is float32, spikes are of the drive's type; what is not 0 or 1 is not rounded to it."""
    decay, threshold, state, drive, weight = drawn(6, 2, (7,), recurrent=True)
    drive = drive.to(kind)
    for h in (sb.Step(), sb.Tanh()):
        for recurrent in (None, weight):
            given = dynamics(reset, h=h), decay, threshold, state
            found, narrow = (run("triton", *given, drive, recurrent, narrow_spikes=wanted) for wanted in (False, True))
            expected = run("eager", *given, drive.float(), recurrent)
            assert found.y.dtype == torch.float32
            assert narrow.y.dtype == (kind if h == sb.Step() else torch.float32)
            assert torch.equal(narrow.y.float(), found.y)
            assert run("eager", *given, drive, recurrent, narrow_spikes=True).y.dtype == narrow.y.dtype
            assert {found.states.dtype, found.last.s.dtype, found.last.y.dtype} == {torch.float32}
            if h == sb.Step():
                assert torch.equal(found.y.float(), expected.y)
            size = 0 if h == sb.Step() and recurrent is None else 1e-5  # the recurrent sum has another order
            for one, other in zip(
                (found.y.float(), found.states, *found.last), (expected.y, expected.states, *expected.last), strict=True
            ):
                torch.testing.assert_close(one, other, rtol=0, atol=size * float(other.abs().max()))
            assert bool(found.y.any())


VIEWS = {
    "turned": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every other": lambda x: x.repeat_interleave(2, 0)[::2],
    "columns": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "one sample for all": lambda x: x[:, :1].expand_as(x),
    "at an odd address": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
}


@pytest.mark.parametrize(("view", "recurrent"), [*((view, False) for view in VIEWS), ("columns", True)])
def test_the_layout_of_the_drive_and_the_state_says_nothing(view, recurrent, short_chunks):
    decay, threshold, state, drive, weight = drawn(9, 3, (7,), recurrent=recurrent, dyadic=recurrent)
    before = State(*(VIEWS[view](x[None].expand(4, *x.shape))[0] for x in state))
    assert_same(dynamics(), decay, threshold, before, VIEWS[view](drive), weight, kernel="triton")


@pytest.mark.parametrize(("reset", "recurrent"), [*((reset, False) for reset in RESETS), (RESETS[0], True)])
def test_pieces_are_the_whole_on_any_kernel(reset, recurrent, short_chunks):
    decay, threshold, state, drive, weight = drawn(15, 2, (7,), recurrent=recurrent, dyadic=recurrent)
    unit = dynamics(reset, sb.LeakyReLU(0.3))
    whole, pieces = run("eager", unit, decay, threshold, state, drive, weight), []
    for kernel, piece in zip(("triton", "eager", "triton", "cpu"), drive.split([5, 4, 1, 5]), strict=True):
        ran = run(kernel, unit, decay, threshold, state, piece, weight)
        pieces.append(ran.y)
        state = ran.last
    assert torch.equal(torch.cat(pieces), whole.y)
    assert torch.equal(state.s, whole.last.s)
    assert torch.equal(state.y, whole.last.y)


@pytest.mark.parametrize("steps", [1, 32, 35])
def test_bits_are_y(steps):
    for reset in RESETS:
        given = drawn(steps, 1, (3, 5))[:4]
        for h in STEPS:
            bits, _, last = ours.packed(dynamics(reset, h=h), *given)
            ran = run("eager", dynamics(reset, h=h), *given)
            assert bits.dtype == torch.int32
            assert bits.shape == (-(-steps // 32), 1, 3, 5)
            assert torch.equal(ours.unpacked(bits, steps), ran.y)
            assert torch.equal(last, ran.last.s)


def test_the_widest_sample_of_lateral_inhibition():
    assert_same(dynamics(sb.Reset.LATERAL), *drawn(2, 2, (WIDEST,)), kernel="triton")
    decay, threshold, *given = drawn(2, 2, (WIDEST + 1,))
    reason = rf"kernel='triton'.*in one program, of {WIDEST} neurons at most, and here are {WIDEST + 1}; kernel='eager'"
    with pytest.raises(sb.Unsupported, match=reason):
        run("triton", dynamics(sb.Reset.LATERAL), decay, threshold, *given)
    with pytest.raises(sb.Unsupported, match=reason):
        nn.Unit(WIDEST + 1, reset=sb.Reset.LATERAL, kernel="triton")


def test_the_codes_are_those_of_the_stages():
    from snubridge.nn.kernels import codes
    from snubridge.nn.kernels.triton import stages

    for reset, code in codes.RESETS.items():
        assert getattr(stages, reset.name).value == code
    names = {sb.Identity: "IDENTITY", sb.ReLU: "RELU", sb.LeakyReLU: "LEAKY_RELU"}
    assert all(getattr(stages, names[kind]).value == code for kind, code in codes.G.items())
    names = {sb.Step: "STEP", sb.Sigmoid: "SIGMOID", sb.Tanh: "TANH", sb.Identity: "LINEAR"}
    assert all(getattr(stages, names[kind]).value == code for kind, code in codes.H.items())
    assert stages.STEP_AT_THRESHOLD.value == codes.TIE
    forms = {
        nn.TanhDerivative: stages.LOGISTIC,
        nn.SigmoidDerivative: stages.LOGISTIC,
        nn.ArctanDerivative: stages.ARCTAN,
        nn.PiecewiseLinear: stages.TRIANGLE,
        nn.SuperSpike: stages.SUPER_SPIKE,
    }
    assert {kind: made(kind())[0] for kind, made in codes.SURROGATES.items()} == {
        kind: form.value for kind, form in forms.items()
    }
    assert [codes.CONTINUOUS[kind][0] for kind in (sb.Sigmoid, sb.Tanh, sb.Identity)] == [0, 0, stages.CONSTANT.value]


@pytest.mark.parametrize("recurrent", [False, True])
def test_what_is_not_float32_is_refused(recurrent):
    layer = nn.SNU(3, 5, recurrent=recurrent, kernel="triton")
    wide = torch.zeros(2, 5, dtype=torch.float64)
    with pytest.raises(sb.Unsupported, match="state is float32, the input or the state is float64; kernel='eager'"):
        layer(torch.ones(4, 2, 3), nn.State(wide, wide))
    decay, threshold, state, drive, weight = drawn(3, 2, (5,), recurrent=recurrent)
    with pytest.raises(sb.Unsupported, match=r"its state is float32, and here is torch\.float64"):
        run("triton", dynamics(), decay, threshold, state, drive.double(), weight)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_a_drive_on_another_device_is_refused(kind):
    decay, threshold, state, drive, _ = drawn(3, 2, (5,))
    with pytest.raises(sb.errors.BadInput, match="are on cpu and meta; all must be on one device"):
        run("triton", dynamics(), decay, threshold, state, drive.to("meta", kind))


def test_what_cannot_be_packed_is_refused():
    given = drawn(3, 2, (5,))[:4]
    with pytest.raises(sb.Unsupported, match=r"Tanh\(\) puts out no spikes"):
        ours.packed(dynamics(h=sb.Tanh()), *given)
    with pytest.raises(sb.Unsupported, match=r"the state is float32, and here is torch\.float64"):
        ours.packed(dynamics(), *given[:3], given[3].double())
    with pytest.raises(sb.errors.BadInput, match="bits of 1 words; 100 steps are in 4"):
        ours.unpacked(ours.packed(dynamics(), *given)[0], 100)


def test_what_a_sample_may_hold_is_counted_in_32_bits():
    assert limits.MOST * max(launch.COLUMNS.values()) <= 2**31


def test_a_kernel_that_was_imported_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    with pytest.raises(sb.Unsupported, match="TRITON_INTERPRET has changed since Triton was imported"):
        nn.Unit(3, kernel="triton")(torch.ones(2, 1, 3))


def test_a_wide_lateral_unit_of_a_graph_is_refused_when_the_module_is_made():
    graph = nn.capture(nn.Unit(WIDEST + 1, reset=sb.Reset.LATERAL), (WIDEST + 1,))
    with pytest.raises(sb.Unsupported, match=f"of {WIDEST} neurons at most"):
        nn.to_module(graph, kernel="triton")


def test_every_launch_is_among_those_compiled_ahead_of_time(monkeypatch):
    """The constants of launches of all kinds, each of which ``ahead`` lists."""
    from tests.nn.kernels.triton import ahead

    seen = []

    def noted(self, kernel, programs, warps, tensors, *rest, **constants):
        seen.append((self.code, kernel, {"RESET": self.reset, "G": self.g, "H": self.h} | constants))

    monkeypatch.setattr(launch.Call, "_run", noted)
    for reset, steps, recurrent, way in itertools.product(RESETS, (1, 3), (False, True), (0, 128)):
        monkeypatch.setattr(recurrence, "ON_CHIP", way)
        for learned in (0, 1, 2, 5):
            decay, threshold, state, drive, weight = drawn(steps, 2, (5,), recurrent=recurrent)
            leaves = [drive, threshold, decay, *state][: learned + 1]
            assert all(leaf.requires_grad_() is leaf for leaf in leaves)
            ran = run("triton", dynamics(reset), decay, threshold, state, drive, weight)
            torch.autograd.grad(ran.y.sum() + (ran.last.s.sum() if learned > 1 else 0), leaves, allow_unused=True)
    distinct = {(code, kernel, tuple(sorted(constants.items()))) for code, kernel, constants in seen}
    assert len(distinct) > 100
    for code, kernel, constants in distinct:
        assert ahead.holds(code, kernel, launch.PLATFORM, dict(constants)), (code, kernel, constants)
    assert not ahead.holds(*seen[0][:2], launch.PLATFORM, seen[0][2] | {"BITS": True, "KEEP": False})

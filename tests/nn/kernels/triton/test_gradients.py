"""The gradients of the interpreted Triton kernels against the same formulas in float64, their spikes held fixed."""

from __future__ import annotations

import os

import pytest
import torch

import snubridge as sb
from snubridge.nn.kernels import State, run
from snubridge.nn.kernels.triton import recurrence
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, SURROGATES, G, drawn, dynamics
from tests.nn.kernels.comparison import NAMES, OUTPUTS, compare

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the interpreter needs a process started with TRITON_INTERPRET=1", allow_module_level=True)

WAYS = {"all steps in one launch": recurrence.ON_CHIP, "step by step": 0}
HS = [
    *((STEPS[0], surrogate) for surrogate in SURROGATES),
    (STEPS[1], SURROGATES[0]),
    *((h, SURROGATES[0]) for h in SOFT),
]


@pytest.mark.parametrize("detach_reset", [False, True], ids=["through the reset", "detached"])
@pytest.mark.parametrize("reset", RESETS)
def test_every_unit(reset, detach_reset, short_chunks):
    """Every h and surrogate, each with another g; what is detached says nothing about most of them."""
    for seed, (h, surrogate) in [(0, HS[0]), (8, HS[8])] if detach_reset else enumerate(HS):
        unit = dynamics(reset, G[seed % 4], h, surrogate, detach_reset)
        gradients = compare(unit, 4, 2, (5,), seed=seed, kernel="triton")
        assert bool(gradients["drive"].any())
        assert bool(gradients["threshold"].any())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("g", G[:3], ids=str)
def test_integrators(g, recurrent):
    unit = dynamics(sb.Reset.NONE, g, sb.Identity())
    compare(unit, 10, 3, (5,) if recurrent else (2, 3), recurrent=recurrent, kernel="triton")


@pytest.mark.parametrize(("reset", "detach_reset"), [*((reset, False) for reset in RESETS), (RESETS[0], True)])
@pytest.mark.parametrize("way", WAYS)
def test_every_recurrent_unit(way, reset, detach_reset, monkeypatch):
    monkeypatch.setattr(recurrence, "ON_CHIP", WAYS[way])
    for seed, (h, surrogate) in [(0, HS[0])] if detach_reset else [(0, HS[0]), (3, HS[-1])]:
        unit = dynamics(reset, G[2], h, surrogate, detach_reset)
        compare(unit, 10, 3, (5,), recurrent=True, seed=seed, kernel="triton")


@pytest.mark.parametrize("reset", RESETS)
def test_shapes(reset):
    shapes = [(5, 1, (2, 3)), (1, 1, (1,)), (15, 1, (5,)), (16, 1, (130,)), (33, 1, (4,))]
    for shape in shapes if reset is sb.Reset.TO_ZERO else shapes[:2]:
        compare(dynamics(reset, sb.LeakyReLU(0.3)), *shape, hold=True, outputs=OUTPUTS[:3], kernel="triton")


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "outputs", [("y",), ("states",), ("last s",), ("last y",), ("y", "last s"), ("states", "last s")]
)
def test_some_outputs_alone(outputs, recurrent, short_chunks):
    for reset in (sb.Reset.TO_ZERO,) if recurrent else (sb.Reset.TO_ZERO, sb.Reset.LATERAL):
        unit = dynamics(reset, sb.LeakyReLU(0.3))
        compare(unit, 3, 3, (5,), recurrent=recurrent, outputs=outputs, kernel="triton")


@pytest.mark.parametrize("name", NAMES)
def test_some_gradients_alone(name, short_chunks):
    for reset in (sb.Reset.TO_ZERO, sb.Reset.SUBTRACT):
        compare(dynamics(reset), 4, 2, (5,), recurrent=name == "weight", learned=(name,), kernel="triton")


@pytest.mark.parametrize("recurrent", [False, True])
def test_ties_for_the_largest_output_share_its_gradient(recurrent):
    for h in STEPS:
        for seed in range(1 if recurrent else 2):
            unit = dynamics(sb.Reset.LATERAL, h=h)
            compare(unit, 4, 2, (9,), seed=seed, dyadic=True, recurrent=recurrent, kernel="triton")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
def test_narrow_drives(kind):
    """All in float32 inside: the gradients are those of the widened drive, and its own is rounded once."""
    decay, threshold, state, drive, _ = drawn(17, 3, (7,))
    received = torch.randn(drive.shape).to(kind)
    results = []
    for x in (drive.to(kind), drive.to(kind).float()):
        leaves = [value.clone().requires_grad_() for value in (decay, threshold, *state, x)]
        ran = run("triton", dynamics(), *leaves[:2], State(*leaves[2:4]), leaves[4])
        results.append(
            torch.autograd.grad([ran.y, ran.last.s], leaves, [received.to(ran.y.dtype), ran.last.s.detach()])
        )
    (*narrow, of_narrow), (*wide, of_wide) = results
    assert all(map(torch.equal, narrow, wide))
    assert of_narrow.dtype == kind
    exact = kind == torch.float16  # to bfloat16 the interpreter does not round, it cuts off
    torch.testing.assert_close(of_narrow.float(), of_wide.to(kind).float(), rtol=0 if exact else 2**-7, atol=0)
    assert bool(of_wide.any())

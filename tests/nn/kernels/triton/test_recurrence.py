"""Recurrent layers on the interpreted Triton kernels, both ways: all steps in one launch, and step by step.

Run in a process started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import os

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import Choice, run
from snubridge.nn.kernels.triton import launch, recurrence
from snubridge.nn.kernels.triton.limits import ON_CHIP
from tests.nn.kernels.cases import RESETS, SOFT, STEPS, assert_same, drawn, dynamics, named

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the interpreter needs a process started with TRITON_INTERPRET=1", allow_module_level=True)

SIZES = [(1, 1, 1), (10, 3, 7), (3, 2, 65)]


def tree(y, weight):
    """H y, summed as ``persistent`` says: the first half plus the second, of N filled up to a power of two."""
    terms = torch.nn.functional.pad(y[:, None] * weight, (0, (1 << (weight.shape[1] - 1).bit_length()) - len(weight)))
    while terms.shape[-1] > 1:
        first, second = terms.chunk(2, -1)
        terms = first + second
    return terms[..., 0]


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS))
def test_in_one_launch_they_are_the_eager_kernel_with_sums_in_another_order(reset, h, monkeypatch):
    """To the last bit, and here the order alone turns no spike."""
    for seed, (steps, samples, size) in enumerate(SIZES):
        given = dynamics(reset, sb.LeakyReLU(0.3), h), *drawn(steps, samples, (size,), seed=seed, recurrent=True)
        in_order_of_blas = run("eager", *given)
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.functional, "linear", tree)
            found = assert_same(*given, spikes=steps > 9, kernel="triton")
        assert torch.equal(found.y, in_order_of_blas.y)


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS))
def test_in_one_launch_they_are_the_eager_kernel_where_no_sum_is_rounded(reset, h):
    for seed, (steps, samples, size) in enumerate([(12, 3, 9), (3, 2, 33), (2, 1, ON_CHIP)]):
        given = drawn(steps, samples, (size,), seed=seed, recurrent=True, dyadic=True)
        assert_same(dynamics(reset, sb.ReLU(), h), *given, kernel="triton")


@pytest.mark.parametrize("h", SOFT, ids=str)
def test_graded_outputs_come_back(h):
    given = dynamics(sb.Reset.TO_ZERO, h=h), *drawn(6, 2, (5,), recurrent=True)
    expected, found = (run(kernel, *given) for kernel in ("eager", "triton"))
    torch.testing.assert_close(found.y, expected.y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS))
def test_step_by_step_they_are_the_eager_kernel(reset, h, monkeypatch):
    monkeypatch.setattr(recurrence, "ON_CHIP", 0)
    for seed, (steps, samples, size) in enumerate(SIZES):
        given = drawn(steps, samples, (size,), seed=seed, recurrent=True)
        assert_same(dynamics(reset, sb.LeakyReLU(0.3), h), *given, spikes=steps > 9, kernel="triton")


def test_a_layer_says_which_way_it_runs():
    for neurons, said in ((ON_CHIP, "one launch for all steps"), (ON_CHIP + 1, "a matrix product and a launch for")):
        layer = nn.SNU(2, neurons, recurrent=True, kernel="triton")
        assert layer.running_kernel == Choice("triton", recurrence.way(neurons))
        assert f"kernel=triton ({said}" in repr(layer)


def test_and_runs_that_way(monkeypatch):
    programs = []
    monkeypatch.setattr(launch.Call, "_run", lambda self, *given, **constants: programs.append(self.code))
    for neurons in (ON_CHIP, ON_CHIP + 1):
        nn.SNU(2, neurons, recurrent=True, kernel="triton")(torch.ones(3, 1, 2))
    assert programs == ["persistent", "kernels", "kernels", "kernels"]


@pytest.mark.parametrize("way", [0, ON_CHIP])
def test_autocast_around_the_way_back_changes_nothing(way, monkeypatch):
    monkeypatch.setattr(recurrence, "ON_CHIP", way)
    found = []
    for enabled in (False, True):
        given = drawn(4, 2, (7,), recurrent=True)
        leaves = [given[3].requires_grad_(), given[4].requires_grad_()]
        y = run("triton", dynamics(), *given).y
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(torch.autograd.grad(y.sum(), leaves))
    assert all(map(torch.equal, *found))

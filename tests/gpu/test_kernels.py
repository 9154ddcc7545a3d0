"""The Triton kernels on a GPU: ``pytest -m gpu``. Without one, every test here is skipped."""

from __future__ import annotations

import os

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import State, run
from snubridge.nn.kernels.triton import graphs, launch
from snubridge.nn.kernels.triton.limits import ON_CHIP
from tests.nn.kernels.cases import RESETS, STEPS, drawn, dynamics, named

pytest.importorskip("triton", reason="triton is not installed")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 compiles nothing"),
]
SHAPES = [(1, 1, (1,)), (15, 1, (5,)), (16, 1, (7,)), (17, 3, (3, 5)), (100, 64, (256,)), (1000, 2, (130,))]


def on_gpu(decay, threshold, state, drive, weight):
    moved = [x if x is None else x.cuda() for x in (decay, threshold, *state, drive, weight)]
    return *moved[:2], State(*moved[2:4]), *moved[4:]


def assert_same_as_eager(unit, *given):
    """As on the CPU, where no matrix product sums in another order."""
    found, expected = run("triton", unit, *on_gpu(*given)), run("eager", unit, *given)
    for one, other in [(found.y, expected.y), (found.states, expected.states)]:
        assert torch.equal(one.cpu(), other)


@pytest.mark.parametrize(("reset", "h"), named(RESETS, STEPS))
def test_spikes_and_states_are_those_of_the_eager_kernel(reset, h):
    for seed, (steps, samples, shape) in enumerate(SHAPES):
        assert_same_as_eager(dynamics(reset, sb.ReLU(), h), *drawn(steps, samples, shape, seed=seed))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("neurons", [9, ON_CHIP, ON_CHIP + 1])
def test_recurrent_layers_where_no_sum_is_rounded(reset, neurons):
    for steps in (1, 12):
        assert_same_as_eager(dynamics(reset), *drawn(steps, 3, (neurons,), recurrent=True, dyadic=True))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("neurons", [64, 300])
def test_gradients_are_those_of_the_eager_kernel(neurons, recurrent):
    found = []
    for kernel in ("eager", "triton"):
        given = drawn(50, 4, (neurons,), recurrent=recurrent, dyadic=recurrent)
        decay, threshold, state, drive, weight = on_gpu(*given)
        leaves = [x.requires_grad_() for x in (decay, threshold, drive, *([weight] if recurrent else []))]
        ran = run(kernel, dynamics(), decay, threshold, state, drive, weight)
        found.append(torch.autograd.grad(ran.y.mean(), leaves))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_narrow_drives(kind):
    decay, threshold, state, drive, _ = on_gpu(*drawn(40, 8, (65,)))
    narrow, wide = (
        run("triton", dynamics(), decay, threshold, state, x) for x in (drive.to(kind), drive.to(kind).float())
    )
    assert narrow.y.dtype == kind
    assert torch.equal(narrow.y.float(), wide.y)
    assert torch.equal(narrow.last.s, wide.last.s)


def test_one_compilation_serves_all_lengths():
    from snubridge.nn.kernels.triton import kernels

    def compiled():
        return sum(len(entry[0]) for entry in kernels.forward.device_caches.values())

    layer = nn.Unit(512, kernel="triton").cuda()
    layer(torch.randn(32, 4, 512, device="cuda"))
    before = compiled()
    for steps in (1000, 33, 48, 17):
        layer(torch.randn(steps, 4, 512, device="cuda"))
    assert compiled() == before


@pytest.mark.parametrize("neurons", [64, 300])
@pytest.mark.parametrize("recurrent", [False, True])
def test_a_training_step_is_recorded_and_replayed(neurons, recurrent):
    """The whole step, forward and backward, as a CUDA graph of the caller's."""
    layer = nn.SNU(16, neurons, recurrent=recurrent, kernel="triton").cuda()
    x = torch.randn(20, 8, 16, device="cuda")

    def step():
        layer.zero_grad(set_to_none=False)
        layer(x)[0].sum().backward()

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    x.copy_(torch.randn_like(x))
    recorded.replay()
    replayed = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    step()
    for one, other in zip(replayed, [p.grad for p in layer.parameters() if p.grad is not None], strict=True):
        assert torch.equal(one, other)


def test_a_recurrent_layer_of_many_neurons_is_recorded_once():
    graphs.recording.cache_clear()
    layer = nn.SNU(8, 300, recurrent=True, kernel="triton").cuda()
    one, two = torch.randn(2, 10, 4, 8, device="cuda")
    first = layer(one)[0].clone()
    layer(two)
    assert graphs.recording.cache_info().misses == 1
    assert torch.equal(layer(one)[0], first)


@pytest.mark.parametrize("recurrent", [False, True])
def test_inductor_changes_no_spike(recurrent):
    layer = nn.SNU(16, 64, recurrent=recurrent, kernel="triton").cuda()
    x = torch.randn(20, 8, 16, device="cuda")
    assert torch.equal(torch.compile(layer, fullgraph=True)(x)[0], layer(x)[0])


def test_auto_is_triton():
    assert nn.SNU(2, 3).cuda().running_kernel.kernel == "triton"


def test_no_register_is_spilled_where_it_runs():
    from snubridge.nn.kernels.triton import kernels, persistent

    for recurrent, neurons in ((False, 256), (True, ON_CHIP)):
        layer = nn.SNU(16, neurons, recurrent=recurrent, kernel="triton").cuda()
        layer(torch.randn(40, 8, 16, device="cuda"))[0].sum().backward()
    for function in (kernels.forward, kernels.backward, persistent.forward, persistent.backward):
        for entry in function.device_caches.values():
            assert all(made.n_spills == 0 for made in entry[0].values())
    assert launch.options(4)["enable_fp_fusion"] is False

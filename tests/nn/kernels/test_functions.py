"""Who looks on sees the operators; who does not, gets the same values without them."""

from __future__ import annotations

import pytest
import torch
from torch import autograd
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from snubridge import nn
from snubridge.nn.kernels import functions


class Names(TorchDispatchMode):
    """Keeps the names of what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def trained(layer, x):
    y, state = layer(x)
    return [y, *state, *torch.autograd.grad(y.sum() + state.s.sum(), [x, *layer.parameters()])]


def made(recurrent, projection="dense"):
    torch.manual_seed(0)
    layer = nn.SNU(6, 5, threshold=0.2, learn_decay=True, recurrent=recurrent, projection=projection, kernel="cpu")
    return layer, (torch.rand(9, 3, 6) < 0.4).float().requires_grad_()


class Called(TorchFunctionMode):
    """Keeps what is called."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.add(str(func))
        return func(*args, **(kwargs or {}))


NAMES = {
    (False, "dense"): {"snubridge::unit", "snubridge::unit_backward"},
    (True, "dense"): {"snubridge::recurrent", "snubridge::recurrent_backward"},
    (False, "events"): {
        "snubridge::unit", "snubridge::unit_backward", "snubridge::project", "snubridge::project_backward",
    },
}  # fmt: skip


@pytest.mark.parametrize(("recurrent", "projection"), NAMES)
def test_a_dispatch_mode_and_the_profiler_see_the_operators(recurrent, projection):
    layer, x = made(recurrent, projection)
    alone = trained(layer, x)
    with Names() as names:
        seen = trained(layer, x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        profiled = trained(layer, x)
    wanted = NAMES[recurrent, projection]
    assert wanted == {name for name in names.seen if name.startswith("snubridge")}
    assert wanted == {event.key for event in profile.key_averages() if event.key.startswith("snubridge")}
    for values in zip(alone, seen, profiled, strict=True):
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])


def test_fake_tensors_give_shapes_alone():
    layer, _ = made(False)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y, state = layer(mode.from_tensor(torch.ones(9, 3, 6)))
    assert type(y).__name__ == "FakeTensor"
    assert y.shape == (9, 3, 5)
    assert state.s.shape == (3, 5)


def test_selective_checkpoints_can_keep_what_the_kernel_computes():
    layer, x = made(False)
    calls = []

    def policy(ctx, operator, *args, **kwargs):
        if operator is torch.ops.snubridge.unit.default:
            calls.append(ctx.is_recompute)
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    y = checkpoint(
        lambda x: layer(x)[0], x, use_reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(policy)
    )
    found = torch.autograd.grad(y.sum(), [x, *layer.parameters()])
    expected = torch.autograd.grad(layer(x)[0].sum(), [x, *layer.parameters()])
    assert calls[:1] == [False]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_computes_anew():
    layer, x = made(False)
    with torch.no_grad():
        traced = torch.jit.trace(layer, x, check_trace=False)
        other = 1 - x
        assert torch.equal(traced(other)[0], layer(other)[0])
        assert not torch.equal(layer(other)[0], layer(x)[0])


def test_tensors_of_other_kinds_go_to_the_operator():
    class Mine(torch.Tensor):
        pass

    one = torch.ones(2)
    assert functions.unobserved((one, torch.nn.Parameter(one), None, 3, [1.0]))
    assert not functions.unobserved((one, one.as_subclass(Mine)))
    assert not functions.unobserved((one, torch.ones(2, device="meta")))
    assert not torch.func.vmap(lambda x: x * functions.unobserved((x,)))(one).any()
    assert functions.unobserved((one,))


@pytest.mark.parametrize(("recurrent", "projection"), NAMES)
def test_gradients_in_a_batch(recurrent, projection):
    """By torch's older way to vectorize, which no longer says so anywhere but in a tensor's dispatch keys."""
    layer, x = made(recurrent, projection)
    y = layer(x)[0]
    weights = torch.randn(3, *y.shape)
    found = autograd.grad(y, [x, layer.weight], weights, is_grads_batched=True)
    for row, weight in enumerate(weights):
        for one, other in zip(found, autograd.grad(layer(x)[0], [x, layer.weight], weight), strict=True):
            torch.testing.assert_close(one[row], other)


@pytest.mark.parametrize(("recurrent", "projection"), NAMES)
def test_modes_of_functions(recurrent, projection):
    layer, x = made(recurrent, projection)
    alone = trained(layer, x)
    with Called() as called:
        trained(layer, x)
    assert any("snubridge" in name for name in called.seen)
    with torch.device("meta"):  # for what is made anew; the layer stays where it is
        found = [layer(x)[0], *autograd.grad(layer(x)[0].sum(), [x, layer.weight])]
    assert all(value.device.type == "cpu" for value in found)
    assert torch.equal(found[0], alone[0])


@pytest.mark.parametrize("view", [torch._neg_view, lambda x: torch._efficientzerotensor(x.shape)], ids=["neg", "zero"])
def test_tensors_whose_values_are_not_in_memory(view):
    unit = nn.Unit(5, threshold=0.1, kernel="cpu")
    x = torch.randn(9, 3, 5)
    plain = view(x).clone()
    assert torch.equal(unit(view(x))[0], unit(plain)[0])
    x.requires_grad_()
    given = torch.ones(9, 3, 5)
    (found,), (expected,) = (autograd.grad(unit(x)[0], x, g) for g in (view(given), view(given).clone()))
    assert torch.equal(found, expected)

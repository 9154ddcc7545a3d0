"""What torch offers around a layer: files, copies, checkpoints, autocast, export, threads and processes."""

from __future__ import annotations

import copy
import io
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels.cpu.threads import TILE, parts
from tests.nn.kernels.cases import threads

KINDS = {
    "dense": {"learn_decay": True},
    "recurrent": {"recurrent": True, "bias": True, "g": sb.LeakyReLU(0.2), "learn_initial_state": True},
}


@pytest.fixture(params=KINDS)
def layer(request):
    return made(request.param)


def made(kind, kernel="cpu", **options):
    """A layer of 4 to 6, always the same one."""
    torch.manual_seed(0)
    return nn.SNU(4, 6, threshold=torch.linspace(0, 0.4, 6), initial_state=0.1, kernel=kernel, **KINDS[kind], **options)


def gradients(layer, x):
    """y and the gradients of the parameters, by name."""
    y, state = layer(x)
    values = torch.autograd.grad(y.sum() + state.s.square().sum(), list(layer.parameters()))
    return y.detach(), dict(zip(dict(layer.named_parameters()), values, strict=True))


def assert_twins(one, other, x):
    """The same spikes and gradients, to the last bit; some neuron spikes."""
    (y, ours), (z, theirs) = gradients(one, x), gradients(other, x)
    assert torch.equal(y, z)
    assert bool(y.any())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


X = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_through_a_file(kind, tmp_path):
    """Files hold no kernel: what one was trained with says nothing about where it runs."""
    layer = made(kind)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    state = torch.load(tmp_path / "layer.pt", weights_only=True)
    assert set(state) == {*dict(layer.named_parameters()), *dict(layer.named_buffers())}
    for kernel in ("cpu", "eager", "auto"):
        other = nn.SNU(4, 6, threshold=[0.5] * 6, kernel=kernel, **KINDS[kind])
        assert other.load_state_dict(state).missing_keys == []
        assert torch.equal(other(X)[0], layer(X)[0])
    with pytest.raises(RuntimeError, match="size mismatch"):
        nn.SNU(4, 7, kernel="cpu", threshold=[0.5] * 7, **KINDS[kind]).load_state_dict(state)


def test_copies(layer):
    layer(X)[0].sum().backward()  # used, and with gradients
    layer.zero_grad()
    assert_twins(copy.deepcopy(layer), layer, X)
    assert_twins(pickle.loads(pickle.dumps(layer)), layer, X)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert_twins(torch.load(file, weights_only=False), layer, X)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
    assert bool(layer.weight.any())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(layer, reentrant):
    x, runs = X.clone().requires_grad_(), []

    def flat(given):  # the reentrant kind looks into no nested tuple
        runs.append(torch.is_grad_enabled())
        y, state = layer(given)
        return y, state.s

    def results(call):
        layer.zero_grad()
        x.grad = None
        y, s = call(x)
        (y.sum() + s.square().sum()).backward()
        return [y.detach(), s.detach(), x.grad, *(p.grad for p in layer.parameters())]

    expected = results(flat)
    found = results(lambda given: torch.utils.checkpoint.checkpoint(flat, given, use_reentrant=reentrant))
    assert len(runs) == 3  # once without, twice with
    assert all(map(torch.equal, found, expected))
    assert all(bool(value.any()) for value in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind):
    """Only the projection is in bfloat16; the state is that of the parameters' type, and both kernels spike alike."""
    results = {}
    for kernel in ("cpu", "eager"):
        layer = made(kind, kernel)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, state = layer(X)
            assert torch.nn.functional.linear(X, layer.weight).dtype == torch.bfloat16  # autocast is on, and after it
        assert y.dtype == state.s.dtype == state.y.dtype == torch.float32
        (y.sum() + state.s.square().sum()).backward()
        results[kernel] = y, state, {name: p.grad for name, p in layer.named_parameters()}
    (y, state, ours), (z, other, theirs) = results.values()
    assert torch.equal(y, z)
    assert bool(y.any())
    assert torch.equal(state.s, other.s)
    exact = made(kind)(X)[1].s
    assert not torch.equal(state.s, exact)  # the projection was rounded
    torch.testing.assert_close(state.s, exact, rtol=0, atol=0.1)
    for name, gradient in ours.items():
        assert gradient.dtype == torch.float32
        size = 1e-6 if name != "weight" else 2**-8  # summed in bfloat16
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=size * float(theirs[name].abs().max()))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # as in test_operators
def test_export(tmp_path):
    """A program for any T and B, saved and run by a process that knows nothing but `import snubridge.nn`."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = made("dense"), nn.SNU(6, 5, threshold=0.1, recurrent=True, kernel="cpu")

        def forward(self, x):
            y, state = self.second(self.first(x)[0])
            return y, state.s

    net = Net().eval()
    sizes = {0: torch.export.Dim("steps", min=2), 1: torch.export.Dim("samples", min=2)}
    program = torch.export.export(net, (X,), dynamic_shapes={"x": sizes})
    assert "snubridge.unit" in str(program.graph)
    assert "snubridge.recurrent" in str(program.graph)
    torch.export.save(program, tmp_path / "net.pt2")
    x = torch.randn(20, 7, 4)
    torch.save([x, *net(x)], tmp_path / "expected.pt")
    for given in (X, x):
        expected, found = net(given), program.module()(given)
        assert all(map(torch.equal, found, expected))
        assert bool(expected[0].any())
    script = """
import torch, snubridge.nn
x, *expected = torch.load("expected.pt")
found = torch.export.load("net.pt2").module()(x)
print(all(map(torch.equal, found, expected)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def trained(layer, x, steps=20):
    """The parameters after some steps."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        y, state = layer(x)
        (y.mean(0).square().sum() + state.s.square().mean()).backward()
        optimizer.step()
    return [p.detach().clone() for p in layer.parameters()]


BIG = torch.randn(60, 16, 4, generator=torch.Generator().manual_seed(0))


def wide():
    """A layer whose work is cut into parts: 60 x 16 x 600 neuron-steps."""
    torch.manual_seed(0)
    return nn.SNU(4, 600, threshold=0.3, learn_decay=True, kernel="cpu")


def test_two_python_threads_train_at_once():
    with threads(2):
        expected = trained(wide(), BIG, 5)
        layers, found = [wide(), wide()], [None, None]  # made here: the seed is one for all threads

        def work(index):
            found[index] = trained(layers[index], BIG, 5)

        workers = [threading.Thread(target=work, args=(index,)) for index in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()
    for result in found:
        assert all(map(torch.equal, result, expected))


class Spikes(torch.utils.data.Dataset):
    """Samples that a layer makes, in the process that loads them."""

    def __init__(self):
        self.layer = wide()

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.layer(BIG + index)[0]


def test_workers_of_a_data_loader():
    with threads(2):
        data = Spikes()
        expected = [data[index] for index in range(4)]  # used here before it is used there
        options = {"num_workers": 1, "multiprocessing_context": "fork", "timeout": 60}
        loader = torch.utils.data.DataLoader(data, batch_size=None, **options)
        for one, other in zip(loader, expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")  # here it is meant
def test_a_fork_after_use():
    """The child computes what the parent did, on as many threads, though the parent's are not there.

    The dynamics alone: torch's own threads, those of a projection or of torch.equal, do not outlive a fork.
    """
    unit, drive = nn.Unit(600, threshold=0.3, kernel="cpu"), torch.randn(60, 16, 600)
    with threads(2), torch.no_grad():
        assert parts(60, 16 * 600, TILE // 600 * 600) == 2
        expected = unit(drive)[0].numpy()
        child = os.fork()
        if not child:  # whatever happens, no pytest goes on in here
            code = 4
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                code = 0 if np.array_equal(unit(drive)[0].numpy(), expected) else 3
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(unit(drive)[0].numpy(), expected)

"""Two processes over gloo give the gradients of one that has all samples."""

from __future__ import annotations

import datetime

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from snubridge import nn

STEPS, SAMPLES = 15, 6


class Net(torch.nn.Module):
    """A dense and a recurrent layer, with all that is learned."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        options = {"learn_decay": True, "learn_initial_state": True, "threshold": 0.2, "kernel": "cpu"}
        self.layers = nn.Sequential(nn.SNU(4, 7, **options), nn.SNU(7, 5, recurrent=True, bias=True, **options))

    def forward(self, x):
        return self.layers(x)[0]


def samples():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(STEPS, SAMPLES, 4, generator=generator), torch.randn(STEPS, SAMPLES, 5, generator=generator)


def loss(y, target):
    """A mean over samples, as that of the processes is taken of their gradients."""
    return (y - target).square().mean(1).sum()


def work(rank, folder):
    """One process: its half of the samples, twice, and the gradients of the second time into a file."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    net = DistributedDataParallel(Net())
    x, target = (value[:, rank::2] for value in samples())
    for _ in range(2):
        net.zero_grad()
        loss(net(x), target).backward()
    torch.save({name: p.grad for name, p in net.module.named_parameters()}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    context = torch.multiprocessing.start_processes(work, (str(tmp_path),), nprocs=2, join=False, start_method="spawn")
    net, (x, target) = Net(), samples()
    y = net(x)
    loss(y, target).backward()
    assert bool(y.any())
    for _ in range(2):  # join returns when a process has ended, or raises what it raised
        if context.join(timeout=90):
            break
    else:
        pytest.fail("the processes do not end")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, parameter in net.named_parameters():
        assert torch.equal(first[name], second[name])
        size = float(parameter.grad.abs().max())
        assert size > 0
        torch.testing.assert_close(first[name], parameter.grad, rtol=0, atol=1e-6 * size)  # the order of a sum

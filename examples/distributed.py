"""Training on several processes: every one holds a copy of the network and a share of the samples.

    torchrun --nproc-per-node 2 examples/distributed.py [--steps 60] [--seed 0]

The task is made up: which of four groups of eight channels fires more often than the others, over 25 steps? A network
of spiking neural units (32-48-4) is trained by ``DistributedDataParallel`` over gloo, torch's back end for CPUs: it
averages the gradients of all processes, so that the copies stay equal. Process 0 prints the loss, the mean over all
processes, in nats; to say nothing costs 1.386. In the end all copies are compared, bit for bit.

Needs torch and no data; takes a few seconds. Without torchrun it is one process, with all samples.
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from snubridge import nn

GROUPS, CHANNELS, STEPS, SAMPLES, EVERY = 4, 8, 25, 64, 20


def samples(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x (T, B, 32) of 0 and 1 at a rate of 0.1, in the group of the answer (B,) at 0.3."""
    answer = torch.randint(GROUPS, (SAMPLES,), generator=generator)
    rate = torch.full((SAMPLES, GROUPS), 0.1)
    rate[torch.arange(SAMPLES), answer] = 0.3
    rates = rate.repeat_interleave(CHANNELS, 1)
    return (torch.rand(STEPS, *rates.shape, generator=generator) < rates).float(), answer


class Classifier(torch.nn.Module):
    """A layer of spiking units, and one that sums up what they say; y (B, 4) after the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SNU(GROUPS * CHANNELS, 48, decay=0.7, threshold=0.5, learn_decay=True),
            torch.nn.Linear(48, GROUPS),
            nn.OverTime("mean"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the steps."""
        y: Tensor = self.layers(x)[0]
        return y


def train(steps: int, seed: int) -> list[Tensor]:
    """Trains in this process and all others; the parameters that each of them has afterwards."""
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(seed + 1 + rank)  # the copies start as that of process 0, whatever the others drew
    network = DistributedDataParallel(Classifier())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    lost = torch.zeros(())
    for step in range(steps):
        x, answer = samples(generator)  # the same in all processes, each of which takes its share
        y = network(x[:, rank::processes])
        loss = torch.nn.functional.cross_entropy(y, answer[rank::processes])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lost += loss.detach() / EVERY
        if (step + 1) % EVERY == 0:
            distributed.all_reduce(lost)
            if rank == 0:
                print(f"steps {step + 1 - EVERY:3}-{step + 1:3}   loss {lost / processes:.3f}")
            lost.zero_()
    mine = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    copies = [torch.empty_like(mine) for _ in range(processes)]
    distributed.all_gather(copies, mine)
    return copies


def main() -> None:
    """Joins the other processes, trains, and compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "RANK" in os.environ:  # as torchrun sets it
        distributed.init_process_group("gloo")
    else:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        copies = train(arguments.steps, arguments.seed)  # kept to the end: a thread of the group's has them as well
        if not all(torch.equal(copy, copies[0]) for copy in copies):
            raise SystemExit("the copies differ")
        if distributed.get_rank() == 0:
            print(f"all {distributed.get_world_size()} copies are equal")
        distributed.barrier()  # nobody leaves while another still waits for him
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()

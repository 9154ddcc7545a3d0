"""Learning in real time: a stream whose rule drifts, and a layer that learns from each step as it comes.

Sixteen streams run side by side, each of twenty channels that fire at random. At every step the question is which of
two groups of ten channels fired more of late; nothing tells the groups but the answers, each of which comes after its
prediction. From the middle on they drift: every 300 steps two channels change sides.

Two copies of one network (20-64 spiking neural units, one logit) see the same stream. One goes on learning by
eligibility traces, with an update after each step, and keeps no step that is past. The other stops learning where the
drift begins, as a network that was trained once would. Printed is the mean loss over each 500 steps in nats, of
predictions made before their answers were seen; to say nothing costs 0.693.

    python examples/online.py [--steps 6000] [--seed 0]

Needs torch and no data; takes about ten seconds on one core.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from snubridge import nn

CHANNELS, STREAMS, UNITS, BLOCK, PERIOD = 20, 16, 64, 500, 300


def stream(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """x_t (16, 20) of 0 and 1, and the answers (16, 1): did the first group fire more than the second of late?"""
    group = torch.ones(CHANNELS)
    group[CHANNELS // 2 :] = -1
    recent = torch.zeros(STREAMS, CHANNELS)
    for t in range(steps):
        if t >= steps // 2 and t % PERIOD == 0:
            moved = [sides.nonzero()[torch.randint(CHANNELS // 2, ())] for sides in (group > 0, group < 0)]
            group[torch.cat(moved)] *= -1
        x = (torch.rand(STREAMS, CHANNELS) < 0.3).float()
        recent = 0.7 * recent + x
        yield x, (recent @ group > 0).float()[:, None]


def loss(logit: Tensor, answer: Tensor) -> Tensor:
    """The negative log-likelihood of each answer, in nats."""
    return binary_cross_entropy_with_logits(logit, answer, reduction="none")


def main() -> None:
    """Runs the stream past both copies and prints what they lose."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    layer, readout = nn.SNU(CHANNELS, UNITS, decay=0.7, threshold=0.5, learn_decay=True), torch.nn.Linear(UNITS, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=2e-3)
    trainer = nn.Trainer(layer, readout, loss, optimizer, method="online", update="step")
    stopped, state = (layer, readout), None
    lost = torch.zeros(2)
    print("      steps   learning    stopped")
    for t, (x, answer) in enumerate(stream(arguments.steps)):
        if t == arguments.steps // 2:
            stopped = copy.deepcopy((layer, readout))  # until here it is the one that learns
            print("the drift begins")
        with torch.no_grad():
            y, state = stopped[0](x[None], state)
            lost[1] += loss(stopped[1](y[0]), answer).mean()
        lost[0] += trainer.observe(x, answer)
        if (t + 1) % BLOCK == 0:
            print(f"{t + 1 - BLOCK:5}-{t + 1:5}   {lost[0] / BLOCK:8.3f}   {lost[1] / BLOCK:8.3f}")
            lost.zero_()


if __name__ == "__main__":
    main()

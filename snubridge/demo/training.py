"""The paper's music network: 88-150-88, trained to predict the next chord of a chorale."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from snubridge import nn
from snubridge.demo.chorales import KEYS, batch
from snubridge.ir import ReLU
from snubridge.ir.numbers import Array

UNITS = 150
BATCH, LEARNING_RATE, DROPOUT = 32, 8e-3, 0.1


@dataclass(frozen=True)
class Trained:
    """The network of the best epoch by validation, and its figures.

    The negative log-likelihood is in nats, summed over the 88 notes, the mean over all predicted
    steps of all chorales.
    """

    network: nn.Sequential
    epoch: int
    validation_nll: float
    test_nll: float


def build() -> nn.Sequential:
    """88 keys, a layer of 150 spiking neural units, a dense read-out of 88 logits."""
    return nn.Sequential(
        nn.SNU(KEYS, UNITS, decay=0.8, g=ReLU(), learn_decay=True),
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(UNITS, KEYS),
    )


def train(
    training: Sequence[Array],
    validation: Sequence[Array],
    test: Sequence[Array],
    *,
    epochs: int,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda epoch, nll: None,
) -> Trained:
    """Train on piano rolls (T_i, 88) of 0 and 1; ``progress`` is told each epoch and its validation figure.

    AdamW with a cosine schedule and clipped gradients; the seed fixes everything, and the
    caller's random state is left as it was.
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        best, best_epoch, best_nll = copy.deepcopy(network.state_dict()), 0, nll(network, validation)
        for epoch in range(1, epochs + 1):
            network.train()
            for rolls in _batches(training):
                loss = _loss(network, rolls)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
            schedule.step()
            reached = nll(network, validation)
            if reached < best_nll:
                best, best_epoch, best_nll = copy.deepcopy(network.state_dict()), epoch, reached
            progress(epoch, reached)
        network.load_state_dict(best)
    return Trained(network.eval(), best_epoch, best_nll, nll(network, test))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread within: a step is too small to share, and the same sums give the same weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def nll(network: torch.nn.Module, rolls: Sequence[Array]) -> float:
    """The negative log-likelihood of the next chord, summed over notes, mean over steps, in nats."""
    network.eval()
    with torch.no_grad():
        return float(_loss(network, rolls))


def _batches(rolls: Sequence[Array]) -> list[list[Array]]:
    """Batches in random order, each of rolls of like length: half of the steps would be padding else."""
    shuffled = [rolls[int(i)] for i in torch.randperm(len(rolls))]
    ordered = sorted(shuffled, key=len)  # stable, so equal lengths stay shuffled
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    return [batches[int(i)] for i in torch.randperm(len(batches))]


def _loss(network: torch.nn.Module, rolls: Sequence[Array]) -> Tensor:
    """The negative log-likelihood of the next chord in nats: summed over notes, the mean over predicted steps."""
    padded, lengths = batch(rolls)
    x = torch.from_numpy(padded)
    logits, _ = network(x[:-1])
    per_step = functional.binary_cross_entropy_with_logits(logits, x[1:], reduction="none").sum(-1)
    return nn.mean_over_steps(per_step, torch.from_numpy(lengths) - 1)

"""Times of candidates that take turns in one process, and the ratios between them."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from training.clocks import Clock
from training.traffic import Traffic

T = TypeVar("T")
MOST_SAMPLES = 5
"""In a round, of a fast candidate; a call before them is not timed, so that the caches are its own."""


class CandidateFailed(Exception):
    """A candidate raised, or computes something else than it should: nothing is reported without it."""


@dataclass(frozen=True)
class Expected:
    """What a candidate must compute, and how far it may be off for its order of operations."""

    spikes: Tensor
    differing: float = 0.0
    gradients: Sequence[Tensor] = ()
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Candidate:
    """One way to compute a case. ``call`` is timed and frees what it makes; ``forward`` returns the spikes.

    ``traffic``: the bytes that its kernels move, where they were counted.
    """

    name: str
    call: Callable[[], None]
    settings: str = ""
    forward: Callable[[], Tensor] | None = None
    leaves: Sequence[Tensor] = ()
    gradient: Tensor | None = None
    expected: Expected | None = None
    traffic: Traffic | None = None

    def gradients(self) -> tuple[Tensor, ...]:
        """Of all leaves."""
        return torch.autograd.grad(self.forward(), self.leaves, self.gradient)


def trained(
    name: str,
    forward: Callable[[], Tensor],
    leaves: Sequence[Tensor],
    gradient: Tensor,
    settings: str = "",
    expected: Expected | None = None,
    traffic: Traffic | None = None,
) -> Candidate:
    """Forward and backward, from a given gradient of the output to those of all leaves."""

    def call() -> None:
        torch.autograd.grad(forward(), leaves, gradient)

    return Candidate(name, call, settings, forward, leaves, gradient, expected, traffic)


@dataclass(frozen=True)
class Times:
    """Milliseconds, by round."""

    rounds: Sequence[Sequence[float]]

    @property
    def samples(self) -> list[float]:
        """All of them."""
        return [sample for samples in self.rounds for sample in samples]

    def over(self, other: Times) -> list[float]:
        """How many times the other, round by round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return [statistics.median(mine) / statistics.median(its) for mine, its in pairs]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The first, the median, the third."""
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def attempt(candidate: Candidate, action: Callable[[], T]) -> T:
    """The result of the action, or an error that names the candidate."""
    try:
        return action()
    except CandidateFailed:
        raise
    except Exception as error:
        raise CandidateFailed(f"{candidate.name}: {type(error).__name__}: {error}") from error


def measure(candidates: Sequence[Candidate], repeats: int, warmup: int, clock: Clock) -> Mapping[str, Times]:
    """Warm calls first, then rounds in which all take turns; a fast candidate runs several times in its turn."""
    warm = {}
    for candidate in candidates:
        samples = attempt(candidate, lambda c=candidate: [clock.milliseconds(c.call) for _ in range(warmup)])
        warm[candidate.name] = statistics.median(samples)
    slowest = max(warm.values())
    turns = {name: max(1, min(MOST_SAMPLES, int(slowest / (2 * own)))) for name, own in warm.items()}
    rounds: dict[str, list[list[float]]] = {name: [] for name in warm}
    gc.collect()
    gc.disable()  # a collection would fall to whoever happens to run
    try:
        for _ in range(repeats):
            for candidate in candidates:
                if turns[candidate.name] > 1:
                    candidate.call()
                rounds[candidate.name].append(
                    [clock.milliseconds(candidate.call) for _ in range(turns[candidate.name])]
                )
            gc.collect()
    finally:
        gc.enable()
    return {name: Times(samples) for name, samples in rounds.items()}

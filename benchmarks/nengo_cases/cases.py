"""What is measured: a dense layer step by step, and batches."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from networks.layers import Dense, drawn
from networks.tables import Table, ratio
from training.clocks import CpuTime
from training.timing import CandidateFailed, Times, quartiles

from nengo_cases.candidates import Batch, DenseBatch, Exported

PROFILES = ("custom", "stock")
DENSE, ONE, SIDE = "dense numpy", "one by one", "side by side"


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    repeats: int
    quick: bool


def timed(calls: Mapping[str, Callable[[], None]], repeats: int, per: int = 1) -> dict[str, Times]:
    """Milliseconds of CPU time by round, divided by ``per``: one call to warm up, then all take turns."""
    for call in calls.values():
        call()
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    gc.collect()
    clock = CpuTime()
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append([clock.milliseconds(call) / per])
    return {name: Times(found) for name, found in times.items()}


def layers(options: Options) -> list[Table]:
    """Dense layers, 0.02 of their inputs active."""
    return [
        _layer(size, steps, options.repeats)
        for size, steps in ([(60, 100)] if options.quick else [(1000, 500), (4000, 60)])
    ]


def _layer(size: int, steps: int, repeats: int) -> Table:
    weights, stimulus = drawn(size, 0.02, steps * (repeats + 1))
    candidates: dict[str, Any] = {profile: Exported(weights, stimulus, profile) for profile in PROFILES}
    candidates[DENSE] = Dense(weights, stimulus)
    times = timed({name: partial(found.run, steps) for name, found in candidates.items()}, repeats, steps)
    spikes = {name: candidate.spikes(len(stimulus)) for name, candidate in candidates.items()}
    title = f"{size} x {size}, a step"
    rows = _rows(times, spikes, title)
    goals = [ratio(f"{title}: {name} / {DENSE}", 1.2, False, times[name], times[DENSE]) for name in PROFILES]
    return Table(title, rows, goals)


def batches(options: Options) -> list[Table]:
    """32 samples of 100 steps through 200 neurons, as runs of a program."""
    size, steps, samples = (40, 20, 4) if options.quick else (200, 100, 32)
    weights, stimulus = drawn(size, 0.1, steps * samples)
    stimulus = stimulus.reshape(steps, samples, size)
    tables = []
    for recurrent in (False, True):
        for profile in PROFILES:
            ways = {ONE: "one_by_one", SIDE: "side_by_side"}
            candidates: dict[str, Any] = {
                name: Batch(weights, stimulus, recurrent, profile, batch) for name, batch in ways.items()
            }
            candidates[DENSE] = DenseBatch(weights, stimulus, recurrent)
            times = timed({name: found.call for name, found in candidates.items()}, options.repeats)
            spikes = {name: candidate.found for name, candidate in candidates.items()}
            title = f"{samples} samples, {steps} steps, {size} neurons{' with recurrence' * recurrent}, {profile}"
            rows = _rows(times, spikes, title)
            tables.append(Table(title, rows, [ratio(f"{title}: {ONE} / {SIDE}", 5, True, times[ONE], times[SIDE])]))
    return tables


CASES: Mapping[str, Callable[[Options], list[Table]]] = {"layers": layers, "batches": batches}


def _rows(times: Mapping[str, Times], spikes: Mapping[str, Any], title: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, found in times.items():
        first, median, third = quartiles(found.samples)
        rows.append(
            {
                "name": name,
                "ms": median,
                "quartiles": [first, third],
                f"times {DENSE}": quartiles(found.over(times[DENSE]))[1],
                "rate": float(spikes[name].mean()),
                "spikes that differ": int((spikes[name] != spikes[DENSE]).sum()),
            }
        )
    if not np.any(spikes[DENSE]) or any(row["spikes that differ"] for row in rows):
        raise CandidateFailed(f"{title}: the candidates do not compute the same, or nothing: {rows}")
    return rows

"""What is measured: layers of spiking and of soft units, and sixteen million synapses."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from networks.layers import Dense, drawn
from networks.tables import Table, ratio
from training.clocks import CpuTime
from training.sections import Goal
from training.timing import CandidateFailed, Times, quartiles

from brian2_cases.candidates import Exported, Handwritten, Summed

OURS, HAND, SUMMED, DENSE = "snubridge", "written by hand", "(summed)", "dense numpy"


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    targets: Sequence[str]
    repeats: int
    quick: bool


@dataclass(frozen=True)
class Measured:
    """Milliseconds of CPU time by round: of a step, and of what comes before the first one of every run."""

    steps: Times
    before: Times


def side_by_side(candidates: Mapping[str, Any], steps: int, repeats: int) -> dict[str, Measured]:
    """One call to warm up, then rounds in which all take turns, with a run of one step and one of ``steps`` more.

    What Brian2 prepares before a run takes as long as many steps; the difference of both runs is without it.
    """
    for candidate in candidates.values():
        candidate.run(steps)
    times: dict[str, list[list[float]]] = {name: [] for name in candidates}
    before: dict[str, list[list[float]]] = {name: [] for name in candidates}
    gc.collect()
    gc.freeze()  # Brian2 looks through everything for garbage before each run
    clock = CpuTime()
    for _ in range(repeats):
        for name, candidate in candidates.items():
            one = clock.milliseconds(partial(candidate.run, 1))
            step = (clock.milliseconds(partial(candidate.run, steps + 1)) - one) / steps
            times[name].append([step])
            before[name].append([one - step])
    gc.unfreeze()
    return {name: Measured(Times(times[name]), Times(before[name])) for name in candidates}


def total(steps: int, repeats: int) -> int:
    """The steps that ``side_by_side`` runs."""
    return steps + repeats * (steps + 2)


def spiking(options: Options, target: str) -> list[Table]:
    """Dense layers at two sizes and two rates of their inputs."""
    sizes = [(60, 200)] if options.quick else [(1000, 1500), (4000, 150)]
    return [_spiking(size, rate, steps, options.repeats, target) for size, steps in sizes for rate in (0.02, 0.1)]


def _spiking(size: int, rate: float, steps: int, repeats: int, target: str) -> Table:
    weights, stimulus = drawn(size, rate, total(steps, repeats))
    candidates = {
        OURS: Exported(weights, stimulus, target),
        HAND: Handwritten(weights, stimulus, target),
        DENSE: Dense(weights, stimulus),
    }
    measured = side_by_side(candidates, steps, repeats)
    times = {name: found.steps for name, found in measured.items()}
    spikes = {name: candidate.spikes(len(stimulus)) for name, candidate in candidates.items()}
    title = f"{size} x {size}, {100 * rate:g} % of the inputs active, target {target}"
    goal = ratio(f"{title}: snubridge / written by hand", 1.1, False, times[OURS], times[HAND])
    rows = _rows(measured)
    for row in rows:
        row["times dense numpy"] = quartiles(times[row["name"]].over(times[DENSE]))[1]
        row["times written by hand"] = quartiles(times[row["name"]].over(times[HAND]))[1]
        row["rate"] = float(spikes[row["name"]].mean())
        row["spikes that differ"] = int((spikes[row["name"]] != spikes[DENSE]).sum())
    if not spikes[DENSE].any() or any(row["spikes that differ"] for row in rows):
        raise CandidateFailed(f"{title}: the candidates do not compute the same, or nothing: {rows}")
    return Table(title, rows, [goal])


def soft(options: Options, target: str) -> list[Table]:
    """Two layers of soft units, which put out a number in every step, and a matrix between them."""
    size, steps = (60, 200) if options.quick else (1000, 100)
    weights, _ = drawn(size, 0.1, 1)
    stimulus = np.random.default_rng(1).random((total(steps, options.repeats), size))
    candidates = {
        OURS: Exported(weights, stimulus, target, soft=True),
        SUMMED: Summed(weights, stimulus, target),
        DENSE: Dense(weights, stimulus, soft=True),
    }
    measured = side_by_side(candidates, steps, options.repeats)
    times = {name: found.steps for name, found in measured.items()}
    graded = {name: candidate.graded(len(stimulus)) for name, candidate in candidates.items()}
    title = f"soft units, {size} x {size}, target {target}"
    rows = _rows(measured)
    for row in rows:
        row["times dense numpy"] = quartiles(times[row["name"]].over(times[DENSE]))[1]
        row["largest difference"] = float(np.abs(graded[row["name"]] - graded[DENSE]).max())
    if np.ptp(graded[DENSE]) < 0.1 or any(row["largest difference"] > 1e-9 for row in rows):
        raise CandidateFailed(f"{title}: the candidates do not compute the same, or nothing: {rows}")
    return [Table(title, rows, [ratio(f"{title}: (summed) / snubridge", 5, True, times[SUMMED], times[OURS])])]


def memory(options: Options, target: str) -> list[Table]:
    """Every synapse of a dense layer, built in a process of its own."""
    size = 200 if options.quick else 4000
    rows = []
    for name, *kind in (
        (f"{OURS}, Float32", "exported", "float32"),
        (f"{OURS}, Float64", "exported", "float64"),
        (HAND, "handwritten", "float64"),
    ):
        builder, precision = kind
        program = str(Path(__file__).with_name("building.py"))
        command = [sys.executable, program, builder, str(size), target, precision]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CandidateFailed(f"{name}: {done.stderr[-2000:]}")
        rows.append({"name": name, **json.loads(done.stdout.splitlines()[-1])})
    title = f"{size**2:,} synapses built, target {target}"
    note = "Bytes are of resident memory beyond that of the weights as one array, which both are made from."
    goals = [Goal(f"{title}: bytes kept each, {row['name']}", 30, False, row["bytes kept each"]) for row in rows[:2]]
    return [Table(title, rows, goals, note)]


CASES: Mapping[str, Callable[[Options, str], list[Table]]] = {"spiking": spiking, "soft": soft, "memory": memory}


def _rows(measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, found in measured.items():
        first, median, third = quartiles(found.steps.samples)
        before = quartiles(found.before.samples)[1]
        rows.append({"name": name, "ms a step": median, "quartiles": [first, third], "ms before each run": before})
    return rows

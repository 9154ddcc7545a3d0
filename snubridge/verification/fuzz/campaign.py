"""A campaign: graphs drawn from a seed, each on every target, in worker processes; resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from snubridge.bridge.conformance.cases import Case
from snubridge.verification.fuzz.failure import read_failure, write_failure
from snubridge.verification.fuzz.families import draw
from snubridge.verification.fuzz.outcome import Outcome
from snubridge.verification.fuzz.results import Line, configuration, open_results, versions
from snubridge.verification.fuzz.shrinking import shrink
from snubridge.verification.fuzz.tally import Tally
from snubridge.verification.fuzz.targets import Target
from snubridge.verification.fuzz.worker import REFERENCE, Drawn, Worker

SHRUNK = 10
"""Failures of one kind on one backend that are shrunk and written; of others the results give the graph's number."""
FAILURES = "failures"


@dataclass(frozen=True)
class Plan:
    """``graphs`` many of ``seed`` on ``targets``, in ``jobs`` processes; ``limit`` seconds for each run, ``minutes``
    for the whole session (None: no limit)."""

    targets: tuple[Target, ...]
    seed: int
    graphs: int
    folder: Path
    jobs: int = 1
    limit: float = 120.0
    minutes: float | None = None


@dataclass
class Session:
    """What was found: ``tally`` of all results in the folder; ``seconds`` and ``stepped`` by backend, of this session
    alone; ``done`` graphs of this session."""

    tally: Tally
    done: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    stepped: dict[str, int] = field(default_factory=dict)

    def rates(self) -> dict[str, float]:
        """Neuron-steps per second by backend, lowering included."""
        return {label: self.stepped[label] / seconds for label, seconds in self.seconds.items() if seconds > 0}


@dataclass
class Run:
    """A graph under way: which targets are still to come, and what became of the others."""

    number: int
    pending: list[str]
    drawn: Drawn | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)


def conduct(plan: Plan, progress: Callable[[Tally], None] = lambda tally: None) -> Session:
    """Run what is not in the folder yet, and write ``results.jsonl`` and ``failures/``; ``progress`` after each graph.

    Raises ``BadInput`` where the folder holds another campaign, ``BadFile`` where it cannot be read or written, and
    ``MissingEngine``. Interrupted at any moment, it goes on where it was when called again.
    """
    with open_results(plan.folder, configuration(plan.seed, plan.targets, plan.limit)) as results:
        session = Session(Tally([target.label for target in plan.targets]))
        for line in results.lines[: plan.graphs]:
            session.tally.add(line)
        waiting: dict[int, Run] = {}
        numbers = range(len(results.lines), plan.graphs)
        with closing(_run_all(plan, numbers)) as runs:
            for run in runs:
                waiting[run.number] = run
                while len(results.lines) in waiting:
                    due = waiting.pop(len(results.lines))
                    results.append(_line(plan, due, session.tally))
                    session.tally.add(results.lines[-1])
                    _clock(session, due)
                    progress(session.tally)
    return session


def _clock(session: Session, run: Run) -> None:
    session.done += 1
    for label, outcome in run.outcomes.items():
        if outcome.seconds and run.drawn is not None:
            session.seconds[label] = session.seconds.get(label, 0.0) + outcome.seconds
            session.stepped[label] = session.stepped.get(label, 0) + run.drawn.neuron_steps


def _run_all(plan: Plan, numbers: Sequence[int]) -> Generator[Run, None, None]:
    """The graphs of these numbers, each as soon as it has run on all targets."""
    end = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
    left = iter(numbers)
    workers: list[Worker] = []
    busy: dict[Worker, Run] = {}
    try:
        for _ in range(min(plan.jobs, len(numbers))):
            workers.append(Worker(plan.targets, plan.limit))
            _hand_out(workers[-1], left, busy, plan)
        while busy:
            nearest = min(worker.deadline for worker in busy)
            wait([worker.connection for worker in busy], max(0.0, nearest - time.monotonic()))
            for worker, run in list(busy.items()):
                found = worker.answer()
                if isinstance(found, Drawn):
                    run.drawn = found
                elif found is not None:
                    _take(run, found)
                    if not run.pending:
                        del busy[worker]
                        yield run
                        if end is None or time.monotonic() < end:
                            _hand_out(worker, left, busy, plan)
                    elif found.fatal:
                        worker.ask(((plan.seed, run.number), tuple(run.pending)))  # the process is a new one
    finally:
        for worker in workers:
            worker.close()


def _hand_out(worker: Worker, left: Iterator[int], busy: dict[Worker, Run], plan: Plan) -> None:
    number = next(left, None)
    if number is not None:
        busy[worker] = Run(number, [target.label for target in plan.targets])
        worker.ask(((plan.seed, number), tuple(busy[worker].pending)))


def _take(run: Run, outcome: Outcome) -> None:
    """An answer: of the first target that is pending, or of the graph itself if it was not drawn."""
    if run.drawn is None:
        run.outcomes, run.pending = {REFERENCE: outcome}, []
    else:
        run.outcomes[run.pending.pop(0)] = outcome


def _line(plan: Plan, run: Run, tally: Tally) -> Line:
    """The line of a graph; its failures are written before it is."""
    drawn = run.drawn or Drawn("", "", 0, 0, 0, 0)
    backends: dict[str, Any] = {}
    for label, outcome in run.outcomes.items():
        backends[label] = outcome.document()
        if outcome.failing and label != REFERENCE and tally.outcomes[label][outcome.kind] < SHRUNK:
            backends[label]["failure"] = f"{FAILURES}/{run.number}-{label}"
            (target,) = (target for target in plan.targets if target.label == label)
            _write(plan, run.number, target, outcome)
    return {
        "graph": run.number,
        "name": drawn.name,
        "digest": drawn.digest,
        "steps": drawn.steps,
        "samples": drawn.samples,
        "neurons": drawn.neurons,
        "spikes": drawn.spikes,
        "backends": backends,
    }


def _write(plan: Plan, number: int, target: Target, outcome: Outcome) -> None:
    """Shrink a failure, in a process of its own, and write it."""
    case, shrunk = draw(plan.seed, number), False
    if outcome.kind != "timeout":  # each trial would take the whole limit
        with closing(Worker([target], plan.limit, apart=True)) as worker:
            again = worker.attempt(case, target.label)
            if again.same_failure(outcome):
                case, outcome = shrink(case, again, lambda candidate: worker.attempt(candidate, target.label))
                shrunk = True
    folder = plan.folder / FAILURES / f"{number}-{target.label}"
    write_failure(folder, case, target, outcome, shrunk=shrunk, limit=plan.limit, versions=versions())


def replay(path: Path) -> tuple[Case, Target, str, Outcome]:
    """A failure once more: the case, the target, what was seen, and what is seen now."""
    failure = read_failure(path)
    with closing(Worker([failure.target], failure.limit)) as worker:
        return failure.case, failure.target, failure.kind, worker.attempt(failure.case, failure.target.label)

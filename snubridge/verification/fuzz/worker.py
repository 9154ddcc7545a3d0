"""A process that runs graphs: whatever an engine does to it, the campaign goes on."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from snubridge.bridge.adapter import Adapter
from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import load_engine
from snubridge.errors import BadInput, MissingEngine, SnubridgeError
from snubridge.ir.nodes import Unit
from snubridge.ir.structure import shapes
from snubridge.verification.fuzz.attempt import attempt
from snubridge.verification.fuzz.families import draw
from snubridge.verification.fuzz.outcome import Outcome
from snubridge.verification.fuzz.targets import Target

STARTING = 300.0
"""Seconds that the engines may take to import."""
SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REFERENCE = "reference"
"""The label under which it is said that a graph could not even be drawn."""


@dataclass(frozen=True)
class Drawn:
    """What is known of a graph before any backend runs it. ``neurons``: of all units."""

    name: str
    digest: str
    steps: int
    samples: int
    neurons: int
    spikes: int

    @classmethod
    def of(cls, case: Case) -> Drawn:
        """Runs the reference."""
        units, sizes, expected = case.graph.of_kind(Unit), shapes(case.graph), case.expected
        steps, samples = next(iter(expected.spikes.values())).shape[:2] if units else (0, 0)
        neurons = sum(math.prod(sizes[name]) for name in units)
        spikes = sum(int(expected.spikes[name].sum()) for name, unit in units.items() if unit.spiking)
        return cls(case.name, case.graph.digest, steps, samples, neurons, spikes)

    @property
    def neuron_steps(self) -> int:
        """Neurons times steps times samples."""
        return self.neurons * self.steps * self.samples


Request = tuple[tuple[int, int] | Case, tuple[str, ...]]
"""Seed and number of a graph, or the graph itself, and the labels of the targets to run it on."""


class Worker:
    """A child process and what it was asked; ``answer`` is None where it has none yet.

    With ``apart`` it forks for each request, where the system can: one that ends its process costs no import then.
    """

    def __init__(self, targets: Sequence[Target], limit: float, *, apart: bool = False) -> None:
        self.targets, self.limit = tuple(targets), limit
        self.apart = apart and hasattr(os, "fork")
        self._start()

    def _start(self) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        with _single_threaded():
            self.process = multiprocessing.get_context("spawn").Process(
                target=_serve, args=(theirs, self.targets, self.limit if self.apart else None), daemon=True
            )
            self.process.start()
        theirs.close()
        self.deadline = time.monotonic() + STARTING
        self.ready = False

    def ask(self, request: Request) -> None:
        """Hand over a request; the answers are ``Drawn``, then an ``Outcome`` for each label."""
        if self.ready:
            self.deadline = time.monotonic() + self.limit
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died meanwhile: the answer says so
            self.connection.send(request)

    def answer(self, timeout: float = 0.0) -> Drawn | Outcome | None:
        """The next answer, waited for so long; of a process that died or took too long, that, and it is replaced."""
        while wait([self.connection], max(0.0, min(timeout, self.deadline - time.monotonic()))):
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                return self._died()
            self.deadline = time.monotonic() + self.limit
            if isinstance(message, Drawn | Outcome):
                return message
            if message is not None:
                raise MissingEngine(message)
            self.ready = True
        if time.monotonic() < self.deadline:
            return None
        if not self.ready:
            raise BadInput(f"the engines did not import within {STARTING:.0f} s; snubridge doctor says which do")
        self.replace()
        return Outcome("timeout", f"no end within {self.limit:g} s", fatal=True)

    def _died(self) -> Outcome:
        self.process.join(5)
        code = self.process.exitcode
        if not self.ready:
            raise MissingEngine(f"a process ends with {code} when it imports the engines; snubridge doctor says more")
        self.replace()
        return replace(_ended(code), fatal=True)

    def replace(self) -> None:
        """End the process, whatever it does, and start another."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def attempt(self, case: Case, label: str) -> Outcome:
        """One graph on one target, waited for."""
        self.ask((case, (label,)))
        while True:
            found = self.answer(self.limit)
            if isinstance(found, Outcome):
                return found


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """A process that starts meanwhile computes in one thread: its numerical libraries ask at their import."""
    before = {key: os.environ.get(key) for key in SINGLE}
    os.environ.update(dict.fromkeys(SINGLE, "1"))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _serve(connection: Connection, targets: tuple[Target, ...], apart: float | None) -> None:
    """What the process does: import the engines, then answer requests until nobody asks.

    ``apart``: fork for each, for so many seconds at most; None: do not.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign decides when it ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # engines and their libraries print
        os.dup2(silence, stream)
    warnings.simplefilter("ignore")
    adapters: dict[str, tuple[Target, Adapter]] = {}
    try:
        for target in targets:
            adapters[target.label] = target, find_adapter(target.name)
            load_engine(adapters[target.label][1])
    except SnubridgeError as error:
        connection.send(str(error))
        return
    logging.disable(logging.DEBUG)  # Brian2 would log all code that it generates,
    gc.freeze()  # and look through all modules for garbage before each run
    connection.send(None)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            asked, labels = connection.recv()
            if apart is None:
                for found in _answers(asked, labels, adapters):
                    connection.send(found)
            else:
                _answer_apart(connection, apart, _answers(asked, labels, adapters))


def _answers(
    asked: tuple[int, int] | Case, labels: tuple[str, ...], adapters: dict[str, tuple[Target, Adapter]]
) -> Iterator[Drawn | Outcome]:
    try:
        case = asked if isinstance(asked, Case) else draw(*asked)
        yield Drawn.of(case)
    except Exception as error:  # noqa: BLE001  # a graph that nobody can run is an outcome as well
        yield Outcome("crashed", f"{type(error).__name__}: {REFERENCE}: {error}"[:400])
        return
    for label in labels:
        yield attempt(case, *adapters[label])


def _answer_apart(connection: Connection, limit: float, answers: Iterator[Drawn | Outcome]) -> None:
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, 2 * limit)  # its death, should nobody be left to kill it
            for found in answers:
                connection.send(found)
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        connection.send(_ended(code))


def _ended(code: int | None) -> Outcome:
    """What became of a graph whose process ended."""
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
    return Outcome("crashed", f"{name}: the process ended")


def _end_with_parent() -> None:
    """Where the parent is killed, nobody reads what comes of an endless run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

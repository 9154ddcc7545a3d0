"""What the examples share that train two kinds of layers against the clock: the clock, the curve, the file."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import snubridge as sb
from snubridge.errors import BadInput
from snubridge.ir.disk import write_atomically

Curve = list[tuple[float, float]]
"""Seconds of training so far, and the validation loss there."""


class Clock:
    """CPU seconds of this process inside ``with clock:``; with one thread, the wall time on a core of its own."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._started = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._started


def reached(curve: Curve, loss: float) -> float | None:
    """The seconds of the first point at or below a loss; None if there is none."""
    return next((seconds for seconds, found in curve if found <= loss), None)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Mean and (sample) standard deviation."""
    values = list(values)
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def parser(description: str, seeds: int) -> argparse.ArgumentParser:
    """The options that every such example has."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--seeds", type=int, default=seeds, help="how many runs of each model (default: %(default)s)")
    made.add_argument("--threads", type=int, default=1, help="of torch and of the kernels (default: %(default)s)")
    made.add_argument("--out", type=Path, metavar="FILE", help="write settings, curves and figures of all runs as JSON")
    return made


def prepare(options: argparse.Namespace) -> None:
    """Sets the threads; ``BadInput`` for numbers below 1 and for a file whose folder is not there."""
    for name in ("seeds", "threads"):
        if getattr(options, name) < 1:
            raise BadInput(f"--{name} {getattr(options, name)}: at least 1 is needed")
    if options.out and not options.out.absolute().parent.is_dir():
        raise BadInput(f"--out {options.out}: there is no folder {options.out.parent}")
    torch.set_num_threads(options.threads)


def circumstances(threads: int) -> dict[str, Any]:
    """What the figures depend on besides the script."""
    versions = {"python": platform.python_version(), "snubridge": sb.__version__, "torch": torch.__version__}
    return {"versions": versions, "machine": f"{platform.machine()}, threads: {threads}", "seconds": Clock.__doc__}


def parameters(network: torch.nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in network.parameters())


def show(what: str) -> None:
    """A line on standard error that is written over, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{what:<70}", end="" if what else "\r", file=sys.stderr, flush=True)


def write(path: Path | None, results: dict[str, Any]) -> None:
    """JSON, if a file is asked for."""
    if path:
        write_atomically(path, (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table, a row at a time; the first column is text, the others are figures."""
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)

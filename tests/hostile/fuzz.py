"""Reads mutated files: ``python fuzz.py READER COUNT [SEED]`` prints what happened as JSON, and ends with 1 on a fault.

Each file is either read as a valid object or refused with one clear line that names it, within one second of
processor time and bounded memory, and nothing is written. A process of its own, so that a crash is seen.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from readers import Files, Reader, mutated, table

import snubridge as sb

MEMORY_DISK = "/dev/shm"  # files come and go by the ten thousand
LIMIT_S = 1.0
MEMORY = 96 * 2**20  # what one file may take beyond what the process had, and 100 times its own size
CEILING = 4 * 2**30  # of the address space: what wants more gets MemoryError, which counts as a fault
LONGEST = 10_000  # characters of a line of a message

STAGES = (
    (r"does not fit into memory", "MEMORY"),
    (r"cut short|begins as|not a readable (ONNX|safetensors)|damaged|no \.npy|cannot be read as an", "container"),
    (r"without a snubridge|JSON|canonical", "document's text"),
    (r"SHA-256|altered", "seal"),
    (r"unfold|encrypted|which is no array|two arrays|header|takes \d+|holds (objects|values|bytes|codes|no )", "array"),
)


class Fault(Exception):
    """What a reader must not do."""


@dataclass
class Figures:
    """What happened so far."""

    stages: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    memory_mib: float = 0.0
    faults: list[str] = field(default_factory=list)


def main() -> int:
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    if name in ("brian2", "nengo"):  # before warnings are errors: both use at import what others have deprecated
        importlib.import_module(name)
    warnings.simplefilter("error")
    ignored: list[str] = []  # what Python would only print, such as a warning of a file that is left open
    sys.unraisablehook = lambda found: ignored.append(repr(found.exc_value))
    reader = table()[name]
    figures = Figures()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None) as place:
        os.chdir(place)
        originals = _originals(reader, Path(place))
        ceiling = _status("VmSize") + CEILING
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            files, original = originals[index % len(originals)]
            changed, resealed = mutated(rng, reader, files)
            try:
                found, error = _read_one(reader, changed, figures)
                stage = _accepted(reader, found, original, changed == files or resealed) if error is None else None
                figures.stages[stage or _refused(reader, error)] += 1
                if ignored:
                    raise Fault(ignored.pop())
            except Fault as fault:
                figures.faults.append(f"seed {seed}, file {index}: {fault}")
        os.chdir("/")
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({"reader": name, "files": count, "seconds": seconds, **vars(figures)}))
    return 1 if figures.faults else 0


def _originals(reader: Reader, folder: Path) -> list[tuple[Files, Any]]:
    originals = []
    for path in reader.bases(folder):
        files = {p.name: p.read_bytes() for p in path.iterdir()} if path.is_dir() else {"": path.read_bytes()}
        original, error = _attempt(reader, path)
        if reader.error is not SystemExit and error is not None:  # a script takes only the inputs of its network
            raise error
        originals.append((files, original))
    for path in folder.iterdir():
        _remove(path)
    return originals


def _attempt(reader: Reader, path: Path) -> tuple[Any, BaseException | None]:
    try:
        return reader.read(path), None
    except reader.error as error:
        return None, error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise Fault(f"{type(error).__name__}: {str(error)[:300]!r} at {where.filename}:{where.lineno}") from error


def _read_one(reader: Reader, files: Files, figures: Figures) -> tuple[Any, BaseException | None]:
    """Write the files and read them, within the bounds."""
    path = Path(f"hostile{reader.suffix}")
    if list(files) == [""]:
        path.write_bytes(files[""])
    else:
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
    try:
        before, peak, size = _listing(), _status("VmPeak"), _status("VmSize")
        took, outcome = _timed(reader, path)
        for _ in range(3 if took > LIMIT_S else 0):  # a machine may stumble: a reader that is slow is slow again
            took = min(took, _timed(reader, path)[0])
        grown = _status("VmPeak") - size if _status("VmPeak") > peak else 0
        if grown > MEMORY:  # the peak is the whole process's: see whether this file is what takes it
            grown = min(grown, _grown_in_a_child(reader, path))
        if _listing() != before:
            raise Fault(f"changed files: {before} became {_listing()}")
    finally:
        _remove(path)
    figures.slowest_s = max(figures.slowest_s, round(took, 4))
    figures.memory_mib = max(figures.memory_mib, round(grown / 2**20, 1))
    if took > LIMIT_S:
        raise Fault(f"took {took:.2f} s")
    if grown > MEMORY + 100 * sum(map(len, files.values())):
        raise Fault(f"took {grown / 2**20:.0f} MiB")
    return outcome


def _grown_in_a_child(reader: Reader, path: Path) -> int:
    """What a fork, whose peak begins anew, takes to read a file."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        size = _status("VmSize")
        with contextlib.suppress(Fault):
            _attempt(reader, path)
        os.write(sink, str(_status("VmPeak") - size).encode())
        os._exit(0)
    os.waitpid(child, 0)
    grown = int(os.read(source, 100))
    os.close(source)
    os.close(sink)
    return grown


def _timed(reader: Reader, path: Path) -> tuple[float, tuple[Any, BaseException | None]]:
    start = time.process_time()
    outcome = _attempt(reader, path)
    return time.process_time() - start, outcome


def _accepted(reader: Reader, found: Any, original: Any, may_differ: bool) -> str:
    """The stage of what was read; a fault where it is no valid object, or an altered one that had to be refused."""
    if reader.sealed and not may_differ:
        raise Fault("an altered file was accepted")
    if isinstance(found, sb.Graph):
        rebuilt = sb.Graph(found.nodes, found.edges, numbers=found.numbers, metadata=found.metadata)
        sb.validate(rebuilt)
        return "accepted, equal" if found == original else "accepted, another graph"
    if isinstance(found, sb.Trace):
        if found.spikes or found.outputs:
            sb.compare(found, found)
        return "accepted"
    for array in found.values() if isinstance(found, dict) else [found]:
        if array.dtype.kind not in "biufU":
            raise Fault(f"an array of {array.dtype} was accepted")
        array.tolist()
    return "accepted"


def _refused(reader: Reader, error: BaseException | None) -> str:
    """The stage at which it was refused; a fault where the message is not one clear line for each reason."""
    text = str(error)
    lines = text.split("\n")
    if len(lines) > 1 and not isinstance(error, sb.InvalidGraph):
        raise Fault(f"several lines: {text[:300]!r}")
    if not all(
        0 < len(line) < LONGEST and re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]+", line)
        for line in lines
    ):
        raise Fault(f"no clear line: {text[:300]!r}")
    if f"hostile{reader.suffix}" not in lines[0]:
        raise Fault(f"names no file: {text[:300]!r}")
    stage = next((stage for pattern, stage in STAGES if re.search(pattern, text)), "content")
    if stage == "MEMORY":
        raise Fault(text[:300])
    return f"refused: {'rules' if isinstance(error, sb.InvalidGraph) else stage}"


def _listing() -> dict[str, tuple[int, int]]:
    found = {}
    for place, folders, files in os.walk("."):
        for name in (*folders, *files):
            path = f"{place}/{name}"
            status = os.lstat(path)
            found[path] = status.st_mtime_ns, status.st_size
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _status(key: str) -> int:
    """A size of this process, in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())

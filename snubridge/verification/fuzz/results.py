"""The results of a campaign: JSON lines, one for each graph in the order of their numbers, after one that says of what.

Nothing in them differs from run to run, so a campaign that was killed and resumed leaves the file that it would have
left in one go.
"""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from snubridge.errors import BadFile, BadInput, shown
from snubridge.ir.disk import fcntl, opened
from snubridge.ir.document import from_json, to_json
from snubridge.verification.fuzz.families import FAMILIES
from snubridge.verification.fuzz.outcome import OUTCOMES
from snubridge.verification.fuzz.targets import Target, described
from snubridge.version import __version__

FORMAT = 1
NAME = "results.jsonl"
COUNTS = ("steps", "samples", "neurons", "spikes")
TEXTS = ("name", "digest")
LONGEST = 1_000_000
"""Bytes of a line."""

Line = dict[str, Any]


def versions() -> dict[str, str]:
    """What results depend on, beside the engines."""
    return {"snubridge": __version__, "python": platform.python_version(), "numpy": np.__version__}


def configuration(seed: int, targets: Sequence[Target], limit: float) -> Line:
    """The first line: everything that the others depend on."""
    return {
        "format": FORMAT,
        "seed": seed,
        "limit": limit,
        "families": {name: family.share for name, family in FAMILIES.items()},
        "backends": described(targets),
        "versions": versions(),
    }


class Results:
    """The file of a campaign, open and locked; ``lines`` are those of graphs that were there already."""

    def __init__(self, stream: io.FileIO, lines: list[Line]) -> None:
        self.stream, self.lines = stream, lines

    def append(self, line: Line) -> None:
        """The next graph's; on the way to the disk when this returns."""
        _write(self.stream, line)
        self.lines.append(line)


@contextmanager
def open_results(folder: Path, wanted: Line) -> Iterator[Results]:
    """The results in ``folder``, begun or gone on with; ``BadInput`` where they are of another campaign."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)  # noqa: PTH123, SIM115  # a descriptor
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None
    with stream:
        _lock(stream, path)
        found, sound, rest = read_lines(path)
        _demand_own(path, found, rest, wanted)  # before anything is cut off: what is not ours is left as it is
        try:
            stream.truncate(sound)  # a line that a killed campaign left half-written
            stream.seek(sound)
        except OSError as error:
            raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None
        if not found:
            _write(stream, wanted)
        yield Results(stream, found[1:])


def _demand_own(path: Path, found: list[Line], rest: bytes, wanted: Line) -> None:
    """Refuse lines of another campaign, and bytes that no killed campaign of these arguments leaves."""
    if not found:
        if not _encoded(wanted).startswith(rest):
            raise BadFile(f"{path}: no results of this campaign: take another --out, or move the file away")
    elif _encoded(found[0]) != _encoded(wanted):  # as text: true is not 1
        raise BadInput(f"{path}: {_difference(found[0], wanted)}; take another --out, or the arguments of before")


def read_lines(path: Path) -> tuple[list[Line], int, bytes]:
    """All whole lines, how many bytes they take, and what follows them; ``BadFile`` for what no campaign writes."""
    lines: list[Line] = []
    sound = 0
    with opened(path) as (stream, _):
        while True:
            line = stream.readline(LONGEST)
            if not line.endswith(b"\n"):
                if len(line) == LONGEST:
                    raise BadFile(f"{path}, line {len(lines) + 1}: longer than any that snubridge fuzz writes")
                return lines, sound, line
            try:
                lines.append(_checked(from_json(line), lines))
            except (BadFile, UnicodeDecodeError) as error:
                raise BadFile(f"{path}, line {len(lines) + 1}: {error}") from None
            sound += len(line)


def _checked(found: Any, before: list[Line]) -> Line:
    """A line that may come after these, if it is one."""
    if not isinstance(found, dict):
        raise BadFile(f"{shown(found)} is no JSON object")
    if not before:
        if found.get("format") != FORMAT or not isinstance(found.get("backends"), dict):
            raise BadFile(f"no results of format {FORMAT}: take another --out")
        return found
    if not _is_count(found.get("graph")) or found["graph"] != len(before) - 1:
        raise BadFile(f"graph {shown(found.get('graph'))}, where {len(before) - 1} is due")
    if not all(isinstance(found.get(key), str) for key in TEXTS):
        raise BadFile(f"{', '.join(TEXTS)} are {shown([found.get(key) for key in TEXTS])}; text is needed")
    counts = [found.get(key) for key in COUNTS]
    if not all(map(_is_count, counts)):
        raise BadFile(f"{', '.join(COUNTS)} are {shown(counts)}; whole numbers are needed")
    backends = found.get("backends")
    labels = {*before[0]["backends"]}
    if not isinstance(backends, dict) or not (backends.keys() == labels or backends.keys() == {"reference"}):
        raise BadFile(f"its backends are {shown(backends)}; {sorted(labels)} are needed")
    for outcome in backends.values():
        _check_outcome(outcome)
    return found


def _check_outcome(found: Any) -> None:
    """``BadFile`` for what is no outcome; fields that say nothing are left out, never null."""
    if not isinstance(found, dict) or found.get("outcome") not in OUTCOMES:
        raise BadFile(f"{shown(found)} is no outcome")
    for key in ("differing", "roots"):
        if not _is_count(found.get(key, 0)):
            raise BadFile(f"{key} are {shown(found[key])}; a whole number is needed")
    for key in ("reason", "precision", "failure"):
        if not isinstance(found.get(key, ""), str):
            raise BadFile(f"{key} is {shown(found[key])}; text is needed")


def _is_count(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**53


def _encoded(line: Line) -> bytes:
    return to_json(line).encode() + b"\n"


def _write(stream: io.FileIO, line: Line) -> None:
    try:
        data = _encoded(line)
        while data:
            data = data[stream.write(data) :]
    except OSError as error:
        raise BadFile(f"{NAME}: cannot be written: {error.strerror or error}") from None


def _lock(stream: io.FileIO, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BadInput(f"{path}: another campaign is writing it; wait for its end, or take another --out") from None


def _difference(found: Line, wanted: Line) -> str:
    """What the first line says otherwise."""
    key = next((key for key in wanted if found.get(key) != wanted[key]), None)
    if key is None:
        return "it is of another campaign"
    if isinstance(found.get(key), dict) and isinstance(wanted[key], Mapping):
        inner = next((name for name in wanted[key] if found[key].get(name) != wanted[key][name]), None)
        if inner is not None:
            return f"it is of {key}.{inner} {shown(found[key].get(inner), 200)}, not {shown(wanted[key][inner], 200)}"
    return f"it is of {key} {shown(found.get(key), 200)}, not {shown(wanted[key], 200)}"

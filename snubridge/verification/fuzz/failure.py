"""A failure as a folder: the graph, its inputs, and what was seen; enough to see it again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.errors import BadFile, BadInput, shown
from snubridge.ir.disk import StrPath, checked_path, read_bytes, write_atomically
from snubridge.ir.document import from_json
from snubridge.ir.file import load, save
from snubridge.reference.archive import read_array, read_arrays, write_array
from snubridge.reference.inputs import prepare
from snubridge.verification.fuzz.outcome import FAILING, Outcome
from snubridge.verification.fuzz.reductions import with_named_inputs
from snubridge.verification.fuzz.targets import Target, target_of

FORMAT = 1
MOST = 1_000_000
"""Bytes of a description."""
KEYS = {"format", "graph", "label", "target", "shrunk", "limit", "versions", "outcome"}


@dataclass(frozen=True)
class Failure:
    """``case`` failed on ``target``: ``kind`` is one of ``FAILING``."""

    case: Case
    target: Target
    kind: str
    limit: float
    """Seconds."""


def write_failure(
    folder: Path,
    case: Case,
    target: Target,
    outcome: Outcome,
    *,
    shrunk: bool,
    limit: float,
    versions: Mapping[str, str],
) -> None:
    """Write ``graph.safetensors``, ``inputs.npz``, ``lengths.npy`` if there are any and, last, ``failure.json``."""
    case = with_named_inputs(case)
    description = {
        "format": FORMAT,
        "graph": case.name,
        "label": target.label,
        "target": target.document(),
        "shrunk": shrunk,
        "limit": limit,
        "versions": dict(versions),
        "outcome": outcome.document(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for former in ("failure.json", "lengths.npy"):  # of a campaign that was killed here
            (folder / former).unlink(missing_ok=True)
    except OSError as error:
        raise BadFile(f"{folder}: cannot be written: {error.strerror or error}") from None
    save(case.graph, folder / "graph.safetensors")
    buffer = io.BytesIO()
    np.savez(buffer, **prepare(case.graph, case.inputs).inputs)  # type: ignore[arg-type]  # numpy's stub: its own option
    write_atomically(folder / "inputs.npz", buffer.getvalue())
    if case.lengths is not None:
        write_array(folder / "lengths.npy", np.array(case.lengths))
    write_atomically(folder / "failure.json", (json.dumps(description, indent=2) + "\n").encode())


def read_failure(path: StrPath) -> Failure:
    """What ``write_failure`` wrote; raises ``BadFile``, ``BadInput`` and ``MissingEngine``."""
    folder = checked_path(path)
    if not folder.is_dir():
        raise BadFile(f"{path}: is no folder of a failure")
    place = folder / "failure.json"
    try:
        found = _checked(from_json(read_bytes(place, MOST)))
    except UnicodeDecodeError as error:
        raise BadFile(f"{place}: no text: {error}") from None
    except BadFile as error:
        raise BadFile(f"{error}" if str(place) in str(error) else f"{place}: {error}") from None
    graph = load(folder / "graph.safetensors")
    inputs = read_arrays(folder / "inputs.npz")
    lengths = read_array(folder / "lengths.npy") if (folder / "lengths.npy").exists() else None
    try:
        run = prepare(graph, inputs, lengths)
    except BadInput as error:
        raise BadFile(f"{folder}: its inputs do not fit its graph: {error}") from None
    target = target_of(found["label"], found["target"])
    case = Case(
        found["graph"], graph, dict(run.inputs), None if lengths is None else tuple(int(n) for n in run.lengths)
    )
    return Failure(case, target, found["outcome"]["outcome"], float(found["limit"]))


def _checked(found: Any) -> dict[str, Any]:
    """The description, if it is one."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BadFile(f"no failure of format {FORMAT}: write it anew with snubridge fuzz")
    if found.keys() != KEYS:
        raise BadFile(f"it has the keys {shown(sorted(found))}, where {sorted(KEYS)} are needed")
    target, outcome, limit = found["target"], found["outcome"], found["limit"]
    sound = (
        isinstance(found["graph"], str)
        and isinstance(found["label"], str)
        and is_target(target)
        and isinstance(outcome, dict)
        and outcome.get("outcome") in FAILING
        and isinstance(limit, int | float)
        and not isinstance(limit, bool)
        and 0 < limit < 1e6
    )
    if not sound:
        raise BadFile("its graph, label, target, limit or outcome is none that snubridge fuzz writes")
    return found


def is_target(found: Any) -> bool:
    """Whether JSON is what ``Target.document`` returns."""
    return (
        isinstance(found, dict)
        and found.keys() == {"name", "options", "version"}
        and isinstance(found["name"], str)
        and isinstance(found["options"], dict)
        and isinstance(found["version"], str | None)
    )

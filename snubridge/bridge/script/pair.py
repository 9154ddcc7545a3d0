"""The two files of an exported script: ``NAME.py``, and ``NAME.npz`` with its parameters beside it.

    NAME.npz   "plan" (JSON text) and the arrays of the plan, see ``planning``: what the script builds from
               "graph" (bytes): the graph's own file, so that it can be read back bit for bit
               "export" (JSON text): engine, layout, options
    NAME.py    the engine module's source, and a main that holds the SHA-256 of NAME.npz

A pair is replaced as one: while the new script is not yet there, the old one finds its old parameters under
``.NAME.<first 16 digits of their SHA-256>.npz``. A kill at any point leaves the old pair or the new one.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import snubridge.bridge.script.main as script_main
from snubridge.bridge.planning import Plan
from snubridge.errors import BadFile
from snubridge.ir.document import to_json
from snubridge.ir.file import StrPath, encode, read_bytes, write_atomically
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.archive import read_arrays

LAYOUT = 2
"""To be raised by whatever changes the files of a graph: a reader tells an older pair from an altered one by it.
Layout 2 has the code for fixed point."""


@dataclass(frozen=True)
class Pair:
    """The contents of both files."""

    script: bytes
    parameters: bytes


def compose(
    graph: Graph, plan: Plan, arrays: Mapping[str, Array], module: Any, engine: str, options: Mapping[str, Any]
) -> Pair:
    """The files of a graph; the same graph and options give the same bytes."""
    export = {"engine": engine, "layout": LAYOUT, "options": dict(options)}
    stored = io.BytesIO()
    entries: dict[str, Array] = {
        "plan": np.array(to_json(plan)),
        "export": np.array(to_json(export)),
        "graph": np.frombuffer(encode(graph), dtype=np.uint8),
        **arrays,
    }
    np.savez(stored, **entries)  # type: ignore[arg-type]  # numpy's stub takes the keys for its own option
    digest = hashlib.sha256(stored.getvalue()).hexdigest()
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    run = f"lambda plan, arrays, inputs: run(plan, arrays, inputs{given})"
    parts = [inspect.getsource(module), inspect.getsource(script_main)]
    source = (
        "\n\n".join(part.strip() for part in parts) + f'\n\n\nif __name__ == "__main__":\n    main({run}, "{digest}")\n'
    )
    return Pair(source.encode(), stored.getvalue())


def write(pair: Pair, path: StrPath, engine: str) -> None:
    """Write ``NAME.py`` and ``NAME.npz``; parameters may replace parameters, and nothing else that lies there."""
    script = Path(path)
    if script.suffix != ".py":
        raise BadFile(f"{path}: a script ends in .py; its parameters go into the .npz beside it")
    if script.stem in {*sys.stdlib_module_names, "numpy", engine}:
        raise BadFile(f"{path}: a script of that name would hide the module {script.stem} from itself; name it anew")
    parameters = script.with_suffix(".npz")
    if parameters.exists():
        if "plan" not in read_arrays(parameters):
            raise BadFile(f"{parameters}: is there and holds no parameters of a script; move it, or name it anew")
        if script.exists():
            former = read_bytes(parameters)
            write_atomically(_kept(script, former), former)
    write_atomically(parameters, pair.parameters)
    write_atomically(script, pair.script)
    for kept in _all_kept(script):
        kept.unlink(missing_ok=True)


def read(path: StrPath) -> Pair:
    """The script at ``path`` with its parameters, wherever a save that was cut off has left them."""
    script = Path(path)
    if script.suffix != ".py":
        raise BadFile(f"{path}: an exported script ends in .py; its parameters are read from the .npz beside it")
    source = read_bytes(script)
    for place in (script.with_suffix(".npz"), *_all_kept(script)):
        if place.exists():
            parameters = read_bytes(place)
            if hashlib.sha256(parameters).hexdigest().encode() in source[-400:]:
                return Pair(source, parameters)
    raise BadFile(f"{path}: the parameters it was exported with do not lie beside it: export both anew")


def _kept(script: Path, parameters: bytes) -> Path:
    return script.with_name(f".{script.stem}.{hashlib.sha256(parameters).hexdigest()[:16]}.npz")


def _all_kept(script: Path) -> list[Path]:
    pattern = f".{script.stem}."
    return sorted(
        place
        for place in script.parent.glob(".*.npz")
        if place.name.startswith(pattern) and len(place.name) == len(pattern) + 16 + len(".npz")
    )

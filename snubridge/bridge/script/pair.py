"""The two files of an exported script: ``NAME.py``, and ``NAME.npz`` with its parameters beside it.

    NAME.npz   "plan" (JSON text) and the arrays of the plan, see ``planning``: what the script builds from
               "graph" (bytes): the graph's own file, so that it can be read back bit for bit
               "export" (JSON text): engine, layout, options
    NAME.py    the engine module's source, and a main that holds the SHA-256 of NAME.npz

A pair is replaced as one: while the new script is not yet there, the old one finds its old parameters under
``.NAME.<first 16 digits of their SHA-256>.npz``. A kill at any point leaves the old pair or the new one.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import snubridge.bridge.script.main as script_main
from snubridge.bridge.planning import Plan
from snubridge.errors import BadFile
from snubridge.ir.disk import StrPath, checked_path, exists, read_bytes, write_atomically
from snubridge.ir.document import to_json
from snubridge.ir.file import encode
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.archive import read_arrays

LAYOUT = 1
"""To be raised by whatever changes the files of a graph: a reader tells an older pair from an altered one by it."""
TRIES = 5
"""How often a reader looks again while somebody else replaces the pair."""
PRELUDE = """
# python SCRIPT.py inputs.npy trace.npz [lengths.npy]
import importlib.util
import sys

if __name__ == "__main__" and importlib.util.find_spec("{engine}") is None:
    print("{engine} is not installed: pip install {engine}", file=sys.stderr)
    raise SystemExit(2)
"""


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
    parts = [*sources(module), inspect.getsource(script_main)]
    source = (
        "\n\n".join(part.strip() for part in parts) + f'\n\n\nif __name__ == "__main__":\n    main({run}, "{digest}")\n'
    )
    return Pair(source.encode(), stored.getvalue())


def sources(module: Any) -> list[str]:
    """The source of an engine module, after those of its own package that it imports from; without these imports."""
    return _sources(module, {})


def _sources(module: Any, taken: dict[str, None]) -> list[str]:
    source = inspect.getsource(module)
    package = module.__name__.partition(".")[0]
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == package:
            lines[node.lineno - 1 : node.end_lineno] = [""] * len(lines[node.lineno - 1 : node.end_lineno])
            if node.module not in taken:
                taken[node.module] = None
                found += _sources(sys.modules[node.module], taken)
    return [*found, re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines))]


def write(pair: Pair, path: StrPath) -> None:
    """Write ``NAME.py`` and ``NAME.npz``; parameters may replace parameters, and nothing else that lies there.

    What fails or is interrupted on the way leaves both files as they were.
    """
    script = checked_path(path)
    if script.suffix != ".py":
        raise BadFile(f"{path}: a script ends in .py; its parameters go into the .npz beside it")
    if _hides_a_module(script):
        raise BadFile(f"{path}: a script of that name would hide the module {script.stem} from itself; name it anew")
    parameters = script.with_suffix(".npz")
    former = read_bytes(parameters) if exists(parameters) else None
    if former is not None and "plan" not in read_arrays(parameters):
        raise BadFile(f"{parameters}: is there and holds no parameters of a script; move it, or name the script anew")
    kept = None if former is None else _kept(script, former)
    try:
        if kept is not None and former is not None:
            write_atomically(kept, former)
        write_atomically(parameters, pair.parameters)
        write_atomically(script, pair.script)
    except BaseException:
        done = exists(script) and read_bytes(script) == pair.script
        if kept is None and not done:
            parameters.unlink(missing_ok=True)
        elif kept is not None and kept.exists():
            kept.unlink() if done else kept.replace(parameters)  # which takes no room, should the disk be full
        raise
    for left in _all_kept(script):
        left.unlink(missing_ok=True)


def _hides_a_module(script: Path) -> bool:
    """Whether Python, started on the script, would take it for a module that the script or its engine imports."""
    name = script.stem
    if name in sys.stdlib_module_names:
        return True
    roots = [Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")]
    places = [root / part for root in roots for part in (name, f"{name}.py")]
    return any(place.exists() and place != script.resolve() for place in places)


def read(path: StrPath) -> Pair:
    """The script at ``path`` with its parameters, wherever a save that was cut off has left them."""
    script = checked_path(path)
    if script.suffix != ".py":
        raise BadFile(f"{path}: an exported script ends in .py; its parameters are read from the .npz beside it")
    for _ in range(TRIES):
        source = read_bytes(script)
        for place in (script.with_suffix(".npz"), *_all_kept(script)):
            try:
                parameters = read_bytes(place)
            except BadFile:  # not there, or just gone: said below, if no other is the one
                continue
            if hashlib.sha256(parameters).hexdigest().encode() in source[-400:]:
                return Pair(source, parameters)
    raise BadFile(f"{path}: the parameters it was exported with do not lie beside it: export both anew")


def _kept(script: Path, parameters: bytes) -> Path:
    return script.with_name(f".{script.stem}.{hashlib.sha256(parameters).hexdigest()[:16]}.npz")


def _all_kept(script: Path) -> list[Path]:
    """Former parameters that a save left: each named after its contents, so that no other file is taken for one."""
    pattern = re.compile(rf"\.{re.escape(script.stem)}\.[0-9a-f]{{16}}\.npz")
    found = sorted(place for place in script.parent.glob(".*.npz") if pattern.fullmatch(place.name))
    return [place for place in found if place.is_file() and _kept(script, place.read_bytes()) == place]

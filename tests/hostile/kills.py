"""Kills processes that save, and looks at what is left: ``python kills.py KIND``; prints figures as JSON.

Each kind is saved over and over, in turn as one of two versions, by a child that is killed (SIGKILL) after a random
time; and once by a child for each line of the saving code, which kills itself there. Whatever the moment, the artefact
has to be the old or the new one, whole, and readable; the next save has to clean up.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import snubridge_pcm.folder as folder

import snubridge as sb

with warnings.catch_warnings():  # it uses at import what numpy has deprecated
    warnings.simplefilter("ignore")
    import nengo  # noqa: F401  # loaded here, before a program asks for it

SAVING = ("snubridge/ir/disk.py", "snubridge/bridge/script/pair.py", "snubridge_pcm/folder.py")
Save = Callable[[Path], None]


def graph(size: int) -> sb.Graph:
    """A graph whose files take many writes."""
    weight = np.random.default_rng(size).normal(size=(size, size))
    nodes = {"in": sb.Input((size,)), "w": sb.Linear(weight), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")])


def kinds() -> dict[str, tuple[str, list[Save], Callable[[Path], Any]]]:
    """By kind: the name of the artefact, how its two versions are saved, and how it is read."""
    graphs = [graph(60), graph(90)]
    traces = [sb.simulate(g, np.ones((40, 4, *g.nodes["in"].shape))) for g in graphs]  # type: ignore[attr-defined]  # an Input
    onnx, pcm, nengo = ([sb.export(g, backend) for g in graphs] for backend in ("onnx", "pcm", "nengo"))
    return {
        "graph": ("net.safetensors", [lambda p, g=g: sb.save(g, p) for g in graphs], sb.load),  # type: ignore[misc]  # g is bound
        "trace": ("trace.npz", [t.save for t in traces], sb.Trace.load),
        "onnx": ("net.onnx", [p.save for p in onnx], lambda path: sb.import_graph(path, "onnx")),
        "script": ("net.py", [p.save for p in nengo], lambda path: sb.import_graph(path, "nengo")),
        "pcm": ("chip.pcm", [p.save for p in pcm], lambda path: sb.import_graph(path, "pcm")),
    }


def contents(path: Path) -> Any:
    """The bytes of a file, or of all files in a folder; None where nothing is."""
    if path.is_dir():
        return {entry.name: entry.read_bytes() for entry in path.iterdir()}
    return path.read_bytes() if path.exists() else None


def killed_at_random(target: Path, saves: list[Save], rng: random.Random) -> None:
    """A child saves without end, until it is killed."""
    child = os.fork()
    if not child:
        while True:
            for save in saves:
                save(target)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def killed_at_line(target: Path, save: Save, line: int) -> bool:
    """A child saves, and is killed before the given line that the saving code runs; whether it came so far."""
    child = os.fork()
    if not child:
        left = line

        def traced(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(SAVING):
                return None
            left -= event == "line"
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return traced

        sys.settrace(traced)
        save(target)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main() -> int:
    kind, rounds = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) > 3:  # as where the system cannot exchange two names in one step
        folder.exchange = lambda one, other: False
    name, saves, read = kinds()[kind]
    rng = random.Random(kind)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / name
        versions = []
        for save in saves:
            save(target)
            versions.append(contents(target))
        usual = len(list(Path(place).iterdir()))  # a script is two files

        def examine(old: Any) -> None:
            found["kills"] += 1
            left = contents(target)
            if left is None and len(sys.argv) > 3:
                found["aside"] += 1  # for the next save to bring back
                return
            if left not in versions:
                found["torn"] += 1
            else:
                read(target)
                found["old" if left == old else "new"] += 1
            found["strays"] += len(list(Path(place).iterdir())) > usual

        for _ in range(rounds):
            old = contents(target)
            killed_at_random(target, saves, rng)
            examine(old)
        for fresh in (False, True):
            line = 0
            while True:
                saves[0](target)
                found["left after the next save"] += len(list(Path(place).iterdir())) - usual
                if fresh:
                    remove(target)
                    target.with_suffix(".npz").unlink(missing_ok=True)
                if not killed_at_line(target, saves[1], line):
                    break
                if not (fresh and contents(target) is None):
                    examine(versions[0])
                line += 1
    print(json.dumps(found))
    return 0


def remove(path: Path) -> None:
    """A file, or a folder of files."""
    if path.is_dir():
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
    else:
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())

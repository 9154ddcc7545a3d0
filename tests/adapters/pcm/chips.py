"""Graphs and folders that the tests of the PCM adapter share."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import snubridge_pcm.folder as folder
from snubridge_pcm import PcmAdapter
from snubridge_pcm.archive import inventory

import snubridge as sb
from snubridge.ir.document import to_json

READ = PcmAdapter().read  # without the look for plug-ins of sb.import_graph, which takes longer
Tamper = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def graph_of_everything(numbers: Any = sb.Float32()) -> sb.Graph:  # a frozen value
    """Every node that is supported, several ranks, delays, a cycle, per-neuron parameters, metadata."""
    rng = np.random.default_rng(7)
    nodes = {
        "out.last": sb.Output("last"),
        "in": sb.Input((3, 4), low=-8, high=8, fraction_bits=3),
        "rows": sb.Linear(rng.integers(-8, 9, (5, 4)) / 8, rng.integers(-4, 5, 5) / 8),
        "class": sb.Unit(0.75, rng.integers(1, 6, (3, 5)) / 4, g=sb.LeakyReLU(0.25), initial_state=0.5),
        "flat": sb.Flatten(),
        "dense": sb.Linear(np.where(rng.random((6, 15)) < 0.2, -0.0, rng.integers(-8, 9, (6, 15)) / 8)),
        "1st-unit": sb.Unit(rng.random(6), 0.5, reset=sb.Reset.LATERAL, g=sb.ReLU(), h=sb.Step(at_threshold=True)),
        "back": sb.Linear(rng.integers(-8, 9, (6, 6)) / 16),
        "readout": sb.Linear(rng.normal(size=(2, 6))),
        "leak": sb.Unit(0.5, 0.0, reset=sb.Reset.NONE, h=sb.Identity()),
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "rows", 1),
        sb.Edge("rows", "class"),
        sb.Edge("rows", "class", 2),
        sb.Edge("class", "flat"),
        sb.Edge("flat", "dense"),
        sb.Edge("dense", "1st-unit"),
        sb.Edge("1st-unit", "back", 3),
        sb.Edge("back", "1st-unit"),
        sb.Edge("1st-unit", "readout"),
        sb.Edge("readout", "leak"),
        sb.Edge("leak", "out"),
        sb.Edge("leak", "out.last", 1),
    ]
    return sb.Graph(nodes, edges, numbers=numbers, metadata={"trained": {"steps": 3, "rate": 0.1}, "five": [1, None]})


def one_crossbar(weight: Any, numbers: Any = sb.Float32()) -> sb.Graph:
    nodes = {"in": sb.Input((np.shape(weight)[1],)), "w": sb.Linear(weight), "unit": sb.Unit(0.5, 1.0)}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "unit")]
    return sb.Graph({**nodes, "out": sb.Output()}, [*edges, sb.Edge("unit", "out")], numbers=numbers)


def saved(graph: sb.Graph, place: Path, **options: Any) -> Path:
    path = place / "chip.pcm"
    sb.export(graph, "pcm", **options).save(path)
    return path


def reseal(path: Path, tamper: Tamper) -> None:
    """Change a folder as an attacker would: every hash is computed anew."""
    document, arrays = folder.read(path)
    document = copy.deepcopy(document)
    arrays = {key: array.copy() for key, array in arrays.items()}
    untouched = copy.deepcopy(document["arrays"])
    tamper(document, arrays)
    if document["arrays"] == untouched:
        document["arrays"] = inventory(arrays)
    body = {key: value for key, value in document.items() if key not in ("sha256", "archive")}
    for name, data in folder.seal(body, arrays).items():
        (path / name).write_bytes(data)


def rehash(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change hardware.json alone, and its own hash."""
    document = json.loads((path / "hardware.json").read_bytes())
    del document["sha256"]
    change(document)
    document["sha256"] = hashlib.sha256(to_json(document).encode()).hexdigest()
    (path / "hardware.json").write_bytes(to_json(document).encode())


def halve(array: np.ndarray, row: int, column: int) -> None:
    assert array[row, column] > 0
    array[row, column] /= 2

"""Neuron-steps per second of every backend, beside the reference in the same process, in one thread.

    python benchmarks/engines.py [--backends pcm,onnx:float32] [--repeats 5] [--graphs recurrent,dense]

Prints a table in Markdown and, as the last line, the same as JSON. A neuron-step is one neuron of a unit in one step of
one sample. What is timed is ``program.run`` with spikes recorded, after one run that is not: lowering is stated apart.
The medians are over repeats in which all take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import math
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import snubridge as sb
from snubridge.bridge import shapes
from snubridge.verification.fuzz import Target, parse_targets

SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RATE = 0.1
"""Of the spikes in the inputs."""
REFERENCE = "reference"


def recurrent() -> tuple[sb.Graph, int, int]:
    """88-150-88, the hidden layer recurrent: the network of the demo."""
    rng = np.random.default_rng(0)
    nodes: dict[str, Any] = {
        "in": sb.Input((88,)),
        "w": sb.Linear(rng.normal(0, 0.3, (150, 88))),
        "hidden": sb.Unit(0.8, 1.0),
        "h": sb.Linear(rng.normal(0, 0.1, (150, 150))),
        "v": sb.Linear(rng.normal(0, 0.3, (88, 150))),
        "readout": sb.Unit(0.8, 1.0),
        "out": sb.Output(),
    }
    edges = [*_chain("in", "w", "hidden", "v", "readout", "out"), sb.Edge("hidden", "h", 1), sb.Edge("h", "hidden")]
    return sb.Graph(nodes, edges), 100, 16


def convolution() -> tuple[sb.Graph, int, int]:
    """1x28x28, a convolution of 8 channels, an average, ten neurons."""
    rng = np.random.default_rng(1)
    nodes: dict[str, Any] = {
        "in": sb.Input((1, 28, 28)),
        "conv": sb.Conv2d(rng.normal(0, 0.4, (8, 1, 5, 5))),
        "features": sb.Unit(0.8, 1.0),
        "pool": sb.AvgPool2d(2),
        "flat": sb.Flatten(),
        "w": sb.Linear(rng.normal(0, 0.1, (10, 8 * 12 * 12))),
        "classes": sb.Unit(0.8, 1.0),
        "out": sb.Output("sum"),
    }
    return sb.Graph(nodes, _chain(*nodes)), 20, 8


def dense() -> tuple[sb.Graph, int, int]:
    """784-256-256-10, feed-forward."""
    rng = np.random.default_rng(2)
    sizes = (784, 256, 256, 10)
    nodes: dict[str, Any] = {"in": sb.Input((sizes[0],))}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        nodes[f"w{layer}"] = sb.Linear(rng.normal(0, 3 / math.sqrt(inputs), (outputs, inputs)))
        nodes[f"layer{layer}"] = sb.Unit(0.8, 1.0)
    nodes["out"] = sb.Output()
    return sb.Graph(nodes, _chain(*nodes)), 50, 16


GRAPHS: Mapping[str, Callable[[], tuple[sb.Graph, int, int]]] = {
    "recurrent": recurrent,
    "convolution": convolution,
    "dense": dense,
}


def _chain(*names: str) -> list[sb.Edge]:
    return [sb.Edge(source, target) for source, target in itertools.pairwise(names)]


def measure(name: str, targets: tuple[Target, ...], repeats: int) -> list[dict[str, Any]]:
    """One row for each backend, and the reference's first."""
    graph, steps, samples = GRAPHS[name]()
    (inputs,) = graph.of_kind(sb.Input).values()
    spikes = (np.random.default_rng(3).random((steps, samples, *inputs.shape)) < RATE).astype(np.float32)
    neuron_steps = steps * samples * sum(math.prod(shapes(graph)[unit]) for unit in graph.of_kind(sb.Unit))
    expected = sb.simulate(graph, spikes)
    runs: dict[str, Callable[[], sb.Trace]] = {REFERENCE: lambda: sb.simulate(graph, spikes)}
    lowering, differing = {REFERENCE: 0.0}, {REFERENCE: 0}
    for target in targets:
        started = time.perf_counter()
        program = sb.export(graph, target.name, **target.options)
        first = program.run(spikes)
        lowering[target.label] = time.perf_counter() - started
        differing[target.label] = sum(part.differing for part in sb.compare(expected, first).units.values())
        runs[target.label] = lambda program=program: program.run(spikes)  # type: ignore[misc]  # bound now
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    gc.collect()
    gc.freeze()  # Brian2 looks through everything for garbage before each run
    for _ in range(repeats):
        for label, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[label].append(time.perf_counter() - started)
    gc.unfreeze()
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    return [
        {
            "graph": name,
            "backend": label,
            "neuron_steps": neuron_steps,
            "seconds": median,
            "per_second": neuron_steps / median,
            "of_reference": medians[REFERENCE] / median,
            "lowering": lowering[label],
            "differing": differing[label],
        }
        for label, median in medians.items()
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| graph | backend | neuron-steps/s | times the reference | lowering and first run, s | spikes that differ |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        lowered = "" if row["backend"] == REFERENCE else f"{row['lowering']:.2f}"
        lines.append(
            f"| {row['graph']} | {row['backend']} | {row['per_second']:,.0f} | {row['of_reference']:.2f} "
            f"| {lowered} | {row['differing']} |"
        )
    return "\n".join(lines)


def main() -> int:
    if any(os.environ.get(key) != "1" for key in SINGLE):  # libraries ask when they are imported: begin anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(SINGLE, "1")})
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backends", help="as for snubridge fuzz; default: all, ONNX and torch in both precisions")
    parser.add_argument("--graphs", default=",".join(GRAPHS), help="default: all of them")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # engines' own deprecations
    logging.disable(logging.DEBUG)
    text = args.backends or ",".join(
        f"{name}:float32,{name}:float64" if name in ("onnx", "torch") else name for name in sb.backends()
    )
    targets = parse_targets(text)
    rows = [row for name in args.graphs.split(",") for row in measure(name, targets, args.repeats)]
    versions = {target.label: target.version for target in targets}
    print(markdown(rows))
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({"rows": rows, "versions": versions, **machine}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

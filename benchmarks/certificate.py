"""What a certificate costs: ``sb.certify`` beside ``sb.simulate``, the same process, one thread, medians of ratios.

python benchmarks/certificate.py [--repeats 7]      prints a Markdown table
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # before numpy is loaded

import numpy as np  # noqa: E402  # see above

import snubridge as sb  # noqa: E402

NETS = {"88-150-88": (88, 150, 88), "256-256-256": (256, 256, 256), "784-256-256-10": (784, 256, 256, 10)}


def network(sizes: tuple[int, ...], recurrent: bool) -> sb.Graph:
    """Dense layers of units with float32 weights as training leaves them."""
    rng = np.random.default_rng(0)
    nodes: dict[str, sb.Node] = {"in": sb.Input((sizes[0],))}
    edges, last = [], "in"
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight, unit = f"w{layer}", f"u{layer}"
        nodes |= {weight: sb.Linear(rng.normal(0.1, 2 / np.sqrt(inputs), (outputs, inputs))), unit: sb.Unit(0.8, 1.0)}
        edges += [sb.Edge(last, weight), sb.Edge(weight, unit)]
        if recurrent:
            nodes[f"h{layer}"] = sb.Linear(rng.normal(0, 0.5 / np.sqrt(outputs), (outputs, outputs)))
            edges += [sb.Edge(unit, f"h{layer}", 1), sb.Edge(f"h{layer}", unit)]
        last = unit
    nodes["out"] = sb.Output()
    return sb.Graph(nodes, [*edges, sb.Edge(last, "out")])


def measured(graph: sb.Graph, inputs: np.ndarray, repeats: int) -> tuple[float, sb.Certificate]:
    """The median of the ratios, each of two runs side by side, and the certificate."""
    ratios = []
    for _ in range(repeats):
        start = time.process_time()
        sb.simulate(graph, inputs)
        middle = time.process_time()
        certificate = sb.certify(graph, inputs, "float32")
        ratios.append((time.process_time() - middle) / (middle - start))
    return statistics.median(ratios), certificate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print("| network | T | B | certify / simulate | certified in float32 | open |\n|---|---|---|---|---|---|")
    for name, sizes in NETS.items():
        for recurrent in (False, True):
            for steps, samples in ((100, 1), (100, 32)):
                graph = network(sizes, recurrent)
                inputs = (np.random.default_rng(1).random((steps, samples, sizes[0])) < 0.1).astype(np.float32)
                ratio, found = measured(graph, inputs, repeats)
                label = f"{name}{' recurrent' if recurrent else ''}"
                row = (label, steps, samples, f"{ratio:.2f}", f"{100 * found.certified:.3f} %", found.opened)
                print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Random networks that ``nengo.LIF`` can be: TO_ZERO, Step, g identity or relu, thresholds above 0."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import snubridge as sb

DYADIC = {"decay": (0.0, 0.5, 0.75, 1.0), "threshold": (0.5, 0.75, 1.0, 1.25), "initial": (-1.0, 0.0, 0.0, 0.25)}


def network(seed: int, family: str, steps: int = 40, samples: int = 2) -> tuple[sb.Graph, Any]:
    """Up to four layers with recurrence, skips, biases and delays; "lattice": on a coarse grid, with exact ties."""
    rng = np.random.default_rng([seed, family == "lattice"])
    dyadic = family == "lattice"

    def weights(shape: Any, scale: float, mean: float = 0.0) -> Any:
        drawn = rng.normal(mean, scale, shape)
        return np.rint(drawn * 8) / 8 if dyadic else drawn

    def parameter(key: str, size: int) -> Any:
        """One value, or one of two for each neuron."""
        if dyadic:
            drawn = rng.choice(DYADIC[key], 2)
        elif key == "decay":
            drawn = rng.choice([0.0, 1.0, *rng.random(4), 1 - 1e-3 * rng.random()], 2)
        else:
            drawn = rng.uniform(0.3, 1.5, 2) if key == "threshold" else rng.normal(-0.2, 0.1, 2)
        return rng.choice(drawn, size) if rng.random() < 0.5 else float(drawn[0])

    size = int(rng.integers(3, 9))
    nodes: dict[str, Any] = {"in": sb.Input((size,))}
    edges = []
    names = ["in"]
    for layer in range(int(rng.integers(1, 5))):
        own, source = int(rng.integers(1, 9)), names[-1]
        unit = sb.Unit(
            parameter("decay", own),
            parameter("threshold", own),
            g=sb.ReLU() if rng.random() < 0.4 else sb.Identity(),
            h=sb.Step(at_threshold=bool(rng.random() < 0.25)),
            initial_state=parameter("initial", own) if rng.random() < 0.3 else 0.0,
        )
        bias = weights(own, 0.2) if rng.random() < 0.4 else None
        nodes |= {f"w{layer}": sb.Linear(weights((own, size), 0.6, 0.3), bias), f"u{layer}": unit}
        edges += [sb.Edge(source, f"w{layer}", int(rng.choice([0, 0, 0, 1, 3]))), sb.Edge(f"w{layer}", f"u{layer}")]
        if rng.random() < 0.5:
            nodes[f"h{layer}"] = sb.Linear(weights((own, own), 0.4))
            edges += [sb.Edge(f"u{layer}", f"h{layer}", int(rng.integers(1, 4))), sb.Edge(f"h{layer}", f"u{layer}")]
        if rng.random() < 0.3:
            edges.append(sb.Edge(f"u{layer}", f"u{layer}", int(rng.integers(1, 3))))
        names.append(f"u{layer}")
        size = own
    nodes["out"] = sb.Output()
    edges.append(sb.Edge(names[-1], "out", int(rng.choice([0, 2]))))
    shape = steps, samples, nodes["in"].shape[0]
    inputs = rng.integers(-4, 9, shape) / 8 if dyadic else rng.random(shape) * (rng.random(shape) < 0.6)
    return sb.Graph(nodes, edges, numbers=sb.Float64() if seed % 2 else sb.Float32()), inputs


def ties(graph: sb.Graph, inputs: Any) -> int:
    """Decisions with a state of exactly the threshold."""
    states = sb.simulate(graph, inputs, record=("states",)).states
    units = graph.of_kind(sb.Unit)
    return sum(int((states[name] == unit.threshold.astype(np.float64)).sum()) for name, unit in units.items())


def bins(family: str, seeds: range, **options: Any) -> dict[str, int]:
    """What was compared, step by step, with the reference; states to 1e-9 of their scale."""
    found = dict.fromkeys(("networks", "bins", "spikes", "differing", "ties"), 0)
    for seed in seeds:
        graph, inputs = network(seed, family)
        expected = sb.simulate(graph, inputs, record=("spikes", "states"))
        actual = sb.export(graph, "nengo", **options).run(inputs, record=("spikes", "states"))
        equal = all((spikes == actual.spikes[name]).all() for name, spikes in expected.spikes.items())
        for name, spikes in expected.spikes.items():
            found["bins"] += spikes.size
            found["spikes"] += int(spikes.sum())
            found["differing"] += int((spikes != actual.spikes[name]).sum())
            scale = max(1.0, float(np.abs(expected.states[name]).max()))
            if equal:
                np.testing.assert_allclose(actual.states[name], expected.states[name], rtol=0, atol=1e-9 * scale)
        for name, values in expected.outputs.items():
            found["differing"] += int((values != actual.outputs[name]).sum())
        found["networks"] += 1
        found["ties"] += ties(graph, inputs)
    return found


def stack(*units: sb.Unit, size: int = 4) -> sb.Graph:
    """Units one behind the other, one to one."""
    nodes = {"in": sb.Input((size,)), **{f"u{i}": unit for i, unit in enumerate(units)}, "out": sb.Output()}
    return sb.Graph(nodes, [sb.Edge(*pair) for pair in itertools.pairwise(nodes)])

"""Random networks that a Loihi core can take: layered and recurrent, generic and on a lattice."""

from __future__ import annotations

import itertools

import numpy as np

import snubridge as sb

E = sb.Edge
DECAYS = (0.0, 1 / 4096, 0.5, 0.8, 0.9, 0.99, 4095 / 4096, 1.0)


def random_network(seed, *, steps=40, samples=2):
    """A float graph and spikes for it: 1 to 3 layers of 5 to 60 neurons, every second one recurrent."""
    rng = np.random.default_rng(seed)
    lattice = bool(seed % 2)
    sizes = [int(n) for n in rng.integers(5, 60, rng.integers(2, 5))]
    nodes = {"in": sb.Input((sizes[0],))}
    edges, before = [], "in"
    for at, (fan_in, size) in enumerate(itertools.pairwise(sizes)):
        name = f"u{at}"
        g = sb.ReLU() if rng.random() < 0.5 else sb.Identity()
        decay = DECAYS[int(rng.integers(len(DECAYS)))] if lattice else rng.random()
        if rng.random() < 0.25:
            decay = rng.choice([0.25, 0.5, 0.75], size)
        threshold = rng.choice([0.5, 0.75, 1.0]) if lattice else rng.uniform(0.5, 1.5, size)
        nodes |= {f"{name}.w": sb.Linear(_weights(rng, lattice, size, fan_in)), name: sb.Unit(decay, threshold, g=g)}
        late = int(rng.integers(3)) if rng.random() < 0.3 else 0
        edges += [E(before, f"{name}.w", late), E(f"{name}.w", name)]
        if isinstance(g, sb.Identity) and np.any(np.asarray(decay) == 1):
            nodes[name] = sb.Unit(4095 / 4096, threshold, g=g)
        if rng.random() < 0.5:
            nodes[f"{name}.h"] = sb.Linear(_weights(rng, lattice, size, size))
            edges += [E(name, f"{name}.h", 1), E(f"{name}.h", name)]
        before = name
    nodes |= {"r": sb.Linear(rng.normal(0, 1, (3, sizes[-1])), rng.normal(0, 1, 3)), "out": sb.Output("mean")}
    edges += [E(before, "r"), E("r", "out")]
    return sb.Graph(nodes, edges), (rng.random((steps, samples, sizes[0])) < rng.uniform(0.1, 0.6)).astype(float)


def _weights(rng, lattice, outputs, inputs):
    if lattice:
        return rng.integers(-3, 5, (outputs, inputs)) / 8
    return rng.normal(0.1, 1.0, (outputs, inputs)) / np.sqrt(inputs) * rng.choice([0.3, 1.0, 3.0])

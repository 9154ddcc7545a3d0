"""Random graphs of the two families in which equality can be demanded without a certificate.

*dyadic*: parameters and inputs on a coarse power-of-two grid, exact ties at the threshold
included, so that every sum is exact in any order; decay 0 or 1, or any dyadic decay where the
engine computes in float64.
*generic*: random real numbers; float64 engines must agree, float32 engines wherever no state
comes closer than ``GENERIC_MARGIN`` to its threshold.

Both hold dense and recurrent networks of spiking units; ``space`` draws from all that there is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.draws import Dyadic, Generic
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Node, Output

Family = Literal["dyadic", "generic"]
GENERIC_MARGIN = 1e-3


def random_case(
    seed: int, family: Family, *, precision: str = "float64", steps: int = 50, samples: int = 2, units: int = 6
) -> Case:
    """A dense or recurrent graph of one to three layers of at most ``units`` neurons.

    Layers are recurrent or not, with g identity or ReLU, parameters shared or per neuron, initial
    states, thresholds of either sign; skip connections, feedback and longer delays, dense
    read-outs and spikes as outputs occur. The same arguments give the same case.
    """
    rng = np.random.default_rng([seed, family == "dyadic", precision == "float64"])
    draw = Dyadic(rng, precision) if family == "dyadic" else Generic(rng)
    width = int(rng.integers(1, 8))
    nodes: dict[str, Node] = {"in": Input((width,))}
    edges: list[Edge] = []
    sizes: list[int] = []
    source, last = "in", width
    for layer in range(int(rng.integers(1, 4))):
        name, size = f"layer{layer}", int(rng.integers(1, units + 1))
        nodes[f"{name}.weight"] = draw.linear(size, last)
        nodes[name] = draw.unit(size)
        edges += [Edge(source, f"{name}.weight"), Edge(f"{name}.weight", name)]
        if rng.random() < 0.5:
            nodes[f"{name}.recurrent"] = draw.linear(size, size, scale=0.5)
            delay = 1 if rng.random() < 0.7 else int(rng.integers(2, 5))
            into = bool(rng.random() < 0.5)
            edges += [
                Edge(name, f"{name}.recurrent", delay if into else 0),
                Edge(f"{name}.recurrent", name, 0 if into else delay),
            ]
        if layer and rng.random() < 0.3:
            nodes[f"{name}.skip"] = draw.linear(size, width)
            edges += [Edge("in", f"{name}.skip", int(rng.integers(0, 3))), Edge(f"{name}.skip", name)]
        if layer and rng.random() < 0.3:
            nodes[f"{name}.feedback"] = draw.linear(sizes[-1], size, scale=0.5)
            edges += [Edge(name, f"{name}.feedback", 1), Edge(f"{name}.feedback", source)]
        sizes.append(size)
        source, last = name, size
    if rng.random() < 0.7:
        nodes["readout"] = draw.linear(3, last)
        nodes["out"] = Output()
        edges += [Edge(source, "readout"), Edge("readout", "out")]
    if rng.random() < 0.5:
        nodes["spikes"] = Output()
        edges.append(Edge(source, "spikes"))
    return Case(f"{family}-{seed}", Graph(nodes, edges), draw.inputs((steps, samples, width)))

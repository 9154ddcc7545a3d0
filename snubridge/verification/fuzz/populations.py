"""Large graphs that are cheap to step: some hundred neurons, hundreds of steps, a batch of samples."""

from __future__ import annotations

import math

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.draws import Draw, Dyadic, Generic
from snubridge.ir.functions import Reset, Step
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Conv2d, Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Float32, Float64

NOT_SHARED = (Reset.TO_ZERO, Reset.TO_ZERO, Reset.SUBTRACT, Reset.SUBTRACT_DECAYED, Reset.NONE)
"""Resets that look at one neuron alone: lateral inhibition over so many silences a layer, or takes a synapse a pair."""


def population(rng: np.random.Generator) -> Case:
    """One or two recurrent layers, or a convolution; spikes in, spikes out."""
    wide = bool(rng.random() < 0.1)
    draw = Dyadic(rng, "float64" if wide else "float32") if rng.random() < 0.5 else Generic(rng)
    samples, nodes, edges = int(rng.integers(8, 17)), dict[str, Node](), list[Edge]()
    shape: tuple[int, ...]
    if rng.random() < 0.25:
        steps, shape = int(rng.integers(20, 60)), (1, 14, 14)
        depth = int(rng.integers(2, 5))
        weight = draw.values((depth, 1, 3, 3)) * 0.5
        nodes |= {"in": Input(shape), "conv": Conv2d(weight, padding=1), "layer0": _unit(draw, rng, ())}
        edges += [Edge("in", "conv"), Edge("conv", "layer0")]
        last = "layer0"
    else:
        steps, width = int(rng.integers(200, 501)), int(rng.integers(20, 101))
        shape, last, size = (width,), "in", width
        nodes["in"] = Input(shape)
        for layer in range(int(rng.integers(1, 3))):
            name, neurons = f"layer{layer}", int(rng.integers(80, 301))
            nodes |= {f"{name}.weight": _linear(draw, rng, neurons, size), name: _unit(draw, rng, (neurons,))}
            edges += [Edge(last, f"{name}.weight"), Edge(f"{name}.weight", name)]
            if rng.random() < 0.7:
                nodes[f"{name}.recurrent"] = _linear(draw, rng, neurons, neurons, 0.5)
                delay = int(rng.integers(1, 4))
                edges += [Edge(name, f"{name}.recurrent", delay), Edge(f"{name}.recurrent", name)]
            last, size = name, neurons
    nodes["out"] = Output()
    edges.append(Edge(last, "out"))
    graph = Graph(nodes, edges, numbers=Float64() if wide else Float32())
    spikes = rng.random((steps, samples, *shape)) < rng.uniform(0.05, 0.3)
    return Case("population", graph, spikes.astype(np.float32))


def _linear(draw: Draw, rng: np.random.Generator, outputs: int, inputs: int, scale: float = 1.0) -> Linear:
    """As many weights of one sign as of the other, scaled by a power of two: the layer is neither silent nor full."""
    linear = draw.linear(outputs, inputs, scale * 2.0 ** -round(math.log2(math.sqrt(inputs) / 2)))
    return linear.replaced(weight=linear.weight * rng.choice([-1.0, 1.0], linear.weight.shape))


def _unit(draw: Draw, rng: np.random.Generator, shape: tuple[int, ...]) -> Unit:
    drawn = draw.unit(*(shape or (1,)))
    if not shape:  # over an image: one value for all
        drawn = Unit(draw.decay(()), draw.threshold(()), g=drawn.g)
    reset = NOT_SHARED[int(rng.integers(len(NOT_SHARED)))]
    return drawn.replaced(reset=reset, h=Step(at_threshold=bool(rng.random() < 0.2)))

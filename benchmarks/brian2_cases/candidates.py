"""The same layer exported, written by hand, and as a loop of numpy; each goes on where its last call ended."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import brian2
import numpy as np
from networks.layers import DECAY, DT, TAU, THRESHOLD, Array, layer

import snubridge as sb
from snubridge.bridge.plugins import adapter


def options(target: str) -> dict[str, Any] | None:
    """What ``sb.export`` is called with for a target of Brian2; None if this snubridge does not know targets."""
    if "target" in inspect.signature(adapter("brian2").lower).parameters:
        return {"target": target}
    return {} if target == "numpy" else None


@contextmanager
def on(target: str) -> Iterator[None]:
    """Brian2's own choice of a target, for what is written by hand."""
    before = brian2.prefs.codegen.target
    brian2.prefs.codegen.target = target
    try:
        yield
    finally:
        brian2.prefs.codegen.target = before


def soft_layers(weights: Array) -> sb.Graph:
    """An input, soft units that receive a value each, a matrix, and soft units."""
    unit = sb.Unit(DECAY, THRESHOLD, h=sb.Sigmoid())
    nodes = {"inp": sb.Input((weights.shape[1],)), "first": unit, "w": sb.Linear(weights), "unit": unit}
    return sb.Graph(nodes, [sb.Edge("inp", "first"), sb.Edge("first", "w"), sb.Edge("w", "unit")], numbers=sb.Float64())


class Exported:
    """What ``native`` hands over, without the monitors that the others do not have."""

    def __init__(self, weights: Array, stimulus: Array, target: str, soft: bool = False) -> None:
        chosen = options(target)
        assert chosen is not None
        graph = soft_layers(weights) if soft else layer(weights)
        self.network = sb.export(graph, "brian2", dt=DT, max_synapses=weights.size, **chosen).native
        unwanted = {"state_unit", "spikes_first", "state_first"}
        self.network.remove([thing for thing in self.network.objects if thing.name in unwanted])
        self.network["inp"].namespace["stream"] = brian2.TimedArray(stimulus, dt=DT * brian2.second)
        self.target = target

    def run(self, steps: int) -> None:
        """So many steps more."""
        with on(self.target):
            self.network.run(steps * DT * brian2.second, namespace={})

    def spikes(self, steps: int) -> Array:
        """Of the first steps, (T, size)."""
        return raster(self.network["spikes_unit"], steps)

    def graded(self, steps: int) -> Array:
        """The soft outputs of the first steps, (T, size)."""
        return np.asarray(self.network["spikes_unit"].y[:, :steps].T)


class Handwritten:
    """Leaky integrate-and-fire neurons behind a spike generator: no step of latency, nothing else than is needed."""

    def __init__(self, weights: Array, stimulus: Array, target: str) -> None:
        steps, neurons = np.nonzero(stimulus)
        with on(target):
            generator = brian2.SpikeGeneratorGroup(
                weights.shape[1], neurons, steps * DT * brian2.second, dt=DT * brian2.second, when="start"
            )
            group = brian2.NeuronGroup(
                weights.shape[0],
                "dv/dt = -v/tau : 1",
                threshold="v > theta",
                reset="v = 0",
                method="exact",
                namespace={"tau": TAU * brian2.second, "theta": THRESHOLD},
                dt=DT * brian2.second,
            )
            synapses = brian2.Synapses(generator, group, "w : 1", on_pre="v_post += w", dt=DT * brian2.second)
            synapses.pre.when = "before_thresholds"
            synapses.connect(True)  # every pair, source by source
            synapses.w = weights.T.ravel()
            self.monitor = brian2.SpikeMonitor(group)
            self.network = brian2.Network(generator, group, synapses, self.monitor)
        self.target = target

    def run(self, steps: int) -> None:
        """So many steps more."""
        with on(self.target):
            self.network.run(steps * DT * brian2.second, namespace={})

    def spikes(self, steps: int) -> Array:
        """Of the first steps, (T, size)."""
        return raster(self.monitor, steps)


class Summed:
    """Soft units as one would first write them: a ``(summed)`` variable, over all synapses in every step."""

    def __init__(self, weights: Array, stimulus: Array, target: str) -> None:
        stream = brian2.TimedArray(stimulus, dt=DT * brian2.second)
        clock = {"dt": DT * brian2.second}
        constants = {"decay": DECAY, "threshold": THRESHOLD, "stream": stream}
        update = "s = {} + decay*s*(1 - y)\ny = 1/(1 + exp(-(s - threshold)))"
        with on(target):
            source = brian2.NeuronGroup(weights.shape[1], "s : 1\ny : 1", namespace=constants, **clock)
            source.run_regularly(update.format("stream(t, i)"), when="groups", order=-1)
            group = brian2.NeuronGroup(weights.shape[0], "u : 1\ns : 1\ny : 1", order=1, namespace=constants, **clock)
            group.run_regularly(update.format("u"), when="groups", order=1)
            synapses = brian2.Synapses(source, group, "w : 1\nu_post = w*y_pre : 1 (summed)", **clock)
            synapses.connect(True)
            synapses.w = weights.T.ravel()
            self.monitor = brian2.StateMonitor(group, "y", record=True, when="end", **clock)
            self.network = brian2.Network(source, group, synapses, self.monitor)
        self.target = target

    def run(self, steps: int) -> None:
        """So many steps more."""
        with on(self.target):
            self.network.run(steps * DT * brian2.second, namespace={})

    def graded(self, steps: int) -> Array:
        """The soft outputs of the first steps, (T, size)."""
        return np.asarray(self.monitor.y[:, :steps].T)


def raster(monitor: brian2.SpikeMonitor, steps: int) -> Array:
    """What a SpikeMonitor recorded of the first steps, (T, size)."""
    found = np.zeros((steps, len(monitor.source)))
    at = np.rint(monitor.t_[:] / DT).astype(int)
    found[at[at < steps], monitor.i[:][at < steps]] = 1
    return found

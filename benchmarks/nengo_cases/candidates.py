"""An exported layer on Nengo, and runs of many samples; each goes on where its last call ended."""

from __future__ import annotations

import nengo
import numpy as np
from networks.layers import DECAY, DT, THRESHOLD, Array, layer

import snubridge as sb


class Exported:
    """What ``native`` hands over, without the probes of states, which plain numpy does not record."""

    def __init__(self, weights: Array, stimulus: Array, profile: str) -> None:
        net = sb.export(layer(weights), "nengo", dt=DT, profile=profile).native
        self.probe = net.spikes["unit"]
        net.probes[:] = [self.probe]
        net.input.output.values = stimulus
        # a model of its own: the Simulator's would look for decoders on the disk
        model = nengo.builder.Model(dt=DT)
        self.simulator = nengo.Simulator(net, dt=DT, model=model, progress_bar=False, optimize=False)

    def run(self, steps: int) -> None:
        """So many steps more."""
        self.simulator.run_steps(steps)

    def spikes(self, steps: int) -> Array:
        """Of the first steps, (T, size)."""
        return np.asarray(self.simulator.data[self.probe][:steps])


class Batch:
    """``program.run`` of many samples from the start, building, checking and copying included."""

    def __init__(self, weights: Array, stimulus: Array, recurrent: bool, profile: str, batch: str) -> None:
        graph = recurrent_layer(weights) if recurrent else layer(weights)
        self.program = sb.export(graph, "nengo", dt=DT, profile=profile, batch=batch)
        self.stimulus = stimulus

    def call(self) -> None:
        """All samples once."""
        self.found = self.program.run(self.stimulus).spikes["unit"]


class DenseBatch:
    """The same as a loop of numpy over steps, with the samples in one matrix."""

    def __init__(self, weights: Array, stimulus: Array, recurrent: bool) -> None:
        self.weights, self.stimulus, self.recurrent = weights, stimulus, recurrent

    def call(self) -> None:
        """All samples once."""
        s = y = np.zeros((self.stimulus.shape[1], len(self.weights)))
        outputs = []
        for x in self.stimulus:
            drive = x @ self.weights.T
            if self.recurrent:
                drive += y @ self.weights.T
            s = DECAY * (s * (1 - y)) + drive
            y = (s > THRESHOLD).astype(np.float64)
            outputs.append(y)
        self.found = np.array(outputs, dtype=np.uint8)


def recurrent_layer(weights: Array) -> sb.Graph:
    """The layer, its spikes coming back through the same weights one step later."""
    graph = layer(weights)
    edges = [*graph.edges, sb.Edge("unit", "back", 1), sb.Edge("back", "unit")]
    return sb.Graph({**graph.nodes, "back": sb.Linear(weights)}, edges, numbers=graph.numbers)

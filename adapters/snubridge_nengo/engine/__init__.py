"""Networks of Spiking Neural Units in Nengo: built from a plan and its arrays, and run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nengo
import numpy as np

from snubridge_nengo.engine.network import build as build
from snubridge_nengo.engine.neurons import CARRIED as CARRIED
from snubridge_nengo.engine.neurons import SNU as SNU
from snubridge_nengo.engine.neurons import Array
from snubridge_nengo.engine.neurons import G as G
from snubridge_nengo.engine.neurons import H as H
from snubridge_nengo.engine.processes import OVER_TIME as OVER_TIME
from snubridge_nengo.engine.processes import Delay as Delay
from snubridge_nengo.engine.processes import Frames as Frames


def run(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    dt: float = 0.001,
) -> dict[str, Array]:
    """{"spikes/<unit>", "states/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size)."""
    steps, samples = next(iter(inputs.values())).shape[:2]
    with _globals_kept():
        net = build(plan, arrays, record, dt)
        nodes = net.input if isinstance(net.input, dict) else {net.input.label: net.input}
        groups = {"spikes": net.spikes, "states": net.states, "outputs": net.outputs}
        probes = {f"{group}/{name}": probe for group, named in groups.items() for name, probe in named.items()}
        recorded = {key: np.empty((steps, samples, probe.size_in)) for key, probe in probes.items()}
        # A model of our own: the Simulator's would keep a cache of decoders on disk.
        with nengo.Simulator(net, model=nengo.builder.Model(dt=dt), progress_bar=False, optimize=False) as sim:
            for sample in range(samples):
                for name, node in nodes.items():
                    node.output.values = inputs[name][:, sample]
                sim.reset()
                sim.run_steps(steps)
                for key, probe in probes.items():
                    recorded[key][:, sample] = sim.data[probe]
    return recorded


@contextlib.contextmanager
def _globals_kept() -> Iterator[None]:
    """Signals of 64 bits, whatever the user's nengorc says; it and numpy's generator, from which Nengo draws, stay."""
    precision, drawn = nengo.rc["precision"], np.random.get_state()
    bits = precision["bits"]
    precision["bits"] = "64"
    try:
        yield
    finally:
        precision["bits"] = bits
        np.random.set_state(drawn)

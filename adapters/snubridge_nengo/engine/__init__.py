"""Networks of Spiking Neural Units in Nengo: built from a plan and its arrays, and run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nengo
import numpy as np

from snubridge_nengo.engine.network import Circuit
from snubridge_nengo.engine.network import build as build
from snubridge_nengo.engine.neurons import CARRIED as CARRIED
from snubridge_nengo.engine.neurons import SNU as SNU
from snubridge_nengo.engine.neurons import Array
from snubridge_nengo.engine.neurons import G as G
from snubridge_nengo.engine.neurons import H as H
from snubridge_nengo.engine.processes import OVER_TIME as OVER_TIME
from snubridge_nengo.engine.processes import Delay as Delay
from snubridge_nengo.engine.processes import Frames as Frames
from snubridge_nengo.engine.stock import lif_states

BATCHES = ("auto", "one_by_one", "side_by_side")


def run(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    dt: float = 0.001,
    profile: str = "custom",
    batch: str = "auto",
) -> dict[str, Array]:
    """{"spikes/<unit>", "states/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size).

    ``batch``: "one_by_one" runs a network of one sample as often as there are samples; "side_by_side" one that has
    neurons for all of them, in which one product multiplies a matrix with the values of all; "auto" is the second.
    """
    steps, samples = next(iter(inputs.values())).shape[:2]
    at_once = 1 if batch == "one_by_one" else samples
    with globals_kept():
        circuit = Circuit(plan, arrays, (*record, "currents"), dt, profile, at_once)
        # A model of our own: the Simulator's would keep a cache of decoders on disk.
        model = nengo.builder.Model(dt=dt)
        recorded = []
        with nengo.Simulator(circuit.network, model=model, progress_bar=False, optimize=False) as sim:
            for start in range(0, samples, at_once):
                for name, node in circuit.inputs.items():
                    node.output.put(inputs[name][:, start : start + at_once].reshape(steps, -1))
                if start:
                    sim.reset()
                sim.run_steps(steps)
                recorded.append(_recorded(circuit, sim.data))
    return (
        recorded[0] if len(recorded) == 1 else {key: _joined([part[key] for part in recorded]) for key in recorded[0]}
    )


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts, axis=1)


def _recorded(circuit: Circuit, data: Any) -> dict[str, Array]:
    """What the probes hold, (T, samples, size) each."""
    net, arrays = circuit.network, circuit.arrays

    def values(probe: Any) -> Array:
        recorded = np.asarray(data[probe])
        return recorded.reshape(len(recorded), circuit.samples, -1)

    found = {f"spikes/{name}": values(probe) for name, probe in net.spikes.items()}
    found |= {f"outputs/{name}": values(probe) for name, probe in net.outputs.items()}
    units = {stop["name"]: stop for stop in circuit.plan["stops"]}
    for name, probe in net.states.items():
        if circuit.profile == "custom":
            found[f"states/{name}"] = values(probe)
            continue
        unit, voltages = units[name], probe if isinstance(probe, tuple) else (probe,)
        state = np.empty((len(data[voltages[0]]), circuit.samples, unit["size"]))
        for part, voltage, current in zip(circuit.parts[name], voltages, circuit.currents[name], strict=True):
            rows = slice(None) if part.rows is None else part.rows
            state[:, :, rows] = lif_states(part, unit, arrays, values(voltage), values(current))
        found[f"states/{name}"] = state
    return found


@contextlib.contextmanager
def globals_kept() -> Iterator[None]:
    """Signals of 64 bits, whatever the user's nengorc says; it and numpy's generator, from which Nengo draws, stay."""
    precision, drawn = nengo.rc["precision"], np.random.get_state()
    bits = precision["bits"]
    precision["bits"] = "64"
    try:
        yield
    finally:
        precision["bits"] = bits
        np.random.set_state(drawn)

"""Networks written by hand, and what Nengo's own Simulator computes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import snubridge as sb

nengo = pytest.importorskip("nengo")

Array = np.ndarray[Any, Any]
STEPS = 80
DTS = (1e-3, 1e-4, 5e-4, 0.0007, 1 / 3, 1.0)


@contextmanager
def unwarned() -> Iterator[None]:
    """Nengo warns of gains that make no sense for decoding, and of LIF neurons that start to run with seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@dataclass
class Written:
    """A network, its ``dt``, and what its Nodes put out, (T, 1, size) by the name that a graph gives them."""

    network: Any
    dt: float = 1e-3
    inputs: dict[str, Array] = field(default_factory=dict)


def stream(values: Array, dt: float) -> Callable[[float], Array]:
    """A function of time that gives one row a step."""
    return lambda t: values[round(t / dt) - 1]


def simulator(written: Written, optimize: bool = False) -> Any:
    """Nengo's Simulator, with a model of its own, which keeps no cache of decoders on disk."""
    model = nengo.builder.Model(dt=written.dt)
    return nengo.Simulator(written.network, model=model, progress_bar=False, optimize=optimize)


def simulated(written: Written, optimize: bool = False) -> dict[str, Array]:
    """The outputs of all ensembles as spikes, (T, 1, size) by label."""
    with unwarned():
        with written.network:
            ensembles = written.network.all_ensembles
            probes = {ensemble.label: nengo.Probe(ensemble.neurons) for ensemble in ensembles}
        with simulator(written, optimize) as sim:
            sim.run_steps(STEPS)
            outputs = {label: sim.data[probe] for label, probe in probes.items()}
        for probe in probes.values():
            written.network.probes.remove(probe)
    return {label: (values > 0).astype(np.uint8)[:, None] for label, values in outputs.items()}


def read(written: Written, **options: Any) -> sb.Graph:
    return sb.import_graph(written.network, "nengo", dt=written.dt, **options)


def given(graph: sb.Graph, written: Written) -> dict[str, Array]:
    """The inputs of the graph: without those of Nodes that lead nowhere."""
    return {name: written.inputs[name] for name in graph.of_kind(sb.Input)}


def differing(graph: sb.Graph, written: Written, expected: Mapping[str, Array]) -> int:
    """In how many bins the graph spikes otherwise."""
    actual = sb.simulate(graph, given(graph, written)).spikes
    assert actual.keys() == expected.keys()
    return sum(int((actual[name] != spikes).sum()) for name, spikes in expected.items())


def model_of(graph: sb.Graph) -> sb.ErrorModel:
    """The model under which Nengo computes what was read."""
    return sb.ErrorModel(**graph.metadata["nengo"]["model"])


class Author:
    """Writes a random network, as people might."""

    def __init__(self, seed: int, largest: int) -> None:
        self.largest = largest
        self.rng = np.random.default_rng(seed)
        self.dt = float(self.rng.choice(DTS))
        self.written = Written(nengo.Network(seed=int(self.rng.integers(2**31))), self.dt)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def write(self) -> Written:
        """Two or three inputs, three to five ensembles, some in networks within, and whatever joins them."""
        with self.written.network, unwarned():
            sources = [self.stimulus(index) for index in range(self.rng.integers(1, 4))]
            ensembles: list[Any] = []
            for index in range(self.rng.integers(2, 5)):
                if self.chance(0.4):
                    with nengo.Network(label="inner", seed=None if self.chance(0.5) else 3):
                        ensembles.append(self.ensemble(index))
                else:
                    ensembles.append(self.ensemble(index))
                before = [ensemble.neurons for ensemble in ensembles[:-1]]
                for source in [*sources[: 1 + index % 2], *before[-2:]]:
                    self.join(source, ensembles[-1].neurons, late=False)
                if self.chance(0.3):
                    self.join(sources[0], ensembles[-1], late=False)
                if self.chance(0.5):
                    self.join(ensembles[-1].neurons, ensembles[-1].neurons, late=True)
                if self.chance(0.3):
                    self.join(ensembles[-1].neurons, ensembles[0].neurons, late=True)
                if self.chance(0.3):
                    self.relayed(sources[-1], ensembles[-1].neurons)
                if self.chance(0.3):
                    constant = nengo.Node(self.rng.normal(0, 0.3, 3), label=f"constant{index}")
                    self.join(constant, ensembles[-1].neurons, late=False, share=0.3)
            if self.chance(0.4):
                out = nengo.Node(size_in=4, label="out")
                self.join(ensembles[-1].neurons, out, late=False)
        return self.written

    def stimulus(self, index: int) -> Any:
        size = int(self.rng.integers(3, self.largest - 3))
        spiking = self.chance(0.5)
        values = (self.rng.random((STEPS, size)) < 0.3) * 1.0 if spiking else self.rng.normal(0.2, 0.6, (STEPS, size))
        label = f"stimulus{index}"
        self.written.inputs[label] = values[:, None]
        if self.chance(0.3):
            return nengo.Node(nengo.processes.PresentInput(values, self.dt), label=label)
        return nengo.Node(stream(values, self.dt), size_out=size, label=label)

    def ensemble(self, index: int) -> Any:
        size, rng, dists = int(self.rng.integers(1, self.largest + 1)), self.rng, nengo.dists
        steps = float(rng.uniform(1.5, 30)) if self.chance(0.9) else float(rng.choice([0.2, 0.5, 2.0**50]))
        share = -np.expm1(-1 / steps)
        voltages = (dists.Choice([0.0]), rng.uniform(-0.5, 1, size) if size > 1 else dists.Choice([0.5]), None)
        voltage = voltages[rng.integers(3)]
        kind = nengo.LIF(
            tau_rc=steps * self.dt,
            tau_ref=0,
            amplitude=float(rng.choice([self.dt, 1.0, 0.3 * self.dt])),
            min_voltage=float(rng.choice([0, -np.inf])),
            initial_state=None if voltage is None else {"voltage": voltage},
        )
        gains = rng.uniform(0.7, 2, size) * rng.choice([1, 1, 1, 1, -1], size) / share
        biases = rng.normal(0, 0.2, size) / share * self.chance(0.5)
        if self.chance(0.3):
            gains = dists.Uniform(0.7 / share, 2 / share)  # type: ignore[assignment]  # drawn
        dimensions = int(rng.integers(1, 3))
        return nengo.Ensemble(
            size,
            dimensions,
            radius=float(rng.uniform(0.5, 2)),
            gain=gains,
            bias=biases,
            neuron_type=kind,
            label=f"ensemble{index}",
            seed=None if self.chance(0.7) else int(rng.integers(1000)),
        )

    def sliced(self, end: Any, size: int, *, repeated: bool = False) -> tuple[Any, int]:
        rng = self.rng
        start, stop = sorted(rng.choice(size + 1, 2, replace=False).tolist())
        choice = rng.integers(6)
        if choice == 0:
            return end[start:stop], stop - start
        if choice == 1:
            return end[::2], (size + 1) // 2
        if choice == 2:
            picked = rng.permutation(size)[: rng.integers(1, size + 1)].tolist()
            return end[picked], len(picked)
        if choice == 3:
            return end[-1], 1
        if choice == 4 and repeated:
            return end[[0, 0, size - 1]], 3
        return end, size

    def synapse(self, late: bool) -> Any:
        filters = [nengo.Lowpass(0), 0, nengo.Alpha(0)]
        filters += [nengo.LinearFilter([1], [1, *[0] * steps], analog=False) for steps in (1, 2, 5)]
        return filters[self.rng.integers(len(filters))] if late or self.chance(0.3) else None

    def join(self, source: Any, target: Any, *, late: bool, share: float = 1.0) -> None:
        rng = self.rng
        pre, inputs = self.sliced(source, source.size_out)
        post, outputs = self.sliced(target, target.size_in)
        height = 1.0
        if isinstance(source, nengo.ensemble.Neurons):
            height = source.ensemble.neuron_type.amplitude / self.dt
        scale = share / height / np.sqrt(max(inputs, 2))
        weights = rng.normal(0.25, 0.6, (outputs, inputs)) * scale
        kind = rng.integers(5)
        transform: Any = weights
        if kind == 0 and inputs == outputs:
            transform = float(0.6 * scale)
        elif kind == 1 and inputs == outputs:
            transform = rng.normal(0.3, 0.6, inputs) * scale
        elif kind == 2:
            chosen = rng.random((outputs, inputs)) < 0.6
            chosen[0, 0] = True
            transform = nengo.Sparse((outputs, inputs), indices=np.argwhere(chosen), init=weights[chosen])
        elif kind == 3:
            transform = nengo.dists.Uniform(-0.3 * scale, 0.9 * scale)
        nengo.Connection(pre, post, transform=transform, synapse=self.synapse(late))

    def relayed(self, source: Any, target: Any) -> None:
        size = int(self.rng.integers(2, 5))
        first, second = (nengo.Node(size_in=size, label=f"relay{len(self.written.network.nodes)}") for _ in range(2))
        constant = nengo.Node([0.2, -0.1], label=f"level{len(self.written.network.nodes)}")
        self.join(source, first, late=False, share=0.8)
        self.join(constant, first, late=False, share=0.5)
        self.join(first, second, late=False)
        self.join(first, target, late=False, share=0.5)
        self.join(second, target, late=False, share=0.5)


def random(seed: int, largest: int = 11) -> Written:
    """A random network of ensembles of up to ``largest`` neurons."""
    return Author(seed, largest).write()

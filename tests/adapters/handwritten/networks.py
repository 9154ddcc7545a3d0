"""Networks written by hand, and what Brian2 itself computes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import snubridge as sb

brian2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402  # only where it is installed

Raster = np.ndarray[Any, Any]
STEPS, DT = 60, 0.5e-3


def stimulus(rng: np.random.Generator, size: int, rate: float = 0.3) -> tuple[Any, Raster]:
    """A generator, and its spikes (T, 1, size)."""
    raster = rng.random((STEPS, size)) < rate
    steps, neurons = np.nonzero(raster)
    return brian2.SpikeGeneratorGroup(size, neurons, steps * DT * brian2.second, name="stimulus"), raster[:, None] * 1.0


def connected(
    source: Any, target: Any, weight: Raster, *, unit: Any = 1, on_pre: str = "v_post += w", **options: Any
) -> Any:
    """Synapses of these weights (targets, sources), where they are not 0."""
    quantity = "volt" if isinstance(unit, brian2.Quantity) else "1"
    synapses = brian2.Synapses(source, target, f"w : {quantity}", on_pre=on_pre, **options)
    pre, post = np.nonzero(weight.T)
    synapses.connect(i=pre, j=post)
    synapses.w = weight[post, pre] * unit
    return synapses


def rasters(network: Any, groups: Any) -> dict[str, Raster]:
    """What Brian2 computes, (T, 1, size) by group."""
    monitors = [brian2.SpikeMonitor(group) for group in groups]
    network.add(monitors)
    network.run(STEPS * DT * brian2.second, namespace={})
    found = {}
    for monitor in monitors:
        spikes = np.zeros((STEPS, 1, len(monitor.source)), dtype=np.uint8)
        spikes[np.rint(monitor.t_[:] / DT).astype(int), 0, monitor.i[:]] = 1
        found[monitor.source.name] = spikes
    return found


def assert_read(objects: Any, inputs: Any, groups: Any, schedule: Any = None, **options: Any) -> sb.Graph:
    """The graph that is read has the spikes that Brian2 computes, in every step."""
    network = brian2.Network(*objects)
    if schedule:
        network.schedule = schedule
    graph = sb.import_graph(network, "brian2", **options)
    expected = rasters(network, groups)
    actual = sb.simulate(graph, inputs).spikes
    for name, spikes in expected.items():
        assert 0.02 < spikes.mean() < 0.9, f"{name} hardly tells anything at a rate of {spikes.mean()}"
        np.testing.assert_array_equal(actual[name], spikes, err_msg=name)
    return graph


RESETS = {"zero": "v = 0", "subtract": "v -= theta", "none": ""}


def two_layers(seed: int, reset: str, *, dyadic: bool = False, at: bool = False, method: str = "exact") -> Any:
    """9 - 12 - 7, recurrent, with feedback, inhibition and delays, all constants for each neuron; and the stimulus."""
    rng = np.random.default_rng(seed)
    mean = 0.0 if reset == "none" else 0.12

    def weights(*shape: int) -> Raster:
        return rng.integers(-5, 6 if reset == "none" else 9, shape) / 8 if dyadic else rng.normal(mean, 0.45, shape)

    generator, raster = stimulus(rng, 9)
    model = "tau : second (constant)\ntheta : 1 (constant)\n" + ("v : 1" if dyadic else "dv/dt = -v/tau : 1")
    groups = []
    for name, size in (("first", 12), ("second", 7)):
        group = brian2.NeuronGroup(
            size, model, threshold=f"v {'>=' if at else '>'} theta", reset=RESETS[reset], method=method, name=name
        )
        group.tau = rng.uniform(1, 20, size) * ms
        group.theta = 1 + rng.integers(0, 4, size) / 4 if dyadic else rng.uniform(0.7, 1.4, size)
        group.v = rng.integers(-4, 4, size) / 8
        groups.append(group)
    first, second = groups
    objects = [
        generator,
        first,
        second,
        connected(generator, first, weights(12, 9)),
        connected(first, first, weights(12, 12) / 2, delay=2 * DT * brian2.second),
        connected(first, second, weights(7, 12)),
        connected(second, first, weights(12, 7) / 2, on_pre="v -= w"),
    ]
    layered = objects[5]
    layered.delay = rng.integers(0, 4, len(layered)) * DT * brian2.second
    return objects, raster, groups


GROUP = ("dv/dt = -v/(9*ms) : 1", "v = 0", "v > 1")


def single(model: str, reset: str, threshold: str, *, unit: Any = 1, seed: int = 0, **options: Any) -> Any:
    """One recurrent group behind a stimulus, its weights in ``unit``."""
    rng = np.random.default_rng(seed)
    generator, raster = stimulus(rng, 8)
    group = brian2.NeuronGroup(10, model, threshold=threshold, reset=reset, name="group", **options)
    weights, recurrent = rng.normal(0.15, 0.4, (10, 8)), rng.normal(0, 0.3, (10, 10))
    objects = [generator, group, connected(generator, group, weights, unit=unit)]
    return [*objects, connected(group, group, recurrent, unit=unit)], raster, [group]


def plain(**options: Any) -> Any:
    return single(*GROUP, **{"method": "exact", **options})[0]

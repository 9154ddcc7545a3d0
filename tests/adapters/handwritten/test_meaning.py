"""Networks written by hand: the graph that was read has the spikes that Brian2 itself computes, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.handwritten.networks import (
    DT,
    GROUP,
    RESETS,
    Raster,
    assert_read,
    brian2,
    connected,
    rasters,
    single,
    stimulus,
    two_layers,
)

ms, mV = brian2.ms, brian2.mV


# --- The default schedule: what arrives is decayed before it decides, and lost where a neuron has just fired


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("seed", range(20))
def test_the_default_schedule(seed: int, reset: str) -> None:
    graph = assert_read(*two_layers(seed, reset))
    assert graph.metadata["brian2"]["rounding"] == {"first": "order of sums", "second": "order of sums"}


@pytest.mark.parametrize("at", [False, True], ids=["above", "at"])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("seed", range(4))
def test_ties(seed: int, reset: str, at: bool) -> None:
    """Sums of eighths, without decay: states lie exactly on the threshold."""
    objects, raster, groups = two_layers(seed, reset, dyadic=True, at=at)
    graph = assert_read(objects, raster, groups)
    states = sb.simulate(graph, raster, record=("spikes", "states")).states
    assert sum((states[f"{group.name}.potential"] == group.theta[:]).sum() for group in groups) > 2


def test_what_is_lost_after_a_spike_matters() -> None:
    objects, raster, groups = two_layers(0, "zero")
    graph = assert_read(objects, raster, groups)
    edges = [edge for edge in graph.edges if "first.reset" not in (edge.source, edge.target)]
    nodes = {name: node for name, node in graph.nodes.items() if name != "first.reset"}
    kept = sb.Graph(nodes, edges, numbers=graph.numbers)
    assert (sb.simulate(kept, raster).spikes["first"] != sb.simulate(graph, raster).spikes["first"]).sum() > 20


# --- Other schedules: each computes something else, and is read as what it is


def at_once(objects: list[Any]) -> None:
    """As our own exports: layers fire one after the other, within one step."""
    generator, first, second, *synapses = objects
    generator.order, first.thresholder["spike"].order, second.thresholder["spike"].order = 0, 3, 6
    for connection, order in zip(synapses, (2, 1, 5, 2), strict=True):
        connection.pre.when, connection.pre.order = "thresholds", order


def move(when: str) -> Callable[[list[Any]], None]:
    """Synapses in another slot."""

    def moved(objects: list[Any]) -> None:
        for synapses in objects[3:]:
            synapses.pre.when = when

    return moved


PLAIN = True
"""Whether spikes arrive between the update and the threshold, so that each group is one unit."""
SCHEDULES: dict[str, tuple[Callable[[list[Any]], None] | None, list[str] | None, bool]] = {
    "synapses before thresholds": (None, ["start", "groups", "synapses", "thresholds", "resets", "end"], PLAIN),
    "synapses before groups": (None, ["start", "synapses", "groups", "thresholds", "resets", "end"], not PLAIN),
    "synapses after resets": (None, ["start", "groups", "thresholds", "resets", "synapses", "end"], not PLAIN),
    "before_thresholds": (move("before_thresholds"), None, PLAIN),
    "after_resets": (move("after_resets"), None, not PLAIN),
    "start": (move("start"), None, not PLAIN),
    "layers within one step": (at_once, None, PLAIN),
}


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule: str, reset: str) -> None:
    change, slots, plain = SCHEDULES[schedule]
    objects, raster, groups = two_layers(len(schedule), reset)
    if change:
        change(objects)
    graph = assert_read(objects, raster, groups, slots)
    assert ("first.potential" in graph.nodes) == (not plain)
    assert ("first.reset" in graph.nodes) == (reset == "subtract" and not plain)


# --- What people write


CONSTANTS = {"tau": 7 * ms, "v_rest": -70 * mV, "v_reset": -65 * mV, "v_th": -50 * mV, "drive": 0.9}
IDIOMS: dict[str, tuple[Any, ...]] = {
    "literals": ("dv/dt = -v/(10*ms) : 1", "v = 0", "v > 1", 1, "exact"),
    "euler": ("dv/dt = -v/tau : 1", "v = 0", "v > 1", 1, "euler"),
    "exponential_euler": ("dv/dt = -v/tau : 1", "v = 0", "1 < v", 1, "exponential_euler"),
    "rk4": ("dv/dt = -v/tau : 1", "v -= 1", "v >= 1", 1, "rk4"),
    "by itself": ("dv/dt = -v/tau : 1", "v = 0", "v > 1", 1, None),
    "a bias": ("dv/dt = (drive - v)/tau : 1", "v = 0", "v > 1", 1, "exact"),
    "a subexpression": ("dv/dt = (I - v)/tau : 1\nI = 0.5*drive : 1 (shared)", "v = 0", "v > 1", 1, "exact"),
    "volts": ("dv/dt = (v_rest - v)/tau : volt", "v = v_rest", "v > v_th", 20 * mV, "exact"),
    "volts, euler": ("dv/dt = -(v - v_rest)/tau : volt", "v = v_rest", "v >= v_th", 20 * mV, "euler"),
    "volts, subtracting": ("dv/dt = (v_rest - v)/tau : volt", "v -= v_th - v_rest", "v > v_th", 20 * mV, "exact"),
    "reset elsewhere": ("dv/dt = (v_rest - v)/tau : volt", "v = v_reset", "v > v_th", 20 * mV, "exact"),
    "subtracting something else": ("dv/dt = -v/tau : 1", "v -= 0.7", "v > 1", 1, "exact"),
    "no decay": ("v : 1", "v = 0.25", "v > 1", 1, "exact"),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("idiom", IDIOMS)
def test_idioms(idiom: str, seed: int) -> None:
    model, reset, threshold, unit, method = IDIOMS[idiom]
    options = {"method": method} if method else {}
    objects, raster, groups = single(model, reset, threshold, unit=unit, seed=seed, **options)
    groups[0].v = -68 * mV if isinstance(unit, brian2.Quantity) else 0.1
    constants = {name: CONSTANTS[name] for name in CONSTANTS if name in f"{model} {reset} {threshold}"}
    graph = sb.import_graph(objects, "brian2", namespace={**constants, "unused": object()})
    groups[0].namespace.update(constants)  # so that it runs
    assert assert_read(objects, raster, groups) == graph
    exact = idiom in ("literals", "exponential_euler", "by itself", "subtracting something else")
    assert graph.metadata["brian2"]["rounding"]["group"] == ("order of sums" if exact else "relative to the reset")


@pytest.mark.parametrize(
    ("on_pre", "threshold", "same"),
    [
        ("w/3/7", "v > th/3/7", True),
        ("w/3/7", "v > th/21", True),
        ("w/21", "v > th/3/7", True),
        ("w*3*0.1", "v > th*0.3", False),
    ],
)
def test_expressions_are_rewritten_as_brian2_does(on_pre: str, threshold: str, same: bool) -> None:
    """One spike meets the threshold in a tie, or not, by the bits that Brian2 gives w/3/7: those of w/21."""
    generator = brian2.SpikeGeneratorGroup(1, [0], [0] * ms, name="stimulus")
    group = brian2.NeuronGroup(200, "v : 1\nth : 1", threshold=threshold, reset="v = 0", name="group")
    group.th = w = np.random.default_rng(0).uniform(0.1, 1, 200)
    synapses = brian2.Synapses(generator, group, "w : 1", on_pre=f"v_post += {on_pre}")
    synapses.connect()
    synapses.w = w
    network = brian2.Network(generator, group, synapses)
    inputs = np.zeros((60, 1, 1))
    inputs[0] = 1
    spikes = sb.simulate(sb.import_graph(network, "brian2"), inputs).spikes["group"]
    np.testing.assert_array_equal(spikes, rasters(network, [group])["group"])
    assert spikes.any() != same


def after_a_step(rate: str, method: str, model: str = "", size: int = 1, **parameters: Any) -> tuple[Raster, Raster]:
    """The decay that is read, and what is left of 1 after a step of Brian2."""
    generator, _ = stimulus(np.random.default_rng(0), 1)
    equations = f"dv/dt = {rate} : 1\n{model}"
    group = brian2.NeuronGroup(size, equations, threshold="v > 9", reset="v = 0", method=method, name="group")
    group.v = 1
    for name, value in parameters.items():
        setattr(group, name, value)
    group.namespace.update(tau=7 * ms, rate=130 * brian2.Hz)
    network = brian2.Network(generator, group, connected(generator, group, np.ones((size, 1)), on_pre="v_post += 0*w"))
    unit = sb.import_graph(network, "brian2").nodes["group.potential"]
    network.run(DT * brian2.second)
    assert isinstance(unit, sb.Unit)
    return np.broadcast_to(unit.decay, (size,)), group.v_[:]


@pytest.mark.parametrize("method", ["exact", "exponential_euler"])
def test_decays_are_brian2_s_own_bits(method: str) -> None:
    for rate in ("-v/tau", "-v/(10*ms)", "-rate*v", "-v/tau/3", "-0.1*v/ms", "-(v/3 + v)/tau", "-v*exp(-2)/ms"):
        decay, left = after_a_step(rate, method)
        np.testing.assert_array_equal(decay, left, err_msg=rate)
    taus = np.random.default_rng(1).uniform(0.1, 50, 1000) * ms
    decay, left = after_a_step("-v/own", method, "own : second (constant)", 1000, own=taus)
    np.testing.assert_array_equal(decay, left)


def test_several_pathways_and_delays_of_one_object() -> None:
    objects, raster, groups = single(*GROUP, method="exact")
    pathways = {"up": "v_post += w", "down": "v_post -= 0.9*w"}
    both = brian2.Synapses(
        *groups, *groups, "w : 1", on_pre=pathways, delay={"down": 3 * DT * brian2.second}, name="both"
    )
    both.connect(p=0.8)
    both.w = "0.3*cos(i + 2*j)"
    both.up.delay = "(i % 3)*dt"
    graph = assert_read([*objects, both], raster, groups)
    names = {name for name in graph.nodes if name.startswith("both")}
    assert names == {"both_down.delay3", "both_up.delay0", "both_up.delay1", "both_up.delay2"}


def test_excitatory_and_inhibitory_parts_of_a_group() -> None:
    """Subgroups, random connections, constants in on_pre, a Poisson group and another one whose spikes are given."""
    brian2.seed(5)
    group = brian2.NeuronGroup(
        40, "dv/dt = -v/(8*ms) : 1", threshold="v > 1", reset="v = 0", method="exact", name="all"
    )
    group.v = "0.9*i/N"
    excitatory, inhibitory = group[:30], group[30:]
    poisson = brian2.PoissonGroup(6, 300 * brian2.Hz, name="poisson")
    noisy = brian2.NeuronGroup(5, "rate : Hz", threshold="rand() < rate*dt", name="noisy")
    noisy.rate = 400 * brian2.Hz
    objects: list[Any] = [group, poisson, noisy]
    ways = ((excitatory, "v_post += 0.2"), (inhibitory, "v_post -= gain*0.5"), (poisson, "v += 0.3"), (noisy, "v += w"))
    for source, on_pre in ways:
        model = "w : 1" if "w" in on_pre else ""
        synapses = brian2.Synapses(source, group[5:], model, on_pre=on_pre, namespace={"gain": 1.5})
        synapses.connect(p=0.3)
        if model:
            synapses.w = "0.1 + 0.2*rand()"
        objects.append(synapses)
    graph = sb.import_graph(objects, "brian2", inputs=["noisy"])
    assert graph.nodes["poisson"] == sb.Input((6,), 0.0, 1.0, 0)
    spikes = rasters(brian2.Network(*objects), [group, poisson, noisy])
    assert 0.02 < spikes["all"].mean() < 0.9
    inputs = {name: spikes[name] for name in ("poisson", "noisy")}
    np.testing.assert_array_equal(sb.simulate(graph, inputs).spikes["all"], spikes["all"])
    report = sb.certify(graph, inputs, "float64")
    assert report.certified > 0.99


def test_indices_and_sizes_are_constants_of_synapses() -> None:
    """i and j count within subgroups, and N is the number of synapses."""
    generator, raster = stimulus(np.random.default_rng(4), 6)
    group = brian2.NeuronGroup(8, GROUP[0], threshold=GROUP[2], reset=GROUP[1], method="exact", name="group")
    given = brian2.Synapses(generator, group, on_pre="v_post += 0.1*i + 0.05 + 2.0/N")
    given.connect()
    within = brian2.Synapses(group[3:], group[2:], on_pre="v_post += 0.05*j - 0.07*i + 0.1/N_pre")
    within.connect()
    assert_read([generator, group, given, within], raster, [group])


def test_a_group_without_equations_is_told_by_its_reset() -> None:
    """theta is a parameter too, and comes first in the threshold."""
    objects, raster, groups = single("theta : 1\nv : 1", "v = 0", "theta <= v")
    groups[0].theta = np.linspace(0.5, 1, 10)
    graph = assert_read(objects, raster, groups)
    unit = graph.nodes["group.potential"]
    assert isinstance(unit, sb.Unit)
    np.testing.assert_array_equal(np.nextafter(unit.threshold, 9), np.linspace(0.5, 1, 10))


def test_reading_changes_nothing() -> None:
    """Not the network, which runs afterwards, nor Brian2's preferences."""
    before = brian2.prefs.as_file
    objects, raster, groups = two_layers(3, "zero")
    assert sb.import_graph(objects, "brian2") == sb.import_graph(brian2.Network(*objects), "brian2")
    assert brian2.prefs.as_file == before
    graph = assert_read(objects, raster, groups)
    exported = sb.export(graph, "brian2").run(raster)
    for name, spikes in sb.simulate(graph, raster).spikes.items():
        np.testing.assert_array_equal(exported.spikes[name], spikes)


def shuffled(objects: list[Any], rng: np.random.Generator) -> list[str]:
    """Every pathway, threshold and reset somewhere; a schedule in another order, more often than not a usual one."""
    generator, first, second, *synapses = objects
    slots = ["start", "groups", "thresholds", "synapses", "resets", "end"]
    if rng.random() < 0.3:
        rng.shuffle(slots)
    places = [f"{prefix}{slot}" for slot in slots for prefix in ("before_", "", "after_")]
    parts = [connection.pre for connection in synapses]
    if rng.random() < 0.5:  # all that leads to a group at once, so that it is not refused
        for target in (first, second):
            place = str(rng.choice(places))
            for connection in synapses:
                if connection.target is target:
                    connection.pre.when = place
    else:
        parts += [generator, first.thresholder["spike"], second.resetter["spike"], second.state_updater]
    for part in parts:
        if rng.random() < 0.3:
            part.order = int(rng.integers(-3, 4))
        if rng.random() < 0.1:
            part.when = str(rng.choice(places))
    return slots


@pytest.mark.parametrize("part", range(3))
def test_any_schedule_is_read_as_it_is_or_refused(part: int) -> None:
    read = 0
    for seed in range(100 * part, 100 * part + 16):
        rng = np.random.default_rng(seed)
        objects, raster, groups = two_layers(seed, str(rng.choice(list(RESETS))))
        network = brian2.Network(*objects)
        network.schedule = shuffled(objects, rng)
        try:
            graph = sb.import_graph(network, "brian2")
        except sb.Unsupported:
            network.run(0 * ms)  # else Brian2 complains that it never was
            continue
        read += 1
        actual = sb.simulate(graph, raster).spikes
        for name, spikes in rasters(network, groups).items():
            np.testing.assert_array_equal(actual[name], spikes, err_msg=f"{name}, {seed}")
    assert read >= 5

"""Engines with one mistake each: what differs is a bug, what follows from it is not, and the mistake is named."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from snubridge_torch import TorchAdapter

import snubridge as sb
from snubridge.bridge import prepare
from snubridge.bridge.conformance import random_graph
from snubridge.bridge.plugins import Plugin
from snubridge.verification.suspects import VARIANTS, Variant, suspects
from snubridge.verification.suspects.simulation import respond
from tests.conformance.test_mutations import EXAMPLE, NENGO, PLAIN, PLAIN_NAMES, TWIN, joined_engine, mutated

NAMES = {
    "reset one step late": "the reset comes one step late",
    "soft reset": "the reset is soft, decay * s - threshold * y, where it should be to zero",
    ">= for >": "a state at the threshold fires, >= for >",
    "latency per layer": "every layer adds a step of latency to what it sends",
    "decay on the input": "the decay is applied to the drive too",
    "lateral maximum over the batch": "lateral inhibition looks at the whole batch",
    "initial state 1": "the initial state is 1",
    "inputs one step early": "inputs come one step early",
}
"""The eight mutations of the conformance suite, and how each is named."""
TWINS_SOFT = "the reset is soft, decay * (s - threshold * y), where it should be to zero"


def network(seed: int = 0, steps: int = 60) -> tuple[sb.Graph, np.ndarray]:
    """Two recurrent layers on a lattice, where ties occur and no sum rounds; every one of the eight mistakes shows."""
    rng = np.random.default_rng(seed)
    nodes = {
        "in": sb.Input((6,)),
        "w": sb.Linear(rng.integers(-2, 5, (8, 6)) / 4),
        "first": sb.Unit(0.5, 1.0, initial_state=rng.integers(-4, 5, 8) / 4),
        "r": sb.Linear(rng.integers(-4, 5, (8, 8)) / 4),
        "v": sb.Linear(rng.integers(-2, 5, (5, 8)) / 4, rng.integers(-1, 2, 5) / 4),
        "second": sb.Unit(0.75, 1.0, reset=sb.Reset.LATERAL, g=sb.ReLU()),
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "w"), sb.Edge("w", "first"), sb.Edge("first", "r", delay=1), sb.Edge("r", "first"),
        sb.Edge("first", "v"), sb.Edge("v", "second"), sb.Edge("second", "out"),
    ]  # fmt: skip
    return sb.Graph(nodes, edges), (rng.random((steps, 4, 6)) < 0.3).astype(float)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """The report on an engine with one mistake."""

    def report(engine, mutation, graph, inputs):
        if engine == "plain":
            adapter = mutated(EXAMPLE, PLAIN[mutation], tmp_path, PLAIN_NAMES).PlainAdapter()
        elif engine == "pcm":
            room = importlib.import_module("snubridge_pcm.adapter")
            monkeypatch.setattr(room, "twin", mutated(Path(room.twin.__file__), TWIN[mutation], tmp_path))
            adapter = room.PcmAdapter()
        else:
            room = importlib.import_module("snubridge_nengo")
            monkeypatch.setattr(room, "engine", mutated(joined_engine(tmp_path), NENGO[mutation], tmp_path))
            adapter = room.NengoAdapter()
        return verified(monkeypatch, adapter, graph, inputs)

    return report


def verified(monkeypatch, adapter, graph, inputs, **options):
    known = {"broken": Plugin("broken", adapter, None)}
    monkeypatch.setattr("snubridge.bridge.plugins.plugins", lambda: known)
    return sb.verify(graph, inputs, ["broken"], **options)


CASES = [(engine, name) for engine, table in (("plain", PLAIN), ("pcm", TWIN), ("nengo", NENGO)) for name in table
         if name in NAMES]  # fmt: skip


def test_each_of_the_eight_is_there():
    assert {name for engine, name in CASES if engine == "plain"} == set(NAMES)
    assert {name for engine, name in CASES if engine == "pcm"} == set(NAMES)


@pytest.mark.parametrize(("engine", "mutation"), CASES)
def test_the_mistake_is_named(engine, mutation, broken):
    graph, inputs = network()
    report = broken(engine, mutation, graph, inputs)
    wanted = TWINS_SOFT if (engine, mutation) == ("pcm", "soft reset") else NAMES[mutation]
    assert [(suspect.name, suspect.differing) for suspect in report.suspects["broken"]] == [(wanted, 0)]
    assert f"broken: equal if {wanted}" in report.to_text()
    (named,) = json.loads(report.to_json())["suspects"]["broken"]
    assert (named["name"], named["differing"], named["share"]) == (wanted, 0, 1.0)

    rows = {row.unit: row for row in report.rows}
    decisions = [rows["first"], rows["second"]]
    assert not report.equal
    assert all(row.differing == row.roots + row.consequences for row in report.rows)
    assert all(row.roots == row.explained + row.bugs for row in decisions)
    assert sum(row.bugs for row in decisions) > 0
    assert sum(row.consequences for row in decisions) > sum(row.bugs for row in decisions)
    assert (rows["out"].verdict, rows["out"].roots) == ("unequal", 0)
    for row in decisions:
        assert row.verdict == ("bug" if row.bugs else "unequal" if row.differing else "equal")
        assert (row.rung is None) == (row.differing > 0)


def test_a_bug_and_its_consequences_counted_by_hand(broken):
    """At step 2 the state is at the threshold: one bug. What follows is the lack of a reset, and the next layer."""
    nodes = {"in": sb.Input((1,)), "a": sb.Unit(1.0, 1.0), "b": sb.Unit(0.0, 0.5), "c": sb.Unit(0.0, 0.25)}
    edges = [sb.Edge("in", "a"), sb.Edge("a", "b", delay=1), sb.Edge("in", "c")]
    inputs = np.array([0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.0]).reshape(-1, 1, 1)
    report = broken("plain", ">= for >", sb.Graph(nodes, edges), inputs)
    rows = {row.unit: row for row in report.rows}
    # right:  a 0 0 0 1 0 0 0 (states .25 .5 1 1.25 .25 .5 .5)    wrong: a 0 0 1 0 0 0 0 (.25 .5 1 .25 .5 .75 .75)
    assert (rows["a"].differing, rows["a"].roots, rows["a"].consequences, rows["a"].bugs) == (2, 1, 1, 1)
    assert rows["a"].shown == ((2, 0, "a", 0, 0.0, 0.0, False),)
    assert (rows["b"].differing, rows["b"].roots, rows["b"].consequences, rows["b"].bugs) == (2, 0, 2, 0)
    # c ties by itself, at every step but the third and the last: no consequence of a
    assert (rows["c"].differing, rows["c"].roots, rows["c"].consequences, rows["c"].bugs) == (5, 5, 0, 5)
    assert [rows[name].verdict for name in "abc"] == ["bug", "unequal", "bug"]
    assert "BUG at step 2, sample 0, a, neuron 0: s - threshold = 0, bound 0" in report.to_text()
    assert "6 roots (0 explained by rounding, 6 bugs), 3 consequences" in report.summary()


@dataclass(frozen=True)
class Recording:
    """A program that delivers what was recorded elsewhere."""

    trace: sb.Trace
    rounding: sb.ErrorModel
    native: None = None

    def run(self, inputs, record=("spikes",), lengths=None):
        return self.trace

    def save(self, path):
        raise NotImplementedError("not needed here")


@dataclass(frozen=True)
class Recorded:
    """An adapter whose engine computes another graph of the same units, or other inputs."""

    trace: sb.Trace
    precision: str = "float64"
    name = "broken"
    engine = "foreign"
    support = TorchAdapter().support

    def lower(self, graph):
        return Recording(self.trace, sb.ErrorModel(self.precision))


def test_two_mistakes_at_once_are_named_by_the_closest(monkeypatch):
    graph, inputs = network()
    nodes = {**graph.nodes, "first": graph.nodes["first"].replaced(h=sb.Step(at_threshold=True))}
    nodes["second"] = graph.nodes["second"].replaced(reset=sb.Reset.TO_ZERO)
    wrong = sb.simulate(sb.Graph(nodes, graph.edges), inputs)
    report = verified(monkeypatch, Recorded(wrong), graph, inputs)
    (suspect,) = report.suspects["broken"]
    assert 0 < suspect.share < 1
    assert suspect.differing > 0
    assert f"broken: closest: {suspect.share:.0%} of the differences are gone if {suspect.name}" in report.to_text()


def test_a_mistake_in_float32_is_named_though_rounding_turns_spikes_as_well(monkeypatch):
    rng = np.random.default_rng(9)
    nodes = {"in": sb.Input((8,)), "w": sb.Linear(rng.integers(-8, 9, (24, 8)) / 8), "u": sb.Unit(0.8, 1.0)}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u")]
    right = sb.Graph({**nodes, "u": sb.Unit(0.8, 1.0, reset=sb.Reset.SUBTRACT)}, edges)
    inputs = rng.integers(0, 2, (400, 8, 8)).astype(float)
    single, double = (
        sb.export(sb.Graph(nodes, edges), "torch", precision=name).run(inputs) for name in ("float32", "float64")
    )
    assert (single.spikes["u"] != double.spikes["u"]).any()
    report = verified(monkeypatch, Recorded(single, "float32"), right, inputs)
    (suspect,) = report.suspects["broken"]
    assert suspect.name == "the reset is to zero where it should be soft"
    assert suspect.differing == (single.spikes["u"] != double.spikes["u"]).sum()
    assert 0.9 < suspect.share < 1


def test_what_is_none_of_the_usual_mistakes_is_said_to_be_none(monkeypatch):
    graph, inputs = network()
    trace = sb.simulate(graph, inputs)
    spikes = {name: array.copy() for name, array in trace.spikes.items()}
    spikes["second"][50, 3, 4] ^= 1
    wrong = sb.Trace(spikes, {}, trace.outputs, trace.lengths)
    report = verified(monkeypatch, Recorded(wrong), graph, inputs)
    assert report.suspects == {"broken": ()}
    assert "none of the usual mistakes explains any difference" in report.to_text()


def test_only_the_first_steps_of_a_long_run_are_tried(monkeypatch):
    graph, inputs = network(steps=400)
    run, right = prepare(graph, inputs), sb.simulate(graph, inputs)
    wrong = sb.simulate(graph, np.concatenate([inputs[:200], np.roll(inputs[200:], -1, axis=0)]))
    early = sb.simulate(graph, np.roll(inputs, -1, axis=0))
    monkeypatch.setattr("snubridge.verification.suspects.search.BUDGET", 1)
    assert [s.compared for s in suspects(graph, run.inputs, right, early, 0)] == [31 * 4 * 13]
    assert all(s.share < 1 for s in suspects(graph, run.inputs, right, wrong, 200))


def test_beyond_the_lengths_nothing_is_compared(monkeypatch):
    graph, inputs = network()
    lengths = np.array([60, 20, 40, 1])
    early = sb.simulate(graph, np.roll(inputs, -1, axis=0), lengths=lengths)
    report = verified(monkeypatch, Recorded(early), graph, inputs, lengths=lengths)
    (suspect,) = report.suspects["broken"]
    assert (suspect.name, suspect.compared) == (NAMES["inputs one step early"], (59 + 20 + 40 + 1) * 13)


def everything() -> tuple[sb.Graph, np.ndarray]:
    """Units of all resets on two kinds of Step, with delays of one and two steps."""
    rng = np.random.default_rng(3)
    nodes: dict[str, sb.ir.Node] = {"in": sb.Input((6,))}
    edges = []
    for reset in sb.Reset:
        name, h = reset.name.lower(), sb.Step(at_threshold=reset is sb.Reset.SUBTRACT)
        nodes[f"{name}.w"] = sb.Linear(rng.integers(-2, 4, (6, 6)) / 4)
        nodes[name] = sb.Unit(0.5, 1.0, reset=reset, h=h, initial_state=rng.integers(-4, 9, 6) / 4)
        nodes[f"{name}.r"] = sb.Linear(rng.integers(-3, 4, (6, 6)) / 4)
        delays = sb.Edge(name, f"{name}.r", delay=2), sb.Edge(f"{name}.r", name)
        edges += [sb.Edge("in", f"{name}.w"), sb.Edge(f"{name}.w", name), *delays]
        edges += [sb.Edge("to_zero", f"{name}.w")] if reset is not sb.Reset.TO_ZERO else []
    return sb.Graph(nodes, edges), (rng.random((40, 3, 6)) < 0.4).astype(float)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_changes_something_and_finds_itself(variant):
    graph, inputs = everything()
    run, right = prepare(graph, inputs), sb.simulate(graph, inputs)
    spikes = {name: np.roll(y, variant.recorded_late, 0) for name, y in respond(graph, run.inputs, variant).items()}
    wrong = sb.Trace(spikes, {}, {}, right.lengths)
    named = {suspect.name: suspect for suspect in suspects(graph, run.inputs, right, wrong, 0)}
    assert named[variant.name].differing == 0
    assert len(named) <= 2  # a recording one step early is an input one step early where nothing else tells time


@pytest.mark.parametrize("seed", range(60))
def test_without_a_change_the_run_is_the_references(seed):
    case = random_graph(seed, precision="float64")
    run = prepare(case.graph, case.inputs, case.lengths)
    for name, spikes in respond(case.graph, run.inputs, Variant("nothing is wrong")).items():
        np.testing.assert_array_equal(spikes, case.expected.spikes[name])

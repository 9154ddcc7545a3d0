"""Reports: what is claimed, what is not, and what each row says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import ALWAYS, Requirement
from snubridge.bridge import plugins as room
from snubridge.bridge.conformance.families import random_case
from snubridge.bridge.plugins import Plugin

FIELDS = {"backend", "engine", "version", "precision", "unit", "compared", "spikes", "differing", "first", "margin"}
FIELDS |= {"bound", "rung", "verdict"}


@dataclass(frozen=True)
class Flipping:
    """A program that is right but for one spike."""

    graph: sb.Graph
    native: Any = None
    rounding = sb.ErrorModel("float64")

    def run(self, inputs, record=("spikes",), lengths=None):
        trace = sb.simulate(self.graph, inputs, record=record, lengths=lengths)
        name = next(iter(trace.spikes))
        spikes = trace.spikes[name].copy()
        spikes[7, 1, 0] ^= 1
        return sb.Trace({**trace.spikes, name: spikes}, trace.states, trace.outputs, trace.lengths)

    def save(self, path):
        raise NotImplementedError("not needed here")


class FlippingAdapter:
    """An outsider's adapter with a fault."""

    name = "flipping"
    engine = "foreign"
    requirement = Requirement(("json",), ("numpy",), "numpy")
    support = sb.Support.of_tables(
        [*ALWAYS, sb.Linear], resets=[sb.Reset.TO_ZERO], g=[sb.Identity, sb.ReLU], h=[sb.Step]
    )

    def lower(self, graph):
        return Flipping(graph)


class MissingAdapter(FlippingAdapter):
    name = "missing"
    requirement = Requirement(("no_such_engine",), ("no-such-engine",), "snubridge[none]")


class PickyAdapter(FlippingAdapter):
    name = "picky"
    support = sb.Support.of_tables([*ALWAYS], resets=[sb.Reset.NONE], g=[sb.Identity], h=[sb.Step])


@pytest.fixture
def outsiders(monkeypatch):
    """These three as the only installed plug-ins."""
    found = {a.name: Plugin(a.name, a(), None) for a in (FlippingAdapter, MissingAdapter, PickyAdapter)}
    for module in ("snubridge.bridge.plugins", "snubridge.verification.verifier", "snubridge.bridge.lowering"):
        monkeypatch.setattr(f"{module}.plugins", lambda: found)


def test_equal_engines_make_an_equal_report():
    case = random_case(4, "dyadic", precision="float32")
    report = sb.verify(case.graph, case.inputs, ["torch"])
    assert report.equal
    assert not report.silent
    document = json.loads(report.to_json())
    assert document["equal"] is True
    assert document["rows"][0].keys() >= FIELDS
    spiking = [row for row in report.rows if row.kind == "spikes"]
    assert {row.unit for row in spiking} == set(case.graph.of_kind(sb.Unit))
    assert all(row.rung == "certified" and row.verdict == "equal" and row.bound == 0 for row in spiking)
    assert all(row.rung == "tolerance" for row in report.rows if row.kind == "values" and row.unit == "out")
    assert sum(row.compared for row in spiking) == sum(
        50 * 2 * unit
        for unit in (sb.simulate(case.graph, case.inputs).spikes[n].shape[2] for n in {r.unit for r in spiking})
    )
    assert "equal: 0 of" in report.to_text()
    report.raise_if_unequal()


def test_one_wrong_spike_is_a_bug_with_its_place_and_margin(outsiders):
    case = random_case(4, "dyadic")
    report = sb.verify(case.graph, case.inputs, ["flipping"])
    assert not report.equal
    row = next(row for row in report.rows if row.verdict == "bug")
    assert (row.differing, row.first[:2], row.first.neuron, row.rung) == (1, (7, 1), 0, None)
    states = sb.simulate(case.graph, case.inputs, record=("spikes", "states")).states[row.unit]
    threshold = np.broadcast_to(case.graph.nodes[row.unit].threshold, states.shape[2:])[0]
    assert row.margin == states[7, 1, 0] - threshold
    assert f"step 7, sample 1, {row.unit}, neuron 0" in report.to_text()
    with pytest.raises(sb.SpikesDiffer, match="unequal: 1 bins differ") as caught:
        report.raise_if_unequal()
    assert caught.value.report is report


def test_with_none_named_the_others_are_rows(outsiders):
    case = random_case(4, "dyadic")
    report = sb.verify(case.graph, case.inputs)
    verdicts = {row.backend: row.verdict for row in report.rows if row.backend != "flipping"}
    assert verdicts == {"missing": "missing", "picky": "refused"}
    assert "pip install 'snubridge[none]'" in report.to_text()
    reason = next(row.reason for row in report.rows if row.backend == "picky")
    assert "Reset.TO_ZERO is not supported" in reason


def test_named_ones_that_cannot_run_are_errors(outsiders):
    case = random_case(4, "dyadic")
    with pytest.raises(sb.MissingEngine, match="no-such-engine is not installed"):
        sb.verify(case.graph, case.inputs, ["missing"])
    with pytest.raises(sb.Unsupported, match="picky refuses") as caught:
        sb.verify(case.graph, case.inputs, ["picky"])
    assert len(caught.value.reasons) > 1
    with pytest.raises(sb.BadInput, match="no backend is called 'nest'; known: flipping"):
        sb.verify(case.graph, case.inputs, ["nest"])
    with pytest.raises(sb.BadInput, match="a list of names"):
        sb.verify(case.graph, case.inputs, "flipping")
    with pytest.raises(sb.BadInput, match="none is named"):
        sb.verify(case.graph, case.inputs, [])


def test_labels_carry_options():
    case = random_case(4, "dyadic")
    chosen = {"single": ("torch", {}), "double": ("torch", {"precision": "float64"})}
    case32 = random_case(4, "dyadic", precision="float32")
    report = sb.verify(case32.graph, case32.inputs, chosen)
    assert {row.backend: row.precision for row in report.rows} == {"single": "float32", "double": "float64"}
    with pytest.raises(sb.BadInput, match="torch has no option 'dt'; it has: precision"):
        sb.verify(case.graph, case.inputs, {"x": ("torch", {"dt": 1})})


def test_a_silent_run_says_that_it_proves_nothing():
    case = random_case(4, "dyadic")
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.5, 1.0)}, [sb.Edge("in", "u")])
    report = sb.verify(graph, case.inputs[..., :1] * 0, ["torch"])
    assert report.equal
    assert report.silent
    assert "proves nothing" in report.to_text()


def test_nothing_that_ran_is_not_equal(outsiders, monkeypatch):
    case = random_case(4, "dyadic")
    monkeypatch.setattr("snubridge.verification.verifier.plugins", lambda: {"missing": None})
    report = sb.verify(case.graph, case.inputs)
    assert not report.equal
    assert "nothing was compared" in report.to_text()


class LiteralAdapter(FlippingAdapter):
    """What the contract asks for, and no more: no requirement."""

    name = "literal"
    requirement = property()  # as if it were not there

    def lower(self, graph):
        return sb.export(graph, "pcm")


def test_an_adapter_needs_no_requirement(monkeypatch):
    case = random_case(4, "dyadic")
    known = {**room.plugins(), "literal": Plugin("literal", LiteralAdapter(), None)}
    for module in ("snubridge.bridge.plugins", "snubridge.verification.verifier", "snubridge.cli.doctor"):
        monkeypatch.setattr(f"{module}.plugins", lambda: known)
    report = sb.verify(case.graph, case.inputs, ["literal"])
    assert report.equal
    assert report.rows[0].version is None
    assert "literal" in report.to_text()
    assert "literal" in sb.backends()
    from snubridge.cli.main import main

    assert main(["doctor"]) == 0


def test_an_engine_that_overflows_is_a_row_and_the_others_run():
    graph = sb.Graph({"in": sb.Input((1,)), "w": sb.Linear([[1e30]]), "u": sb.Unit(0.5, 1.0), "out": sb.Output()},
                     [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("w", "out")])  # fmt: skip
    report = sb.verify(graph, np.full((3, 1, 1), 1e15))
    verdicts = {row.backend: row.verdict for row in report.rows}
    assert verdicts == {"brian2": "equal", "nengo": "equal", "onnx": "refused", "pcm": "equal", "torch": "refused"}
    assert "overflow" in report.to_text()
    json.loads(report.to_json())
    with pytest.raises(sb.BadInput, match="overflow"):
        sb.verify(graph, np.full((3, 1, 1), 1e15), ["torch"])


def test_rows_are_read_by_key_as_well():
    case = random_case(4, "dyadic", precision="float32")
    row = sb.verify(case.graph, case.inputs, ["torch"]).rows[0]
    assert row["verdict"] == row.verdict == "equal"


@pytest.mark.parametrize("backends", [{"a": "torch"}, {"": ("torch", {})}, {"a": ("torch", None)}, {"a": ("torch",)}])
def test_malformed_backends_are_refused(backends):
    case = random_case(4, "dyadic")
    with pytest.raises(sb.BadInput, match="is needed, say"):
        sb.verify(case.graph, case.inputs, backends)

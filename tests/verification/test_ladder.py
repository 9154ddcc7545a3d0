"""Rungs and verdicts: what is certified, which differences rounding explains, and what only follows from them."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from snubridge_torch import TorchAdapter

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.bridge.plugins import Plugin, plugins
from snubridge.exactness import certify
from snubridge.verification.ladder import Ladder, always_exact, rung_of
from snubridge.verification.verifier import verify_traces

FLOAT32 = {"onnx": ("onnx", {}), "torch": ("torch", {})}
FLOAT64 = {name: (name, {"precision": "float64"}) for name in FLOAT32} | {"pcm": ("pcm", {}), "nengo": ("nengo", {})}


def lattice(seed: int, *, decay: float = 0.8) -> tuple[sb.Graph, np.ndarray]:
    """Weights and inputs on a lattice, so that states of decay 0.8 come to within 1e-8 of the threshold by design."""
    rng = np.random.default_rng(seed)
    nodes = {
        "in": sb.Input((8,)),
        "w": sb.Linear(rng.integers(-8, 9, (24, 8)) / 8),
        "first": sb.Unit(decay, 1.0, reset=sb.Reset.SUBTRACT),
        "r": sb.Linear(rng.integers(-4, 5, (24, 24)) / 8),
        "v": sb.Linear(rng.integers(-8, 9, (24, 24)) / 8),
        "second": sb.Unit(decay, 1.0),
        "read": sb.Linear(rng.normal(size=(3, 24))),
        "out": sb.Output(),
        "total": sb.Output("sum"),
    }
    edges = [
        sb.Edge("in", "w"), sb.Edge("w", "first"), sb.Edge("first", "r", delay=1), sb.Edge("r", "first"),
        sb.Edge("first", "v"), sb.Edge("v", "second"), sb.Edge("second", "read"), sb.Edge("read", "out"),
        sb.Edge("read", "total"),
    ]  # fmt: skip
    return sb.Graph(nodes, edges), rng.integers(0, 2, (200, 4, 8)).astype(np.float32)


def deep(seed: int) -> tuple[sb.Graph, np.ndarray]:
    """The same with a third layer behind it, which differs only where the second does."""
    graph, inputs = lattice(seed)
    rng = np.random.default_rng(seed + 1000)
    more = {"u": sb.Linear(rng.integers(-8, 9, (24, 24)) / 8), "third": sb.Unit(0.5, 1.0)}
    edges = [*graph.edges, sb.Edge("second", "u"), sb.Edge("u", "third")]
    return sb.Graph({**graph.nodes, **more}, edges), inputs


@pytest.mark.parametrize("seed", [9, 10, 11])
def test_honest_flips_of_float32_are_explained_and_their_consequences_are_not_counted(seed):
    graph, inputs = deep(seed)
    report = sb.verify(graph, inputs, FLOAT32)
    assert not report.equal
    for backend in FLOAT32:
        rows = {row.unit: row for row in report.rows if row.backend == backend}
        assert (rows["first"].verdict, rows["second"].verdict, rows["third"].verdict) == (
            "equal",
            "explained",
            "explained",
        )
        assert rows["second"].roots == rows["second"].explained > 0
        assert rows["second"].consequences > 0
        assert (rows["third"].roots, rows["third"].explained) == (0, 0)
        assert rows["third"].consequences == rows["third"].differing > 0
        assert all(row.bugs == 0 for row in rows.values() if row.kind == "spikes")
        assert all(rows[name].verdict == "explained" and rows[name].roots == 0 for name in ("out", "total"))
        assert all(row.rung is None for row in rows.values() if row.differing)
        assert all(root.explained and abs(root.margin) <= root.bound < 1e-4 for root in rows["second"].shown)
    assert report.suspects == {}
    assert "explained by rounding at step" in report.to_text()
    assert "0 bugs" in report.summary()
    with pytest.raises(sb.SpikesDiffer):
        report.raise_if_unequal()


def test_a_root_is_what_no_earlier_difference_reaches():
    """Counted again by hand: in the layer whose own state is all that is carried from difference to difference."""
    graph, inputs = lattice(9)
    verification = verify_traces(graph, inputs, {"torch": ("torch", {})})
    differing = verification.expected.spikes["second"] != verification.traces["torch"].spikes["second"]
    assert not (verification.expected.spikes["first"] != verification.traces["torch"].spikes["first"]).any()
    roots = differing & (np.cumsum(differing, axis=0) == 1)  # each neuron's first: decay and reset carry on from there
    row = next(row for row in verification.report.rows if row.unit == "second")
    assert (row.roots, row.consequences) == (roots.sum(), differing.sum() - roots.sum())


def test_the_same_flips_under_a_narrower_model_are_bugs():
    """An engine that states float64 and computes in float32 is caught."""
    graph, inputs = lattice(9)
    right = sb.simulate(graph, inputs, record=("spikes", "states"))
    wrong = sb.export(graph, "torch", precision="float32").run(inputs)
    model = sb.ErrorModel("float64")
    found = Ladder(graph, right, wrong, model, certify(graph, inputs, model=model, record=True)).finding("second")
    assert (found.verdict, found.bugs, found.explained) == ("bug", found.roots, 0)
    assert all(abs(root.margin) > root.bound and not root.explained for root in found.shown)


@pytest.mark.parametrize(("backends", "precision"), [(FLOAT32, "float32"), (FLOAT64, "float64")])
def test_a_run_without_open_decisions_is_certified(backends, precision):
    case = random_case(4, "dyadic", precision="float32")
    report = sb.verify(case.graph, case.inputs, backends)
    assert report.equal
    assert {row.rung for row in report.rows if row.kind == "spikes"} == {"certified"}
    assert {row.rung for row in report.rows if row.kind == "values"} <= {"tolerance"}
    assert {row.precision for row in report.rows} == {precision}
    for backend in backends:
        claim = report.certificates[backend]
        assert (claim["certified"], claim["conditional"], claim["open"], claim["reason"]) == (1, 1, 0, None)
        assert claim["model"]["precision"] == precision
        assert claim["decisions"] == sum(
            row.compared for row in report.rows if row.backend == backend and row.kind == "spikes"
        )
    names = ", ".join(backends)
    assert (
        f"certified for {precision}: 100 % of {claim['decisions']:,} decisions (0 decisions open)" in report.to_text()
    )
    assert f"({names})" in report.to_text()


def test_over_the_reals_the_closest_call_is_shown_with_its_bound():
    case = random_case(3, "generic", precision="float32")
    report = sb.verify(case.graph, case.inputs, FLOAT32)
    rows = [row for row in report.rows if row.kind == "spikes"]
    certificate = certify(case.graph, case.inputs, "float32", record=True)
    assert certificate.complete
    assert {row.rung for row in rows} == {"certified"}
    for row in rows:
        room = np.abs(certificate.margins[row.unit]) - certificate.bounds[row.unit]
        assert abs(row.margin) - row.bound == room.min() > 0
        assert row.bound > 0


@pytest.mark.parametrize("family", ["dyadic", "generic"])
def test_sound_engines_have_no_bug(family):
    """Over random recurrent networks in float32: whatever differs is open, and where all is certified nothing does."""
    differing = 0
    for seed in range(40):
        case = random_case(seed, family, precision="float32", steps=100, samples=4)
        report = sb.verify(case.graph, case.inputs, FLOAT32)
        rows = [row for row in report.rows if row.kind == "spikes"]
        assert all(row.verdict in ("equal", "explained") and row.bugs == 0 for row in rows), report.to_text()
        assert all(report.certificates[row.backend]["open"] for row in rows if row.differing)
        differing += sum(row.differing for row in rows)
    assert family == "generic" or not differing


def test_one_certificate_serves_all_engines_of_one_model(monkeypatch):
    case = random_case(4, "dyadic", precision="float32")
    asked = []

    def counted(*args, **options):
        asked.append(options["model"])
        return certify(*args, **options)

    monkeypatch.setattr("snubridge.verification.certificates.certify", counted)
    sb.verify(case.graph, case.inputs, FLOAT64 | {"single": ("torch", {})})
    assert asked == [sb.ErrorModel("float64"), sb.ErrorModel("float32")]
    sb.verify(case.graph, case.inputs, FLOAT64, certify=False)
    assert len(asked) == 2


def test_equal_without_a_full_certificate_is_measured():
    graph, inputs = lattice(10)
    report = sb.verify(graph, inputs, FLOAT32)
    row = next(row for row in report.rows if row.unit == "first")
    assert (row.verdict, row.rung) == ("equal", "measured")
    assert 0 < report.certificates["onnx"]["certified"] < 1
    assert f"{report.certificates['onnx']['open']} decisions open" in report.to_text()


def test_decisions_beyond_the_lengths_neither_certify_nor_spoil():
    graph, inputs = lattice(9)
    whole = verify_traces(graph, inputs, FLOAT32).report
    first = min(row.first.step for row in whole.rows if row.first)
    report = sb.verify(graph, inputs[: first + 1], FLOAT32, lengths=np.full(4, first))
    assert report.equal
    assert report.certificates["onnx"]["decisions"] == first * 4 * 48


def test_without_certificates_nothing_is_explained_and_nothing_a_bug():
    graph, inputs = lattice(9)
    report = sb.verify(graph, inputs, FLOAT32, certify=False)
    rows = {row.unit: row for row in report.rows if row.backend == "onnx"}
    assert (rows["first"].rung, rows["first"].bound, rows["first"].verdict) == ("measured", None, "equal")
    assert rows["first"].margin is not None
    assert (rows["second"].verdict, rows["second"].explained, rows["second"].bugs) == ("unequal", None, None)
    assert rows["second"].roots + rows["second"].consequences == rows["second"].differing > rows["second"].roots > 0
    assert (report.certificates, report.suspects) == ({}, {})
    assert "onnx: root at step" in report.to_text()
    assert "bug" not in report.summary()


def test_a_range_that_may_overflow_leaves_no_certificate_but_a_reason():
    nodes = {
        "in": sb.Input((2,)),
        "w": sb.Linear([[3e23, -3e23], [1e-15, 0]]),
        "u": sb.Unit(0.5, 0.5),
        "o": sb.Output(),
    }
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "o")]
    report = sb.verify(sb.Graph(nodes, edges), np.full((4, 1, 2), 1e15), {**FLOAT32, "pcm": ("pcm", {})})
    assert report.equal
    rungs = {row.backend: row.rung for row in report.rows if row.kind == "spikes"}
    assert rungs == {"onnx": "measured", "torch": "measured", "pcm": "certified"}
    assert "may overflow float32" in report.certificates["onnx"]["reason"]
    assert "no certificate for float32: node w may overflow" in report.to_text()
    json.loads(report.to_json())


class StatingAdapter:
    """An outsider that computes as the reference does and states any error model."""

    name, engine, requirement = "stating", "none", None

    def __init__(self, model: sb.ErrorModel) -> None:
        self.model = model
        self.support = TorchAdapter().support

    def lower(self, graph):
        program = sb.export(graph, "pcm")
        return SimpleNamespace(rounding=self.model, facts={}, run=program.run)


STATED = {
    "tf32": (sb.ErrorModel("tf32"), 12, "the budget of FixedPoint is known for"),
    "bf16": (sb.ErrorModel("bf16"), 12, "the budget of FixedPoint is known for"),
    "beyond the budget": (sb.ErrorModel("float32"), 30, "node u: its carried state"),
    "other weights": (sb.ErrorModel("float64", weight_error=0.1), 12, "changes parameters"),
}


@pytest.mark.parametrize("named", STATED)
def test_in_fixed_point_a_model_that_does_not_hold_it_claims_nothing(named, monkeypatch, tmp_path):
    model, state_bits, reason = STATED[named]
    known = {**plugins(), "stating": Plugin("stating", StatingAdapter(model), None)}
    monkeypatch.setattr("snubridge.bridge.plugins.plugins", lambda: known)
    nodes = {"in": sb.Input((2,), 0, 1, 0), "w": sb.Linear([[0.5, 0.25]]), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")]
    graph = sb.Graph(nodes, edges, numbers=sb.FixedPoint(4, state_bits=state_bits))
    report = sb.verify(graph, np.ones((3, 1, 2)), ["stating", "torch"])
    assert report.equal
    rungs = {row.backend: row.rung for row in report.rows if row.kind == "spikes"}
    assert rungs == {"stating": "measured", "torch": "exact"}
    assert reason in report.certificates["stating"]["reason"]
    assert f"no certificate for {model.precision}: " in report.to_text()
    report.to_html(tmp_path / "report.html")
    assert reason in (tmp_path / "report.html").read_text()


def changed(trace: sb.Trace, group: str, name: str, place: tuple[int, ...], value: float) -> sb.Trace:
    """The trace with one value replaced."""
    arrays = {key: array.copy() for key, array in getattr(trace, group).items()}
    arrays[name][place] = value
    return dataclasses.replace(trace, **{group: arrays})


def soft() -> tuple[sb.Graph, np.ndarray]:
    """A spiking layer, a soft one behind it, and a soft one beside it."""
    nodes = {
        "in": sb.Input((2,)), "spiking": sb.Unit(0.0, 0.5), "behind": sb.Unit(0.5, 0.5, h=sb.Sigmoid()),
        "beside": sb.Unit(0.5, 0.5, h=sb.Tanh()), "out": sb.Output(), "last": sb.Output("last"),
    }  # fmt: skip
    edges = [sb.Edge("in", "spiking"), sb.Edge("spiking", "behind", delay=1), sb.Edge("in", "beside")]
    edges += [sb.Edge("behind", "out"), sb.Edge("beside", "last")]
    return sb.Graph(nodes, edges), np.random.default_rng(0).integers(0, 2, (9, 2, 2)).astype(float)


def test_a_value_is_a_consequence_of_a_spike_that_reaches_it_and_else_a_difference_of_its_own():
    graph, inputs = soft()
    model = sb.ErrorModel("float64")
    certificate = certify(graph, inputs, model=model, record=True)
    right = sb.simulate(graph, inputs, record=("spikes", "states"))
    flipped = changed(right, "spikes", "spiking", (3, 1, 0), 1 - right.spikes["spiking"][3, 1, 0])

    def finding(wrong: sb.Trace, name: str, certificate: sb.Certificate | None = certificate):
        return Ladder(graph, right, wrong, model, certificate).finding(name)

    follows = changed(flipped, "spikes", "behind", (4, 1, 0), 0.9)
    assert finding(follows, "spiking").verdict == "bug"
    found = finding(follows, "behind")
    assert (found.verdict, found.roots, found.consequences, found.bugs, found.rung) == ("unequal", 0, 1, None, None)
    for place in ((3, 1, 0), (4, 0, 0), (4, 1, 1)):  # too early, another sample, another neuron
        found = finding(changed(flipped, "spikes", "behind", place, 0.9), "behind")
        assert (found.verdict, found.roots, found.consequences) == ("unequal", 1, 0)
    assert finding(flipped, "behind") == finding(flipped, "out") == finding(flipped, "last")
    assert finding(flipped, "last").rung == "tolerance"
    out = finding(changed(follows, "outputs", "out", (8, 1, 0), 0.9), "out")
    assert (out.roots, out.consequences) == (0, 1)
    last = finding(changed(follows, "outputs", "last", (1, 0), 0.9), "last")
    assert (last.verdict, last.roots, last.consequences) == ("unequal", 1, 0)


class Shifted:
    """An adapter whose soft values are off, and whose spikes are right."""

    name, engine, support = "shifted", "own", TorchAdapter().support

    def lower(self, graph):
        class Program:
            native, rounding = None, sb.ErrorModel("float64")

            def run(self, inputs, record=("spikes",), lengths=None):
                right = sb.simulate(graph, inputs)
                return changed(changed(right, "spikes", "behind", (5, 1, 1), 0.875), "outputs", "last", (1, 0), np.nan)

        return Program()


def test_values_that_are_off_by_themselves_are_told(monkeypatch):
    graph, inputs = soft()
    known = {"shifted": Plugin("shifted", Shifted(), None)}
    monkeypatch.setattr("snubridge.bridge.plugins.plugins", lambda: known)
    report = sb.verify(graph, inputs, ["shifted"])
    assert [row.verdict for row in report.rows] == ["equal", "unequal", "equal", "equal", "unequal"]
    text = report.to_text()
    assert "shifted: behind: 1 value out of tolerance, the first at step 5, sample 1, neuron 1; largest" in text
    assert "shifted: last: 1 value out of tolerance, the first at step 8, sample 1, neuron 0; largest" in text
    assert report.summary().endswith("neuron 1; 2 values out of tolerance (2 by themselves)")
    json.loads(report.to_json())


def test_the_first_rung_is_for_numbers_that_say_so():
    def fixed(state_bits):
        nodes = {"in": sb.Input((3,), 0, 1, 0), "w": sb.Linear([[0.5, 1.0, 1.5]]), "u": sb.Unit(0.75, 1.0)}
        edges = [sb.Edge("in", "w"), sb.Edge("w", "u")]
        return sb.Graph(nodes, edges, numbers=sb.FixedPoint(2, state_bits=state_bits))

    assert always_exact(fixed(10), sb.ErrorModel("float64"))
    assert always_exact(fixed(10), sb.ErrorModel("float32"))
    assert not always_exact(fixed(30), sb.ErrorModel("float32"))
    assert not always_exact(fixed(10), sb.ErrorModel("float64", decay_error=1e-9))
    graph, _ = soft()
    assert not always_exact(graph, sb.ErrorModel("float64"))
    assert rung_of(True, exact=True, certified=False) == "exact"
    assert rung_of(True, exact=False, certified=True) == "certified"
    assert rung_of(True, exact=False, certified=False) == "measured"
    assert rung_of(False, exact=True, certified=False) == "exact"
    assert rung_of(False, exact=False, certified=True) == "tolerance"


def test_where_every_sum_is_exact_each_root_is_a_bug(monkeypatch):
    graph, inputs = lattice(0)
    right = sb.simulate(graph, inputs, record=("spikes", "states"))
    wrong = changed(right, "spikes", "second", (5, 0, 0), 1 - right.spikes["second"][5, 0, 0])
    monkeypatch.setattr("snubridge.verification.ladder.always_exact", lambda graph, model: True)
    ladder = Ladder(graph, right, wrong, sb.ErrorModel("float32"))
    found = ladder.finding("second")
    assert (found.verdict, found.bugs, found.bound) == ("bug", 1, 0.0)
    assert ladder.finding("first").rung == ladder.finding("out").rung == "exact"
    assert ladder.finding("total").rung == "tolerance"
    assert ladder.first_bug == 5


def test_the_json_report_is_complete():
    graph, inputs = lattice(9)
    document = json.loads(sb.verify(graph, inputs, FLOAT32).to_json())
    row = next(row for row in document["rows"] if row["unit"] == "second")
    assert {"roots", "consequences", "explained", "bugs", "shown", "margin", "bound", "rung", "verdict"} <= row.keys()
    fields = {"step", "sample", "unit", "neuron", "margin", "bound", "explained"}
    assert row["shown"]
    assert all(root.keys() == fields for root in row["shown"])
    claim = document["certificates"]["torch"]
    assert claim.keys() == {"model", "reason", "decisions", "certified", "conditional", "open", "smallest_margin"}

"""The report for people: what it says, that it stays text, needs nothing else, and is the same twice."""

from __future__ import annotations

import copy
import dataclasses
import html.parser
import itertools
import pickle
import re
import time
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

import snubridge as sb
from snubridge.verification.comparison import First
from snubridge.verification.html import page
from snubridge.verification.html.tables import LABELS, cell
from snubridge.verification.report import Report, Row
from snubridge.verification.verifier import verify_traces

HOSTILE = "<script>alert('1')</script>\"&amp; \x1b[31m\x00\u202e\ud800\ufffe]]>--> {}%s"
VOID = {"meta", "br", "hr", "img", "input", "link", "i"}


def tree_of(text):
    """The page as XML: every tag is closed, every attribute quoted, every character allowed."""
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def words(text):
    """All text outside of the style."""
    tree = tree_of(text)
    tree.find("head").remove(tree.find("head/style"))
    return " ".join(" ".join(tree.itertext()).split())


def flipped(verification, *places):
    """The same verification, with these bins (unit, step, sample, neuron) of torch turned, compared anew."""
    evidence = verification.report.evidence
    trace = evidence.traces["torch"]
    spikes = {name: array.copy() for name, array in trace.spikes.items()}
    for unit, *place in places:
        spikes[unit][tuple(place)] ^= 1
    other = dataclasses.replace(trace, spikes=spikes)
    comparison = sb.compare(evidence.expected, other)
    rows = []
    for row in verification.report.rows:
        part = {**comparison.units, **comparison.outputs}[row.unit]
        verdict = "unequal" if part.differing else "equal"
        margin = 0.123456 if part.differing else None
        changed = {"differing": part.differing, "first": part.first, "verdict": verdict, "margin": margin}
        rows.append(dataclasses.replace(row, **changed, rung=None if part.differing else row.rung))
    evidence = dataclasses.replace(evidence, traces={"torch": other})
    return dataclasses.replace(verification.report, rows=tuple(rows), evidence=evidence)


@pytest.fixture(scope="module")
def verification():
    """Two layers on torch."""
    random = np.random.default_rng(1)
    nodes = {
        "in": sb.Input((5,)),
        "w0": sb.Linear(random.normal(0, 1, (6, 5))),
        "layer0": sb.Unit(0.75, 0.5),
        "w1": sb.Linear(random.normal(0, 1, (3, 6))),
        "layer1": sb.Unit(0.5, 0.25, reset=sb.Reset.SUBTRACT),
        "out": sb.Output("mean"),
    }
    names = list(nodes)
    graph = sb.Graph(nodes, [sb.Edge(one, other) for one, other in itertools.pairwise(names)])
    inputs = (random.random((30, 2, 5)) < 0.4).astype(float)
    return verify_traces(graph, inputs, {"torch": ("torch", {"precision": "float32"})})


@pytest.fixture(scope="module")
def unequal(verification):
    return flipped(verification, ("layer0", 7, 1, 0), ("layer0", 9, 0, 1))


def test_every_figure_of_every_row_is_there(verification, unequal):
    for report in (verification.report, unequal):
        text = words(page(report))
        for row in report.rows:
            for name in LABELS.keys() & _fields(row):
                value = getattr(row, name)
                if value is not None and (name != "spikes" or row.kind == "spikes"):
                    assert cell(value).text in text, name
        assert report.graph in text
        assert report.inputs in text
        assert all(version in text for version in report.versions.values())


def test_what_is_equal_is_claimed_and_how_far(verification):
    text = words(page(verification.report))
    bins = sum(row.compared for row in verification.report.rows if row.kind == "spikes")
    assert f"All {bins:,} compared decisions on torch are the reference's; 0 differ." in text
    assert "What it does not say. Nothing about other inputs" in text
    assert "Differences" not in text
    assert "The closest calls" in text
    assert "--on torch --option torch.precision=float32 --report report.html" in text


def test_what_differs_is_shown_with_its_place(unequal):
    text = page(unequal)
    said = words(text)
    assert "Unequal 2 of" in said
    assert "The first difference: layer0, step 7, sample 1, neuron 0. There s \u2212 threshold is +0.123" in said
    assert "2 bins, in 2 of 2 samples" in said
    assert said.count("first: step 7, sample 1, neuron 0") == 2  # on the wide heat map and on the narrow one
    assert "Red rings: torch does the opposite." in said
    assert "same spikes in all" in said  # of the other units


@pytest.mark.parametrize("verdict", ["explained", "bug", "unequal"])
def test_explained_and_bug_are_told_apart(unequal, verdict):
    ran = type("Ran", (Row,), {"ran": True})  # whatever verdicts the rows know of
    rows = [ran(**_fields(row) | ({"verdict": verdict} if row.differing else {})) for row in unequal.rows]
    report = dataclasses.replace(unequal, rows=tuple(rows))
    title = {"explained": "Unequal, explained by rounding", "bug": "Unequal: a bug", "unequal": "Unequal"}[verdict]
    assert tree_of(page(report)).find("body/main/header/h1").text == title


def _fields(row):
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


def test_fields_that_are_new_have_a_column(verification):
    wider = dataclasses.make_dataclass("Wider", [("drift_hours", float, 3.25)], bases=(Row,), frozen=True)
    rows = tuple(wider(**_fields(row)) for row in verification.report.rows)
    text = words(page(dataclasses.replace(verification.report, rows=rows)))
    assert "drift hours" in text
    assert "3.25" in text


def test_names_reasons_and_metadata_stay_text(verification):
    row = Row(HOSTILE, version=HOSTILE, precision=HOSTILE, unit=HOSTILE, kind="spikes", compared=5, differing=1)
    row = dataclasses.replace(row, first=First(1, 2, HOSTILE, (3, 4)), verdict="unequal", margin=0.5)
    absent = Row(HOSTILE, verdict="refused", reason=HOSTILE)
    graph = verification.report.evidence.graph
    named = sb.Graph(graph.nodes, graph.edges, numbers=graph.numbers, metadata={HOSTILE: HOSTILE})
    evidence = dataclasses.replace(
        verification.report.evidence,
        graph=named,
        chosen={HOSTILE: ("torch", {HOSTILE: HOSTILE})},
        traces={HOSTILE: verification.traces["torch"]},
        models={HOSTILE: sb.ErrorModel("float32")},
    )
    report = Report(
        rows=(row, absent),
        silent=False,
        graph=HOSTILE,
        steps=50,
        samples=2,
        versions={HOSTILE: HOSTILE},
        facts={HOSTILE: {HOSTILE: HOSTILE}},
        certificates={HOSTILE: {"model": HOSTILE, "reason": HOSTILE}},
        inputs=HOSTILE,
        evidence=evidence,
    )
    text = page(report)
    tree = tree_of(text)
    assert not tree.findall(".//script")
    assert "<script" not in text
    assert not set("\x1b\x00\u202e\ud800\ufffe") & set(text)
    assert "<script>alert('1')</script>" in "".join(tree.itertext())
    text.encode()
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]


class Checker(html.parser.HTMLParser):
    """Tags that close in order, as HTML, and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]


def test_the_file_is_well_formed_and_refers_to_nothing_outside(unequal):
    text = page(unequal)
    tree_of(text)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    links = [value for _, name, value in checker.attributes if name in ("href", "src", "srcset", "action", "data")]
    assert links
    assert all(value.startswith("data:image/png;base64,") for value in links)
    outside = re.findall(r"[a-z]+://[^\s\"'<]*", text)
    assert set(outside) == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches
    assert "url(" not in text
    assert "@import" not in text
    assert ("html", "lang", "en") in checker.attributes


def test_pictures_have_words_and_headings_are_in_order(unequal):
    tree = tree_of(page(unequal))
    pictures = [element for element in tree.iter() if element.tag.endswith("}svg")]
    assert len(pictures) > 10
    assert all(len(picture.get("aria-label")) > 20 and picture.get("role") == "img" for picture in pictures)
    levels = [int(element.tag[1]) for element in tree.iter() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_same_verification_gives_the_same_bytes(tmp_path, verification):
    evidence = verification.report.evidence
    again = sb.verify(evidence.graph, dict(evidence.run.inputs), {"torch": ("torch", {"precision": "float32"})})
    verification.report.to_html(tmp_path / "one.html")
    again.to_html(tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_writing_is_whole_or_not_at_all(tmp_path, verification, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(sb.BadFile, match="cannot be written"):
        verification.report.to_html(tmp_path / "absent" / "report.html")
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(sb.BadFile, match="No space left"):
            verification.report.to_html(path)
    assert path.read_text() == "old"
    verification.report.to_html(path)
    assert path.read_text().endswith("</html>\n")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_thousand_neurons_for_a_thousand_steps_fit_in_three_megabytes(tmp_path):
    random = np.random.default_rng(3)
    graph = sb.Graph(
        {"in": sb.Input((100,)), "w": sb.Linear(random.normal(0, 0.4, (1000, 100))), "u": sb.Unit(0.5, 1.0)},
        [sb.Edge("in", "w"), sb.Edge("w", "u")],
    )
    verification = verify_traces(graph, (random.random((1000, 1, 100)) < 0.1).astype(float), ["torch"])
    places = [("u", *place) for place in zip(*np.nonzero(random.random((1000, 1, 1000)) < 0.1), strict=True)]
    report = flipped(verification, *places)
    start = time.perf_counter()
    report.to_html(tmp_path / "large.html")
    assert time.perf_counter() - start < 30
    assert (tmp_path / "large.html").stat().st_size < 3_000_000
    said = words((tmp_path / "large.html").read_text())
    assert "each cell stands for 3 neurons by 2 steps" in said
    assert f"{len(places):,} bins, in 1 of 1 sample" in said


def test_without_its_runs_a_report_has_tables_and_says_what_is_missing(verification):
    for stored in (pickle.loads(pickle.dumps(verification.report)), copy.copy(verification.report)):
        assert stored == verification.report
        assert stored.evidence is None
        text = words(page(stored))
        assert "not stored with it: no pictures" in text
        assert "All " in text
        assert stored.graph in text
    assert "evidence" not in repr(verification.report)


def test_without_certificates_the_page_says_so(verification):
    evidence = dataclasses.replace(verification.report.evidence, certificates=None)
    text = words(page(dataclasses.replace(verification.report, evidence=evidence)))
    assert "No bound was computed." in text
    assert "largest bound" not in text
    assert "The closest calls" in text


def test_a_format_that_may_overflow_has_no_bound_and_the_page_says_why():
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[1e30]]), "u": sb.Unit(0.5, 1.0)}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")])
    report = sb.verify(graph, np.full((3, 1, 1), 1e7), ["pcm"])
    models = {"pcm": sb.ErrorModel("float32"), "single": sb.ErrorModel("bf16")}
    evidence = dataclasses.replace(report.evidence, models=models, graph=_scaled(graph))
    evidence = dataclasses.replace(
        evidence, certificates=dataclasses.replace(evidence.certificates, graph=_scaled(graph))
    )
    text = words(page(dataclasses.replace(report, evidence=evidence)))
    assert "No bound for float32 (pcm): node w may overflow float32 at step 0" in text
    assert "none: node w may overflow" in text


def _scaled(graph):
    """The same graph with a weight beyond float32 on these inputs."""
    return sb.Graph({**graph.nodes, "w": sb.Linear([[3e38]])}, graph.edges)


def test_silent_refused_missing_and_nothing_are_said_plainly():
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.5, 1.0)}, [sb.Edge("in", "u")])
    silent = words(page(sb.verify(graph, np.zeros((5, 1, 1)), ["torch"])))
    assert "Equal, but silent: this proves nothing" in silent
    assert "no neuron spiked in this unit" in silent
    rows = (Row("nest", verdict="missing", reason="not installed"), Row("chip", verdict="refused", reason="too large"))
    nothing = words(page(Report(rows, False, "0" * 64, 5, 1)))
    assert "Nothing was compared" in nothing
    assert "nest missing not installed" in nothing
    assert "chip refused too large" in nothing
    some = sb.verify(graph, np.ones((5, 1, 1)), ["torch"])
    assert "nest and chip did not run." in words(page(dataclasses.replace(some, rows=(*some.rows, *rows))))


def test_a_graph_that_does_not_spike_has_a_page():
    soft = {"in": sb.Input((2,)), "u": sb.Unit(0.5, 1.0, h=sb.Sigmoid()), "out": sb.Output("mean")}
    report = sb.verify(sb.Graph(soft, [sb.Edge("in", "u"), sb.Edge("u", "out")]), np.ones((5, 2, 2)), ["torch"])
    text = words(page(report))
    assert "there is no spiking unit" in text
    assert "nothing to draw" in text


def test_layers_with_axes_and_short_samples_are_drawn():
    random = np.random.default_rng(0)
    nodes = {"in": sb.Input((1, 6, 6)), "c": sb.Conv2d(random.normal(0, 1, (2, 1, 3, 3))), "u": sb.Unit(0.5, 0.5)}
    graph = sb.Graph(nodes, [sb.Edge("in", "c"), sb.Edge("c", "u")])
    report = sb.verify(graph, (random.random((9, 2, 1, 6, 6)) < 0.3).astype(float), ["torch"], lengths=[9, 1])
    text = words(page(report))
    assert "Neurons of shape (2, 4, 4)" in text
    assert "from 1 to 9 steps" in text
    assert "--lengths L.npy" in text
    assert re.search(r"Unit u, neuron \(\d, \d, \d\), sample", text)


def test_a_report_knows_its_inputs(verification):
    evidence = verification.report.evidence
    inputs = {name: array.copy() for name, array in evidence.run.inputs.items()}
    assert sb.verify(evidence.graph, inputs, ["torch"]).inputs == verification.report.inputs
    next(iter(inputs.values())).flat[0] += 1
    assert sb.verify(evidence.graph, inputs, ["torch"]).inputs != verification.report.inputs
    assert verification.report.document()["inputs"] == verification.report.inputs


def test_the_images_hold_the_spikes(verification):
    """The raster's pixels are the reference's spikes: one cell for each."""
    from snubridge.verification.pictures.rasters import WIDE, Blocks, raster

    evidence = verification.report.evidence
    truth = evidence.spikes("layer0")[:, 0]
    drawn = raster(evidence, "layer0", 0, ["torch"], WIDE)
    (image,) = (mark for mark in drawn.figure.marks if type(mark).__name__ == "Pixels")
    across, up = Blocks.fit(*truth.shape, WIDE).cell
    np.testing.assert_array_equal(image.indices[:: int(up), :: int(across)] > 0, truth.T[::-1])
    from snubridge.verification.pictures.svg import png

    data = png(image)
    start = data.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompress(data[start : data.index(b"IEND") - 8]), np.uint8)
    np.testing.assert_array_equal(rows.reshape(len(image.indices), -1)[:, 1:], image.indices)


def test_the_lowest_rung_is_claimed_and_the_others_named(verification):
    report = verification.report
    spiking = [row for row in report.rows if row.kind == "spikes"]
    rungs = {"torch": "measured", "other": "certified"}
    rows = tuple(dataclasses.replace(row, backend=name, rung=rung) for name, rung in rungs.items() for row in spiking)
    text = words(page(dataclasses.replace(report, rows=rows)))
    assert "Equal: measured" in text
    assert "How far it goes differs: certified on other; measured on torch." in text

"""The verb ``plot``: single pictures, as SVG without any library and as PNG with matplotlib."""

from __future__ import annotations

import itertools
import json
import struct
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import snubridge as sb
from snubridge.cli.main import main

WHATS = ("raster", "mismatch", "margins", "states")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network of two spiking units, and inputs."""
    random = np.random.default_rng(1)
    nodes = {
        "in": sb.Input((5,)),
        "w0": sb.Linear(random.normal(0, 1, (6, 5))),
        "low": sb.Unit(0.75, 0.5),
        "w1": sb.Linear(random.normal(0, 1, (3, 6))),
        "high": sb.Unit(0.5, 0.25),
    }
    names = list(nodes)
    graph = sb.Graph(nodes, [sb.Edge(one, other) for one, other in itertools.pairwise(names)])
    sb.save(graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", (random.random((30, 2, 5)) < 0.4).astype(float))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = main(["plot", "net.safetensors", "--inputs", "x.npy", *arguments])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("what", WHATS)
def test_every_picture_is_drawn_in_both_forms(place, capsys, what):
    sizes = []
    for name in ("one.svg", "one.png"):
        status, out, err = call(capsys, "--what", what, "--on", "torch,onnx", "--unit", "low", "--out", name, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out).keys() == {"out", "what", "unit", "about"}
        data = (place / name).read_bytes()
        if name.endswith(".svg"):
            tree = ET.fromstring(data)
            assert len(tree.get("aria-label")) > 20
            assert "var(" not in data.decode()  # colors of its own
            said = " ".join(tree.itertext())
            sizes.append((float(tree.get("width")) * 2, float(tree.get("height")) * 2))
        else:
            assert data.startswith(b"\x89PNG")
            sizes.append(struct.unpack(">II", data[16:24]))
    assert "unit low" in said
    assert np.allclose(*sizes, atol=2)  # the PNG has two pixels for each of the SVG
    assert 600 < sizes[1][0] < 2400
    assert 200 < sizes[1][1] < 2400


@pytest.mark.parametrize("what", ["raster", "margins", "states"])
def test_the_reference_alone_can_be_drawn(place, capsys, what):
    status, out, _ = call(capsys, "--what", what, "--unit", "high", "--out", "one.svg")
    assert status == 0
    assert out.startswith("one.svg: ")
    assert "torch" not in (place / "one.svg").read_text()


def test_the_sample_can_be_chosen(place, capsys):
    status, out, _ = call(capsys, "--what", "raster", "--unit", "low", "--sample", "1", "--out", "one.svg")
    assert (status, "sample 1" in out) == (0, True)


WRONG = {
    "mismatch alone": (["--what", "mismatch", "--out", "a.svg"], "name the backends"),
    "no such unit": (["--what", "raster", "--unit", "w0", "--out", "a.svg"], "Step units are low, high"),
    "no unit": (["--what", "raster", "--out", "a.svg"], "one is needed; the graph's Step units are low, high"),
    "form": (["--what", "raster", "--out", "a.pdf"], "written as .png or .svg"),
    "folder": (["--what", "raster", "--out", "none/a.svg"], "the folder none does not exist"),
    "sample": (["--what", "raster", "--unit", "low", "--sample", "2", "--out", "a.svg"], "samples 0 to 1"),
    "negative": (["--what", "raster", "--unit", "low", "--sample", "-1", "--out", "a.svg"], "samples 0 to 1"),
    "sample of all": (["--what", "margins", "--unit", "low", "--sample", "0", "--out", "a.svg"], "only a raster"),
    "what": (["--what", "cake", "--out", "a.svg"], "invalid choice: 'cake'"),
    "backend": (["--what", "raster", "--on", "nest", "--out", "a.svg"], "no backend is called 'nest'"),
    "option": (["--what", "raster", "--option", "a.b=1", "--out", "a.svg"], "for the backends in --on"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_line_and_nothing_is_written(case, place, capsys):
    arguments, expected = WRONG[case]
    before = sorted(place.iterdir())
    status, out, err = call(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err
    assert sorted(place.iterdir()) == before


def test_what_is_read_is_not_overwritten(place, capsys):
    (place / "x.svg").symlink_to(place / "x.npy")
    status, _, err = call(capsys, "--what", "raster", "--unit", "low", "--out", "x.svg")
    assert status == 2
    assert "is what is read here" in err


def test_png_without_matplotlib_names_the_extra_and_svg_needs_none(place, capsys, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    status, _, err = call(capsys, "--what", "raster", "--unit", "low", "--out", "one.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "pip install 'snubridge[plot]', or write a .svg" in err
    assert call(capsys, "--what", "raster", "--unit", "low", "--out", "one.svg")[0] == 0


def test_verify_writes_the_page(place, capsys):
    arguments = ["verify", "net.safetensors", "--inputs", "x.npy", "--on", "torch", "--report", "report.html"]
    assert main(arguments) == 0
    assert "equal: 0 of" in capsys.readouterr().out
    first = (place / "report.html").read_bytes()
    assert first.startswith(b"<!DOCTYPE html>")
    assert main(arguments) == 0
    assert (place / "report.html").read_bytes() == first

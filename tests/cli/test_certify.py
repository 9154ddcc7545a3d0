"""``snubridge certify``, and what ``snubridge verify`` says of certificates."""

from __future__ import annotations

import json

import numpy as np
import pytest

import snubridge as sb
from snubridge.cli.main import main


@pytest.fixture
def place(tmp_path):
    """A network of which float32 leaves one decision open, on which one more depends; and its inputs."""
    nodes = {"in": sb.Input((1,)), "u": sb.Unit(0.8, 0.8 * 0.5 + 0.3)}
    graph = sb.Graph(nodes, [sb.Edge("in", "u")])
    sb.save(graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", np.array([[0.5, 0.1], [0.3, 0.1], [0.0, 0.0]])[..., None])
    np.save(tmp_path / "l.npy", [1, 3])
    return tmp_path


def call(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        status = leaving.code
    out, err = capsys.readouterr()
    return status, out, err


def test_the_open_decisions_are_listed_and_the_status_is_0(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy"]
    status, out, err = call(capsys, "certify", *arguments)
    assert (status, err) == (0, "")
    certificate = sb.certify(sb.load(arguments[0]), np.load(arguments[2]))
    (open_,) = certificate.open
    assert open_[:4] == (1, 0, "u", 0)
    assert out.startswith("66.6667 % of 6 decisions must be equal on every engine that computes in float32; 83.3333 %")
    assert f"{open_.bound:.3g}" in out.splitlines()[-1]


def test_json_has_the_same_numbers(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--json"]
    status, out, _ = call(capsys, "certify", *arguments)
    found = json.loads(out)
    assert (status, found["decisions"], found["open"], len(found["first_open"])) == (0, 6, 1, 1)
    assert found["first_open"][0].keys() == {"step", "sample", "unit", "neuron", "margin", "bound"}
    assert found["model"]["precision"] == "float32"
    status, out, _ = call(capsys, "certify", *arguments, "--show", "0", "--precision", "bf16")
    assert json.loads(out)["first_open"] == []
    assert json.loads(out)["model"]["precision"] == "bf16"


def test_lengths_count(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--lengths", place / "l.npy"]
    status, out, _ = call(capsys, "certify", *arguments)
    assert status == 0
    assert out.startswith("100 % of 4 decisions")
    assert "open decisions 0" in out


def test_nothing_that_spikes_is_nothing_to_certify(tmp_path, capsys):
    graph = sb.Graph({"in": sb.Input((1,)), "out": sb.Output()}, [sb.Edge("in", "out")])
    sb.save(graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 1)))
    status, out, _ = call(capsys, "certify", tmp_path / "net.safetensors", "--inputs", tmp_path / "x.npy")
    assert (status, out) == (0, "nothing to certify: the graph has no Step unit, so nothing spikes\n")
    status, out, _ = call(capsys, "certify", tmp_path / "net.safetensors", "--inputs", tmp_path / "x.npy", "--json")
    assert json.loads(out)["smallest_margin"] is None


@pytest.mark.parametrize("wrong", [["--precision", "float16"], ["--show", "-1"], ["--show", "many"]])
def test_wrong_options_are_one_line(wrong, place, capsys):
    status, out, err = call(capsys, "certify", place / "net.safetensors", "--inputs", place / "x.npy", *wrong)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_verify_certifies_unless_told_not_to(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--on", "torch"]
    option = ["--option", "torch.precision=float64"]
    status, out, _ = call(capsys, "verify", *arguments, *option, "--json")
    assert (status, json.loads(out)["certificates"].keys()) == (0, {"torch"})
    status, out, _ = call(capsys, "verify", *arguments, *option, "--json", "--no-certificate")
    document = json.loads(out)
    assert (status, document["certificates"], document["rows"][0]["rung"]) == (0, {}, "measured")


def test_an_explained_difference_is_status_1(tmp_path, capsys):
    """0.1f + 0.2f > 0.3f in one order of rounding: what float32 turns here, float32 explains."""
    graph, inputs = flipping()
    sb.save(graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", inputs)
    arguments = [tmp_path / "net.safetensors", "--inputs", tmp_path / "x.npy", "--on", "torch"]
    status, out, _ = call(capsys, "verify", *arguments)
    assert status == 1
    assert "explained by rounding at step" in out
    assert "0 bugs" in out


def flipping() -> tuple[sb.Graph, np.ndarray]:
    """A state that is below its threshold in float64 and rounds to it in float32."""
    w = np.float32(0.1)
    exact = np.float64(w) * 3  # which float32 cannot hold
    threshold = np.float32(exact)
    tie = sb.Step(at_threshold=bool(threshold > exact))
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[w]]), "u": sb.Unit(0.0, threshold, h=tie)}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")]), np.full((2, 1, 1), 3.0)

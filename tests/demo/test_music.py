"""The demo from end to end, on few chorales and for few epochs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import snubridge as sb

pytest.importorskip("music21", reason="the demo's chorales come inside music21")
from snubridge.cli.main import main
from snubridge.demo import music, training
from snubridge.demo.chorales import load_chorales


@pytest.fixture(scope="module")
def chorales(tmp_path_factory):
    """Twenty chorales, parsed into a cache of their own."""
    return load_chorales(cache=tmp_path_factory.mktemp("cache"), limit=20, workers=1, progress=False)


def test_the_demo_leaves_everything_behind(chorales, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(music, "load_chorales", lambda progress: chorales)
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), "--epochs", "40", "--samples", "2", "--json"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["equal"] is True
    assert report["silent"] is False
    assert report["devices"] == 2 * (88 * 150 + 150 * 88) == 52_800
    spiking = [row for row in report["rows"] if row["kind"] == "spikes"]
    assert {row["backend"] for row in spiking} == {"brian2", "nengo", "onnx", "pcm", "torch"}
    assert all(row["differing"] == 0 and row["spikes"] > 1000 and row["rung"] == "certified" for row in spiking)
    assert {row["precision"] for row in spiking} == {"float64"}
    assert {row["precision"] for row in report["float32"]["rows"]} == {"float32"}
    left = {path.name for path in out.iterdir()}
    scripts = {"net_brian2.py", "net_brian2.npz", "net_nengo.py", "net_nengo.npz"}
    assert left == {"net.safetensors", "net.onnx", "chip.pcm", "report.json", "report.html", "spikes.png", *scripts} | {
        "inputs.npy",
        "lengths.npy",
    }
    assert sb.import_graph(out / "chip.pcm", "pcm") == sb.load(out / "net.safetensors")
    assert (out / "spikes.png").read_bytes().startswith(b"\x89PNG")
    assert "certified" in (out / "report.html").read_text()


def test_training_learns_and_is_reproducible(chorales):
    rolls = chorales.train, chorales.validation, chorales.test
    untrained = training.nll(training.build(), chorales.test)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    seen = []
    one, two = (training.train(*rolls, epochs=40, seed=1, progress=lambda *a: seen.append(a)) for _ in range(2))
    assert one.test_nll < 0.5 * untrained
    assert one.test_nll == two.test_nll
    assert [epoch for epoch, _ in seen] == [*range(1, 41), *range(1, 41)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_likelihood_sums_over_notes_and_averages_over_real_steps():
    class Even(torch.nn.Module):
        def forward(self, x):
            return torch.zeros_like(x), None  # every key with probability 1/2

    rolls = [np.zeros((5, 88), np.uint8), np.ones((9, 88), np.uint8)]
    assert training.nll(Even(), rolls) == pytest.approx(88 * np.log(2), rel=1e-6)


def test_padding_does_not_count():
    class Right(torch.nn.Module):
        def forward(self, x):
            return (2 * x - 1) * 20, None  # predicts that every chord is held

    rolls = [np.ones((3, 88), np.uint8), np.ones((9, 88), np.uint8)]
    assert training.nll(Right(), rolls) < 1e-3

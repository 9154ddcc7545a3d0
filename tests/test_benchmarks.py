"""Benchmarks run, and their two forms of output say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks/engines.py"
TRAINING = SCRIPT.with_name("training.py")
BRIAN2 = SCRIPT.with_name("brian2_networks.py")
NENGO = SCRIPT.with_name("nengo_networks.py")


def test_the_engines_are_measured():
    arguments = ["--backends", "pcm,wide=torch:float64", "--graphs", "recurrent,convolution", "--repeats", "2"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    rows = json.loads(last)["rows"]
    assert [(row["graph"], row["backend"]) for row in rows] == [
        (graph, backend) for graph in ("recurrent", "convolution") for backend in ("reference", "pcm", "wide")
    ]
    assert all(row["differing"] == 0 and row["per_second"] > 1000 for row in rows)
    for row, line in zip(rows, table[2:], strict=True):
        assert f"| {row['per_second']:,.0f} |" in line
        assert line.startswith(f"| {row['graph']} | {row['backend']} |")
        assert abs(row["per_second"] * row["seconds"] / row["neuron_steps"] - 1) < 1e-9


def test_training_is_measured(tmp_path):
    """Without the packages of ``make bench``: snubridge and torch's own layers, and the two files that are written."""
    out, table = tmp_path / "new/training.json", tmp_path / "new/training.md"
    arguments = ["--quick", "--repeats", "2", "--opponents", "none", "--out", str(out), "--markdown", str(table)]
    done = subprocess.run([sys.executable, str(TRAINING), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, text = json.loads(out.read_text()), table.read_text()
    assert text in done.stdout
    assert found["machine"]["threads"] == 1
    assert {section["case"] for section in found["sections"]} == {"dynamics", "layer", "recurrent", "network"}
    for section in found["sections"]:
        rows = {row["name"]: row for row in section["rows"]}
        assert any(name.startswith("snubridge") for name in rows)
        for row in rows.values():
            first, median, third = row["milliseconds"]
            assert 0 < first <= median <= third
            assert row["samples"] >= 2
            assert f"| {row['name']} | " in text
        assert rows[section["base"]]["times_base"] == [1, 1, 1]
    (network,) = (section for section in found["sections"] if section["case"] == "network")
    assert "nn.LSTM" in {row["name"] for row in network["rows"]}
    assert all("before" in note and "after" in note for note in network["notes"])
    peers = [goal for goal in found["goals"] if "peer" in goal["what"] or "snnTorch" in goal["what"]]
    assert peers
    assert all(goal["reached"] is goal["met"] is None for goal in peers)
    kept = {goal["what"]: goal for goal in found["goals"] if "bytes saved" in goal["what"]}
    assert all(goal["met"] == (goal["reached"] <= goal["bound"] == 4.3) for goal in kept.values())
    for goal in found["goals"]:
        assert f"| {goal['what']} | " in text


def test_an_opponent_that_is_missing_ends_the_run(tmp_path):
    (tmp_path / "snntorch.py").write_text("raise ModuleNotFoundError('No module named snntorch')")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(TRAINING), "--quick", "--case", "dynamics", "--opponents", "snntorch"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: snntorch cannot be imported")
    assert "make bench" in done.stderr


def test_brian2_is_measured(tmp_path):
    """Small layers on the target that needs no compiler: all candidates compute the same, and both files say so."""
    pytest.importorskip("brian2")
    out, table = tmp_path / "new/brian2.json", tmp_path / "new/brian2.md"
    arguments = ["--quick", "--repeats", "2", "--targets", "numpy", "--out", str(out), "--markdown", str(table)]
    done = subprocess.run([sys.executable, str(BRIAN2), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, text = json.loads(out.read_text()), table.read_text()
    assert text in done.stdout
    assert found["skipped"] == []
    slow, fast, soft, memory = found["tables"]
    for shown in (slow, fast):
        assert [row["name"] for row in shown["rows"]] == ["snubridge", "written by hand", "dense numpy"]
        assert all(row["spikes that differ"] == 0 and row["rate"] > 0.01 for row in shown["rows"])
    assert [row["name"] for row in soft["rows"]] == ["snubridge", "(summed)", "dense numpy"]
    assert all(row["largest difference"] < 1e-12 for row in soft["rows"])
    assert all(row["bytes kept each"] > 10 for row in memory["rows"])
    for shown in found["tables"]:
        assert f"#### {shown['title']}" in text
        assert all(f"| {row['name']} | " in text for row in shown["rows"])
    for goal in found["goals"]:
        assert goal["met"] == (goal["reached"] >= 5 if goal["at_least"] else goal["reached"] <= goal["bound"])
        assert f"| {goal['what']} | " in text


def test_a_target_that_is_none_is_refused():
    done = subprocess.run([sys.executable, str(BRIAN2), "--targets", "numpy,gpu"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--targets: gpu; choose from numpy, cython" in done.stderr


def test_nengo_is_measured(tmp_path):
    """Small layers and batches: all candidates compute the same, and both files say so."""
    pytest.importorskip("nengo")
    out, table = tmp_path / "new/nengo.json", tmp_path / "new/nengo.md"
    arguments = ["--quick", "--repeats", "2", "--out", str(out), "--markdown", str(table)]
    done = subprocess.run([sys.executable, str(NENGO), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, text = json.loads(out.read_text()), table.read_text()
    assert text in done.stdout
    layer, *batches = found["tables"]
    assert [row["name"] for row in layer["rows"]] == ["custom", "stock", "dense numpy"]
    assert len(batches) == 4
    for shown in batches:
        assert [row["name"] for row in shown["rows"]] == ["one by one", "side by side", "dense numpy"]
    for shown in found["tables"]:
        assert all(row["spikes that differ"] == 0 and row["rate"] > 0.01 for row in shown["rows"])
        assert f"#### {shown['title']}" in text
    for goal in found["goals"]:
        bound = goal["bound"]
        assert goal["met"] == (goal["reached"] >= bound if goal["at_least"] else goal["reached"] <= bound)
        assert f"| {goal['what']} | " in text

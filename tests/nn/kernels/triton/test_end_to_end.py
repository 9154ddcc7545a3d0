"""Trained through the Triton kernel, captured, and run on every engine: the same spikes, in every bin.

In the interpreter: run in a process started with TRITON_INTERPRET=1. ``tests/gpu`` has what a GPU recorded.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from tests.gpu.replay import ENGINES, differing

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("the interpreter needs a process started with TRITON_INTERPRET=1", allow_module_level=True)
for engine in ("brian2", "nengo", "onnxruntime"):
    pytest.importorskip(engine)

STEPS = 20
PROGRAM = Path(__file__).parents[4] / "benchmarks" / "gpu_music.py"


@pytest.fixture(scope="module")
def program():
    """``benchmarks/gpu_music.py``, as on a GPU."""
    specification = importlib.util.spec_from_file_location("gpu_music", PROGRAM)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def rolls(number):
    """Piano rolls of four voices that walk."""
    drawn = np.random.default_rng(0)
    found = []
    for _ in range(number):
        steps = int(drawn.integers(8, 13))
        voices = np.array([20, 32, 44, 56]) + drawn.integers(-2, 3, (steps, 4)).cumsum(0)
        roll = np.zeros((steps, 88), np.uint8)
        np.put_along_axis(roll, voices.clip(0, 87), 1, axis=1)
        found.append(roll)
    return found


def test_twenty_steps_of_training_then_every_engine(program, tmp_path):
    network, music = program.build(24, torch.device("cpu")), rolls(40)
    losses = program.train(network, music, STEPS, rate=0.05)
    assert len(losses) == STEPS
    assert losses[-1] < 0.7 * losses[0]
    recorded = program.record(network, music[:6])
    program.write(tmp_path, nn.capture(network, 88), recorded, {})
    found = differing(tmp_path)
    assert found.keys() == {"reference", *ENGINES}
    assert not any(found.values()), found


def test_a_spike_that_was_not_there_is_found(program, tmp_path):
    network, music = program.build(24, torch.device("cpu")), rolls(8)
    recorded = program.record(network, music)
    recorded["spikes"][2, 3, 4] = 1 - recorded["spikes"][2, 3, 4]
    program.write(tmp_path, nn.capture(network, 88), recorded, {})
    assert set(differing(tmp_path).values()) == {1}


@pytest.mark.parametrize("recurrent", [{}, {"reset": sb.Reset.LATERAL}], ids=["the paper's", "lateral"])
def test_recurrent_layers_too(recurrent):
    """Twenty steps on a layer that hears itself, in one launch for all steps; then a report on every engine."""
    torch.manual_seed(0)
    layer = nn.SNU(6, 8, threshold=0.3, recurrent=True, learn_decay=True, kernel="triton", **recurrent)
    network, x = nn.Sequential(layer, torch.nn.Linear(8, 3)), (torch.rand(8, 4, 6) < 0.4).float()
    target, optimizer = torch.rand(4, 3), torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(STEPS):
        y, _ = network(x)
        loss = (y.mean(0) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    report = sb.verify(nn.capture(network, 6), x.numpy(), ENGINES)
    assert report.equal
    assert all(row.spikes for row in report.rows if row.kind == "spikes")


def test_the_program_from_its_command_line(program, tmp_path, monkeypatch, capsys):
    from snubridge.demo import chorales

    monkeypatch.setattr(chorales, "load_chorales", lambda limit: chorales.Chorales(tuple("a" * 40), tuple(rolls(40))))
    monkeypatch.setattr(sys, "argv", ["gpu_music.py", "--steps", "2", "--units", "100", "--out", str(tmp_path / "out")])
    assert program.main() == 0
    assert "nats" in capsys.readouterr().out
    about = json.loads((tmp_path / "out" / "card.json").read_text())
    assert about["kernel"] == "triton"
    assert about["card"].startswith("interpreted")
    assert not any(differing(tmp_path / "out").values())

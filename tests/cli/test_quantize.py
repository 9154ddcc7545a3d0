"""``snubridge quantize``: what it writes and reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.cli.main import main
from tests.adapters.nengo.loihi.networks import random_network


@pytest.fixture
def place(tmp_path):
    """A folder with a float network and inputs."""
    case = random_case(4, "dyadic", precision="float32")
    sb.save(case.graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", case.inputs)
    return tmp_path


def call(place, *arguments):
    """Exit status of quantizing the network to ``q.safetensors``."""
    command = ["quantize", "net.safetensors", "--out", "q.safetensors", *arguments]
    return main([str(place / part) if part.endswith((".safetensors", ".npy")) else part for part in command])


def test_a_network_is_quantized_and_runs_exactly(place, capsys):
    status = call(place, "--inputs", "x.npy", "--state-bits", "12", "--rounding", "zero", "--json")
    document = json.loads(capsys.readouterr().out)
    assert status == 0
    graph, quantized = sb.load(place / "net.safetensors"), sb.load(place / "q.safetensors")
    inputs = np.load(place / "x.npy")
    expected = sb.quantize(graph, sb.FixedPoint(None, 12, rounding="zero"), inputs)
    assert quantized == expected
    assert quantized.metadata == expected.metadata
    assert document["numbers"]["state_bits"] == 12
    assert document["exact_in"] == "float32"
    assert document["spikes"] == expected.metadata["quantized"]["spikes"]
    options = ["--inputs", str(place / "x.npy"), "--on", "onnx,torch,pcm", "--json"]
    assert main(["verify", str(place / "q.safetensors"), *options]) == 0
    assert {row["rung"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"exact"}


def test_lengths_are_handed_on(place, capsys):
    inputs = np.load(place / "x.npy")
    lengths = np.arange(inputs.shape[1]) % len(inputs) + 1
    np.save(place / "l.npy", lengths)
    assert call(place, "--inputs", "x.npy", "--lengths", "l.npy", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    expected = sb.quantize(sb.load(place / "net.safetensors"), sb.FixedPoint(None), inputs, lengths=lengths)
    assert document["spikes"] == expected.metadata["quantized"]["spikes"]
    assert (
        document["spikes"]
        != sb.quantize(sb.load(place / "net.safetensors"), sb.FixedPoint(None), inputs).metadata["quantized"]["spikes"]
    )


def test_it_says_for_people_what_changed(place, capsys):
    assert call(place, "--inputs", "x.npy", "--scale", "none", "--fraction-bits", "3") == 0
    out = capsys.readouterr().out
    assert "states of 16 bits, every sum exact in float32" in out
    assert "layer0: 0 of" in out  # parameters on a grid of eighths, decays of 0 and 1: nothing rounds


def test_what_cannot_be_done_is_refused_in_one_line(place, capsys):
    refusals = [
        ((), "no low, high, fraction_bits"),
        (("--inputs", "x.npy", "--state-bits", "1"), "state_bits: found 1"),
    ]
    for arguments, message in refusals:
        assert call(place, *arguments) == 2
        assert message in capsys.readouterr().err
    assert not (place / "q.safetensors").exists()


def test_loihi_says_what_the_chip_holds_and_what_changed(tmp_path, capsys):
    graph, inputs = random_network(3)
    sb.save(graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", inputs)
    assert call(tmp_path, "--loihi", "--decays", "2", "--inputs", "x.npy") == 0
    text = capsys.readouterr().out
    expected = sb.quantize(graph, sb.Loihi(decays=2), inputs)
    assert sb.load(tmp_path / "q.safetensors") == expected
    assert (
        f"u0: 2 cores, threshold {expected.metadata['quantized']['units']['u0']['threshold']}, spikes 0 steps" in text
    )
    assert f"u2: {expected.metadata['quantized']['spikes']['u2']['changed']:,} of 1,120 spikes changed" in text
    assert call(tmp_path, "--loihi") == 0
    assert "was not counted: give --inputs" in capsys.readouterr().out
    assert call(tmp_path, "--loihi", "--inputs", "x.npy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["units"]["u1"]["cores"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loihi", "--state-bits", "12", "--scale", "none"], "--state-bits, --scale: not with --loihi"),
        (["--decays", "2"], "--decays: only with --loihi"),
    ],
)
def test_options_of_the_other_numbers_are_refused(place, capsys, options, message):
    assert call(place, *options) == 2
    assert message in capsys.readouterr().err
    assert not (place / "q.safetensors").exists()

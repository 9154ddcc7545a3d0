"""The command line: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.cli.main import VERBS, main


@pytest.fixture
def place(tmp_path):
    """A folder with a network, inputs, and a trace of the reference."""
    case = random_case(4, "dyadic", precision="float32")
    sb.save(case.graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", case.inputs)
    sb.simulate(case.graph, case.inputs).save(tmp_path / "reference.npz")
    return tmp_path


def call(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_info_and_validate(place, capsys):
    status, out, _ = call(capsys, "info", place / "net.safetensors")
    assert status == 0
    assert "layer0.weight" in out
    status, out, _ = call(capsys, "info", place / "net.safetensors", "--json")
    assert json.loads(out)["digest"] == sb.load(place / "net.safetensors").digest
    status, out, _ = call(capsys, "validate", place / "net.safetensors", "--json")
    assert (status, json.loads(out)["valid"]) == (0, True)


def test_run_writes_a_trace_that_compares_equal(place, capsys):
    for backend in ("torch", "reference"):
        arguments = ["--on", backend, "--inputs", place / "x.npy", "--out", place / "t.npz"]
        status, out, _ = call(capsys, "run", place / "net.safetensors", *arguments)
        assert status == 0
        assert "spikes in layer0" in out
        status, out, _ = call(capsys, "compare", place / "reference.npz", place / "t.npz")
        assert (status, out.splitlines()[-1]) == (0, "equal")
    with np.load(place / "t.npz") as trace:
        assert {key.split("/")[0] for key in trace.files} <= {"spikes", "outputs", "lengths"}
    arguments = ["--record", "spikes,states", "--on", "torch", "--inputs", place / "x.npy", "--out", place / "t.npz"]
    assert call(capsys, "run", place / "net.safetensors", *arguments)[0] == 0
    assert any(key.startswith("states/") for key in np.load(place / "t.npz").files)


def test_compare_ends_with_1_where_spikes_differ(place, capsys):
    trace = sb.Trace.load(place / "reference.npz")
    name = next(iter(trace.spikes))
    spikes = trace.spikes[name].copy()
    spikes[3, 0, 0] ^= 1
    np.savez(place / "other.npz", **{**trace.arrays(), f"spikes/{name}": spikes})
    status, out, _ = call(capsys, "compare", place / "reference.npz", place / "other.npz")
    assert status == 1
    assert "step 3, sample 0, neuron 0" in out
    status, out, _ = call(capsys, "compare", place / "reference.npz", place / "other.npz", "--json")
    assert (status, json.loads(out)["first"]["step"]) == (1, 3)


def test_verify_writes_a_report(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--on", "torch", "--report", place / "r.json"]
    status, out, err = call(capsys, "verify", *arguments, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads((place / "r.json").read_text())
    assert json.loads(out)["equal"] is True


def test_verify_with_lengths(place, capsys):
    np.save(place / "l.npy", [50, 9])
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--on", "torch", "--lengths", place / "l.npy"]
    status, out, _ = call(capsys, "verify", *arguments, "--json")
    rows = json.loads(out)["rows"]
    assert status == 0
    assert {row["compared"] % 59 for row in rows} == {0}


def test_export_and_import_round_trip(place, capsys):
    names = {"onnx": "net.onnx", "pcm": "chip.pcm", "brian2": "net_brian2.py", "nengo": "net_nengo.py"}
    for backend, name in names.items():
        status, out, _ = call(capsys, "export", place / "net.safetensors", "--to", backend, "--out", place / name)
        assert status == 0, out
        arguments = [place / name, "--from", backend, "--out", place / "back.safetensors"]
        assert call(capsys, "import", *arguments)[0] == 0
        assert sb.load(place / "back.safetensors") == sb.load(place / "net.safetensors")


def test_options_reach_the_adapter(place, capsys):
    arguments = [place / "net.safetensors", "--to", "torch", "--out", place / "t.safetensors", "--option"]
    status, out, _ = call(capsys, "export", *arguments, "precision=float64", "--json")
    assert (status, json.loads(out)["precision"]) == (0, "float64")
    status, _, err = call(capsys, "export", *arguments, "speed=high")
    assert (status, err.count("\n")) == (2, 1)
    assert "torch has no option 'speed'" in err


def test_backends_and_doctor(capsys):
    status, out, _ = call(capsys, "backends", "--json")
    assert (status, set(json.loads(out)["backends"])) == (0, {"brian2", "nengo", "onnx", "pcm", "torch"})
    status, out, _ = call(capsys, "backends")
    assert "reads back" in out
    status, out, _ = call(capsys, "doctor")
    assert status == 0
    assert "onnx" in out
    assert 'nn kernel "cpu": ready, what kernel="auto" runs' in out
    status, out, _ = call(capsys, "doctor", "--json")
    assert json.loads(out)["engines"]["torch"]["parts"]['nn kernel "eager"'] == "ready"


WRONG = {
    "no file": (["info", "none"], "none: cannot be read: No such file"),
    "no verb": ([], "required: COMMAND"),
    "unknown verb": (["fly"], "invalid choice: 'fly'"),
    "unknown backend": (["export", "NET", "--to", "nest", "--out", "x"], "no backend is called 'nest'"),
    "no reader": (["import", "NET", "--from", "torch", "--out", "x"], "torch cannot be read back"),
    "no folder": (["export", "NET", "--to", "onnx", "--out", "none/x.onnx"], "the folder none does not exist"),
    "inputs not an array": (["verify", "NET", "--inputs", "NET"], "not a readable .npy or .npz file"),
    "wrong shape": (["run", "NET", "--on", "reference", "--inputs", "BAD", "--out", "x.npz"], "needed \\(T, B"),
    "report": (["verify", "NET", "--inputs", "X", "--report", "r.pdf"], "written as .html, .json or .txt"),
    "option": (["export", "NET", "--to", "onnx", "--out", "x", "--option", "precision"], "KEY=VALUE is needed"),
    "out of run": (["run", "NET", "--on", "torch", "--inputs", "X", "--out", "NET"], "a trace is written as .npz"),
    "record": (["run", "NET", "--on", "torch", "--inputs", "X", "--out", "x.npz", "--record", "volt"], "record="),
    "option named graph": (
        ["export", "NET", "--to", "onnx", "--out", "x.onnx", "--option", "graph=1"],
        "no option 'graph'",
    ),
    "option list": (["export", "NET", "--to", "onnx", "--out", "x.onnx", "--option", "precision=[1]"], "precision="),
    "option deep": (["export", "NET", "--to", "nengo", "--out", "x.py", "--option", "dt=" + "[" * 9999], "dt="),
    "option huge": (["export", "NET", "--to", "nengo", "--out", "x.py", "--option", "dt=" + "9" * 400], "dt="),
    "option dt": (["export", "NET", "--to", "brian2", "--out", "x.py", "--option", "dt=1e308"], "seconds"),
    "onto a folder": (["export", "NET", "--to", "onnx", "--out", "/"], "ends in .onnx"),
    "onnx name": (["export", "NET", "--to", "onnx", "--out", "x.txt"], "ends in .onnx"),
    "torch name": (["export", "NET", "--to", "torch", "--out", "x.pt"], "ends in .safetensors"),
    "seed": (["demo", "--seed", "-1"], "from 0 to"),
    "verify option": (["verify", "NET", "--inputs", "X", "--on", "onnx", "--option", "precision=1"], "BACKEND.KEY"),
    "epochs": (["demo", "--epochs", "0"], "at least 1 is needed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_line_and_status_2(case, place, capsys, monkeypatch):
    arguments, expected = WRONG[case]
    np.save(place / "bad.npy", np.zeros((3, 1, 99)))
    names = {"NET": place / "net.safetensors", "X": place / "x.npy", "BAD": place / "bad.npy"}
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    status, out, err = call(capsys, *(names.get(a, a) for a in arguments))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    pytest.importorskip("re").search(expected, err) or pytest.fail(err)
    assert sorted(place.iterdir()) == before


def test_every_verb_has_help(capsys):
    for verb in VERBS:
        status, out, _ = call(capsys, verb, "--help")
        assert status == 0
        assert "--json" in out


def test_the_installed_command_runs():
    done = subprocess.run([sys.executable, "-m", "snubridge.cli.main", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"snubridge {sb.__version__}")


def test_verify_takes_options_for_each_backend(place, capsys):
    arguments = [place / "net.safetensors", "--inputs", place / "x.npy", "--on", "onnx,torch"]
    status, out, _ = call(capsys, "verify", *arguments, "--option", "onnx.precision=float64", "--json")
    assert status == 0
    assert {row["backend"]: row["precision"] for row in json.loads(out)["rows"]} == {
        "onnx": "float64",
        "torch": "float32",
    }


def test_an_unforeseen_error_is_one_line_too(place, capsys, monkeypatch):
    def fail(_path):
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr("snubridge.cli.info.load", fail)
    status, out, err = call(capsys, "info", place / "net.safetensors")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "unforeseen ZeroDivisionError: somewhere" in err
    with pytest.raises(ZeroDivisionError):
        main(["info", "x", "--traceback"])


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "snubridge", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"snubridge {sb.__version__}"

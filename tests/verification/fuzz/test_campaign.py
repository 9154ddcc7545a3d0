"""Campaigns: no bug in our adapters, every fault of a wrong one, and the same results whatever happens on the way."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import snubridge as sb
from snubridge.cli.main import main
from snubridge.verification.fuzz import replay
from tests.verification.fuzz.engines import install


def fuzz(*arguments: object) -> int:
    return main(["fuzz", *map(str, arguments)])


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def outcomes(folder: Path) -> list[str]:
    return [outcome["outcome"] for line in lines(folder)[1:] for outcome in line["backends"].values()]


def test_no_bug_in_forty_graphs(tmp_path, capsys):
    backends = "pcm,torch,onnx:float32,onnx:float64,nengo"
    status = fuzz("--backends", backends, "--graphs", 40, "--seed", 2, "--out", tmp_path / "f", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (status, found["bugs"], found["failing"], found["complete"]) == (0, 0, 0, True)
    assert found["graphs"] == 40
    for label, counts in found["backends"].items():
        ran = sum(counts.get(kind, 0) for kind in ("equal", "explained", "overflow"))
        assert ran >= (25 if label == "onnx-float32" else 39), (label, counts)
        assert counts["neuron_steps"] > 100_000
        assert found["rates"][label] > 1000
    assert found["spikes"] > 10_000
    assert not (tmp_path / "f/failures").exists()


def test_no_bug_of_brian2_in_ten_graphs(tmp_path, capsys):
    """Fewer: it generates code for each."""
    assert fuzz("--backends", "brian2", "--graphs", 10, "--seed", 2, "--out", tmp_path / "f", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["bugs"], found["failing"], found["complete"]) == (0, 0, True)
    counts = found["backends"]["brian2"]
    assert sum(counts.get(kind, 0) for kind in ("equal", "explained", "overflow")) >= 9, counts
    assert found["spikes"] > 1000


def described(folder: Path) -> dict:
    return json.loads((folder / "failure.json").read_text())["outcome"]


FOUND = {  # by mutation: the class, and the most nodes and neurons that a shrunk graph has
    "soft reset": ("bug", 2, 1),
    ">= for >": ("bug", 2, 1),
    "reset one step late": ("bug", 2, 1),
    "latency per layer": ("bug", 3, 3),
    "delays one step short": ("bug", 3, 3),
    "lateral maximum over the batch": ("bug", 2, 2),
    "float32 parameters": ("values", 3, 1),
    "a read-out that is off": ("values", 3, 1),
    "an error of its own": ("crashed", 4, 2),
    "death": ("crashed", 4, 2),
}


@pytest.mark.parametrize("mutation", FOUND)
def test_a_wrong_engine_is_found_made_small_and_replayed(mutation, tmp_path, monkeypatch, capsys):
    (tmp_path / "engine").mkdir()
    monkeypatch.syspath_prepend(install(tmp_path / "engine", mutation))
    kind, most_nodes, most_neurons = FOUND[mutation]
    graphs = 3
    while graphs <= 80:  # rare semantics need more graphs
        assert fuzz("--backends", "plain", "--graphs", graphs, "--seed", 4, "--out", tmp_path / "f") in (0, 1)
        if kind in outcomes(tmp_path / "f"):
            break
        graphs *= 2
    failures = [folder for folder in (tmp_path / "f/failures").iterdir() if described(folder)["outcome"] == kind]
    assert failures
    smallest = min(failures, key=lambda folder: len(sb.load(folder / "graph.safetensors").nodes))
    assert json.loads((smallest / "failure.json").read_text())["shrunk"] is True
    graph = sb.load(smallest / "graph.safetensors")
    case, target, before, outcome = replay(smallest)
    neurons = sum(array[0, 0].size for array in case.expected.spikes.values())
    assert len(graph.nodes) <= most_nodes, graph
    assert neurons <= most_neurons, graph
    assert (target.name, before, outcome.kind, case.graph) == ("plain", kind, kind, graph)
    capsys.readouterr()
    assert fuzz("--replay", smallest, "--json") == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == kind
    print(f"{mutation}: {graph}, {len(next(iter(case.inputs.values())))} steps")


def test_a_failure_that_is_mended_replays_with_status_0(tmp_path, monkeypatch, capsys):
    (tmp_path / "engine").mkdir()
    monkeypatch.syspath_prepend(install(tmp_path / "engine", ">= for >"))
    assert fuzz("--backends", "plain", "--graphs", 12, "--seed", 4, "--out", tmp_path / "f") == 1
    folder = min((tmp_path / "f/failures").iterdir())
    description = json.loads((folder / "failure.json").read_text())
    description["target"]["name"] = "pcm"
    (folder / "failure.json").write_text(json.dumps(description))
    assert fuzz("--replay", folder) == 0
    assert "equal" in capsys.readouterr().out


def test_a_run_without_end_is_ended(tmp_path, monkeypatch, capsys):
    (tmp_path / "engine").mkdir()
    monkeypatch.syspath_prepend(install(tmp_path / "engine", "no end"))
    started = time.monotonic()
    arguments = ("--backends", "plain,pcm", "--graphs", 4, "--seed", 4, "--limit", 1.5, "--out", tmp_path / "f")
    assert fuzz(*arguments, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["plain"]["timeout"] >= 1
    assert found["backends"]["pcm"]["equal"] == 4  # the other backends of such a graph still ran
    assert time.monotonic() - started < 60
    (folder, *_) = (tmp_path / "f/failures").iterdir()
    assert json.loads((folder / "failure.json").read_text())["shrunk"] is False
    assert fuzz("--replay", folder) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_a_stopped_campaign_goes_on_to_the_same_results(how, tmp_path):
    (tmp_path / "engine").mkdir()
    path = os.pathsep.join([str(install(tmp_path / "engine", ">= for >")), os.environ.get("PYTHONPATH", "")])

    def command(out: str, jobs: int) -> list[str]:
        arguments = ["--backends", "plain,pcm", "--graphs", "30", "--seed", "9", "--jobs", str(jobs), "--out"]
        return [sys.executable, "-m", "snubridge", "fuzz", *arguments, str(tmp_path / out)]

    whole = subprocess.run(command("whole", 2), env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert whole.returncode == 1, whole.stderr
    for stop in (3, 12):
        process = subprocess.Popen(
            command("parts", 1), env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None:
            results = tmp_path / "parts/results.jsonl"
            if results.exists() and results.read_bytes().count(b"\n") > stop:
                process.send_signal(how)
                break
            time.sleep(0.01)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 2), err
        assert how is signal.SIGKILL or err.count(b"\n") == 1, err
    with (tmp_path / "parts/results.jsonl").open("ab") as stream:
        stream.write(b'{"backends":{"pl')  # a line that a kill cut short
    last = subprocess.run(command("parts", 1), env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert last.returncode == 1, last.stderr
    assert _contents(tmp_path / "parts") == _contents(tmp_path / "whole")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_more_graphs_go_on_and_other_arguments_are_refused(tmp_path, capsys):
    arguments = ["--backends", "pcm", "--out", tmp_path / "f", "--seed", 3]
    assert fuzz(*arguments, "--graphs", 3) == 0
    first = (tmp_path / "f/results.jsonl").read_bytes()
    assert fuzz(*arguments, "--graphs", 6) == 0
    longer = (tmp_path / "f/results.jsonl").read_bytes()
    assert longer.startswith(first)
    assert longer.count(b"\n") == 7
    assert fuzz(*arguments, "--graphs", 3, "--json") == 0  # the first three of them, without another run
    capsys.readouterr()
    for other, said in {
        ("--seed", 4): "seed 3, not 4",
        ("--backends", "pcm:float64"): "no option",
        ("--backends", "torch"): "backends",
        ("--limit", 5): "limit",
    }.items():
        assert fuzz(*arguments, "--graphs", 6, *other) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert said in err
    assert (tmp_path / "f/results.jsonl").read_bytes() == longer


def test_minutes_end_a_session_that_can_be_resumed(tmp_path, capsys):
    arguments = ["--backends", "pcm", "--out", tmp_path / "f", "--graphs", 500, "--minutes", 0.02, "--json"]
    assert fuzz(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["complete"]
    assert 1 <= found["graphs"] < 500


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(tmp_path, monkeypatch, capsys):
    arguments = ["--backends", "pcm", "--graphs", 3, "--seed", 3, "--out"]
    assert fuzz(*arguments, tmp_path / "f") == 0
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert fuzz(*arguments, tmp_path / "g") == 0
    assert "3/3 graphs, 0 failing" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


WRONG = {
    "a backend that is none": (["--backends", "nest"], "no backend is called 'nest'"),
    "an option that is none": (["--backends", "onnx:speed=1"], "has no option 'speed'"),
    "half an option": (["--backends", "onnx:fast"], "[LABEL=]NAME"),
    "one backend twice": (["--backends", "pcm,pcm"], "two are called pcm"),
    "a label that is a path": (["--backends", "../x=pcm"], "is no label"),
    "no graphs": (["--graphs", "0"], "at least 1"),
    "a negative seed": (["--seed", "-1"], "at least 0"),
    "no jobs": (["--jobs", "0"], "at least 1"),
    "no time": (["--limit", "0"], "above 0"),
    "not a number of minutes": (["--minutes", "nan"], "above 0"),
    "no failure": (["--replay", "none"], "no folder of a failure"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_line_and_status_2(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, said = WRONG[case]
    assert fuzz(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not list(tmp_path.iterdir())

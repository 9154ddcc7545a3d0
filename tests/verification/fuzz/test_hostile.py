"""Results and failures out of a stranger's hands: refused in one line, and left as they are."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from snubridge.cli.main import main
from tests.verification.fuzz.engines import install

ARGUMENTS = ["fuzz", "--backends", "pcm", "--graphs", "4", "--seed", "3", "--out"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A campaign of three graphs."""
    folder = tmp_path_factory.mktemp("results") / "f"
    assert main([*ARGUMENTS[:4], "3", *ARGUMENTS[5:], str(folder)]) == 0
    return (folder / "results.jsonl").read_bytes().splitlines(keepends=True)


def edited(line: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n"


RESULTS = {
    "not JSON": lambda lines: [lines[0], b"graph 0\n"],
    "not text": lambda lines: [b"\xff\xfe\n"],
    "NaN": lambda lines: [lines[0], b'{"graph": NaN}\n'],
    "a key twice": lambda lines: [lines[0], b'{"graph": 0, "graph": 0}\n'],
    "nested": lambda lines: [lines[0], b"[" * 100_000 + b"]" * 100_000 + b"\n"],
    "a line without end": lambda lines: [lines[0], b" " * 2_000_000],
    "a list": lambda lines: [b"[]\n"],
    "of another format": lambda lines: [edited(lines[0], format=2)],
    "backends that are text": lambda lines: [edited(lines[0], backends="pcm")],
    "a line left out": lambda lines: [lines[0], lines[2]],
    "a line twice": lambda lines: [lines[0], lines[1], lines[1]],
    "a negative count": lambda lines: [lines[0], edited(lines[1], steps=-1)],
    "a huge count": lambda lines: [lines[0], edited(lines[1], steps=2**60)],
    "a count that is text": lambda lines: [lines[0], edited(lines[1], spikes="9")],
    "another backend": lambda lines: [lines[0], edited(lines[1], backends={"x": {"outcome": "equal"}})],
    "an outcome that is none": lambda lines: [lines[0], edited(lines[1], backends={"pcm": {"outcome": "fine"}})],
    "roots that are text": lambda lines: [
        lines[0],
        edited(lines[1], backends={"pcm": {"outcome": "bug", "roots": "x"}}),
    ],
    "negative roots": lambda lines: [
        lines[0],
        edited(lines[1], backends={"pcm": {"outcome": "bug", "roots": -5}}),
    ],
    "roots that are true": lambda lines: [
        lines[0],
        edited(lines[1], backends={"pcm": {"outcome": "bug", "roots": True}}),
    ],
    "a reason that is a number": lambda lines: [
        lines[0],
        edited(lines[1], backends={"pcm": {"outcome": "refused", "reason": 5}}),
    ],
    "a count that is true": lambda lines: [lines[0], edited(lines[1], steps=True)],
    "a number that is false": lambda lines: [lines[0], edited(lines[1], graph=False)],
    "a digest that is a number": lambda lines: [lines[0], edited(lines[1], digest=5)],
    "a format that is true": lambda lines: [edited(lines[0], format=True)],
    "no line at all": lambda lines: [b"precious user data"],
    "a tail after another campaign's line": lambda lines: [edited(lines[0], seed=4), b"precious"],
    "another first line cut short": lambda lines: [edited(lines[0], limit=5.0)[:-9]],
    "of another version": lambda lines: [edited(lines[0], versions={})],
    "of other families": lambda lines: [edited(lines[0], families={"space": 1.0})],
}


@pytest.mark.parametrize("case", RESULTS)
def test_hostile_results_are_refused(case, results, tmp_path, capsys):
    capsys.readouterr()
    data = b"".join(RESULTS[case](results))
    (tmp_path / "results.jsonl").write_bytes(data)
    assert main([*ARGUMENTS, str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert "results.jsonl" in err
    assert "unforeseen" not in err
    assert (tmp_path / "results.jsonl").read_bytes() == data


def test_a_first_line_cut_short_is_gone_on_with(results, tmp_path):
    for end in (0, 1, len(results[0]) - 1):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / "results.jsonl").write_bytes(results[0][:end])
        assert main([*ARGUMENTS[:4], "3", *ARGUMENTS[5:], str(folder)]) == 0
        assert (folder / "results.jsonl").read_bytes() == b"".join(results)


def test_a_results_file_that_is_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / "results.jsonl").mkdir()
    assert main([*ARGUMENTS, str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def failure(tmp_path_factory):
    """A failure that was written."""
    place = tmp_path_factory.mktemp("failure")
    (place / "engine").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install(place / "engine", ">= for >"))
        assert main(["fuzz", "--backends", "plain", "--graphs", "12", "--seed", "4", "--out", str(place / "f")]) == 1
    folder = min((place / "f/failures").iterdir())
    description = json.loads((folder / "failure.json").read_text())
    description["target"]["name"] = "pcm"
    (folder / "failure.json").write_text(json.dumps(description))
    return folder


def described(**changes: object):
    def change(folder):
        found = json.loads((folder / "failure.json").read_text())
        (folder / "failure.json").write_text(json.dumps({**found, **changes}))

    return change


FAILURES = {
    "no description": lambda folder: (folder / "failure.json").unlink(),
    "not JSON": lambda folder: (folder / "failure.json").write_text("fails"),
    "not text": lambda folder: (folder / "failure.json").write_bytes(b"\xff\xfe"),
    "huge": lambda folder: (folder / "failure.json").write_text(" " * 2_000_000),
    "another format": described(format=9),
    "another key": described(command="rm"),
    "a limit without end": described(limit=1e300),
    "a limit that is text": described(limit="1"),
    "a target that is text": described(target="pcm"),
    "a name that is a list": described(target={"name": ["pcm"], "options": {}, "version": None}),
    "an unknown backend": described(target={"name": "nest", "options": {}, "version": None}),
    "an unknown option": described(target={"name": "pcm", "options": {"no_such": 1}, "version": None}),
    "a label that is a path": described(label="../x"),
    "an outcome that does not fail": described(outcome={"outcome": "equal"}),
    "no graph": lambda folder: (folder / "graph.safetensors").unlink(),
    "a graph cut short": lambda folder: (folder / "graph.safetensors").write_bytes(b"\0" * 8),
    "no inputs": lambda folder: (folder / "inputs.npz").unlink(),
    "inputs of another graph": lambda folder: np.savez(folder / "inputs.npz", other=np.ones((1, 1, 1))),
    "objects as inputs": lambda folder: np.savez(folder / "inputs.npz", x=np.array([print], dtype=object)),
    "lengths that do not fit": lambda folder: np.save(folder / "lengths.npy", [10**6]),
}


@pytest.mark.parametrize("case", FAILURES)
def test_hostile_failures_are_refused(case, failure, tmp_path, capsys):
    folder = tmp_path / "failure"
    shutil.copytree(failure, folder)
    FAILURES[case](folder)
    capsys.readouterr()
    assert main(["fuzz", "--replay", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert "unforeseen" not in err


def test_a_name_that_commands_a_terminal_is_shown_escaped(failure, tmp_path, capsys):
    folder = tmp_path / "failure"
    shutil.copytree(failure, folder)
    described(graph="\x1b[2Jnice\u202e\nname")(folder)
    capsys.readouterr()
    assert main(["fuzz", "--replay", str(folder)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("\\x1b[2Jnice\\u202e; name on plain: equal")

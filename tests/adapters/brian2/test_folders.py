"""The directory of a C++ project: one program at a time, and nothing but its own files is deleted or overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.brian2.test_targets import INPUTS, assert_agrees, tiny

brian2 = pytest.importorskip("brian2")
folder = pytest.importorskip("snubridge_brian2.engine.folder")
project = pytest.importorskip("snubridge_brian2.engine.project")
pytestmark = pytest.mark.usefixtures("quick_brian2")

ANOTHER = """
import sys
import numpy as np
import snubridge as sb

nodes = {"in": sb.Input((4,)), "w": sb.Linear([[0.25] * 4]), "unit": sb.Unit(1.0, 1.0)}
graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "unit")], numbers=sb.Float64())
program = sb.export(graph, "brian2", target="cpp_standalone", directory=sys.argv[1])
inputs = np.ones((8, 3, 4))
assert (program.run(inputs).spikes["unit"] == sb.simulate(graph, inputs).spikes["unit"]).all()
"""


def exported(weight: float, directory: Path) -> tuple[sb.Graph, Any]:
    graph = tiny(weight)
    return graph, sb.export(graph, "brian2", target="cpp_standalone", directory=directory)


@pytest.mark.compiled
def test_programs_that_share_a_directory_are_compiled_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of this process and one of another; without it, each would run what was compiled last."""
    compiled: list[Any] = []
    compile_ = project.Project.compile
    monkeypatch.setattr(project.Project, "compile", lambda self, made: (compiled.append(self), compile_(self, made))[1])
    first, program = exported(0.5, tmp_path)
    second, other = exported(0.25, tmp_path)
    assert (sb.simulate(first, INPUTS).spikes["unit"] != sb.simulate(second, INPUTS).spikes["unit"]).any()
    assert_agrees(program.run(INPUTS), first, INPUTS)
    assert_agrees(other.run(INPUTS), second, INPUTS)
    assert_agrees(program.run(INPUTS[:9]), first, INPUTS[:9])
    assert_agrees(program.run(INPUTS), first, INPUTS)
    assert len(compiled) == 3
    subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path)], check=True)
    assert_agrees(program.run(INPUTS), first, INPUTS)
    assert len(compiled) == 4
    (tmp_path / folder.MARKER).unlink()
    (tmp_path / "main").rename(tmp_path / "moved")
    with pytest.raises(sb.BadFile, match=r"holds 'brianlib' and no snubridge_project.json of ours"):
        program.run(INPUTS)


@pytest.mark.compiled
def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    graph, program = exported(0.5, tmp_path)
    program.run(INPUTS)
    (tmp_path / "notes.o").write_text("mine")
    (tmp_path / "code_objects" / "mine.cpp").write_text("mine")
    _, other = exported(0.25, tmp_path)
    other.run(INPUTS)
    assert_agrees(program.run(INPUTS), graph, INPUTS)
    assert (tmp_path / "notes.o").read_text() == (tmp_path / "code_objects" / "mine.cpp").read_text() == "mine"
    (tmp_path / "main.cpp").write_text("mine")
    with pytest.raises(sb.BadFile, match=r"main.cpp: was changed since it was made"):
        program.run(INPUTS)
    assert (tmp_path / "main.cpp").read_text() == "mine"


@pytest.mark.parametrize("name", ["precious.o", "main.cpp", "results/x", ".hidden"])
def test_a_folder_of_somebody_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(sb.BadFile, match=r"brian2: .*and no snubridge_project.json of ours, .*empty or a new folder"):
        exported(0.5, tmp_path)[1].run(INPUTS)
    assert (tmp_path / name).read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"token": "", "files": {"a": 1}}',
        '{"token": "", "files": {"../kept": [4, 5]}}',
        '{"token": "", "files": {"/etc/passwd": [4, 5]}}',
        '{"token": "", "files": {"link/kept": [4, 5]}}',
    ],
)
def test_a_marker_does_not_lead_out_of_its_folder(text: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("mine")
    (tmp_path / "kept").write_text("mine")
    (inside / "link").symlink_to(outside)
    (inside / folder.MARKER).write_text(text)
    made = tmp_path / "made"
    made.mkdir()
    with pytest.raises(FileExistsError, match="name an empty or a new"):
        folder.ProjectFolder(inside).take(made, "token")
    assert (outside / "kept").exists()
    assert (tmp_path / "kept").exists()


def test_what_is_in_the_way_keeps_the_former_project(tmp_path: Path) -> None:
    place = folder.ProjectFolder(tmp_path / "place")

    def put(token: str, *names: str) -> None:
        made = tmp_path / token
        for name in names:
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(token)
        place.take(made, token)

    def holds(token: str) -> bool:
        with place.held() as (_, said):
            return bool(place.holds(token, said))

    put("one", "main", "code/a.cpp")
    assert holds("one")
    put("two", "main", "code/b.cpp")
    assert not holds("one")
    assert holds("two")
    assert not (place.path / "code" / "a.cpp").exists()
    (place.path / "code" / "c.cpp").write_text("mine")
    with pytest.raises(FileExistsError, match=r"c.cpp: is not ours, and not overwritten"):
        put("three", "main", "code/c.cpp")
    assert holds("two")
    (place.path / "main").write_text("edited")
    assert not holds("two")
    assert json.loads(place.marker.read_text())["token"] == "two"


@pytest.mark.compiled
def test_make_that_says_nothing() -> None:
    before = brian2.prefs.devices.cpp_standalone.make_cmd_unix
    brian2.prefs.devices.cpp_standalone.make_cmd_unix = "false"
    try:
        with pytest.raises(
            RuntimeError, match=r"false ended with 1 and made no program: it said nothing(?s:.*)by hand"
        ):
            sb.export(tiny(1.0), "brian2", target="cpp_standalone").run(np.ones((1, 1, 4)))
    finally:
        brian2.prefs.devices.cpp_standalone.make_cmd_unix = before

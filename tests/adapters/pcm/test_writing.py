"""PCM: writing whole or not at all, and nothing that is not ours is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snubridge_pcm import folder

import snubridge as sb
from tests.adapters.pcm.chips import one_crossbar, saved


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0]]), tmp_path)
    (path / "arrays.npz").write_bytes(b"damaged")
    other = one_crossbar([[2.0, 3.0]])
    assert sb.import_graph(saved(other, tmp_path), "pcm") == other
    assert [entry.name for entry in tmp_path.iterdir()] == ["chip.pcm"]


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    program = sb.export(one_crossbar([[1.0]]), "pcm")
    ours = saved(one_crossbar([[1.0]]), tmp_path)
    places = {name: tmp_path / f"{name}.pcm" for name in ("file", "empty", "link", "foreign", "more", "other")}
    places["file"].write_text("mine")
    places["link"].symlink_to(ours)
    for name in ("empty", "foreign", "more", "other"):
        places[name].mkdir()
    for name, text in (("hardware.json", "{}"), ("arrays.npz", "mine")):
        (places["foreign"] / name).write_text(text)
        for place in ("more", "other"):
            (places[place] / name).write_bytes((ours / name).read_bytes())
    (places["more"] / "notes.txt").write_text("mine")
    (places["other"] / "hardware.json").write_text("[")

    def contents() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    before = contents()
    for place in places.values():
        with pytest.raises(sb.BadFile, match="exists and is no folder of a hardware description"):
            program.save(place)
    for name in ("chip", "chip.npz", ".pcm"):
        with pytest.raises(sb.BadFile, match=r"ends in \.pcm"):
            program.save(tmp_path / name)
    with pytest.raises(sb.BadFile, match="cannot be written: No such file"):
        program.save(tmp_path / "missing" / "chip.pcm")
    assert contents() == before
    assert places["link"].is_symlink()


@pytest.mark.parametrize("failing", ["fsync", "first rename", "second rename"])
def test_a_failed_save_leaves_the_old_folder(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = one_crossbar([[1.0]])
    path = saved(graph, tmp_path)
    rename, calls = Path.rename, iter(("first rename", "second rename", "third"))

    def failing_rename(self: Path, target: Path) -> Path:
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    def failing_fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "exchange", lambda one, other: False)  # as where the system cannot
        patch.setattr(Path, "rename", failing_rename)
        if failing == "fsync":
            patch.setattr(os, "fsync", failing_fsync)
        with pytest.raises(sb.BadFile, match="No space left on device"):
            saved(one_crossbar([[2.0]]), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["chip.pcm"]
    assert sb.import_graph(path, "pcm") == graph


def test_what_a_killed_save_left_is_brought_back_or_removed(tmp_path: Path) -> None:
    """Where the system cannot exchange names, a kill between the two renames leaves the folder under a hidden name."""
    path = saved(one_crossbar([[1.0]]), tmp_path)
    aside = tmp_path / ".chip.pcm.0123456789ab.former"
    path.rename(aside)
    with pytest.raises(sb.BadFile, match=r"a save was cut short, and the former folder is .*0123456789ab\.former"):
        sb.import_graph(path, "pcm")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "arrays.npz").write_text("mine")
    (tmp_path / ".chip.pcm.0123456789cd.former").symlink_to(elsewhere)
    (tmp_path / ".chip.pcm.mine.former").mkdir()
    (tmp_path / ".chip.pcm.0123456789ef.partial").mkdir()
    (tmp_path / ".chip.pcm.0123456789ef.partial" / "hardware.json").write_text("half")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "sync_folder", no_space)
        with pytest.raises(sb.BadFile, match="No space left"):
            saved(one_crossbar([[2.0]]), tmp_path)
    assert sb.import_graph(path, "pcm") == one_crossbar([[1.0]])
    saved(one_crossbar([[2.0]]), tmp_path)
    assert sb.import_graph(path, "pcm") == one_crossbar([[2.0]])
    kept = {"chip.pcm", "elsewhere", ".chip.pcm.0123456789cd.former", ".chip.pcm.mine.former"}
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    assert (elsewhere / "arrays.npz").read_text() == "mine"


def no_space(_folder: Path) -> None:
    raise OSError(28, "No space left on device")

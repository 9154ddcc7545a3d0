"""Replacing files: permissions, what killed writers left, and two names that change places."""

from __future__ import annotations

import fcntl
import os
import stat

import pytest

import snubridge as sb
from snubridge.ir.disk import beside, exchange, read_bytes, sweep, write_atomically


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_a_new_file_has_the_usual_permissions(mask, tmp_path):
    former = os.umask(mask)
    try:
        write_atomically(tmp_path / "new", b"1")
    finally:
        os.umask(former)
    assert mode(tmp_path / "new") == 0o666 & ~mask


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o444, 0o666])
def test_a_replaced_file_keeps_its_permissions(permissions, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    write_atomically(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", permissions)


@pytest.mark.parametrize("name", ["n" * 255, "\u00e9" * 127, "\U0001f3b9" * 63, ".hidden", "a.b.c"])
def test_any_name_that_a_file_can_have_is_written(name, tmp_path):
    for data in (b"old", b"new"):
        write_atomically(tmp_path / name, data)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"new"


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    left = tmp_path / ".net.0123456789ab.partial"
    others = [".net.0123456789ab.txt", ".net.xyz.partial", ".other.0123456789ab.partial", "net.0123456789ab.partial"]
    for path in (left, *(tmp_path / name for name in others)):
        path.write_bytes(b"half")
    (tmp_path / ".net.0123456789cd.partial").mkdir()  # of a folder of the same name: for its own writer to remove
    os.mkfifo(tmp_path / ".net.0123456789ef.partial")
    write_atomically(tmp_path / "net", b"new")
    assert not left.exists()
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept >= {*others, "net", ".net.0123456789cd.partial"}


def test_what_a_living_writer_has_is_not_swept(tmp_path):
    target = tmp_path / "net"
    with beside(target, lambda path: path.touch()) as place:
        write_atomically(target, b"another's")
        assert place.exists()
    write_atomically(target, b"another's")
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_whose_file_was_swept_before_it_was_held_takes_another(tmp_path):
    made = []

    def make(path):
        path.touch()
        made.append(path)
        if len(made) == 1:
            sweep(tmp_path / "net", os.unlink)

    with beside(tmp_path / "net", make) as place:
        assert [path.exists() for path in made] == [False, True]
        assert place == made[1]


def test_a_file_system_without_locks_is_written_too(tmp_path, monkeypatch):
    def refuse(_descriptor, _how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".net.0123456789ab.partial").write_bytes(b"perhaps somebody's")
    write_atomically(tmp_path / "net", b"new")
    assert (tmp_path / "net").read_bytes() == b"new"
    assert (tmp_path / ".net.0123456789ab.partial").exists()


def test_the_rename_is_made_to_last(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(tmp_path / "net", b"new")
    assert synced == [False, True]  # the file, and then the folder that names it


def test_two_names_change_places(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    (one / "x").touch()
    other.write_bytes(b"2")
    if not exchange(one, other):
        pytest.skip("this system has no renameat2, or its file system cannot exchange names")
    assert (other / "x").exists()
    assert one.read_bytes() == b"2"
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "none")


def test_no_more_is_read_than_asked_for(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    assert len(read_bytes(tmp_path / "file", 100)) == 100
    with pytest.raises(sb.BadFile, match="100 bytes, above the 99 that are read"):
        read_bytes(tmp_path / "file", 99)


def readers():
    """Those of single files."""
    return sb.load, sb.Trace.load, lambda path: sb.import_graph(path, "onnx")


@pytest.mark.parametrize("start", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x02" + bytes(7) + b"{}"])
def test_a_terabyte_of_nothing_is_refused_unread(start, tmp_path):
    with (tmp_path / "sparse").open("wb") as stream:
        stream.write(start)
        stream.truncate(2**40)
    for read in readers():
        with pytest.raises(sb.BadFile) as caught:
            read(tmp_path / "sparse")
        assert "memory" not in str(caught.value)


def test_a_terabyte_behind_a_sound_file_is_refused_unread(tmp_path):
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.5, 0.5)}, [sb.Edge("in", "u")])
    sb.save(graph, tmp_path / "net")
    os.truncate(tmp_path / "net", 2**40)
    with pytest.raises(sb.BadFile, match=r"\d{13} bytes of arrays, where its header lists 12"):
        sb.load(tmp_path / "net")

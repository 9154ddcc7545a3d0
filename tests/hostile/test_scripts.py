"""Exported scripts on what is wrong: one line, no traceback, nothing written."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
import warnings
import zipfile

import numpy as np
import pytest

import snubridge as sb

X = np.ones((4, 2, 3))


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "net.py"
    nodes = {"in": sb.Input((3,), -1.0, 1.0), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}
    sb.export(sb.Graph(nodes, [sb.Edge("in", "u"), sb.Edge("u", "out")]), "nengo").save(path)
    return path


def run(script, monkeypatch, *arguments):
    """What the script ends with: None, or its one line."""
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(said):
        warnings.simplefilter("error", ResourceWarning)
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as stop:
            return said.getvalue().removesuffix("\n") if stop.code == 2 else stop.code
    return None


BAD = {
    "objects": (lambda p: np.save(p, np.array([{}]), allow_pickle=True), "cannot be read"),
    "complex": (lambda p: np.save(p, X * 1j), "needed numbers"),
    "dates": (lambda p: np.save(p, X.astype("M8[s]")), "needed numbers"),
    "a structure": (lambda p: np.save(p, np.zeros((4, 2, 3), "f4,f8")), "needed numbers"),
    "NaN": (lambda p: np.save(p, X * np.nan), "not finite in float32"),
    "beyond float32": (lambda p: np.save(p, X * 1e39), "not finite in float32"),
    "out of range": (lambda p: np.save(p, X * 1.5), "outside of"),
    "wide": (lambda p: np.save(p, np.ones((4, 2, 5))), "needed numbers"),
    "no steps": (lambda p: np.save(p, X[:0]), "needed numbers"),
    "no samples": (lambda p: np.save(p, X[:, :0]), "needed numbers"),
    "another name": (lambda p: p.write_bytes(saved(other=X)), "arrays for other; the network's inputs are in"),
    "a folder": (lambda p: p.mkdir(), "is no regular file"),
    "nothing": (lambda p: None, "No such file"),
    "empty": (lambda p: p.touch(), "cannot be read"),
    "text": (lambda p: p.write_text("hello"), "cannot be read"),
    "a vast shape": (lambda p: p.write_bytes(vast()), "cannot be read"),
    "brackets": (lambda p: p.write_bytes(vast("(" * 9000)), "cannot be read"),
    "a bomb": (lambda p: bomb(p), "unfolds to too many bytes"),
}


def saved(**arrays):
    from io import BytesIO

    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def vast(shape="(9223372036854775807,)"):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.npy", bytes(2**26))


@pytest.mark.parametrize("case", BAD)
def test_a_script_refuses_bad_inputs_in_one_line(case, script, tmp_path, monkeypatch):
    make, expected = BAD[case]
    make(tmp_path / "x.npy")
    before = sorted(tmp_path.iterdir())
    said = run(script, monkeypatch, tmp_path / "x.npy", tmp_path / "t.npz")
    assert isinstance(said, str), said
    assert said.startswith(str(tmp_path / "x.npy"))
    assert expected in said
    assert said.isprintable()
    assert sorted(tmp_path.iterdir()) == before


def test_a_script_replaces_its_trace_as_a_whole(script, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "t.npz").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for target, expected in (("folder", "is no regular file, and is not replaced"), ("none/t.npz", "does not exist")):
        assert expected in run(script, monkeypatch, tmp_path / "x.npy", tmp_path / target)
    with monkeypatch.context() as patch:

        def fail(_self, _target):
            raise OSError(28, "No space left on device")

        patch.setattr("pathlib.Path.replace", fail)
        said = run(script, patch, tmp_path / "x.npy", tmp_path / "t.npz")
    assert said == f"{tmp_path / 't.npz'}: cannot be written: No space left on device"
    assert (tmp_path / "t.npz").read_bytes() == b"old"
    assert run(script, monkeypatch, tmp_path / "x.npy", tmp_path / "t.npz") is None
    assert sb.Trace.load(tmp_path / "t.npz").spikes["u"].sum() > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "t.npz", "x.npy"]


@pytest.mark.parametrize("backend", ["nengo", "brian2"])
def test_a_script_that_overflows_writes_no_trace(backend, tmp_path, monkeypatch):
    unit = sb.Unit(1.0, 1.0, reset=sb.Reset.NONE, h=sb.Identity())
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[3e38]]), "u": unit, "h": sb.Linear([[3e38]]), "out": sb.Output()}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "h"), sb.Edge("h", "u", 1), sb.Edge("u", "out")]
    script = tmp_path / "net.py"
    sb.export(sb.Graph(nodes, edges), backend).save(script)
    np.save(tmp_path / "x.npy", np.ones((30, 1, 1)))
    said = run(script, monkeypatch, tmp_path / "x.npy", tmp_path / "t.npz")
    assert said == f"{tmp_path / 'x.npy'}: the engine overflowed: scale the weights or the inputs down"
    assert not (tmp_path / "t.npz").exists()


def test_a_script_without_its_parameters_says_so(script, tmp_path, monkeypatch):
    copy = tmp_path / "copy.py"
    copy.write_bytes(script.read_bytes())
    np.save(tmp_path / "x.npy", X)
    assert "is missing" in run(copy, monkeypatch, tmp_path / "x.npy", tmp_path / "t.npz")
    parameters = script.with_suffix(".npz").read_bytes()
    for changed in (b"", parameters[:-1], parameters[:500] + b"\1" + parameters[501:]):
        copy.with_suffix(".npz").write_bytes(changed)
        assert "export both anew" in run(copy, monkeypatch, tmp_path / "x.npy", tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()

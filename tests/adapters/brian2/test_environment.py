"""Flags of the environment, a process that flushes subnormal numbers, and what changed since the export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.brian2.test_targets import INPUTS, tiny

brian2 = pytest.importorskip("brian2")
engine = pytest.importorskip("snubridge_brian2.engine")
targets = pytest.importorskip("snubridge_brian2.engine.targets")
pytestmark = pytest.mark.usefixtures("quick_brian2")

SUBNORMAL = """
import sys
import numpy as np
import snubridge as sb

rng = np.random.default_rng(0)
scale = 1e-310
nodes = {
    "in": sb.Input((40,)),
    "w": sb.Linear(rng.normal(0.1, 0.5, (30, 40)) * scale),
    "unit": sb.Unit(rng.uniform(0.2, 0.95, 30), scale),
}
graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "unit")], numbers=sb.Float64())
inputs = (rng.random((80, 2, 40)) < 0.3) * 1.0
expected = sb.simulate(graph, inputs).spikes["unit"]
assert 0.05 < expected.mean() < 0.95, expected.mean()
program = sb.export(graph, "brian2", target=sys.argv[1])
assert (program.run(inputs).spikes["unit"] == expected).all()
assert (np.array([1e-310]) * 1.0 > 0).all(), "the process flushes from now on"
"""
LOOSE = "-Ofast -ffast-math -funsafe-math-optimizations"


@pytest.mark.compiled
@pytest.mark.parametrize("target", ["cython", "cpp_standalone"])
def test_flags_of_the_environment_do_not_get_in(target: str, tmp_path: Path) -> None:
    """With a cache that is empty; any of them would flush the states, all of them subnormal numbers."""
    names = ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "OPTIMISATIONS")
    loose = dict.fromkeys(names, LOOSE) | {
        "MAKEFLAGS": f"OPTIMISATIONS={LOOSE.split()[0]}",
        "CC": f"gcc {LOOSE}",
        "CXX": f"g++ {LOOSE}",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", SUBNORMAL, target], env=os.environ | loose, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_environment_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXXFLAGS", "-Ofast")
    monkeypatch.delenv("LDFLAGS", raising=False)
    before = dict(os.environ)
    within = []

    def fail() -> None:
        with targets.plain_environment():
            within.append("CXXFLAGS" in os.environ)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert within == [False]
    assert dict(os.environ) == before


def test_modules_of_another_compiler_or_processor_lie_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = {targets.cache_folder()}
    monkeypatch.setenv("CXX", f"{sys.executable} -c print(1)")
    folders.add(targets.cache_folder())
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(targets, "_machine", lambda *compilers: "another processor")
    folders.add(targets.cache_folder())
    monkeypatch.setattr(targets, "FLAGS", (*targets.FLAGS, "-mno-avx"))
    folders.add(targets.cache_folder())
    assert len(folders) == 4


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(targets, "missing_compiler", lambda target: None)
    program = sb.export(tiny(0.5), "brian2", target="cython")
    message = r"brian2: .*no compiled module can be written there .*set XDG_CACHE_HOME to a folder"
    with pytest.raises(sb.BadFile, match=message):
        program.run(INPUTS)
    with pytest.raises(sb.BadFile, match=message):
        _ = program.native


@pytest.mark.parametrize("target", ["numpy", "cpp_standalone"])
def test_a_mode_that_was_set_since_is_refused_as_by_export(target: str) -> None:
    program = sb.export(tiny(0.5), "brian2", target=target)
    brian2.set_device("cpp_standalone", build_on_run=False)
    try:
        for use in (lambda: program.run(INPUTS), lambda: program.native):
            with pytest.raises(sb.Unsupported, match=r"standalone mode; brian2.set_device\('runtime'\) goes back"):
                use()
        with pytest.raises(RuntimeError, match=r"standalone mode; brian2.set_device"):
            engine.run(*program._planned, {"in": INPUTS})
    finally:
        brian2.set_device("runtime")
    np.testing.assert_array_equal(program.native["unit"].threshold, [1.0])


def test_a_process_that_flushes_subnormal_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    program: Any = sb.export(tiny(0.5), "brian2")
    assert not targets.flushes_subnormals()
    monkeypatch.setattr(engine, "flushes_subnormals", lambda: True)
    with pytest.raises(sb.Unsupported, match="takes subnormal numbers for zero"):
        program.run(INPUTS)
    with pytest.raises(sb.Unsupported, match="takes subnormal numbers for zero"):
        sb.export(tiny(0.5), "brian2")


def test_flushing_is_noticed_where_it_happens() -> None:
    """torch sets the same bit of the processor as a library with -ffast-math does."""
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush")
    try:
        assert targets.flushes_subnormals()
    finally:
        torch.set_flush_denormal(False)
    assert not targets.flushes_subnormals()

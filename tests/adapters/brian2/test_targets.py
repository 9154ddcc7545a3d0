"""Compiled targets: what they leave behind, what they need, and that a C++ project is compiled once."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb

brian2 = pytest.importorskip("brian2")
targets = pytest.importorskip("snubridge_brian2.engine.targets")
extension_manager = pytest.importorskip("brian2.codegen.runtime.cython_rt.extension_manager")
project = pytest.importorskip("snubridge_brian2.engine.project")
pytestmark = pytest.mark.usefixtures("quick_brian2")

is_runtime = pytest.importorskip("snubridge_brian2.engine").is_runtime

RNG = np.random.default_rng(2)
INPUTS = (RNG.random((20, 3, 4)) < 0.5).astype(float)
COMPILED = ("cython", "cpp_standalone")


def small() -> sb.Graph:
    """A recurrent layer of spiking units and a soft one, with delays."""
    nodes = {
        "in": sb.Input((4,)),
        "w": sb.Linear(RNG.integers(-3, 7, (5, 4)) / 8),
        "unit": sb.Unit(0.75, 0.5),
        "rec": sb.Linear(RNG.integers(-4, 5, (5, 5)) / 8),
        "mix": sb.Linear(RNG.integers(-4, 5, (3, 5)) / 8),
        "soft": sb.Unit(0.5, 0.25, h=sb.Sigmoid(), reset=sb.Reset.LATERAL),
        "readout": sb.Linear(RNG.integers(-4, 5, (2, 3)) / 8),
        "out": sb.Output("mean"),
    }
    edges = [
        sb.Edge("in", "w"),
        sb.Edge("w", "unit"),
        sb.Edge("unit", "rec", 3),
        sb.Edge("rec", "unit"),
        sb.Edge("unit", "mix"),
        sb.Edge("mix", "soft"),
        sb.Edge("soft", "readout", 2),
        sb.Edge("readout", "out"),
    ]
    return sb.Graph(nodes, edges, numbers=sb.Float64())


def tiny(weight: float) -> sb.Graph:
    """One neuron, which hears four inputs."""
    nodes = {"in": sb.Input((4,)), "w": sb.Linear([[weight] * 4]), "unit": sb.Unit(1.0, 1.0)}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "unit")], numbers=sb.Float64())


def assert_agrees(actual: sb.Trace, graph: sb.Graph, inputs: Any) -> None:
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    for key, values in actual.arrays().items():
        if "/" not in key:
            continue  # which outputs are reduced, and lengths
        if values.dtype == np.uint8:
            np.testing.assert_array_equal(values, expected.arrays()[key], err_msg=key)
        np.testing.assert_allclose(values, expected.arrays()[key], rtol=0, atol=1e-12, err_msg=key)


@pytest.fixture
def untouched() -> Iterator[None]:
    """Afterwards Brian2 is as it was: preferences, device, and the environment of its compilers."""

    def found() -> Any:
        device = brian2.get_device()
        return brian2.prefs.as_file, device, device.build_on_run if hasattr(device, "build_on_run") else None

    before, folder = found(), Path.cwd()
    yield
    assert found() == before
    assert Path.cwd() == folder
    assert is_runtime()


def test_a_project_is_compiled_once(untouched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other inputs, fewer steps, more samples: no compiler runs; two threads, values that are no spikes."""
    graph = small()
    program = sb.export(graph, "brian2", target="cpp_standalone", threads=2, directory=tmp_path / "net", dt=1e-3 / 3)
    compiled: list[Any] = []
    compile_ = project.Project.compile
    monkeypatch.setattr(project.Project, "compile", lambda self, made: (compiled.append(self), compile_(self, made))[1])
    assert_agrees(program.run(INPUTS, record=("spikes", "states")), graph, INPUTS)
    assert len(compiled) == 1
    made = (tmp_path / "net" / "main").stat().st_mtime_ns
    assert "-ffp-contract=off" in (tmp_path / "net" / "makefile").read_text()
    assert "-ffast-math" not in (tmp_path / "net" / "makefile").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))  # no make, no compiler
    for inputs in (1 - INPUTS, RNG.normal(0, 1, INPUTS.shape), INPUTS[:7, :1], np.tile(INPUTS[:, ::-1], (1, 3, 1))):
        assert_agrees(program.run(inputs, record=("spikes", "states")), graph, inputs)
    assert len(compiled) == 1
    assert (tmp_path / "net" / "main").stat().st_mtime_ns == made
    with pytest.raises(sb.BadInput, match="overflow"):
        program.run(INPUTS * 1e308, record=("spikes", "states"))


@pytest.mark.compiled
def test_a_longer_run_or_another_record_is_compiled_anew(untouched: None) -> None:
    graph = tiny(0.5)
    program = sb.export(graph, "brian2", target="cpp_standalone", batch="concatenated")
    assert_agrees(program.run(INPUTS[:9, :2]), graph, INPUTS[:9, :2])
    first = program._simulation.project
    assert_agrees(program.run(INPUTS[4:, :1]), graph, INPUTS[4:, :1])
    second = program._simulation.project
    assert (first.layout.steps, second.layout.steps) == (9, 16)
    assert_agrees(program.run(INPUTS[4:], record=("states",)), graph, INPUTS[4:])
    folder = second.directory
    assert folder.is_dir()
    del first, second, program
    gc.collect()  # Brian2 may have left cycles that lead to it
    assert not folder.exists(), "a temporary project outlives its program"


@pytest.mark.compiled
def test_cython_modules_are_shared_and_strict(untouched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks of other names, sizes and steps: the second needs no module that the first has not."""
    manager = extension_manager.cython_extension_manager
    monkeypatch.setattr(manager, "_code_cache", {})
    flags: list[Any] = []
    create = type(manager).create_extension

    def watched(self: Any, code: str, **options: Any) -> Any:
        flags.append((options["extra_compile_args"], brian2.prefs.codegen.runtime.cython.cache_dir))
        return create(self, code, **options)

    monkeypatch.setattr(type(manager), "create_extension", watched)
    modules = []
    for name, size, steps in (("unit", 3, 9), ("another", 5, 30)):
        nodes = {"in": sb.Input((size,)), name: sb.Unit(0.5, 0.75)}
        graph = sb.Graph(nodes, [sb.Edge("in", name)])
        inputs = RNG.integers(0, 5, (steps, 2, size)) / 4
        assert_agrees(sb.export(graph, "brian2", target="cython").run(inputs), graph, inputs)
        modules.append(len(manager._code_cache))
    assert modules[0] > 5
    assert modules[1] == modules[0]
    assert set(map(str, flags)) == {str((list(targets.FLAGS), targets.cache_folder()))}


@pytest.mark.compiled
def test_cython_does_not_take_modules_of_other_flags(preferences_of_user: Any) -> None:
    """The same equations of the user's, compiled with Brian2's own flags, in the same process."""
    brian2.prefs.codegen.target = "cython"
    graph = small()
    for target in ("cython", "numpy"):
        assert_agrees(sb.export(graph, "brian2", target=target).run(INPUTS, record=("spikes", "states")), graph, INPUTS)
        network = sb.export(graph, "brian2", target=target).native
        own = brian2.NeuronGroup(3, "s : 1\nc : 1\nu : 1", clock=network["unit"].clock, name="own")
        own.run_regularly("s = c + u\nu = 0", when="thresholds")
        network.add(own)
        network.run(2 * brian2.ms, namespace={})


@pytest.fixture
def preferences_of_user() -> Iterator[None]:
    before = {name: brian2.prefs[name] for name in brian2.prefs}
    yield
    for name, value in before.items():
        brian2.prefs[name] = value


@pytest.mark.compiled
def test_an_overflow_in_compiled_code_is_an_error(untouched: None) -> None:
    with pytest.raises(sb.BadInput, match="overflow"):
        sb.export(tiny(1e300), "brian2", target="cython").run(np.full((3, 1, 4), 1e200))


def test_preferences_come_back_after_an_error(untouched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        assert brian2.prefs.codegen.cpp.extra_compile_args == list(targets.FLAGS)
        assert not is_runtime()
        raise ZeroDivisionError("within")

    monkeypatch.setattr(project, "Circuit", broken)
    with pytest.raises(ZeroDivisionError, match="within"):
        sb.export(small(), "brian2", target="cpp_standalone").run(INPUTS)


@pytest.mark.compiled
def test_a_project_that_does_not_compile_says_so(untouched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "CLEARED", "this is no C++;")
    with pytest.raises(RuntimeError, match=r"make ended with 2 and made no program: (?s:.*)error"):
        sb.export(tiny(1.0), "brian2", target="cpp_standalone").run(np.ones((1, 1, 4)))


@pytest.mark.parametrize("target", COMPILED)
def test_a_missing_compiler_is_named_with_the_remedy(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -x")
    with pytest.raises(
        sb.MissingEngine, match=rf"target {target} needs a C\+\+ compiler, and no-such-compiler .*numpy"
    ):
        sb.export(small(), "brian2", target=target)
    monkeypatch.setenv("CXX", shutil.which("false") or "false")
    with pytest.raises(sb.MissingEngine, match=r"takes -w -O3 .*-ffp-contract=off"):
        sb.export(small(), "brian2", target=target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "C++"}, r"target='C\+\+'; give one of numpy, cython, cpp_standalone"),
        ({"target": None}, "target=None"),
        ({"threads": 0, "target": "cpp_standalone"}, "threads=0; needed a whole number"),
        ({"threads": 2}, "threads and directory are options of target cpp_standalone, not of numpy"),
        ({"directory": "x", "target": "cython"}, "not of cython"),
        ({"directory": 7, "target": "cpp_standalone"}, "directory=7; needed the path"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(sb.BadInput, match=message):
        sb.export(small(), "brian2", **options)


@pytest.mark.compiled
@pytest.mark.parametrize("target", COMPILED)
def test_the_script_carries_its_target(target: str, tmp_path: Path) -> None:
    graph = tiny(0.5)
    program = sb.export(graph, "brian2", target=target)
    program.save(tmp_path / "net.py")
    assert f"target='{target}'" in (tmp_path / "net.py").read_text()
    assert sb.import_graph(tmp_path / "net.py", "brian2") == graph
    np.save(tmp_path / "x.npy", INPUTS)
    command = [sys.executable, "-I", "net.py", "x.npy", "trace.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert_agrees(sb.Trace.load(tmp_path / "trace.npz"), graph, INPUTS)

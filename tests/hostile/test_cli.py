"""The command line on what is wrong: status 2, one line on standard error, nothing else anywhere."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.cli.main import main

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, entered, with sound artefacts of every kind, and hostile ones."""
    monkeypatch.chdir(tmp_path)
    case = random_case(4, "dyadic", precision="float32")
    sb.save(case.graph, "net.safetensors")
    np.save("x.npy", case.inputs)
    np.save("l.npy", [9, 50])
    sb.simulate(case.graph, case.inputs).save("t.npz")
    sb.export(case.graph, "onnx").save("net.onnx")
    sb.export(case.graph, "pcm").save("chip.pcm")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("empty").touch()
    Path("text").write_text("hello\x1b[31m\n" * 100)
    Path("pickle").write_bytes(pickle.dumps({"a": np.ones(3)}))
    np.save("object.npy", np.array([{}]), allow_pickle=True)
    np.save("complex.npy", case.inputs * 1j)
    np.save("nan.npy", case.inputs * np.nan)
    np.save("wide.npy", np.zeros((3, 1, 99)))
    np.save("none.npy", np.zeros((0, 1, 99)))
    for name in ("net.safetensors", "net.onnx", "t.npz", "x.npy"):
        Path(f"cut-{name}").write_bytes(Path(name).read_bytes()[:-7])
    Path("newer.safetensors").write_bytes(_newer(Path("net.safetensors").read_bytes()))
    with zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.npy", bytes(2**28))
    with Path("sparse").open("wb") as stream:
        stream.truncate(2**40)
    for name in ("cut.pcm", "newer.pcm"):
        Path(name).mkdir()
        (Path(name) / "arrays.npz").write_bytes(Path("chip.pcm/arrays.npz").read_bytes())
    hardware = Path("chip.pcm/hardware.json").read_bytes()
    Path("cut.pcm/hardware.json").write_bytes(hardware[:-9])
    document = json.loads(hardware)
    document["format"]["version"] = 999
    Path("newer.pcm/hardware.json").write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return tmp_path


def _newer(data):
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    document = json.loads(header["__metadata__"]["snubridge"])
    header["__metadata__"]["snubridge"] = json.dumps(document | {"format": 999})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


FILES = "none folder pipe empty text pickle sparse \x1b[31mred a\nb " + "n" * 300
NO_GRAPHS = [*FILES.split(" "), "x.npy", "t.npz", "net.onnx", "chip.pcm", "cut-net.safetensors", "newer.safetensors"]
NO_TRACES = [*FILES.split(" "), "x.npy", "net.safetensors", "cut-t.npz", "object.npy", "bomb.npz"]
NO_INPUTS = [*FILES.split(" "), "net.safetensors", "cut-x.npy", "object.npy", "complex.npy", "nan.npy", "bomb.npz"]
NO_INPUTS += ["wide.npy", "none.npy", "t.npz", "l.npy"]
NO_MODELS = [*FILES.split(" "), "x.npy", "net.safetensors", "cut-net.onnx", "chip.pcm"]
NO_CHIPS = [*FILES.split(" "), "net.safetensors", "cut.pcm", "newer.pcm"]
NET, X = "net.safetensors", ["--inputs", "x.npy"]
OUT = ["--out", "out.npz"]


def commands():
    """All of them: a sound command with one bad thing in it."""
    for bad in NO_GRAPHS:
        yield ["info", bad]
        yield ["validate", bad]
        yield ["export", bad, "--to", "onnx", "--out", "out.onnx"]
        yield ["run", bad, "--on", "reference", *X, *OUT]
        yield ["verify", bad, *X, "--on", "pcm", "--report", "out.json"]
        yield ["plot", bad, *X, "--what", "margins", "--out", "out.svg"]
    for bad in NO_TRACES:
        yield ["compare", bad, "t.npz"]
        yield ["compare", "t.npz", bad, "--json"]
    for bad in NO_INPUTS:
        for engine in ("reference", "pcm", "onnx", "torch"):
            yield ["run", NET, "--on", engine, "--inputs", bad, *OUT]
        yield ["verify", NET, "--inputs", bad, "--report", "out.html", "--json"]
        yield ["plot", NET, "--inputs", bad, "--what", "raster", "--on", "pcm", "--out", "out.png"]
        if bad != "l.npy":
            yield ["run", NET, "--on", "pcm", *X, "--lengths", bad, *OUT]
            yield ["verify", NET, *X, "--lengths", bad]
    for bad in NO_MODELS:
        yield ["import", bad, "--from", "onnx", "--out", "out.safetensors"]
    for bad in NO_CHIPS:
        yield ["import", bad, "--from", "pcm", "--out", "out.safetensors"]
    for bad in ("folder", "pipe", "/dev/full", "/dev/null", "none/x", "x.npy/x", "n" * 300, "/proc/x", ""):
        yield ["export", NET, "--to", "torch", "--out", bad]
        yield ["import", "net.onnx", "--from", "onnx", "--out", bad]
    for suffix, backend in (("onnx", "onnx"), ("pcm", "pcm"), ("py", "nengo")):
        for bad in ("x", f"none/x.{suffix}", f"x.npy/x.{suffix}", f"/proc/x.{suffix}", "n" * 300 + f".{suffix}"):
            yield ["export", NET, "--to", backend, "--out", bad]
    for bad in ("out.txt", "none/x.npz", "x.npy/x.npz", "/proc/x.npz", "n" * 300 + ".npz"):
        yield ["run", NET, "--on", "pcm", *X, "--out", bad]
        yield ["verify", NET, *X, "--on", "pcm", "--report", bad.replace("npz", "json").replace("txt", "pdf")]
        yield ["plot", NET, *X, "--what", "margins", "--out", bad.replace("npz", "svg").replace("txt", "pdf")]
    yield ["run", NET, "--on", "pcm", "--inputs", "t.npz", "--out", "t.npz"]
    yield ["import", "net.onnx", "--from", "onnx", "--out", "net.onnx"]
    yield ["export", NET, "--to", "torch", "--out", NET]
    for bad in ("nest", "", "\x1b[2J", "pcm\n", "__import__('os')"):
        yield ["export", NET, "--to", bad, "--out", "out.x"]
        yield ["import", NET, "--from", bad, "--out", "out.x"]
        yield ["run", NET, "--on", bad, *X, *OUT]
        yield ["verify", NET, *X, "--on", bad, "--report", "out.json"]
        yield ["run", NET, "--on", "pcm", *X, *OUT, "--record", bad or "x"]
        yield [bad or "x"]
    options = ["x", "=1", "g_max_uS", "g_max_uS=", "g_max_uS=NaN", "g_max_uS=-1", "g_max_uS=1e999", "g_max_uS=[1]"]
    options += ["g_max_uS=" + "9" * 5000, "graph=1", "self=1", "x.y=1", "\x1b=1", "g_max_uS=" + "[" * 99999]
    for bad in options:
        yield ["export", NET, "--to", "pcm", "--out", "out.pcm", "--option", bad]
        yield ["verify", NET, *X, "--on", "pcm", "--option", f"pcm.{bad}"]
        yield ["verify", NET, *X, "--on", "pcm", "--option", bad]
    yield ["export", NET, "--to", "pcm", "--out", "out.pcm", "--option", "g_max_uS=5.0", "--option", "g_max_uS=6.0"]
    yield ["import", "chip.pcm", "--from", "pcm", "--out", "out.safetensors", "--option", "x=1"]
    yield ["info"]
    yield ["info", NET, "more", "a\nb"]
    yield ["compare", "t.npz"]
    yield ["demo", "--out", "x.npy"]
    yield ["demo", "--epochs", "many\x1b"]


def listing(folder):
    """What lies there, with sizes and times."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[path] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


def call(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_every_bad_thing_is_one_line_and_status_2_and_nothing_else(place, capsys):
    before = listing(place)
    wrong = []
    total = 0
    for arguments in commands():
        total += 1
        status, out, err = call(capsys, *arguments)
        printable = err[:-1].isprintable() and err.endswith("\n") and len(err) < 20_000
        if (status, out) != (2, "") or not printable or "Traceback" in err or "unforeseen" in err:
            wrong.append((arguments, status, out[:200], err[:300]))
        if listing(place) != before:
            wrong.append((arguments, "files changed"))
            before = listing(place)
    assert not wrong, f"{len(wrong)} of {total}: {wrong[:10]}"
    assert total > 300


@pytest.mark.parametrize("engine", ["onnxruntime", "torch", "brian2", "nengo"])
def test_a_missing_engine_is_said_with_what_to_install(engine, place):
    backend = {"onnxruntime": "onnx"}.get(engine, engine)
    script = f"import sys; sys.modules[{engine!r}] = None; from snubridge.cli.main import main; sys.exit(main())"
    before = listing(place)
    done = run(["run", NET, "--on", backend, *X, *OUT], python=["-c", script])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'snubridge[" in done.stderr
    assert listing(place) == before


def run(arguments, python=("-m", "snubridge"), **options):
    """The command as a process."""
    command = [sys.executable, *python, *arguments]
    return subprocess.run(command, capture_output="stdout" not in options, text=True, timeout=100, **options)


@pytest.mark.skipif(ROOT, reason="root may read and write everything")
def test_what_is_not_permitted_is_said(place, capsys):
    Path("x.npy").chmod(0)
    Path("folder").chmod(0o500)
    for arguments in (["run", NET, "--on", "pcm", *X, *OUT], ["export", NET, "--to", "onnx", "--out", "folder/x.onnx"]):
        status, out, err = call(capsys, *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "Permission denied" in err


@pytest.fixture
def full(tmp_path):
    """A file system with an old file on it, and room for 96 KiB more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=144k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        (disk / "filler").write_bytes(bytes(48 * 1024))
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def large(folder):
    """A network whose artefacts take more than 96 KiB, and inputs whose trace does."""
    weight = np.random.default_rng(0).normal(size=(240, 240))
    nodes = {"in": sb.Input((240,)), "w": sb.Linear(weight), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    sb.save(sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")]), folder / "large.safetensors")
    np.save(folder / "large.npy", np.ones((50, 2, 240)))


def small():
    """A network whose artefacts fit."""
    nodes = {"in": sb.Input((3,)), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    return sb.Graph(nodes, [sb.Edge("in", "u"), sb.Edge("u", "out")])


SAVING = {
    "onnx": ["export", "large.safetensors", "--to", "onnx", "--out", "DISK/net.onnx"],
    "pcm": ["export", "large.safetensors", "--to", "pcm", "--out", "DISK/net.pcm"],
    "nengo": ["export", "large.safetensors", "--to", "nengo", "--out", "DISK/net.py"],
    "torch": ["export", "large.safetensors", "--to", "torch", "--out", "DISK/net.safetensors"],
    "run": ["run", "large.safetensors", "--on", "reference", "--inputs", "large.npy", "--out", "DISK/t.npz"],
    "import": ["import", "large.onnx", "--from", "onnx", "--out", "DISK/net.safetensors"],
}


@pytest.mark.parametrize("verb", SAVING)
@pytest.mark.parametrize("old", [False, True])
def test_a_full_disk_leaves_what_was_there(verb, old, tmp_path, full, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    large(tmp_path)
    sb.export(sb.load("large.safetensors"), "onnx").save("large.onnx")
    arguments = [a.replace("DISK", str(full)) for a in SAVING[verb]]
    path = Path(arguments[-1])
    if old and verb in ("pcm", "nengo"):
        sb.export(small(), verb).save(path)
    elif old:
        path.write_text("old")
    before = listing(full)
    status, out, err = call(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "No space left on device" in err
    assert "unforeseen" not in err
    assert listing(full).keys() == before.keys()
    if old and verb in ("pcm", "nengo"):
        assert sb.import_graph(path, verb) == small()
    elif old:
        assert path.read_text() == "old"


@pytest.mark.parametrize("verb", SAVING)
def test_a_limit_on_the_size_of_files_leaves_nothing(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    large(tmp_path)
    sb.export(sb.load("large.safetensors"), "onnx").save("large.onnx")
    before = listing(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        status, out, err = call(capsys, *(a.replace("DISK/", "") for a in SAVING[verb]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "File too large" in err
    assert listing(tmp_path).keys() == before.keys()


SIGNALS = {signal.SIGINT: (2, "interrupted"), signal.SIGTERM: (2, "terminated")}
SLOW = """
import os, sys, time
from snubridge.cli.main import main
fsync, left = os.fsync, int(os.environ.get("AFTER", 0))
def slow(descriptor):
    global left
    left -= 1
    if left >= 0:
        return fsync(descriptor)
    print("saving", flush=True)
    time.sleep(60)
os.fsync = slow
sys.exit(main())
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("verb", ["onnx", "pcm", "run", "nengo"])
def test_a_signal_in_the_middle_of_a_save_leaves_the_old_artefact_only(number, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large(tmp_path)
    arguments = [a.replace("DISK/", "") for a in SAVING[verb]]
    assert main(arguments) == 0
    before = listing(tmp_path)
    command = [sys.executable, "-c", SLOW, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "saving\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    status, word = SIGNALS[number]
    assert (process.returncode, out, err.count("\n")) == (status, "", 1), err
    assert f"{word}; nothing is half-written" in err
    assert listing(tmp_path) == before


@pytest.mark.parametrize("after", range(6))  # the former parameters, the new ones, the script: file and folder each
def test_a_signal_between_the_files_of_a_script_leaves_the_old_pair_only(after, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large(tmp_path)
    sb.export(small(), "nengo").save("net.py")
    before = listing(tmp_path)
    command = [sys.executable, "-c", SLOW, *(a.replace("DISK/", "") for a in SAVING["nengo"])]
    environment = {**os.environ, "AFTER": str(after)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    assert listing(tmp_path).keys() == before.keys()
    assert sb.import_graph("net.py", "nengo") in (small(), sb.load("large.safetensors"))
    assert after == 5 or sb.import_graph("net.py", "nengo") == small()


RUNNING = """
import sys
import snubridge.reference.interpreter as interpreter
from snubridge.cli.main import main
check = interpreter._check
def told(now, t):
    check(now, t)
    if t == 100:
        print("running", flush=True)
interpreter._check = told
sys.exit(main())
"""


def test_signals_while_an_engine_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large(tmp_path)
    np.save("long.npy", np.ones((200_000, 1, 240), np.uint8))
    for verb in (
        ["run", "large.safetensors", "--on", "reference", "--out", "t.npz"],
        ["verify", "large.safetensors", "--on", "pcm"],
    ):
        for number, (status, word) in SIGNALS.items():
            command = [sys.executable, "-c", RUNNING, *verb, "--inputs", "long.npy"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                assert process.stdout.readline() == "running\n"
                process.send_signal(number)
                out, err = process.communicate(timeout=30)
            assert (process.returncode, out, err.count("\n")) == (status, "", 1), err
            assert word in err
    assert not Path("t.npz").exists()


def test_standard_output_that_is_closed_or_full(place):
    for shell, status, said in (
        (">&-", 2, "standard output: cannot be written: Bad file descriptor"),
        (">/dev/full", 2, "standard output: cannot be written: No space left on device"),
        ("| true", 0, ""),
    ):
        command = f"{sys.executable} -m snubridge info net.safetensors --json {shell}"
        pipefail = ["bash", "-o", "pipefail", "-c", command]
        done = subprocess.run(pipefail, capture_output=True, text=True, timeout=100)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == (1 if said else 0), done.stderr
        assert said in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_shown_escaped(place):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run(["export", NET, "--to", "onnx", "--out", "tést.onnx"], env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("t\\xe9st.onnx: written")

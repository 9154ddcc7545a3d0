"""The examples: what an outsider writes passes the suite and is as short as is said; scripts show what they promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import Program
from snubridge.bridge.conformance import ZOO, AdapterConformance

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/plain_numpy"
sys.path.insert(0, str(EXAMPLE))  # as pytest does in that folder; the example is imported by its own name

from test_plain_numpy import TestPlain as TestPlain  # noqa: E402  # only now that the path is there

GUIDE = (ROOT / "adapters/README.md").read_text()


def test_it_is_under_a_hundred_lines():
    assert len((EXAMPLE / "plain_numpy.py").read_text().splitlines()) < 100


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder as pip would leave it: the module, and its metadata with the entry points of the example's project."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (group, entries), *others = project["entry-points"].items()
    assert not others
    shutil.copy(EXAMPLE / "plain_numpy.py", tmp_path)
    metadata = tmp_path / f"plain_numpy-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def graph():
    nodes = {"in": sb.Input((2,)), "w": sb.Linear([[1, 0.5]]), "u": sb.Unit(0.5, 1.0), "out": sb.Output("mean")}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")])


def test_it_is_found_by_its_entry_point(installed, graph, tmp_path):
    assert sb.backends()["plain"].engine == "own"
    program = sb.export(graph, "plain")
    assert isinstance(program, Program)
    program.save(tmp_path / "net.safetensors")
    assert sb.import_graph(tmp_path / "net.safetensors", "plain") == graph
    report = sb.verify(graph, np.ones((6, 2, 2)), ["plain"], lengths=[6, 3])
    assert report.equal
    assert not report.silent


def test_what_it_cannot_say_is_refused_with_all_reasons(installed):
    nodes = {"in": sb.Input((1, 2, 2)), "c": sb.Conv2d([[[[1.0]]]]), "p": sb.SumPool2d(2), "out": sb.Output()}
    graph = sb.Graph(nodes, [sb.Edge("in", "c"), sb.Edge("c", "p"), sb.Edge("p", "out")])
    with pytest.raises(sb.Unsupported) as refusal:
        sb.export(graph, "plain")
    assert [reason.split(" is ")[0] for reason in refusal.value.reasons] == ["node c: Conv2d", "node p: SumPool2d"]


def test_the_command_line_lists_it(installed):
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "snubridge", "backends", "--json"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backends"]["plain"]["reads_back"] == "yes"


def test_the_guide_shows_what_the_example_holds():
    held = "".join((EXAMPLE / name).read_text() for name in ("plain_numpy.py", "test_plain_numpy.py", "pyproject.toml"))
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 5
    for part in (part for block in blocks for part in block.split("...\n")):
        assert part in held, f"adapters/README.md shows what examples/plain_numpy does not hold:\n{part}"


def test_the_guide_names_tests_and_attributes_that_are_there():
    for name in re.findall(r"`test_zoo\[(\w+)\]`", GUIDE):
        assert name in {case.name for case in ZOO}
    for name in re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE):
        assert name == "adapter" or hasattr(AdapterConformance, name)
    assert 110 <= len(ZOO) <= 130  # "about a hundred and twenty"


def test_the_stream_that_drifts_is_followed_by_the_one_that_learns(tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / "examples/online.py"), "--steps", "2000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = (
        [[float(loss) for loss in line.split()[-2:]] for line in part.splitlines() if line]
        for part in done.stdout.split("\n", 1)[1].split("the drift begins\n")
    )
    assert [len(before), len(after)] == [2, 2]
    assert all(learning == pytest.approx(stopped, abs=1e-3) for learning, stopped in before)  # still one network
    assert before[0][0] > 1.2 * before[-1][0]
    assert before[-1][0] < 0.4
    assert after[-1][0] < np.log(2) < after[-1][1]


def test_processes_train_one_network():
    """Two by torchrun, and one alone with the same samples: the same losses to the digits that are printed."""
    losses = []
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in ([], torchrun):
        command = [sys.executable, *start, str(ROOT / "examples/distributed.py"), "--steps", "40"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        *lines, last = done.stdout.splitlines()
        assert last == f"all {2 if start else 1} copies are equal"
        losses.append([float(line.split()[-1]) for line in lines])
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert len(losses[0]) == 2
    assert losses[0][1] < 0.5 < losses[0][0]

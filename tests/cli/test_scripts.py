"""Exported scripts: they run where snubridge cannot be imported, and give the same spikes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.cli.main import main

ALONE = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("snubridge"):
            raise ModuleNotFoundError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not [name for name in sys.modules if name.startswith("snubridge")]
"""


def run(script, *arguments):
    command = [sys.executable, "-I", "-c", ALONE, script, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@pytest.mark.parametrize("backend", ["brian2", "nengo"])
@pytest.mark.parametrize("family", ["dyadic", "generic"])
def test_a_script_runs_alone_and_spikes_alike(backend, family, tmp_path):
    case = random_case(11, family)
    sb.save(case.graph, tmp_path / "net.safetensors")
    np.save(tmp_path / "inputs.npy", case.inputs)
    script = tmp_path / f"net_{backend}.py"
    assert main(["export", str(tmp_path / "net.safetensors"), "--to", backend, "--out", str(script)]) == 0
    done = run(script, tmp_path / "inputs.npy", tmp_path / "trace.npz")
    assert done.returncode == 0, done.stderr
    expected = sb.simulate(case.graph, case.inputs)
    assert sum(int(spikes.sum()) for spikes in expected.spikes.values()) > 20
    comparison = sb.compare(expected, sb.Trace.load(tmp_path / "trace.npz"))
    assert comparison.equal, comparison.first


@pytest.mark.parametrize("backend", ["brian2", "nengo"])
def test_a_script_says_what_it_needs(backend, tmp_path):
    case = random_case(11, "dyadic")
    script = tmp_path / "net.py"
    sb.export(case.graph, backend).save(script)
    np.save(tmp_path / "bad.npy", np.zeros((3, 1, 99)))
    np.save(tmp_path / "nan.npy", case.inputs * np.nan)
    assert "usage: python" in run(script).stderr
    assert "needed numbers (T, B" in run(script, tmp_path / "bad.npy", tmp_path / "t.npz").stderr
    assert "not finite" in run(script, tmp_path / "nan.npy", tmp_path / "t.npz").stderr
    np.savez(script.with_suffix(".npz"), plan=np.array("{}"))
    assert "export both anew" in run(script, tmp_path / "bad.npy", tmp_path / "t.npz").stderr
    assert not (tmp_path / "t.npz").exists()


@pytest.mark.parametrize("backend", ["brian2", "nengo"])
def test_a_script_checks_ranges_and_grids_and_tells_names_apart(backend, tmp_path):
    nodes = {
        "in": sb.Input((1,), low=0, high=1, fraction_bits=2),
        "w": sb.Linear([[1.0]]),
        "w.npy": sb.Linear([[0.5]]),
        "u": sb.Unit(0.0, 0.6),
        "u.npy": sb.Unit(0.0, 0.6),
    }
    edges = [sb.Edge("in", "w"), sb.Edge("in", "w.npy"), sb.Edge("w", "u"), sb.Edge("w.npy", "u.npy")]
    script = tmp_path / "net.py"
    sb.export(sb.Graph(nodes, edges), backend).save(script)
    for values, expected in ((7.3, "outside of"), (0.3, "no multiple of")):
        np.save(tmp_path / "x.npy", np.full((2, 1, 1), values))
        assert expected in run(script, tmp_path / "x.npy", tmp_path / "t.npz").stderr
    np.save(tmp_path / "x.npy", np.ones((2, 1, 1)))
    assert run(script, tmp_path / "x.npy", tmp_path / "t.npz").returncode == 0
    spikes = sb.Trace.load(tmp_path / "t.npz").spikes
    assert (spikes["u"].sum(), spikes["u.npy"].sum()) == (2, 0)


def test_a_script_overwrites_nothing_of_its_own(tmp_path):
    case = random_case(11, "dyadic")
    script = tmp_path / "net.py"
    sb.export(case.graph, "nengo").save(script)
    np.savez(tmp_path / "x.npz", **{"in": case.inputs})
    for target in ("net.npz", "x.npz", "net.py"):
        assert "would overwrite" in run(script, tmp_path / "x.npz", tmp_path / target).stderr
    assert run(script, tmp_path / "x.npz", tmp_path / "trace.dat").returncode == 0
    assert (tmp_path / "trace.dat").exists()
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    assert "cannot be read" in run(script, tmp_path / "bad.npz", tmp_path / "t.npz").stderr


@pytest.mark.parametrize(("backend", "name"), [("nengo", "nengo"), ("brian2", "brian2"), ("nengo", "json")])
def test_a_script_hides_no_module_from_itself(backend, name, tmp_path):
    with pytest.raises(sb.BadFile, match=f"would hide the module {name}"):
        sb.export(random_case(11, "dyadic").graph, backend).save(tmp_path / f"{name}.py")


def test_a_script_replaces_no_file_of_others(tmp_path):
    np.savez(tmp_path / "data.npz", mine=np.ones(3))
    program = sb.export(random_case(11, "dyadic").graph, "nengo")
    with pytest.raises(sb.BadFile, match=r"data\.npz: is there and holds no parameters"):
        program.save(tmp_path / "data.py")
    assert not (tmp_path / "data.py").exists()
    assert np.load(tmp_path / "data.npz")["mine"].sum() == 3


@pytest.mark.parametrize("backend", ["brian2", "nengo"])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_a_script_reduces_over_the_steps_that_count(backend, lengths, tmp_path):
    nodes = {"in": sb.Input((2,)), "u": sb.Unit([0.5, 1.0], 0.75), "values": sb.Output()}
    nodes |= {how: sb.Output(how) for how in ("mean", "sum", "max", "last")}
    edges = [sb.Edge("in", "u"), sb.Edge("in", "values"), sb.Edge("u", "last")]
    edges += [sb.Edge("in", how) for how in ("mean", "sum", "max")]
    graph = sb.Graph(nodes, edges)
    inputs = np.random.default_rng(0).integers(-8, 9, (6, 3, 2)) / 8
    script, given = tmp_path / "net.py", [tmp_path / "x.npy", tmp_path / "t.npz"]
    sb.export(graph, backend).save(script)
    np.save(tmp_path / "x.npy", inputs)
    if lengths:
        np.save(tmp_path / "lengths.npy", lengths)
        given.append(tmp_path / "lengths.npy")
    assert run(script, *given).returncode == 0
    expected, found = sb.simulate(graph, inputs, lengths=lengths), sb.Trace.load(tmp_path / "t.npz")
    assert found.arrays().keys() == expected.arrays().keys()
    for key, values in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[key], values, err_msg=key)
    for wrong in ([7, 1, 1], [0, 1, 1], [1, 1], [1.0, 1.0, 1.0]):
        np.save(tmp_path / "lengths.npy", wrong)
        done = run(script, tmp_path / "x.npy", tmp_path / "new.npz", tmp_path / "lengths.npy")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert not (tmp_path / "new.npz").exists()


def header(text):
    """An .npy file with that header, and two values."""
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    return start + text.encode() + bytes(16)


HOSTILE = {
    "objects": b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(118),
    "a lie of its shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1, 1), }"),
    "a header that is code": header("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }"),
    "no header": header("]["),
    "an escape": b"\x93NUMPY\x01\x00\x10\x00\x1b]0;title\x07\x1b[31m..",
    "a pickle": b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "nothing": b"",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_script_refuses_hostile_inputs_in_one_line(case, tmp_path):
    script = tmp_path / "net.py"
    sb.export(sb.Graph({"in": sb.Input((1,)), "o": sb.Output()}, [sb.Edge("in", "o")]), "nengo").save(script)
    (tmp_path / "x.npy").write_bytes(HOSTILE[case])
    done = run(script, tmp_path / "x.npy", tmp_path / "t.npz")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert "x.npy: cannot be read" in done.stderr
    assert done.stderr.rstrip("\n").isprintable()
    assert not (tmp_path / "t.npz").exists()


def test_a_script_writes_its_trace_whole_or_not_at_all(tmp_path):
    script = tmp_path / "net.py"
    sb.export(sb.Graph({"in": sb.Input((1,)), "o": sb.Output()}, [sb.Edge("in", "o")]), "nengo").save(script)
    np.save(tmp_path / "x.npy", np.ones((2, 1, 1)))
    (tmp_path / "folder").mkdir()
    for target, problem in (("folder", "no regular file"), ("none/t.npz", "does not exist")):
        done = run(script, tmp_path / "x.npy", tmp_path / target)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert problem in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"net.py", "net.npz", "x.npy", "folder"}

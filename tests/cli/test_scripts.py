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

"""Benchmarks run, and their two forms of output say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks/engines.py"


def test_the_engines_are_measured():
    arguments = ["--backends", "pcm,wide=torch:float64", "--graphs", "recurrent,convolution", "--repeats", "2"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    rows = json.loads(last)["rows"]
    assert [(row["graph"], row["backend"]) for row in rows] == [
        (graph, backend) for graph in ("recurrent", "convolution") for backend in ("reference", "pcm", "wide")
    ]
    assert all(row["differing"] == 0 and row["per_second"] > 1000 for row in rows)
    for row, line in zip(rows, table[2:], strict=True):
        assert f"| {row['per_second']:,.0f} |" in line
        assert line.startswith(f"| {row['graph']} | {row['backend']} |")
        assert abs(row["per_second"] * row["seconds"] / row["neuron_steps"] - 1) < 1e-9

"""Mutated files: no crash, no hang, no file written, bounded memory; see ``fuzz.py``.

10,000 files for each reader; ``make fuzz`` reads 100,000, and SNUBRIDGE_FUZZ says how many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")
COUNT = os.environ.get("SNUBRIDGE_FUZZ", "10000")
ACCEPTED = ("accepted", "accepted, equal", "accepted, another graph")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux tells it")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", ["graph", "onnx", "pcm", "brian2", "nengo", "trace", "inputs", "script"])
def test_mutated_files_are_valid_or_refused_in_one_line(reader, record_property):
    command = [sys.executable, str(SCRIPT), reader, COUNT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    record_property("figures", figures)
    assert figures["faults"] == []
    assert (done.returncode, done.stderr, figures["files"]) == (0, "", int(COUNT))
    stages = figures["stages"]
    assert sum(stages.values()) == figures["files"]
    assert any(stages.get(stage) for stage in ACCEPTED), "no file came through: what lies behind is not tested"
    assert len(stages) >= 3, "all files were refused at one gate"

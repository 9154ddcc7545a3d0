"""A save that is killed at any point leaves the old artefact or the new one, and nothing that stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kills.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
@pytest.mark.parametrize("kind", ["graph", "trace", "onnx", "script", "pcm", "pcm without exchange"])
def test_a_killed_save_leaves_the_old_artefact_or_the_new_one(kind):
    name, *how = kind.split(" ", 1)
    command = [sys.executable, "-W", "error", str(SCRIPT), name, "25", *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["kills"] > 60
    assert found.get("torn", 0) == 0
    assert found["left after the next save"] == 0
    assert min(found["old"], found["new"], found["strays"]) > 0, "no kill came in the middle"
    assert ("aside" in found) == bool(how), "only without an exchange may the artefact be gone for a moment"

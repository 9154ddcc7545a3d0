"""The notebooks: kept without outputs, and run from top to bottom in a kernel of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parent.parent / "examples/notebooks"
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def outputs(cell: dict[str, Any]) -> str:
    """What a cell printed or returned, as text."""
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
    return "".join("".join(part) for part in parts)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs"), "clear all outputs before committing"
        assert cell.get("execution_count") is None


def test_the_trained_network_in_brian2(tmp_path: Path) -> None:
    """Equal as exported and with what listens, different with what drives; and a picture."""
    for module in ("nbclient", "nbformat", "ipykernel", "brian2", "music21", "matplotlib", "torch"):
        pytest.importorskip(module, reason=f"the notebook needs {module}")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOKS / "brian2_music.ipynb"), str(tmp_path / "done.ipynb")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    cells = [cell for cell in json.loads((tmp_path / "done.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    said = [outputs(cell) for cell in cells]
    (verified,) = (text for text in said if "certified for float64" in text)
    assert "equal: 0 of" in verified
    quiet, noisy = (text for text in said if "bins differ" in text and "certified" not in text)
    assert " spikes, 0 of" in quiet
    assert "heard: 0" not in quiet
    assert int(noisy.split(" spikes, ")[1].split(" of")[0].replace(",", "")) > 100
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert "current was added; it is not in what was exported" in said[-1]

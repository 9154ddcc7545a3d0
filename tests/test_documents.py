"""Every snippet of the README runs: Python blocks in a row, commands on a small demo folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snubridge as sb

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, document: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as ``make demo`` leaves it, with a small random network in place of the trained one."""
    rng = np.random.default_rng(0)
    nodes = {"in": sb.Input((5,)), "w": sb.Linear(rng.normal(size=(4, 5))), "u": sb.Unit(0.8, 1.0), "out": sb.Output()}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")]
    (tmp_path / "out").mkdir()
    sb.save(sb.Graph(nodes, edges), tmp_path / "out/net.safetensors")
    np.save(tmp_path / "out/inputs.npy", rng.random((30, 3, 5)) < 0.3)
    np.save(tmp_path / "out/lengths.npy", [30, 20, 10])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_runs(folder):
    """One after the other in one session, as a reader would type them."""
    session = "import warnings\nwarnings.simplefilter('ignore')\n"  # engines' own deprecations at import
    done = subprocess.run(
        [sys.executable, "-c", session + "\n".join(blocks("python"))], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "equal: 0 of" in done.stdout
    assert "'synapses': " in done.stdout
    assert (folder / "net_brian2.py").exists()


def test_the_page_on_online_learning_runs(tmp_path):
    session = "\n".join(blocks("python", (ROOT / "docs/online.md").read_text()))
    assert "trainer.observe(" in session
    done = subprocess.run([sys.executable, "-W", "error", "-c", session], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commands_run(folder):
    binaries = Path(sys.executable).parent
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [line.split() for line in lines if line and not line.startswith("make ")]
    assert len(commands) > 8
    for program, *arguments in commands:
        found = shutil.which(program, path=str(binaries))
        assert found, f"{program} is not installed beside {sys.executable}"
        done = subprocess.run([found, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"


def test_the_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "adapters/README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"

"""The house: who may import whom, what `import snubridge` loads, and what the wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STOREYS = ["errors", "ir", "reference", "exactness", "bridge", "verification", "cli"]
"""From the ground up: a room may import from those below it."""
BELOW = {room: set(STOREYS[:floor]) for floor, room in enumerate(STOREYS)}
BELOW["nn"] = {"errors", "ir", "reference", "exactness", "bridge"}
BELOW["demo"] = {*STOREYS[:-1], "nn"}
BELOW["cli"] |= {"demo"}  # the verb `demo`, which imports it when it is called
ENGINES = ["torch", "brian2", "nengo", "onnx", "onnxruntime", "matplotlib", "music21", "snubridge.nn"]


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def rooms(path: Path) -> set[str]:
    """The rooms of snubridge that a file imports from."""
    parts = [name.split(".") for name in imported(path) if name.startswith("snubridge.")]
    return {names[1] for names in parts} & set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_from_below(room):
    files = [ROOT / "snubridge/errors.py"] if room == "errors" else sorted((ROOT / "snubridge" / room).rglob("*.py"))
    assert files
    for path in files:
        upward = rooms(path) - BELOW[room] - {room}
        assert not upward, f"{path.relative_to(ROOT)} imports from {sorted(upward)}"


def test_only_nn_and_what_stands_on_it_import_torch():
    for path in (ROOT / "snubridge").rglob("*.py"):
        room = path.relative_to(ROOT / "snubridge").parts[0]
        if room not in ("nn", "demo") and path.name != "demo.py":
            assert not {name.split(".")[0] for name in imported(path)} & {"torch"}, path


def test_adapters_import_the_public_core_and_no_other_adapter():
    for folder in sorted((ROOT / "adapters").glob("snubridge_*")):
        for path in folder.rglob("*.py"):
            others = {n for n in imported(path) if n.startswith("snubridge_") and n.split(".")[0] != folder.name}
            assert not others, f"{path} imports {others}"
            allowed = {
                "errors",
                "ir",
                "reference",
                "exactness",
                "bridge",
                *(["nn"] if folder.name == "snubridge_torch" else []),
            }
            assert rooms(path) <= allowed, f"{path} imports from {rooms(path) - allowed}"


def test_the_core_imports_no_adapter():
    for path in (ROOT / "snubridge").rglob("*.py"):
        assert not {name for name in imported(path) if name.startswith("snubridge_")}, path


@pytest.mark.parametrize("statement", ["import snubridge", "import snubridge; snubridge.backends()"])
def test_import_loads_no_engine(statement):
    script = f"import sys; {statement}; print([m for m in {ENGINES} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_runs_with_numpy_and_safetensors_alone():
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "brian2", "nengo", "onnx", "onnxruntime", "matplotlib", "music21", "tqdm",
                                  "scipy", "pytest", "setuptools"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, snubridge as sb
from snubridge.cli.main import main
nodes = {"in": sb.Input((1,)), "u": sb.Unit(0.5, 0.4), "out": sb.Output()}
g = sb.Graph(nodes, [sb.Edge("in", "u"), sb.Edge("u", "out")])
print(sb.verify(g, np.ones((4, 1, 1)), ["pcm"]).equal, main(["backends", "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("True 0\n"), done.stderr


def test_public_names_are_there():
    import snubridge as sb

    promised = [
        *("Graph", "Edge", "Input", "Linear", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "Unit", "Output", "Reset"),
        *("Identity", "ReLU", "LeakyReLU", "Step", "Sigmoid", "Tanh", "Float64", "Float32", "FixedPoint"),
        *("Program", "Support", "ErrorModel", "Trace", "Comparison", "Report"),
        *(
            "save",
            "load",
            "validate",
            "simulate",
            "export",
            "import_graph",
            "compare",
            "verify",
            "backends",
            "quantize",
        ),
        *("SnubridgeError", "InvalidGraph", "Unsupported", "BadFile", "BadInput", "MissingEngine", "SpikesDiffer"),
    ]
    assert [name for name in promised if not hasattr(sb, name)] == []


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"snubridge", *(path.name for path in (ROOT / "adapters").glob("snubridge_*"))}
    assert "snubridge/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.endswith((".py", "py.typed")) for name in names if ".dist-info" not in name)

"""The readers of snubridge as a table: how a valid file is written, how it is read, how it is made hostile."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mutations import (
    Mutation,
    bytes_mutated,
    json_mutated,
    message_mutated,
    npy_mutated,
    npz_mutated,
    safetensors_mutated,
)
from numpy.random import Generator

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.bridge.plugins import adapter
from snubridge.bridge.script.main import read_inputs
from snubridge.ir.document import to_json
from snubridge.reference import archive

Files = dict[str, bytes]
"""The files of one artefact by name; "" is the artefact itself where it is no folder."""


@dataclass(frozen=True)
class Reader:
    """One reader. ``structured`` mutates behind the seals; ``sealed``: no other change may pass unseen."""

    suffix: str
    bases: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    structured: Callable[[Generator, Files], Files]
    sealed: bool = False
    error: type[BaseException] = sb.SnubridgeError


def graphs() -> dict[str, sb.Graph]:
    """Small graphs of differing kinds."""
    rng = np.random.default_rng(5)
    edge = sb.Edge
    recurrent = sb.Graph(
        {
            "in": sb.Input((3,), -1.0, 1.0, 3),
            "w": sb.Linear(rng.normal(size=(2, 3)), [0.5, -0.0]),
            "u": sb.Unit([0.5, 1.0], 1.0, reset=sb.Reset.SUBTRACT, g=sb.LeakyReLU(0.3), initial_state=[0.1, 0.2]),
            "h": sb.Linear(np.eye(2)),
            "out": sb.Output(),
        },
        [edge("in", "w"), edge("w", "u"), edge("u", "h", 1), edge("h", "u"), edge("u", "out")],
    )
    reduced = sb.Graph(
        {
            "in": sb.Input((2, 2)),
            "flat": sb.Flatten(),
            "u": sb.Unit(0.75, 0.5, reset=sb.Reset.LATERAL),
            "m": sb.Output("mean"),
        },
        [edge("in", "flat"), edge("flat", "u"), edge("u", "m"), edge("u", "u", 3)],
        numbers=sb.Float64(),
        metadata={"by": "tést \x1b", "n": [1, None, 0.1, {"deep": [True]}]},
    )
    convolved = sb.Graph(
        {
            "in": sb.Input((2, 6, 6)),
            "conv": sb.Conv2d(rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4), 2, (1, 0), 1, groups=2),
            "pool": sb.AvgPool2d(2),
            "sum": sb.SumPool2d(1, stride=1),
            "u": sb.Unit(0.9, 0.1, h=sb.Sigmoid()),
            "out": sb.Output("last"),
        },
        [
            edge(a, b)
            for a, b in zip(["in", "conv", "pool", "sum", "u"], ["conv", "pool", "sum", "u", "out"], strict=True)
        ],
    )
    return {
        "recurrent": recurrent,
        "reduced": reduced,
        "convolved": convolved,
        "random": random_case(4, "dyadic").graph,
    }


def _saved(suffix: str, save: Callable[[sb.Graph, Path], None]) -> Callable[[Path], list[Path]]:
    def bases(folder: Path) -> list[Path]:
        for name, graph in graphs().items():
            save(graph, folder / f"{name}{suffix}")
        return [folder / f"{name}{suffix}" for name in graphs()]

    return bases


def _models(folder: Path) -> list[Path]:
    paths = []
    for name, graph in graphs().items():
        for precision in {graph.numbers.name, "float64"}:
            paths.append(folder / f"{name}-{precision}.onnx")
            sb.export(graph, "onnx", precision=precision).save(paths[-1])
    return sorted(paths)


def _traces(folder: Path) -> list[Path]:
    paths = []
    for name, graph in graphs().items():
        inputs = np.ones((4, 2, *graph.of_kind(sb.Input)["in"].shape))
        for record in ("spikes",), ("spikes", "states"):
            paths.append(folder / f"{name}-{len(record)}.npz")
            sb.simulate(graph, inputs, record=record, lengths=[4, 2]).save(paths[-1])
    return paths


def _arrays(folder: Path) -> list[Path]:
    rng = np.random.default_rng(1)
    np.save(folder / "x.npy", rng.random((5, 2, 3)).astype(np.float32))
    np.save(folder / "fortran.npy", np.asfortranarray(rng.random((5, 2, 3)).astype(">f8")))
    np.save(folder / "l.npy", np.array([3, 4]))
    np.savez(folder / "x.npz", **{"in": rng.random((5, 2, 3)), "in.npy": np.zeros((5, 2, 1), bool)})
    np.savez_compressed(folder / "small.npz", **{"in": (rng.random((5, 2, 3)) < 0.1).astype(np.uint8)})
    return [folder / name for name in ("x.npy", "fortran.npy", "l.npy", "x.npz", "small.npz")]


def _one(mutation: Mutation) -> Callable[[Generator, Files], Files]:
    return lambda rng, files: {"": mutation(rng, files[""])}


def _numpy_mutated(rng: Generator, data: bytes) -> bytes:
    return npz_mutated(rng, data) if data[:2] == b"PK" else npy_mutated(rng, data)


def _onnx_mutated(rng: Generator, data: bytes) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(data)
    if rng.random() < 0.4:
        for entry in model.metadata_props:
            if entry.key == "snubridge":
                text = json_mutated(rng, json.loads(entry.value))
                entry.value = text.encode("utf-8", "replace").decode()
    else:
        message_mutated(rng, model)
    return bytes(model.SerializeToString(deterministic=True))


def _pcm_mutated(rng: Generator, files: Files) -> Files:
    """Description or arrays changed, and every hash computed anew."""
    document = json.loads(files["hardware.json"])
    arrays = files["arrays.npz"]
    if rng.random() < 0.3:
        arrays = npz_mutated(rng, arrays)
    try:
        found = archive._members(arrays)
    except sb.BadFile:
        found = {}
    for key in found.keys() & document["arrays"].keys():
        document["arrays"][key]["sha256"] = hashlib.sha256(found[key].tobytes()).hexdigest()
    document["archive"] |= {"bytes": len(arrays), "sha256": hashlib.sha256(arrays).hexdigest()}
    del document["sha256"]
    text = json_mutated(rng, document)
    try:
        changed = json.loads(text)
        changed["sha256"] = hashlib.sha256(to_json(changed).encode()).hexdigest()
        text = to_json(changed)
    except (ValueError, TypeError, RecursionError):
        pass  # no JSON any more, or no object: as it is
    return {"hardware.json": text.encode("utf-8", "surrogatepass"), "arrays.npz": arrays}


def _pairs(engine: str) -> Callable[[Path], list[Path]]:
    """Folders with a script and its parameters."""

    def bases(folder: Path) -> list[Path]:
        for name, graph in graphs().items():
            (folder / f"{name}.pair").mkdir()
            sb.export(graph, engine, dt=0.5).save(folder / f"{name}.pair/net.py")
        return [folder / f"{name}.pair" for name in graphs()]

    return bases


def _pair_mutated(rng: Generator, files: Files) -> Files:
    """Parameters changed, and the script made to hold their hash."""
    before = files["net.npz"]
    with np.load(io.BytesIO(before)) as stored:
        arrays = {key: stored[key] for key in stored.files}
    choice = rng.choice(["plan", "export", "graph", "archive"])
    if choice == "archive":
        after = npz_mutated(rng, before)
    else:
        if choice == "graph":
            arrays["graph"] = np.frombuffer(safetensors_mutated(rng, arrays["graph"].tobytes()), dtype=np.uint8)
        else:
            text = json_mutated(rng, json.loads(str(arrays[choice])))
            arrays[choice] = np.array(text.encode("utf-8", "replace").decode())
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        after = stream.getvalue()
    seals = [hashlib.sha256(data).hexdigest().encode() for data in (before, after)]
    return {"net.py": files["net.py"].replace(*seals), "net.npz": after}


def _pair_reader(engine: str) -> Reader:
    read = adapter(engine).read  # type: ignore[attr-defined]  # optional in the contract
    return Reader(".pair", _pairs(engine), lambda path: read(path / "net.py"), _pair_mutated, sealed=True)


def _script_reader() -> Callable[[Path], Any]:
    plan = {
        "numbers": "float32",
        "inputs": [{"name": "in", "shape": [3], "low": 0.0, "high": 1.0, "fraction_bits": None}],
    }

    def read(path: Path) -> Any:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                return read_inputs(path, plan)  # type: ignore[no-untyped-call]  # plain numpy, see its head
        except SystemExit:
            raise SystemExit(said.getvalue().rstrip("\n")) from None

    return read


def table() -> dict[str, Reader]:
    """All readers by name."""
    onnx, pcm = adapter("onnx"), adapter("pcm")
    return {
        "graph": Reader(".safetensors", _saved(".safetensors", sb.save), sb.load, _one(safetensors_mutated)),
        "onnx": Reader(
            ".onnx",
            _models,
            onnx.read,  # type: ignore[attr-defined]  # optional in the contract
            _one(_onnx_mutated),
            sealed=True,
        ),
        "pcm": Reader(
            ".pcm",
            _saved(".pcm", lambda graph, path: sb.export(graph, "pcm").save(path)),
            pcm.read,  # type: ignore[attr-defined]  # optional in the contract
            _pcm_mutated,
            sealed=True,
        ),
        "trace": Reader(".npz", _traces, sb.Trace.load, _one(npz_mutated)),
        "inputs": Reader(".npx", _arrays, archive.read, _one(_numpy_mutated)),
        "brian2": _pair_reader("brian2"),
        "nengo": _pair_reader("nengo"),
        "script": Reader(".npx", _arrays, _script_reader(), _one(_numpy_mutated), error=SystemExit),
    }


def mutated(rng: Generator, reader: Reader, files: Files) -> tuple[Files, bool]:
    """A hostile copy of an artefact, and whether it was changed behind the seals."""
    if rng.random() < 0.5:
        return reader.structured(rng, files), True
    name = sorted(files)[int(rng.integers(len(files)))]
    return {**files, name: bytes_mutated(rng, files[name])}, False

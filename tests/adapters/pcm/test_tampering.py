"""PCM: folders that were tampered with by someone who computes the hashes anew."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.pcm.chips import READ, Tamper, graph_of_everything, one_crossbar, rehash, reseal, saved


def put(*steps: Any, to: Any) -> Tamper:
    """Set document[step][step]... to a value."""

    def tamper(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        at: Any = document
        for step in steps[:-1]:
            at = at[step]
        at[steps[-1]] = to

    return tamper


def set_array(key: str, index: Any, value: float) -> Tamper:
    def tamper(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[key][index] = value

    return tamper


def replace_array(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Tamper:
    def tamper(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[key] = change(arrays[key])

    return tamper


def rescale(arrays: dict[str, np.ndarray], factor: float) -> None:
    """The same weights, otherwise."""
    arrays["w/column_scale_per_uS"][0] *= factor
    for sign in ("plus", "minus"):
        arrays[f"w/G_{sign}_uS"][:, 0] /= factor


def deep(levels: int) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    return nested


ATTACKS: dict[str, tuple[Tamper, str]] = {
    "a key too many": (put("spare", to=1), r"\$: found .*spare"),
    "a key too many in an entry": (put("neurons", 0, "spare", to=1), r"neurons\[0\]: found .*spare"),
    "a key too few": (lambda document, arrays: document.pop("mode"), r"\$: found "),
    "another mode": (put("mode", to="noisy"), r"\$\.mode: found 'noisy'"),
    "other numbers": (put("numbers", to="float16"), "numbers: found 'float16'"),
    "wider numbers": (put("numbers", to="float64"), r"array 'unit/decay': found float32"),
    "a boolean for an integer": (put("routing", 0, "delay_steps", to=True), "delay_steps: found True; needed int"),
    "an integer for a float": (put("device", "g_max_uS", to=25), "g_max_uS: found 25; needed float"),
    "an integer beyond JSON": (put("inputs", 0, "shape", to=[10**400]), "needed an integer from 0 to"),
    "a negative delay": (put("routing", 0, "delay_steps", to=-1), "needed an integer from 0 to"),
    "a delay without end": (put("routing", 0, "delay_steps", to=2**40), "delay 1099511627776; needed"),
    "absurd input": (put("inputs", 0, "shape", to=[2**50]), "inputs|node"),
    "no conductance at all": (put("device", "g_max_uS", to=-25.0), "g_max_uS: found -25.0"),
    "a leaky device": (put("device", "g_min_uS", to=0.1), r"\$\.device\.g_min_uS: found 0\.1"),
    "another full scale": (put("device", "g_max_uS", to=10.0), "outside of 0 to 10.0 uS"),
    "a wrong count of devices": (put("devices", to=7), r"\$\.devices: found 7.*needs 24"),
    "a wrong size": (put("crossbars", 0, "rows", to=3), r"crossbars\[0\] \('w'\): arrays of shapes"),
    "a wrong shape": (put("crossbars", 0, "shape", to=[9]), r"\$\.crossbars\[0\]\.shape\[0\]: found 9"),
    "a shape of another rank": (put("neurons", 0, "shape", to=[3, 1]), r"\$\.neurons\[0\]\.shape: found \[3, 1\]"),
    "a dangling route": (put("routing", 0, "to", to="nowhere"), "no node nowhere"),
    "a route into an input": (put("routing", 0, "to", to="in"), "an edge into an Input"),
    "a route twice": (lambda document, arrays: document["routing"].append(document["routing"][0]), "same edge twice"),
    "a cycle without delay": (
        lambda document, arrays: document["routing"].append({"from": "unit", "to": "unit", "delay_steps": 0}),
        "cycle through unit",
    ),
    "an unknown reset": (put("neurons", 0, "reset", to="sometimes"), r"neurons\[0\].*reset: found 'sometimes'"),
    "an unknown g": (put("neurons", 0, "g", to={"kind": "exec"}), r"g\.kind: found 'exec'"),
    "g without kind": (put("neurons", 0, "g", to={}), r"g\.kind: found None"),
    "a setting too many": (put("neurons", 0, "g", to={"kind": "relu", "slope": 0.5}), r"g: found the settings"),
    "a slope of text": (put("neurons", 0, "g", to={"kind": "leaky_relu", "slope": "0.5"}), "slope '0.5'"),
    "an unknown reduction": (put("outputs", 0, "over_time", to="median"), "found median"),
    "an unknown encoding": (put("unit_cell", "encoding", to="offset"), r"\$\.unit_cell\.encoding: found 'offset'"),
    "another schedule": (put("schedule", to=["in", "unit", "w", "out"]), r"\$\.schedule\[1\]: found 'unit'"),
    "a schedule too short": (put("schedule", to=["in"]), r"\$\.schedule: found \['in'\]"),
    "a node not in the order": (put("source", "nodes", to=["in"]), r"source\.nodes: not the names"),
    "a node twice": (put("outputs", 0, "node", to="unit"), r"outputs\[0\].*a second node of this name"),
    "a bad name": (put("outputs", 0, "node", to="../out"), "source.nodes"),
    "a missing array": (put("neurons", 0, "decay", to="unit/tau"), r"neurons\[0\].*there is no array 'unit/tau'"),
    "another node's array": (put("crossbars", 0, "G_minus_uS", to="w/G_plus_uS"), "both devices of the pair"),
    "metadata without end": (put("source", "metadata", to={"deep": deep(700)}), "nested too deeply|too many levels"),
    "an array too many": (lambda document, arrays: arrays.update(spare=np.zeros(2)), r"\$\.arrays: found"),
    "a conductance above full scale": (
        set_array("w/G_plus_uS", (0, 0), np.nextafter(25.0, 26.0)),
        r"crossbars\[0\] \('w'\): G_plus_uS\[0, 0\] = 25\.0.* is outside of 0 to 25\.0 uS",
    ),
    "a negative conductance": (set_array("w/G_minus_uS", (1, 2), -1.0), r"G_minus_uS\[1, 2\] = -1\.0 is outside"),
    "NaN for a conductance": (set_array("w/G_plus_uS", (0, 1), np.nan), r"G_plus_uS\[0, 1\] = nan is outside"),
    "both devices on": (set_array("w/G_minus_uS", (0, 0), 1.0), r"both devices of the pair \[0, 0\] conduct"),
    "a weight between the numbers": (
        set_array("w/G_plus_uS", (0, 0), 16.000000000001),
        r"array 'w/G_plus_uS' at \(0, 0\): found 16\.000000000001; .* encoded as 16\.0",
    ),
    "an idle device of minus zero": (
        set_array("w/G_minus_uS", (0, 0), -0.0),
        r"array 'w/G_minus_uS' at \(0, 0\): found -0\.0",
    ),
    "a scale between powers of two": (set_array("w/column_scale_per_uS", 0, 0.3), "= 0.3 is no power of two in range"),
    "a scale of zero": (set_array("w/column_scale_per_uS", 0, 0.0), "= 0.0 is no power of two in range"),
    "a scale of NaN": (set_array("w/column_scale_per_uS", 0, np.nan), "no power of two in range"),
    "a scale that overflows": (set_array("w/column_scale_per_uS", 0, 2.0**200), "inf at"),
    "a scale that is not the smallest": (
        lambda document, arrays: rescale(arrays, 2.0),
        r"array 'w/G_plus_uS' at \(0, 0\)",
    ),
    "a decay above one": (replace_array("unit/decay", lambda decay: decay + 1), "0 <= decay <= 1"),
    "a decay per nothing": (replace_array("unit/decay", lambda decay: np.full(9, decay)), "one value for each decay"),
    "NaN for a threshold": (replace_array("unit/threshold", lambda value: value * np.float32(np.nan)), "finite"),
    "parameters of other numbers": (replace_array("unit/decay", np.float64), r"array 'unit/decay': found float64"),
    "narrow conductances": (replace_array("w/G_plus_uS", np.float32), "needed float64"),
    "conductances of another shape": (replace_array("w/G_plus_uS", np.transpose), "arrays of shapes"),
    "no conductances": (replace_array("w/G_plus_uS", lambda array: array[:0]), "arrays of shapes"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_folders_are_refused_even_with_right_hashes(attack: str, tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0, 0.5, -0.25, 2.0], [0.5, 0.25, -1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]), tmp_path)
    tamper, message = ATTACKS[attack]
    reseal(path, lambda document, arrays: tamper(document, arrays) and None)
    with pytest.raises(sb.BadFile, match=message) as refused:
        sb.import_graph(path, "pcm")
    assert str(path) in str(refused.value)


def archive_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED, offset: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.filelist[0].header_offset += offset
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def put_archive(path: Path, data: bytes) -> None:
    (path / "arrays.npz").write_bytes(data)
    listed = {"file": "arrays.npz", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rehash(path, lambda document: document.update(archive=listed))


def test_hostile_archives_are_refused_even_with_right_hashes(tmp_path: Path) -> None:
    path = saved(one_crossbar(np.ones((40, 40))), tmp_path)
    with zipfile.ZipFile(path / "arrays.npz") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    key = "w/G_plus_uS.npy"
    attacks = {
        "a zip bomb": (archive_of(entries, zipfile.ZIP_DEFLATED), "bytes for arrays of"),
        "an entry too many": (archive_of({**entries, "spare.npy": b""}), "the entries are not those that are listed"),
        "another entry": (
            archive_of({name.replace("plus", "also"): data for name, data in entries.items()}),
            "not those",
        ),
        "a pickle": (archive_of({**entries, key: npy(np.full((40, 22), {}, object))[:12_900]}), "bytes for|header"),
        "another order": (archive_of({**entries, key: npy(np.ones((40, 40), order="F"))}), "its header does not say"),
        "another dtype": (archive_of({**entries, key: npy(np.ones((40, 40), np.int64))}), "its header does not say"),
        "a short entry": (archive_of({**entries, key: npy(np.ones((40, 40)))[:-8]}), "bytes; needed 12800"),
        "other values": (archive_of({**entries, key: npy(np.zeros((40, 40)))}), "another SHA-256 than listed"),
        "an entry beyond the end": (archive_of(entries, offset=2**63), "not a readable .npz file"),
        "not a zip": (bytes(len((path / "arrays.npz").read_bytes())), "not a readable .npz file"),
    }
    for attack, (data, message) in attacks.items():
        put_archive(path, data)
        with pytest.raises(sb.BadFile) as refused:
            READ(path)
        assert re.search(rf"chip\.pcm/arrays\.npz: .*({message})", str(refused.value)), (attack, refused.value)


def test_absurd_sizes_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0]]), tmp_path)
    original = (path / "hardware.json").read_bytes()
    shape = {"shape": [2**40, 2**40]}
    rehash(path, lambda document: document["arrays"]["w/G_plus_uS"].update(shape))
    with pytest.raises(sb.BadFile, match=r"arrays\.npz: \d+ bytes for arrays of 967\d+ bytes"):
        sb.import_graph(path, "pcm")
    (path / "hardware.json").write_bytes(original)
    rehash(path, lambda document: document["archive"].update(bytes=2**53))
    with pytest.raises(sb.BadFile, match=r"arrays\.npz: not the file"):
        sb.import_graph(path, "pcm")
    with (path / "hardware.json").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(sb.BadFile, match=r"hardware\.json: 1099511627776 bytes"):
        sb.import_graph(path, "pcm")


def test_random_tampering_with_right_hashes_never_escapes(tmp_path: Path) -> None:
    """Whatever stands anywhere in the description or the archive: a BadFile, or a valid graph."""
    path = saved(graph_of_everything(), tmp_path)
    rng = np.random.default_rng(5)
    values = [None, True, 0, 1, -1, 2**60, 0.5, -0.0, 1e308, "", "in", "w", [], {}, [0], {"kind": "step"}, "\ud800"]
    files = {name: (path / name).read_bytes() for name in ("hardware.json", "arrays.npz")}
    refused = 0

    def attempt() -> int:
        try:
            READ(path)
        except sb.BadFile:
            return 1
        return 0

    def descend(document: Any) -> None:
        while True:
            keys = list(document) if isinstance(document, dict) else list(range(len(document)))
            key = keys[rng.integers(len(keys))]
            if not isinstance(document[key], dict | list) or not document[key] or rng.random() < 0.2:
                break
            document = document[key]
        document[key] = values[rng.integers(len(values))]

    for _ in range(250):
        rehash(path, descend)
        refused += attempt()
        (path / "hardware.json").write_bytes(files["hardware.json"])
    assert refused > 230  # a few replace a value by itself, or change metadata
    for _ in range(150):
        data = bytearray(files["arrays.npz"])
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        put_archive(path, bytes(data))
        refused += attempt()
        (path / "hardware.json").write_bytes(files["hardware.json"])
    assert refused > 300

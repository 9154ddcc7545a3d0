"""PCM: a folder reads back as its graph, and is refused wherever it was touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_case
from tests.adapters.pcm.chips import READ, graph_of_everything, halve, one_crossbar, rehash, reseal, saved


def test_the_archive_has_one_name(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0, 2.0]]), tmp_path)
    rehash(path, lambda document: document["archive"].update(file="../elsewhere.npz"))
    with pytest.raises(sb.BadFile, match=r"states the archive '\.\./elsewhere\.npz'"):
        sb.import_graph(path, "pcm")


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
def test_a_folder_reads_back_as_the_graph(numbers: Any, tmp_path: Path) -> None:
    graph = graph_of_everything(numbers)
    path = saved(graph, tmp_path)
    found = sb.import_graph(path, "pcm")
    assert found == graph
    assert found.metadata == {"trained": {"steps": 3, "rate": 0.1}, "five": [1, None]}
    assert np.signbit(found.nodes["dense"].weight[found.nodes["dense"].weight == 0]).any()
    again = tmp_path / "again"
    again.mkdir()
    other = saved(found, again)
    for name in ("hardware.json", "arrays.npz"):
        assert (path / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_read_back(seed: int, tmp_path: Path) -> None:
    graph = random_case(seed, "generic").graph
    assert sb.import_graph(saved(graph, tmp_path), "pcm") == graph


def test_native_is_read_only() -> None:
    program = sb.export(one_crossbar([[1.0]]), "pcm")
    with pytest.raises(TypeError):
        program.native["mode"] = "noisy"
    program.native["device"]["g_max_uS"] = 1.0
    assert program.native["device"]["g_max_uS"] == 25.0


def test_one_perturbed_conductance_is_one_changed_weight(tmp_path: Path) -> None:
    graph = one_crossbar([[0.5, -0.25, 1.0], [-1.0, 0.125, 0.0], [0.75, 0.5, -0.5]])
    weight = graph.nodes["w"].weight
    for out, row in np.argwhere((weight != 0) & (np.abs(weight) < np.abs(weight).max(axis=1, keepdims=True))):
        path = saved(graph, tmp_path)
        sign = "plus" if weight[out, row] > 0 else "minus"
        reseal(path, lambda document, arrays: halve(arrays[f"w/G_{sign}_uS"], row, out))  # noqa: B023  # called at once
        changed = sb.import_graph(path, "pcm").nodes["w"].weight
        assert np.argwhere(changed != weight).tolist() == [[out, row]]
        assert changed[out, row] == weight[out, row] / 2


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = saved(one_crossbar(np.arange(-6, 6).reshape(3, 4) / 4), tmp_path)
    rng = np.random.default_rng(11)
    for name in ("hardware.json", "arrays.npz"):
        intact = (path / name).read_bytes()
        for position in rng.choice(len(intact), 250, replace=False):
            flipped = bytearray(intact)
            flipped[position] ^= 1 << int(rng.integers(8))
            (path / name).write_bytes(flipped)
            with pytest.raises(sb.BadFile, match=r"chip\.pcm/(hardware\.json|arrays\.npz): "):
                READ(path)
        for other in (intact[:-1], intact + b"\n", b" " + intact, b""):
            (path / name).write_bytes(other)
            with pytest.raises(sb.BadFile, match=rf"chip\.pcm/{name}: "):
                sb.import_graph(path, "pcm")
        (path / name).write_bytes(intact)
    assert sb.import_graph(path, "pcm")


def test_other_files_and_kinds_of_files_are_refused(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0]]), tmp_path)
    (path / "note.txt").write_text("")
    with pytest.raises(sb.BadFile, match=r"chip\.pcm: holds arrays\.npz, hardware\.json, note\.txt; a \.pcm folder"):
        sb.import_graph(path, "pcm")
    (path / "note.txt").unlink()
    for name in ("hardware.json", "arrays.npz"):
        file, aside = path / name, tmp_path / name
        file.rename(aside)
        with pytest.raises(sb.BadFile, match="holds"):
            sb.import_graph(path, "pcm")
        file.symlink_to(aside)
        with pytest.raises(sb.BadFile, match=rf"{name}: cannot be read: .*symbolic links"):
            sb.import_graph(path, "pcm")
        file.unlink()
        file.mkdir()
        with pytest.raises(sb.BadFile, match=rf"{name}: not a regular file"):
            sb.import_graph(path, "pcm")
        file.rmdir()
        os.mkfifo(file)
        with pytest.raises(sb.BadFile, match=rf"{name}: not a regular file"):
            sb.import_graph(path, "pcm")
        file.unlink()
        aside.rename(file)
    assert sb.import_graph(path, "pcm")
    for place in (tmp_path / "missing.pcm", path / "arrays.npz"):
        with pytest.raises(sb.BadFile, match="cannot be read"):
            sb.import_graph(place, "pcm")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"mode":"ideal"', b'"mode": "ideal"', "not in canonical form from byte"),
        (b'"mode":"ideal"', b'"mode":"ideal","mode":"ideal"', "'mode' stands twice"),
        (b'"g_min_uS":0.0', b'"g_min_uS":NaN', "NaN is not a number"),
        (b'"g_max_uS":25.0', b'"g_max_uS":1e999', "1e999 is beyond float64"),
        (b'"version":2', b'"version":4', "'version': 4.*reads .* versions 1 to 3: install a newer one"),
        (b'"version":2', b'"version":true', "'version': True.*install a newer one"),
        (b'"version":2', b'"version":1', r"\$: found .*pools.*; needed an object with the keys"),
        (b'"metadata":{}', b'"metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
    ],
)
def test_json_that_is_not_ours_is_refused(old: bytes, new: bytes, message: str, tmp_path: Path) -> None:
    file = saved(one_crossbar([[1.0]]), tmp_path) / "hardware.json"
    assert file.read_bytes().count(old) == 1
    file.write_bytes(file.read_bytes().replace(old, new))
    with pytest.raises(sb.BadFile, match=message):
        sb.import_graph(file.parent, "pcm")


def to_version_1(path: Path) -> None:
    """A folder without windows as the first version wrote it."""

    def downgrade(document: dict[str, Any]) -> None:
        document["format"]["version"] = 1
        del document["pools"]
        for crossbar in document["crossbars"]:
            for key in ("crossbars", "uses_per_step", "window"):
                del crossbar[key]

    rehash(path, downgrade)


def test_a_folder_of_version_1_reads_back(tmp_path: Path) -> None:
    graph = graph_of_everything()
    path = saved(graph, tmp_path)
    to_version_1(path)
    assert sb.import_graph(path, "pcm") == graph
    intact = (path / "hardware.json").read_bytes()
    for problem, change in {
        r"format.*install a newer one": lambda document: document.update(format={"name": "snubridge.pcm"}),
        r"\$: found .*pools": lambda document: document.update(pools=[]),
        r"crossbars\[0\]: found .*window": lambda document: document["crossbars"][0].update(window=None),
        r"crossbars\[0\]\.shape\[0\]: found 9": lambda document: document["crossbars"][0].update(shape=[9, 5]),
    }.items():
        rehash(path, change)
        with pytest.raises(sb.BadFile, match=problem):
            sb.import_graph(path, "pcm")
        (path / "hardware.json").write_bytes(intact)

"""The PCM crossbars: the contract, the bits of the conductances, and folders that were tampered with."""

from __future__ import annotations

import ast
import copy
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snubridge_pcm.folder as folder
import snubridge_pcm.twin as twin
from snubridge_pcm import PcmAdapter
from snubridge_pcm.archive import inventory
from snubridge_pcm.conductances import decode, encode, losses

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, random_case
from snubridge.ir.document import to_json

READ = PcmAdapter().read  # without the look for plug-ins of sb.import_graph, which takes longer
Tamper = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


class TestPcm(AdapterConformance):
    adapter = PcmAdapter()
    suffix = ".pcm"
    suffix = ".pcm"


def graph_of_everything(numbers: Any = sb.Float32()) -> sb.Graph:  # a frozen value
    """Every node that is supported, several ranks, delays, a cycle, per-neuron parameters, metadata."""
    rng = np.random.default_rng(7)
    nodes = {
        "out.last": sb.Output("last"),
        "in": sb.Input((3, 4), low=-8, high=8, fraction_bits=3),
        "rows": sb.Linear(rng.integers(-8, 9, (5, 4)) / 8, rng.integers(-4, 5, 5) / 8),
        "class": sb.Unit(0.75, rng.integers(1, 6, (3, 5)) / 4, g=sb.LeakyReLU(0.25), initial_state=0.5),
        "flat": sb.Flatten(),
        "dense": sb.Linear(np.where(rng.random((6, 15)) < 0.2, -0.0, rng.integers(-8, 9, (6, 15)) / 8)),
        "1st-unit": sb.Unit(rng.random(6), 0.5, reset=sb.Reset.LATERAL, g=sb.ReLU(), h=sb.Step(at_threshold=True)),
        "back": sb.Linear(rng.integers(-8, 9, (6, 6)) / 16),
        "readout": sb.Linear(rng.normal(size=(2, 6))),
        "leak": sb.Unit(0.5, 0.0, reset=sb.Reset.NONE, h=sb.Identity()),
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "rows", 1),
        sb.Edge("rows", "class"),
        sb.Edge("rows", "class", 2),
        sb.Edge("class", "flat"),
        sb.Edge("flat", "dense"),
        sb.Edge("dense", "1st-unit"),
        sb.Edge("1st-unit", "back", 3),
        sb.Edge("back", "1st-unit"),
        sb.Edge("1st-unit", "readout"),
        sb.Edge("readout", "leak"),
        sb.Edge("leak", "out"),
        sb.Edge("leak", "out.last", 1),
    ]
    return sb.Graph(nodes, edges, numbers=numbers, metadata={"trained": {"steps": 3, "rate": 0.1}, "five": [1, None]})


def one_crossbar(weight: Any, numbers: Any = sb.Float32()) -> sb.Graph:
    nodes = {"in": sb.Input((np.shape(weight)[1],)), "w": sb.Linear(weight), "unit": sb.Unit(0.5, 1.0)}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "unit")]
    return sb.Graph({**nodes, "out": sb.Output()}, [*edges, sb.Edge("unit", "out")], numbers=numbers)


def saved(graph: sb.Graph, place: Path, **options: Any) -> Path:
    path = place / "chip.pcm"
    sb.export(graph, "pcm", **options).save(path)
    return path


def reseal(path: Path, tamper: Tamper) -> None:
    """Change a folder as an attacker would: every hash is computed anew."""
    document, arrays = folder.read(path)
    document = copy.deepcopy(document)
    arrays = {key: array.copy() for key, array in arrays.items()}
    untouched = copy.deepcopy(document["arrays"])
    tamper(document, arrays)
    if document["arrays"] == untouched:
        document["arrays"] = inventory(arrays)
    body = {key: value for key, value in document.items() if key not in ("sha256", "archive")}
    for name, data in folder.seal(body, arrays).items():
        (path / name).write_bytes(data)


def rehash(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change hardware.json alone, and its own hash."""
    document = json.loads((path / "hardware.json").read_bytes())
    del document["sha256"]
    change(document)
    document["sha256"] = hashlib.sha256(to_json(document).encode()).hexdigest()
    (path / "hardware.json").write_bytes(to_json(document).encode())


def test_the_archive_has_one_name(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0, 2.0]]), tmp_path)
    rehash(path, lambda document: document["archive"].update(file="../elsewhere.npz"))
    with pytest.raises(sb.BadFile, match=r"states the archive '\.\./elsewhere\.npz'"):
        sb.import_graph(path, "pcm")


# The meaning: what the twin computes is what the reference defines.


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
@pytest.mark.parametrize("real", [False, True])
def test_every_node_means_what_the_reference_says(numbers: Any, real: bool) -> None:
    graph = graph_of_everything(numbers)
    rng = np.random.default_rng(1)
    x = rng.integers(-8, 9, (30, 4, 3, 4)) / 8 if real else rng.integers(0, 2, (30, 4, 3, 4))
    lengths = [30, 1, 17, 2]
    expected = sb.simulate(graph, x, record=("spikes", "states"), lengths=lengths)
    actual = sb.export(graph, "pcm").run(x, record=("spikes", "states"), lengths=lengths)
    assert expected.spikes["class"].sum() > 100
    assert expected.spikes["1st-unit"].sum() > 100
    assert actual.arrays().keys() == expected.arrays().keys()
    for key, values in expected.arrays().items():
        if key == "reduced":
            assert actual.reduced == expected.reduced
            continue
        assert actual.arrays()[key].dtype == values.dtype
        np.testing.assert_allclose(actual.arrays()[key], values, rtol=1e-12, atol=1e-12, err_msg=key)
    for unit in ("class", "1st-unit"):
        np.testing.assert_array_equal(actual.spikes[unit], expected.spikes[unit])


DYNAMICS = [(reset, h) for reset in sb.Reset for h in (sb.Step(), sb.Step(True), sb.Sigmoid(), sb.Tanh())]


@pytest.mark.parametrize("g", [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)])
@pytest.mark.parametrize(("reset", "h"), [*DYNAMICS, (sb.Reset.NONE, sb.Identity())])
def test_every_unit_means_what_the_reference_says(reset: sb.Reset, g: Any, h: Any) -> None:
    rng = np.random.default_rng(2)
    unit = sb.Unit([0.0, 0.5, 1.0], [0.5, -0.25, 1.0], reset=reset, g=g, h=h, initial_state=[1.0, 0.0, -1.0])
    nodes = {"in": sb.Input((3,)), "w": sb.Linear(rng.integers(-6, 9, (3, 3)) / 8), "unit": unit, "out": sb.Output()}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "unit"), sb.Edge("unit", "out")])
    x = rng.integers(0, 2, (60, 5, 3))
    expected = sb.simulate(graph, x, record=("spikes", "states"))
    actual = sb.export(graph, "pcm").run(x, record=("spikes", "states"))
    assert 0 < expected.spikes["unit"].mean() < 1 or not unit.spiking
    for key, values in expected.arrays().items():
        compare = np.testing.assert_array_equal if unit.spiking else np.testing.assert_allclose
        compare(actual.arrays()[key], values)


@pytest.mark.parametrize("over_time", ["mean", "sum", "max", "last"])
def test_reductions_end_with_each_sample(over_time: str) -> None:
    graph = sb.Graph({"in": sb.Input((2,)), "out": sb.Output(over_time)}, [sb.Edge("in", "out", 1)])
    x, lengths = np.random.default_rng(3).integers(-9, 10, (12, 3, 2)), [12, 1, 5]
    expected = sb.simulate(graph, x, lengths=lengths).outputs["out"]
    np.testing.assert_array_equal(sb.export(graph, "pcm").run(x, lengths=lengths).outputs["out"], expected)
    assert not np.array_equal(expected, sb.simulate(graph, x).outputs["out"])


def test_overflow_is_an_error_not_infinity() -> None:
    graph = one_crossbar([[1e70, 1e70]], sb.Float64())
    with pytest.raises(sb.BadInput, match="node w overflows float64 at step 1"):
        sb.export(graph, "pcm").run([[[0.0, 1.0]], [[1e250, 1e250]]])


def test_the_twin_knows_the_description_only() -> None:
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(Path(twin.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    ours = {"snubridge.errors", "snubridge.ir.numbers"}
    assert imported == {"__future__", "collections", "collections.abc", "typing", "numpy", *ours}


def test_run_reads_the_folder_that_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    write = folder.write

    def tampering(files: folder.Files, path: Path) -> None:
        write(files, path)
        reseal(path, lambda document, arrays: halve(arrays["w/G_plus_uS"], 0, 0))

    monkeypatch.setattr(folder, "write", tampering)
    program = sb.export(one_crossbar([[0.5, 1.0]]), "pcm")
    with pytest.raises(sb.BadFile, match="does not hold the graph that was lowered"):
        program.run(np.ones((2, 1, 2)))


# The bits: weights to conductances and back.


def weights(dtype: type, seed: int) -> Iterator[np.ndarray]:
    """Random and adversarial weights (out, in) that pairs can carry."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    info = np.finfo(dtype)
    signs = rng.choice([-1.0, 1.0], shape)
    yield rng.normal(size=shape).astype(dtype)
    yield (signs * 0.0).astype(dtype)
    yield rng.choice([0.0, -0.0, info.smallest_subnormal, -info.tiny, info.eps], shape).astype(dtype)
    largest = min(float(info.max), 2.0**240)
    yield (signs * rng.choice([largest, largest / 2, 1.5, 25.0, 0.78125], (shape[0], 1))).astype(dtype)
    spread = 240 if dtype is np.float32 else 450
    exponents = rng.integers(-spread // 2, spread // 2, shape)
    yield (signs * np.ldexp(rng.random(shape) + 0.5, exponents)).astype(dtype)
    yield np.nextafter(signs.astype(dtype) * np.exp2(rng.integers(-8, 9, shape)).astype(dtype), dtype(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g_max_uS", [25.0, 16.0, 7.3, 1e-3, 1e4])
def test_weights_come_back_bit_for_bit(dtype: type, g_max_uS: float) -> None:
    for seed in range(40):
        for weight in weights(dtype, seed):
            pairs = encode(weight, g_max_uS)
            assert decode(pairs, weight.dtype).tobytes() == np.ascontiguousarray(weight).tobytes()
            assert not list(losses(weight, pairs, g_max_uS))
            both = np.stack([pairs.G_plus_uS, pairs.G_minus_uS])
            assert both.min() == 0
            assert both.max() <= g_max_uS
            largest = both.max(axis=(0, 1))
            assert ((largest == 0) | (largest > g_max_uS / 2) | (pairs.column_scale_per_uS == 2.0**-1022)).all()
            assert (both.min(axis=0) == 0).all()  # one device of each pair is idle


def test_every_float32_range_fits_one_column() -> None:
    info = np.finfo(np.float32)
    weight = np.array([[info.max, info.smallest_subnormal, -info.smallest_subnormal, -0.0, 0.0]], np.float32)
    graph = one_crossbar(weight)
    assert sb.export(graph, "pcm").facts["devices"] == 10


@pytest.mark.parametrize(
    ("weight", "places"),
    [
        ([[1.0, 1.0], [1e300, 1.0]], [r"weight\[1, 0\] = 1e\+300 does not come back from .* 25\.0 uS, 1e\+300 being"]),
        ([[1e60, 0.0, -1e-310, 1e-300]], [r"weight\[0, 2\] = -1e-310 does .* \(2 such weights in the column\)"]),
        ([[1.0, -1e80], [0.3, 1e80]], [r"weight\[0, 1\] = -1e\+80", r"weight\[1, 1\] = 1e\+80"]),
    ],
)
def test_a_column_beyond_any_device_is_refused(weight: Any, places: list[str]) -> None:
    with pytest.raises(sb.Unsupported, match="node w: " + "(?s:.*)node w: ".join(places)) as refused:
        sb.export(one_crossbar(weight, sb.Float64()), "pcm")
    assert len(refused.value.reasons) == len(places)


def test_a_full_scale_too_small_is_refused() -> None:
    with pytest.raises(sb.Unsupported, match=r"node w: weight\[0, 0\] = 1\.0 does not come back from a .* 1e-300 uS"):
        sb.export(one_crossbar([[1.0]]), "pcm", g_max_uS=1e-300)


@pytest.mark.parametrize("g_max_uS", [0, -1.0, float("nan"), float("inf"), 10**400, True, "25"])
def test_a_full_scale_that_is_none_is_refused(g_max_uS: Any) -> None:
    with pytest.raises(sb.BadInput, match="needed a positive number of microsiemens"):
        sb.export(one_crossbar([[1.0]]), "pcm", g_max_uS=g_max_uS)


def test_a_stranger_decodes_the_weights(tmp_path: Path) -> None:
    """With json and numpy alone, by the formula of the description."""
    graph = graph_of_everything()
    path = saved(graph, tmp_path, g_max_uS=20)
    hardware = json.loads((path / "hardware.json").read_text())
    assert hardware["device"] == {"g_min_uS": 0.0, "g_max_uS": 20.0}
    with np.load(path / "arrays.npz", allow_pickle=False) as arrays:
        for crossbar in hardware["crossbars"]:
            net = arrays[crossbar["G_plus_uS"]] - arrays[crossbar["G_minus_uS"]]
            weight = (net * arrays[crossbar["column_scale_per_uS"]]).T.astype(np.float32)
            assert weight.tobytes() == graph.nodes[crossbar["node"]].weight.tobytes()
        keys = {f"{name}/weight" for name in graph.nodes}
        assert not keys & set(arrays.files)


def test_the_chorale_network_takes_as_many_devices_as_the_paper() -> None:
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((88,)),
        "w1": sb.Linear(rng.normal(size=(150, 88)), rng.normal(size=150)),
        "hidden": sb.Unit(0.8, 1.0),
        "w2": sb.Linear(rng.normal(size=(88, 150))),
        "notes": sb.Unit(0.0, 0.5, h=sb.Sigmoid()),
        "out": sb.Output(),
    }
    names = list(nodes)
    program = sb.export(sb.Graph(nodes, map(sb.Edge, names[:-1], names[1:])), "pcm")
    assert program.facts == {"devices": 52_800, "crossbars": 2}
    assert program.native["devices"] == sum(crossbar["devices"] for crossbar in program.native["crossbars"])


# The folder: read back, and refused wherever it was touched.


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


def halve(array: np.ndarray, row: int, column: int) -> None:
    assert array[row, column] > 0
    array[row, column] /= 2


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
        (b'"version":1', b'"version":2', "'version': 2.*install a newer one"),
        (b'"metadata":{}', b'"metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
    ],
)
def test_json_that_is_not_ours_is_refused(old: bytes, new: bytes, message: str, tmp_path: Path) -> None:
    file = saved(one_crossbar([[1.0]]), tmp_path) / "hardware.json"
    assert file.read_bytes().count(old) == 1
    file.write_bytes(file.read_bytes().replace(old, new))
    with pytest.raises(sb.BadFile, match=message):
        sb.import_graph(file.parent, "pcm")


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


# Writing: whole or not at all, and nothing that is not ours is lost.


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    path = saved(one_crossbar([[1.0]]), tmp_path)
    (path / "arrays.npz").write_bytes(b"damaged")
    other = one_crossbar([[2.0, 3.0]])
    assert sb.import_graph(saved(other, tmp_path), "pcm") == other
    assert [entry.name for entry in tmp_path.iterdir()] == ["chip.pcm"]


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    program = sb.export(one_crossbar([[1.0]]), "pcm")
    ours = saved(one_crossbar([[1.0]]), tmp_path)
    places = {name: tmp_path / f"{name}.pcm" for name in ("file", "empty", "link", "foreign", "more", "other")}
    places["file"].write_text("mine")
    places["link"].symlink_to(ours)
    for name in ("empty", "foreign", "more", "other"):
        places[name].mkdir()
    for name, text in (("hardware.json", "{}"), ("arrays.npz", "mine")):
        (places["foreign"] / name).write_text(text)
        for place in ("more", "other"):
            (places[place] / name).write_bytes((ours / name).read_bytes())
    (places["more"] / "notes.txt").write_text("mine")
    (places["other"] / "hardware.json").write_text("[")

    def contents() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    before = contents()
    for place in places.values():
        with pytest.raises(sb.BadFile, match="exists and is no folder of a hardware description"):
            program.save(place)
    for name in ("chip", "chip.npz", ".pcm"):
        with pytest.raises(sb.BadFile, match=r"ends in \.pcm"):
            program.save(tmp_path / name)
    with pytest.raises(sb.BadFile, match="cannot be written: No such file"):
        program.save(tmp_path / "missing" / "chip.pcm")
    assert contents() == before
    assert places["link"].is_symlink()


@pytest.mark.parametrize("failing", ["fsync", "first rename", "second rename"])
def test_a_failed_save_leaves_the_old_folder(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = one_crossbar([[1.0]])
    path = saved(graph, tmp_path)
    rename, calls = Path.rename, iter(("first rename", "second rename", "third"))

    def failing_rename(self: Path, target: Path) -> Path:
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    def failing_fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "exchange", lambda one, other: False)  # as where the system cannot
        patch.setattr(Path, "rename", failing_rename)
        if failing == "fsync":
            patch.setattr(os, "fsync", failing_fsync)
        with pytest.raises(sb.BadFile, match="No space left on device"):
            saved(one_crossbar([[2.0]]), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["chip.pcm"]
    assert sb.import_graph(path, "pcm") == graph


def test_what_a_killed_save_left_is_brought_back_or_removed(tmp_path: Path) -> None:
    """Where the system cannot exchange names, a kill between the two renames leaves the folder under a hidden name."""
    path = saved(one_crossbar([[1.0]]), tmp_path)
    aside = tmp_path / ".chip.pcm.0123456789ab.former"
    path.rename(aside)
    with pytest.raises(sb.BadFile, match=r"a save was cut short, and the former folder is .*0123456789ab\.former"):
        sb.import_graph(path, "pcm")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "arrays.npz").write_text("mine")
    (tmp_path / ".chip.pcm.0123456789cd.former").symlink_to(elsewhere)
    (tmp_path / ".chip.pcm.mine.former").mkdir()
    (tmp_path / ".chip.pcm.0123456789ef.partial").mkdir()
    (tmp_path / ".chip.pcm.0123456789ef.partial" / "hardware.json").write_text("half")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "sync_folder", no_space)
        with pytest.raises(sb.BadFile, match="No space left"):
            saved(one_crossbar([[2.0]]), tmp_path)
    assert sb.import_graph(path, "pcm") == one_crossbar([[1.0]])
    saved(one_crossbar([[2.0]]), tmp_path)
    assert sb.import_graph(path, "pcm") == one_crossbar([[2.0]])
    kept = {"chip.pcm", "elsewhere", ".chip.pcm.0123456789cd.former", ".chip.pcm.mine.former"}
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    assert (elsewhere / "arrays.npz").read_text() == "mine"


def no_space(_folder: Path) -> None:
    raise OSError(28, "No space left on device")


# Refusals.


def test_what_has_no_crossbar_is_refused_with_every_reason() -> None:
    nodes = {
        "in": sb.Input((1, 4, 4)),
        "conv": sb.Conv2d(np.ones((1, 1, 3, 3))),
        "pool": sb.AvgPool2d(2),
        "out": sb.Output(),
    }
    edges = [sb.Edge("in", "conv"), sb.Edge("conv", "pool"), sb.Edge("pool", "out")]
    with pytest.raises(
        sb.Unsupported, match=r"(?s)node conv: Conv2d is not supported.*node pool: AvgPool2d"
    ) as refused:
        sb.export(sb.Graph(nodes, edges), "pcm")
    assert len(refused.value.reasons) == 2

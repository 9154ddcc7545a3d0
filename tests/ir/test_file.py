"""The one-file format: exact, deterministic, atomic, and safe to open."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save as save_tensors

import snubridge as sb
from snubridge.bridge.conformance.families import random_case
from snubridge.ir.document import describe, to_json
from snubridge.ir.file import write_atomically


def everything(numbers=sb.Float32()):
    """A graph with every kind of node, reset, g and h."""
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((2, 6, 6), low=-1, high=1, fraction_bits=3),
        "conv": sb.Conv2d(rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4), 2, (1, 0), 1, groups=2),
        "pool": sb.AvgPool2d(2, padding=1),
        "sum": sb.SumPool2d((1, 2), stride=1),
        "flat": sb.Flatten(),
        "w": sb.Linear(rng.normal(size=(5, 8)), rng.normal(size=5)),
    }
    edges = [sb.Edge(a, b) for a, b in zip(nodes, list(nodes)[1:], strict=False)]
    last = "w"
    gs, hs = [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)], [sb.Step(), sb.Step(True), sb.Sigmoid(), sb.Tanh()]
    for i, reset in enumerate(sb.Reset):
        h = sb.Identity() if reset is sb.Reset.NONE else hs[i]
        nodes[f"u{i}"] = sb.Unit(rng.random(5), 0.5, reset=reset, g=gs[i % 3], h=h, initial_state=rng.normal(size=5))
        edges.append(sb.Edge(last, f"u{i}"))
        last = f"u{i}"
    nodes |= {"class": sb.Output(), "mean": sb.Output("mean"), "h": sb.Linear(np.eye(5))}
    edges += [sb.Edge(last, "class"), sb.Edge(last, "mean"), sb.Edge("u0", "h", 3), sb.Edge("h", "u0")]
    return sb.Graph(nodes, edges, numbers=numbers, metadata={"by": "tést", "n": [1, None, 0.1]})


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
def test_a_graph_comes_back_bit_for_bit(tmp_path, numbers):
    g = everything(numbers)
    sb.save(g, tmp_path / "net.safetensors")
    back = sb.load(tmp_path / "net.safetensors")
    assert back == g
    assert back.metadata == g.metadata
    assert back.digest == g.digest


def test_random_graphs_come_back(tmp_path):
    for seed in range(20):
        g = random_case(seed, "generic").graph
        sb.save(g, tmp_path / "net.safetensors")
        assert sb.load(tmp_path / "net.safetensors") == g


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for name in "ab":
        sb.save(everything(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    sb.save(sb.load(tmp_path / "a"), tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def doctored(tmp_path, change):
    """The path of a file whose description was changed by ``change(document)``, a function or text."""
    document, arrays = describe(random_case(1, "dyadic").graph)
    text = change if isinstance(change, str) else to_json(change(document) or document)
    path = tmp_path / "net.safetensors"
    path.write_bytes(save_tensors({k: np.array(a) for k, a in arrays.items()}, metadata={"snubridge": text}))
    return path


def nested(depth):
    """A list in a list in a list."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


CHANGES = {
    "newer format": (lambda d: d | {"format": 2}, "format version 2"),
    "no format": (lambda d: {k: v for k, v in d.items() if k != "format"}, "no format version"),
    "boolean format": (lambda d: d | {"format": True}, "format version True"),
    "spare key": (lambda d: d | {"code": "1"}, "unknown keys: code"),
    "numbers": (lambda d: d | {"numbers": "float16"}, "unknown numbers 'float16'"),
    "other precision": (lambda d: d | {"numbers": "float64"}, "is float32, the numbers are float64"),
    "no nodes": (lambda d: d | {"nodes": []}, "arrays that no node has"),
    "nodes not a list": (lambda d: d | {"nodes": {}}, "nodes is not a list"),
    "edge": (lambda d: d | {"edges": [["in"]]}, "an edge is"),
    "unknown kind": (lambda d: d["nodes"][0].update(kind="Eval"), "unknown kind 'Eval'"),
    "unhashable kind": (lambda d: d["nodes"][0].update(kind=[]), "unknown kind"),
    "twice": (lambda d: d["nodes"].append(d["nodes"][0]), "two nodes are called 'in'"),
    "spare setting": (lambda d: d["nodes"][0].update(x=1), "unknown keys: x"),
    "missing array": (lambda d: d["nodes"][1].update(name="other"), "'other/weight' is missing"),
    "unlisted array": (lambda d: d["nodes"][1].update(arrays=[]), "lacks its weight"),
    "unknown reset": (lambda d: d["nodes"][2].update(reset="__import__"), "unknown reset"),
    "unknown g": (lambda d: d["nodes"][2].update(g={"kind": "exp"}), "unknown g"),
    "slope on identity": (lambda d: d["nodes"][2].update(g={"kind": "identity", "slope": 1}), "unknown keys: slope"),
    "duplicate key": ('{"format": 1, "format": 1}', "stands twice"),
    "NaN": ('{"format": NaN}', "NaN is not a number"),
    "deep": ("[" * 100_000, "nested too deeply|cannot be read"),
    "deep metadata": (
        lambda d: d["metadata"].update(x=nested(600)),
        "too many levels|nested too deeply|cannot be read",
    ),
    "not JSON": ("import os", "cannot be read"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_malformed_description_is_refused(tmp_path, case):
    change, expected = CHANGES[case]
    with pytest.raises(sb.BadFile, match=expected) as caught:
        sb.load(doctored(tmp_path, change))
    assert "net.safetensors" in str(caught.value)


def test_a_file_with_an_invalid_graph_is_a_bad_file_and_an_invalid_graph(tmp_path):
    path = doctored(tmp_path, lambda d: d["edges"].append(["layer0", "layer0", 0]))
    with pytest.raises(sb.BadFile, match=r"net\.safetensors.*cycle") as caught:
        sb.load(path)
    assert isinstance(caught.value, sb.InvalidGraph)
    assert caught.value.breaches


FOREIGN = {
    "empty": b"",
    "short": b"abc",
    "text": b"hello, this is not a network at all",
    "pickle": pickle.dumps({"a": 1}),
    "huge header": (2**62).to_bytes(8, "little") + b"{}",
    "no graph": save_tensors({"x": np.zeros(3, np.float32)}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, case):
    path = tmp_path / "net.safetensors"
    path.write_bytes(FOREIGN[case])
    with pytest.raises(sb.BadFile, match=r"net\.safetensors"):
        sb.load(path)


def test_every_truncation_and_many_flips_are_refused_or_harmless(tmp_path):
    path = tmp_path / "net.safetensors"
    g = random_case(4, "dyadic").graph
    sb.save(g, path)
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(sb.BadFile):
            sb.load(path)
    rng = np.random.default_rng(0)
    for _ in range(500):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            sb.load(path)  # a flipped weight is a weight: the format carries no checksum
        except sb.BadFile:
            continue


def test_a_duplicate_tensor_in_the_header_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    sb.save(random_case(4, "dyadic").graph, path)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip()
    first = next(key for key in json.loads(header) if key != "__metadata__")
    entry = json.dumps({first: json.loads(header)[first]})[1:-1]
    header = header[:-1] + b"," + entry.encode() + b"}"
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    with pytest.raises(sb.BadFile, match="stands twice"):
        sb.load(path)


def test_what_cannot_be_opened_is_said_with_its_cause(tmp_path):
    with pytest.raises(sb.BadFile, match="No such file"):
        sb.load(tmp_path / "none")
    with pytest.raises(sb.BadFile, match="Is a directory"):
        sb.load(tmp_path)
    with pytest.raises(sb.BadFile, match="No such file"):
        sb.save(everything(), tmp_path / "no" / "net")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(sb.BadFile, match="No space left"):
        sb.save(everything(), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_an_interrupted_save_cleans_up(tmp_path, monkeypatch):
    def interrupted(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_is_written_through(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("field", ["low", "high"])
def test_numbers_beyond_all_floats_are_refused(tmp_path, field):
    path = doctored(tmp_path, lambda d: d["nodes"][0].update({field: 10**400}))
    with pytest.raises(sb.BadFile, match="a finite number or None"):
        sb.load(path)


@pytest.mark.parametrize("path", [None, 5, "a\0b", "/"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(sb.BadFile):
        sb.load(path)
    with pytest.raises(sb.BadFile):
        sb.save(everything(), path)


def test_only_regular_files_are_read_and_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sb.BadFile, match="no regular file"):
        sb.load(tmp_path / "pipe")
    with pytest.raises(sb.BadFile, match="no regular file"):
        sb.save(everything(), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()

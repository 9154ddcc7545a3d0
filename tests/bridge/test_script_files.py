"""The two files of a script: replaced as one, and read back bit for bit or refused."""

from __future__ import annotations

import io
import itertools
import json
import shutil

import numpy as np
import pytest

import snubridge as sb
import snubridge.bridge.script.pair as pair
from snubridge.bridge.conformance.families import random_case

pytestmark = pytest.mark.usefixtures("quick_brian2")
ENGINES = pytest.mark.parametrize("backend", ["brian2", "nengo"])
E = sb.Edge


def convolutional():
    """A graph whose plan says less than it: a convolution, shared parameters, float32 values, metadata."""
    nodes = {
        "in": sb.Input((1, 5, 5), low=-2, high=2),
        "conv": sb.Conv2d(np.arange(18).reshape(2, 1, 3, 3) / 7, [0.1, -0.0], 2, 1),
        "u": sb.Unit(0.3, 0.7, reset=sb.Reset.LATERAL, g=sb.LeakyReLU(0.1), initial_state=-0.0),
        "mean": sb.AvgPool2d(3),
        "flat": sb.Flatten(),
        "w": sb.Linear([[1e-40, np.pi]]),
        "class": sb.Output("mean"),
    }
    edges = [E(*ends, delay) for ends, delay in zip(itertools.pairwise(nodes), (0, 0, 1, 0, 0, 2), strict=True)]
    return sb.Graph(nodes, edges, metadata={"by": "tést", "n": [1, None]})


def read(source, backend, **options):
    return sb.import_graph(source, backend, **options)


@ENGINES
def test_a_script_comes_back_bit_for_bit(backend, tmp_path):
    graphs = [convolutional(), *(random_case(seed, "generic").graph for seed in range(6))]
    graphs += [sb.Graph(graph.nodes, graph.edges, numbers=sb.Float64()) for graph in graphs]
    for graph in graphs:
        sb.export(graph, backend, dt=0.25).save(tmp_path / "net.py")
        back = read(tmp_path / "net.py", backend)
        assert back == graph
        assert back.metadata == graph.metadata
        assert read(str(tmp_path / "net.py"), backend) == graph
        assert read(sb.export(graph, backend, dt=0.25).native, backend) == graph


@ENGINES
def test_the_same_graph_gives_the_same_files(backend, tmp_path):
    for name in "ab":
        sb.export(convolutional(), backend).save(tmp_path / f"{name}.py")
    sb.export(read(tmp_path / "a.py", backend), backend).save(tmp_path / "c.py")
    for suffix in (".py", ".npz"):
        assert len({(tmp_path / f"{name}{suffix}").read_bytes() for name in "abc"}) == 1


@ENGINES
def test_an_altered_script_is_refused(backend, tmp_path):
    sb.export(convolutional(), backend).save(tmp_path / "net.py")
    text = (tmp_path / "net.py").read_text()
    for changed in (text.replace("s > threshold", "s >= threshold", 1), "import os\n" + text, text + "\n", text[:-9]):
        (tmp_path / "net.py").write_text(changed)
        with pytest.raises(sb.BadFile, match=r"net\.py: (line \d+ is not that of the script|the parameters it was)"):
            read(tmp_path / "net.py", backend)


def resealed(folder, **changes):
    """The script with its parameters changed, and the hash that it holds made to fit."""
    with np.load(folder / "net.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    for key, change in changes.items():
        key = key.replace("__", "/")
        if change is None:
            del arrays[key]
        else:
            arrays[key] = change(arrays[key]) if callable(change) else change
    before = (folder / "net.npz").read_bytes()
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    (folder / "net.npz").write_bytes(stream.getvalue())
    text = (folder / "net.py").read_text()
    digests = [pair.hashlib.sha256(data).hexdigest() for data in (before, stream.getvalue())]
    (folder / "net.py").write_text(text.replace(*digests))


def edited(**changes):
    return lambda stored: np.array(json.dumps({**json.loads(str(stored)), **changes}))


def nudged(values):
    return np.concatenate([[values[0] * 1.5], values[1:]])


ALTERED = {
    "no graph": ({"graph": None}, "its parameters lack 'graph'"),
    "no plan": ({"plan": None}, "its parameters lack 'plan'"),
    "a weight": ({"weight__conv__values": nudged}, "the array 'weight/conv/values' is"),
    "a threshold": ({"threshold__u": nudged}, "the array 'threshold/u' is"),
    "another array": ({"extra": np.ones(3)}, "the array 'extra' is not one of the graph"),
    "a missing array": ({"decay__u": None}, "the array 'decay/u' is missing"),
    "the plan": ({"plan": edited(numbers="float64")}, "the array 'plan' is"),
    "the engine": ({"export": edited(engine="nest")}, "a script for 'nest'"),
    "a newer layout": ({"export": edited(layout=99)}, "written in layout 99"),
    "an option": ({"export": edited(options={"eval": "1"})}, "has no option 'eval'"),
    "an option's value": ({"export": edited(options={"dt": "1"})}, "dt='1'"),
    "another dt": ({"export": edited(options={"dt": 0.5})}, "line|altered"),
    "no JSON": ({"export": np.array("{")}, "the JSON cannot be read"),
    "no options": ({"export": np.array("[]")}, "does not say how it was exported"),
    "a graph of floats": ({"graph": np.ones(3)}, "the stored graph is float64"),
    "a cut graph": ({"graph": lambda stored: stored[:-1]}, "bytes of arrays, where its header lists"),
    "objects": ({"extra": np.array([{}], dtype=object)}, "not a readable"),
}


@ENGINES
@pytest.mark.parametrize("case", ALTERED)
def test_altered_parameters_are_refused(backend, case, tmp_path):
    changes, problem = ALTERED[case]
    sb.export(convolutional(), backend).save(tmp_path / "net.py")
    resealed(tmp_path, **changes)
    with pytest.raises(sb.BadFile, match=problem) as refused:
        read(tmp_path / "net.py", backend)
    assert "net.py" in str(refused.value)


@ENGINES
def test_a_small_file_does_not_cost_long_work(backend, tmp_path):
    nodes = {"in": sb.Input((1, 3000, 3000)), "pool": sb.SumPool2d(3, 1), "out": sb.Output()}
    huge = sb.Graph(nodes, [E("in", "pool"), E("pool", "out")])
    sb.export(convolutional(), backend).save(tmp_path / "net.py")
    resealed(tmp_path, graph=np.frombuffer(pair.encode(huge), dtype=np.uint8))
    with pytest.raises(sb.BadFile, match="raise the limit with the option max_synapses=80892036"):
        read(tmp_path / "net.py", backend)
    wide = sb.Graph({"in": sb.Input((10**9,)), "u": sb.Unit(0.5, 1.0)}, [E("in", "u")])
    resealed(tmp_path, graph=np.frombuffer(pair.encode(wide), dtype=np.uint8))
    with pytest.raises(sb.BadFile, match="at least 24000000000 are needed"):
        read(tmp_path / "net.py", backend)


@ENGINES
def test_what_is_no_script_of_ours_is_refused(backend, tmp_path):
    sb.export(convolutional(), backend).save(tmp_path / "net.py")
    with pytest.raises(sb.BadFile, match=r"net\.npz: an exported script ends in \.py"):
        read(tmp_path / "net.npz", backend)
    with pytest.raises(sb.BadFile, match="No such file"):
        read(tmp_path / "none.py", backend)
    (tmp_path / "lone.py").write_text("print(1)")
    with pytest.raises(sb.BadFile, match="do not lie beside it"):
        read(tmp_path / "lone.py", backend)
    with pytest.raises(sb.BadInput, match="source: a int; give the path of an exported script"):
        read(5, backend)
    other = {"brian2": "nengo", "nengo": "brian2"}[backend]
    with pytest.raises(sb.BadFile, match=f"a script for '{backend}', not for {other}"):
        read(tmp_path / "net.py", other)


def contents(folder):
    """The graph of the pair in a folder, or None: what whoever finds it there would read."""
    return read(folder / "net.py", "nengo") if (folder / "net.py").exists() else None


class Killed(BaseException):
    """Stands for a process that ends at once: nothing of ours runs after it."""


def test_a_save_that_is_cut_off_leaves_the_old_pair_or_the_new_one(tmp_path, monkeypatch):
    old, new = (random_case(seed, "dyadic").graph for seed in (1, 2))
    before, after = sb.export(old, "nengo"), sb.export(new, "nengo")
    seen = set()
    for existing, cut in itertools.product((True, False), range(6)):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (tmp_path / "out").mkdir()
        if existing:
            before.save(tmp_path / "out/net.py")
        steps = itertools.count()

        def guarded(path, data, steps=steps, cut=cut, write=pair.write_atomically):
            if next(steps) == cut:
                raise Killed
            write(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(pair, "write_atomically", guarded)
            try:
                after.save(tmp_path / "out/net.py")
            except Killed:
                seen.add(cut)
        assert contents(tmp_path / "out") in ((old, new) if existing else (None, new))
        after.save(tmp_path / "out/net.py")  # the next save goes through, and clears away what was left
        assert contents(tmp_path / "out") == new
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["net.npz", "net.py"]
    assert seen == {0, 1, 2}

"""What is wrong in arrays, names, options and graphs is refused by every engine alike, before anything runs."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb

E = sb.Edge
X = np.ones((4, 2, 3))
ENGINES = ("pcm", "torch", "onnx", "nengo")


class Evil:
    """Somebody else's object: whatever is asked of it fails."""

    def __array__(self, *_arguments, **_options):
        raise AttributeError("no\x1b[31m")

    def __repr__(self):
        raise ZeroDivisionError


def nested(levels):
    """A list in a list in a list."""
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def small(decay=0.5, **more):
    nodes = {"in": sb.Input((3,), **more), "u": sb.Unit(decay, 0.5), "out": sb.Output()}
    return sb.Graph(nodes, [E("in", "u"), E("u", "out")])


@pytest.fixture(scope="module")
def programs():
    return {engine: sb.export(small(), engine) for engine in ENGINES}


def gradient():
    return pytest.importorskip("torch").ones(4, 2, 3, requires_grad=True)


NO_INPUTS = {
    "nothing": (None, "values of type object"),
    "text": ("abc", "values of type <U3"),
    "bytes": (b"abc", "values of type"),
    "a set": ({1}, "values of type object"),
    "dates": (np.zeros((4, 2, 3), "M8[s]"), "values of type datetime64"),
    "a structure": (np.zeros((4, 2, 3), "f4,f8"), "real numbers"),
    "complex": (X * 1j, "values of type complex128"),
    "objects": (X.astype(object), "values of type object"),
    "digits as text": (X.astype(str), "real numbers"),
    "ragged": ([[1, 2], [3]], "not an array: .*pass numbers of shape \\(T, B, 3\\)"),
    "nested deeply": (nested(70), "input in"),
    "one number": (1.0, "shape \\(\\); needed \\(T, B, 3\\)"),
    "no rank": (X[0], "shape \\(2, 3\\)"),
    "a rank more": (X[None], "shape \\(1, 4, 2, 3\\)"),
    "wide": (np.ones((4, 2, 5)), "time first"),
    "batch first": (np.ones((3, 4, 2)), "time first"),
    "no steps": (X[:0], "at least one step"),
    "no samples": (X[:, :0], "at least one step and one sample"),
    "NaN": (np.where(np.arange(3) == 1, np.nan, X), r"nan at \(step, sample, ...\) = \(0, 0, 1\) is not finite"),
    "signaling NaN": (np.full(X.shape, 0x7FF0000000000001, np.uint64).view(np.float64), "nan at .* is not finite"),
    "infinite": (X * -np.inf, "-inf at .* is not finite"),
    "beyond float32": (X * 1e39, r"1e\+39 at .* is not finite in float32"),
    "beyond all floats": ([[[10**400] * 3]], "values of type object"),
    "masked": (np.ma.masked_array(X, X > 0), "a masked array"),
    "masked nowhere": (np.ma.masked_array(X), "a masked array"),
    "what fails": (Evil(), r"not an array: no\\x1b\[31m"),
    "another name": ({"x": X}, r"given for \['x'\]; the graph's inputs are \['in'\]"),
    "a number for a name": ({1: X}, "given for"),
    "a hostile name": ({"\x1b[2J\n": X}, r"given for \['\\x1b\[2J\\n'\]"),
    "a name too many": ({"in": X, "more": X}, "given for"),
    "no name": ({}, r"given for \[\]"),
    "a dict in a dict": ({"in": {"in": X}}, "values of type object"),
}


@pytest.mark.parametrize("case", NO_INPUTS)
def test_every_engine_refuses_the_same_inputs_in_the_same_words(case, programs):
    given, expected = NO_INPUTS[case]
    runs = {name: program.run for name, program in programs.items()}
    runs["reference"] = lambda x: sb.simulate(small(), x)
    runs["verify"] = lambda x: sb.verify(small(), x, ["pcm"])
    said = set()
    for run in runs.values():
        with pytest.raises(sb.BadInput, match=expected) as caught:
            run(given)
        said.add(str(caught.value))
    assert len(said) == 1
    assert said.pop().isprintable()


def test_a_tensor_with_gradients_is_refused_not_detached():
    with pytest.raises(sb.BadInput, match="not an array"):
        sb.simulate(small(), gradient())
    with pytest.raises(sb.InvalidGraph, match="node w, weight: found values of type object"):
        sb.validate(sb.Graph({"in": sb.Input((3,)), "w": sb.Linear(gradient())}, [E("in", "w")]))


class Subclass(np.ndarray):
    pass


SOUND = {
    "in another order": np.asfortranarray(X),
    "every other step": np.repeat(X, 2, axis=0)[::2],
    "backwards": X[::-1],
    "broadcast": np.broadcast_to(1.0, X.shape),
    "a subclass": X.view(Subclass),
    "big-endian": X.astype(">f8"),
    "half": X.astype(np.float16),
    "wider": X.astype(np.longdouble),
    "bool": X.astype(bool),
    "unsigned": X.astype(np.uint64),
    "lists": X.tolist(),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_only_stored_otherwise_gives_the_same_spikes(case, programs):
    given = SOUND[case]
    copied = np.array(given)
    expected = sb.simulate(small(), X)
    assert expected.spikes["u"].sum() > 0
    for program in programs.values():
        assert sb.compare(expected, program.run(given)).equal
    np.testing.assert_array_equal(np.asarray(given), copied)


def test_what_is_read_only_is_taken_and_left(programs):
    given = X.copy()
    given.setflags(write=False)
    for program in programs.values():
        assert sb.compare(sb.simulate(small(), X), program.run(given)).equal


NO_LENGTHS = {
    "floats": [2.0, 2.0],
    "text": ["a", "b"],
    "bool": [True, True],
    "nothing in it": [None, 2],
    "short": [2],
    "long": [2, 2, 2],
    "a rank more": [[2, 2]],
    "one number": 2,
    "zero": [0, 2],
    "negative": [-1, 2],
    "beyond the run": [5, 2],
    "beyond int64": [2**63, 1],
    "beyond all": [2**70, 1],
    "NaN": [np.nan, 2],
    "ragged": [[1], [1, 2]],
    "dates": np.array([1, 2], "M8[s]"),
    "masked": np.ma.masked_array([2, 2], [0, 1]),
    "a dict": {},
    "what fails": Evil(),
}
NO_RECORDS = {"text": "spikes", "nothing": None, "a number": 5, "unknown": ["volt"], "nested": [["spikes"]]}
NO_RECORDS |= {"bytes": b"spikes", "what fails": Evil(), "what fails in a list": [Evil()], "hostile": ["\x1b[2J"]}


@pytest.mark.parametrize("case", NO_LENGTHS)
def test_every_engine_refuses_the_same_lengths(case, programs):
    said = set()
    for run in (lambda x, lengths: sb.simulate(small(), x, lengths=lengths), *(p.run for p in programs.values())):
        with pytest.raises(sb.BadInput, match=r"lengths: .*(needed|pass)") as caught:
            run(X, lengths=NO_LENGTHS[case])
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("case", NO_RECORDS)
def test_every_engine_refuses_the_same_records(case, programs):
    with pytest.raises(sb.BadInput, match=r"record=.*: give a tuple of 'spikes', 'states'"):
        sb.simulate(small(), X, record=NO_RECORDS[case])
    for program in programs.values():
        with pytest.raises(sb.BadInput, match=r"record=.*: give a tuple of 'spikes', 'states'"):
            program.run(X, record=NO_RECORDS[case])


def test_a_state_of_anything_else_is_refused():
    for state, expected in (
        (sb.simulate(small(0.25), X).state, "of another graph"),
        (sb.simulate(small(), X[:, :1]).state, "of another batch size"),
        (sb.simulate(small(), X), "a Trace; pass trace.state"),
        ({}, "a dict; pass trace.state"),
        (Evil(), "a Evil; pass trace.state"),
    ):
        with pytest.raises(sb.BadInput, match=f"state: it is {expected}|state: {expected}"):
            sb.simulate(small(), X, state=state)


@pytest.mark.parametrize("name", [None, 5, [], "x\x1b", Evil(), "", "../pcm"])
def test_no_backend_has_such_a_name(name):
    for call in (
        lambda: sb.export(small(), name),
        lambda: sb.import_graph("x", name),
        lambda: sb.verify(small(), X, [name]),
        lambda: sb.verify(small(), X, {"mine": (name, {})}),
    ):
        with pytest.raises(sb.BadInput, match=r"no backend is called .*; known: ") as caught:
            call()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("backends", [5, "pcm", Evil(), [], {}, {"a": "pcm"}, {"a": ("pcm", None)}, {5: ("pcm", {})}])
def test_backends_are_a_list_of_names_or_labels(backends):
    with pytest.raises(sb.BadInput, match=r"backends.*: .*(is|are) (needed|named)"):
        sb.verify(small(), X, backends)


@pytest.mark.parametrize("thing", [None, 5, "net", {}, Evil()])
def test_what_is_no_graph_is_refused_everywhere(thing, tmp_path):
    for call in (
        lambda: sb.validate(thing),
        lambda: sb.simulate(thing, X),
        lambda: sb.export(thing, "pcm"),
        lambda: sb.verify(thing, X),
        lambda: sb.save(thing, tmp_path / "x"),
    ):
        with pytest.raises(sb.InvalidGraph, match=r"graph: found a .*; needed: an sb\.Graph"):
            call()
    assert list(tmp_path.iterdir()) == []


def joined(**nodes):
    """A sound graph with other nodes besides its own, each fed by the input."""
    base = {"in": sb.Input((3,)), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}
    return sb.Graph({**base, **nodes}, [E("in", "u"), E("u", "out"), *(E("in", name) for name in nodes)])


def extended(*edges, **options):
    base = {"in": sb.Input((3,)), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}
    return sb.Graph(base, [E("in", "u"), E("u", "out"), *edges], **options)


VALUES = {
    "nothing": None,
    "text": "ab",
    "complex": np.ones((3, 3)) * 1j,
    "dates": np.ones((3, 3), "M8[s]"),
    "a structure": np.ones((3, 3), "f4,f8"),
    "objects": np.full((3, 3), None),
    "ragged": [[1.0], [1.0, 2.0]],
    "masked": np.ma.masked_array(np.ones((3, 3)), mask=True),
    "NaN": np.full((3, 3), np.nan),
    "infinite": np.full((3, 3), -np.inf),
    "beyond float32": np.full((3, 3), 1e300),
    "beyond all floats": [[10**400] * 3] * 3,
    "no values": np.ones((0, 3)),
    "60 axes": np.full((1,) * 60, np.nan),
    "what fails": Evil(),
}
PLACES = {
    "weight": (lambda value: joined(w=sb.Linear(value)), "node w, weight"),
    "decay": (lambda value: joined(n=sb.Unit(value, 1.0)), "node n, decay"),
    "kernel": (lambda value: joined(p=sb.AvgPool2d(value)), "node p, kernel_size"),
    "low": (lambda value: small(low=value), "node in, low"),
    "g": (lambda value: joined(n=sb.Unit(0.5, 1.0, g=value)), "node n, g"),
    "slope": (lambda value: joined(n=sb.Unit(0.5, 1.0, g=sb.LeakyReLU(value))), "node n, g"),
    "reset": (lambda value: joined(n=sb.Unit(0.5, 1.0, reset=value)), r"a member of sb\.Reset"),
    "reduction": (lambda value: joined(o=sb.Output(value)), "node o, over_time"),
    "delay": (lambda value: extended(E("u", "u", value)), "delay"),
    "source": (lambda value: extended(E(value, "u")), "no node"),
}
OPTIONAL = ("low", "reduction")
BROKEN = {
    **{
        f"{place}: {name}": (lambda build=build, value=value: build(value), expected)
        for place, (build, expected) in PLACES.items()
        for name, value in VALUES.items()
        if not (value is None and place in OPTIONAL)
    },
    "decay above 1": (lambda: joined(n=sb.Unit(1 + 1e-6, 1.0)), "0 <= decay <= 1"),
    "decay below 0": (lambda: joined(n=sb.Unit([0.5, -0.5, 1.0], 1.0)), r"-0.5 at \(1,\)"),
    "decay NaN": (lambda: joined(n=sb.Unit(np.nan, 1.0)), "finite numbers"),
    "cycle": (lambda: extended(E("u", "u")), "cycle through u"),
    "twice": (lambda: extended(E("in", "u")), "the same edge twice"),
    "delay without end": (lambda: extended(E("u", "u", 10**9000)), "an integer of 29898 bits"),
    "delay beyond": (lambda: extended(E("u", "u", 2**20 + 1)), "an integer from 0 to 1048576"),
    "an edge of another kind": (lambda: extended(Evil()), "a Evil"),
    "a node of another kind": (lambda: joined(x=Evil()), "a Evil"),
    "a class for a node": (lambda: joined(x=sb.Flatten), "a type"),
    "three strides": (lambda: joined(p=sb.AvgPool2d(1, (1, 1, 1))), "node p, stride"),
    "a stride beyond": (lambda: joined(p=sb.AvgPool2d(1, 2**31)), "below 2\\^31"),
    "no padding": (lambda: joined(p=sb.AvgPool2d(1, 1, (None, 0))), "node p, padding"),
    "31 axes": (lambda: sb.Graph({"in": sb.Input((1,) * 31)}, []), "31 axes; needed: at most 30"),
    "many huge axes": (
        lambda: sb.Graph({"in": sb.Input((10**4000,) * 99), "f": sb.Flatten()}, [E("in", "f")]),
        "at most 10995",
    ),
    "an array for numbers": (lambda: extended(numbers=np.ones(3)), "numbers"),
    "no mapping of nodes": (lambda: sb.Graph(5, []), "a mapping of nodes"),
    "no list of edges": (lambda: sb.Graph({}, 5), "a list of edges"),
    "an array in the metadata": (lambda: extended(metadata={"a": np.ones(3)}), "what JSON can say"),
    "NaN in the metadata": (lambda: extended(metadata={"a": np.nan}), "what JSON can say"),
    "digits in the metadata": (lambda: extended(metadata={"a": 10**9000}), "what JSON can say"),
    "levels in the metadata": (lambda: extended(metadata={"a": nested(100)}), "more than 100 levels"),
    **{
        f"name {name!r:.20}": (lambda n=name: joined(**{n: sb.Output()}), "a node named .*Rename it")
        for name in (
            "",
            ".x",
            "a/b",
            "a\nb",
            "\x1b[31m",
            "a\0",
            "\ud800",
            "\u202eabc",
            "x" * 101,
            "n\u00e9",
            "a b",
            "-x",
        )
    },
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_is_refused_with_place_need_and_remedy(case):
    build, expected = BROKEN[case]
    with pytest.raises(sb.InvalidGraph, match=expected) as caught:
        sb.validate(build())
    for breach in caught.value.breaches:
        assert breach.place
        assert breach.needed
        assert breach.remedy.endswith(".")
        assert str(breach).isprintable()
        assert len(str(breach)) < 1000


def test_all_breaches_come_at_once_and_the_message_stays_readable():
    nodes = {"in": sb.Input((3,)), **{f"\x1b{i}": sb.Output() for i in range(5000)}}
    with pytest.raises(sb.InvalidGraph) as caught:
        sb.validate(sb.Graph(nodes, []))
    assert len(caught.value.breaches) == 10_000
    lines = str(caught.value).split("\n")
    assert (len(lines), lines[-1]) == (101, "and 9,900 more")
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("path", [None, 5, b"net", "a\0b", "\ud800", Evil(), "n" * 300, "x/" * 3000])
def test_no_file_has_such_a_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readers = [sb.load, sb.Trace.load, lambda p: sb.import_graph(p, "pcm")]
    trace = sb.simulate(small(), X)
    writers = [
        lambda p: sb.save(small(), p),
        trace.save,
        *(sb.export(small(), e).save for e in ("onnx", "pcm", "torch")),
    ]
    for call in (*readers, *writers):
        with pytest.raises(sb.BadFile) as caught:
            call(path)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []

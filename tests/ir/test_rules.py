"""The rules: every breach is found, all at once, with place, cause, need and remedy."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb
from snubridge.ir.rules import MAX_DELAY, RULES

E = sb.Edge


def graph(nodes=None, edges=(), **options):
    """A small valid graph, with other nodes or edges in place of, or besides, its own."""
    base = {"in": sb.Input((3,)), "w": sb.Linear(np.ones((2, 3))), "u": sb.Unit(0.5, 1.0), "out": sb.Output()}
    joined = [E("in", "w"), E("w", "u"), E("u", "out"), *edges]
    return sb.Graph({**base, **(nodes or {})}, joined, **options)


BROKEN = {
    "numbers": (lambda: graph(numbers=sb.Step()), "numbers Step"),
    "no input": (lambda: sb.Graph({"u": sb.Unit(0.5, 1.0)}, [E("u", "u", 1)]), "no Input"),
    "empty": (lambda: sb.Graph({}, []), "no Input"),
    "name": (lambda: graph({".x": sb.Output()}, [E("u", ".x")]), "a node named '.x'"),
    "name with a slash": (lambda: graph({"a/b": sb.Output()}, [E("u", "a/b")]), "a node named 'a/b'"),
    "long name": (lambda: graph({"a" * 101: sb.Output()}, [E("u", "a" * 101)]), "a node named 'aaa"),
    "name with newline": (lambda: graph({"a\n": sb.Output()}, [E("u", "a\n")]), "a node named 'a.n'"),
    "name not text": (lambda: graph({7: sb.Output()}, [E("u", 7)]), "a node named 7"),
    "kind": (lambda: graph({"x": "Linear"}, [E("u", "x")]), "a str"),
    "complex": (lambda: graph({"w": sb.Linear(np.ones((2, 3)) * 1j)}), "values of type complex128"),
    "text": (lambda: graph({"w": sb.Linear([["a", "b"]])}), "values of type <U1"),
    "ragged": (lambda: graph({"w": sb.Linear([[1.0], [1.0, 2.0]])}), "values of type object"),
    "empty array": (lambda: graph({"w": sb.Linear(np.ones((0, 3)))}), "an empty array"),
    "nan": (lambda: graph({"w": sb.Linear([[1, np.nan, 1], [1, 1, 1]])}), r"nan at \(0, 1\)"),
    "beyond float32": (lambda: graph({"u": sb.Unit(0.5, 1e39)}), "inf at"),
    "weight rank": (lambda: graph({"w": sb.Linear(np.ones(3))}), r"shape \(3,\); needed: \(out, in\)"),
    "bias": (lambda: graph({"w": sb.Linear(np.ones((2, 3)), np.ones(3))}), "one value per output"),
    "decay above 1": (lambda: graph({"u": sb.Unit([0.5, 1.5], 1.0)}), r"1.5 at \(1,\)"),
    "decay below 0": (lambda: graph({"u": sb.Unit(-1e-6, 1.0)}), "0 <= decay <= 1"),
    "reset": (lambda: graph({"u": sb.Unit(0.5, 1.0, reset="to_zero")}), "a member of sb.Reset"),
    "g": (lambda: graph({"u": sb.Unit(0.5, 1.0, g=np.maximum)}), r"Identity\(\), ReLU\(\)"),
    "h": (lambda: graph({"u": sb.Unit(0.5, 1.0, h="step")}), r"Step\(\), Sigmoid\(\)"),
    "h class": (lambda: graph({"u": sb.Unit(0.5, 1.0, h=sb.Step)}), "Pass an instance"),
    "integrator with reset": (lambda: graph({"u": sb.Unit(0.5, 1.0, h=sb.Identity())}), "a leaky integrator"),
    "slope": (lambda: graph({"u": sb.Unit(0.5, 1.0, g=sb.LeakyReLU(float("nan")))}), "slope nan"),
    "at_threshold": (lambda: graph({"u": sb.Unit(0.5, 1.0, h=sb.Step("no"))}), "at_threshold 'no'"),
    "input shape": (lambda: graph({"in": sb.Input((0,))}), r"\(0,\)"),
    "input shape number": (lambda: graph({"in": sb.Input(3)}), "a tuple of at least one integer"),
    "low above high": (lambda: graph({"in": sb.Input((3,), 1.0, 0.0)}), "low <= high"),
    "range not finite": (lambda: graph({"in": sb.Input((3,), high=np.inf)}), "a finite number or None"),
    "fraction_bits": (lambda: graph({"in": sb.Input((3,), fraction_bits=-1)}), "an integer from 0 to 52"),
    "over_time": (lambda: graph({"out": sb.Output("median")}), "None or one of mean, sum, max, last"),
    "edge type": (lambda: graph(edges=[("u", "out")]), "an sb.Edge"),
    "unknown source": (lambda: graph(edges=[E("x", "u")]), "no node x"),
    "delay": (lambda: graph(edges=[E("u", "w", 0.5)]), "delay 0.5"),
    "negative delay": (lambda: graph(edges=[E("u", "u", -1)]), "delay -1"),
    "huge delay": (lambda: graph(edges=[E("u", "u", MAX_DELAY + 1)]), "an integer from 0 to"),
    "boolean delay": (lambda: graph(edges=[E("u", "u", True)]), "delay True"),
    "into input": (lambda: graph(edges=[E("u", "in", 1)]), "an edge into an Input"),
    "out of output": (lambda: graph(edges=[E("out", "u", 1)]), "an edge out of an Output"),
    "twice": (lambda: graph(edges=[E("in", "w")]), "the same edge twice"),
    "unconnected": (lambda: graph({"x": sb.Unit(0.5, 1.0)}), "no incoming edge"),
    "cycle": (lambda: graph({"h": sb.Linear(np.ones((2, 2)))}, [E("u", "h"), E("h", "u")]), "cycle through u, h"),
    "shape": (lambda: graph({"in": sb.Input((4,))}), "a last axis of 3"),
    "per neuron": (lambda: graph({"u": sb.Unit([0.5] * 3, 1.0)}), "one value for each decay"),
    "sum of shapes": (lambda: graph(edges=[E("in", "u")]), "sources of different shapes"),
    "kernel": (lambda: graph({"c": sb.AvgPool2d(0)}, [E("u", "c")]), "each at least 1"),
    "pad": (lambda: graph({"c": sb.SumPool2d(2, padding=2)}, [E("u", "c")]), "at most half of the kernel"),
    "groups": (lambda: graph({"c": sb.Conv2d(np.ones((3, 1, 1, 1)), groups=2)}, [E("u", "c")]), "a divisor"),
    "stride": (lambda: graph({"c": sb.Conv2d(np.ones((1, 1, 1, 1)), stride=0)}, [E("u", "c")]), "each at least 1"),
    "metadata keys": (lambda: graph(metadata={1: 2, "a": 3}), "keys that are no text"),
    "huge low": (lambda: graph({"in": sb.Input((3,), low=10**400)}), "a finite number or None"),
    "huge slope": (lambda: graph({"u": sb.Unit(0.5, 1.0, g=sb.LeakyReLU(10**400))}), "slope 1000"),
    "huge shape": (lambda: sb.Graph({"in": sb.Input((10**400,))}, []), "at most 1099511627776 values"),
    "masked": (
        lambda: graph({"w": sb.Linear(np.ma.masked_array(np.ones((2, 3)), mask=True))}),
        "values of type object",
    ),
    "over_time array": (lambda: graph({"out": sb.Output(np.zeros(3))}), "None or one of mean"),
    "edge of objects": (lambda: graph(edges=[E(["x"], {})]), "names of nodes"),
    "metadata": (lambda: graph(metadata={"x": {1, 2}}), "what JSON can say"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_breach_is_found_and_explained(case):
    build, expected = BROKEN[case]
    with pytest.raises(sb.InvalidGraph, match=expected) as caught:
        sb.validate(build())
    assert all(b.place and b.found and b.needed and b.remedy for b in caught.value.breaches)


def test_all_breaches_come_at_once():
    broken = sb.Graph(
        {".x": sb.Linear(np.ones((2, 2, 2))), "u": sb.Unit(1.5, np.nan, h=sb.Identity())},
        [E("u", "u"), E("a", "b")],
    )
    with pytest.raises(sb.InvalidGraph) as caught:
        sb.validate(broken)
    text = str(caught.value)
    for part in (
        "no Input",
        "'.x'",
        "shape (2, 2, 2)",
        "nan",
        "1.5",
        "leaky integrator",
        "no node a",
        "cycle through u",
    ):
        assert part in text, part
    assert len(caught.value.breaches) == 9


def test_what_hangs_behind_a_cycle_is_not_blamed():
    broken = graph({"h": sb.Linear(np.ones((2, 2))), "x": sb.Output()}, [E("u", "h"), E("h", "u"), E("h", "x")])
    with pytest.raises(sb.InvalidGraph) as caught:
        sb.validate(broken)
    assert [breach.place for breach in caught.value.breaches] == ["cycle through u, h"]


@pytest.mark.parametrize(
    "taker", [sb.simulate, lambda g, x: sb.export(g, "pcm"), sb.verify, lambda g, x: sb.save(g, "x")]
)
def test_whatever_takes_a_graph_validates_first(taker):
    with pytest.raises(sb.InvalidGraph, match="0 <= decay"):
        taker(graph({"u": sb.Unit(2.0, 1.0)}), np.zeros((2, 1, 3)))


def test_rules_have_names_and_say_what_they_demand():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.says.endswith(".") for rule in RULES)


def test_a_valid_graph_passes():
    assert sb.validate(graph({"class": sb.Output("mean")}, [E("u", "class")])) is None


def test_something_else_than_a_graph_is_refused():
    with pytest.raises(sb.InvalidGraph, match="a dict"):
        sb.validate({})


def test_metadata_nested_too_deeply_is_refused():
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(sb.InvalidGraph, match="too many levels"):
        graph(metadata={"x": nested})

"""FixedPoint: rounding once, files, and the derived grids and budget, against figures worked out by hand."""

from __future__ import annotations

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import snubridge as sb
from snubridge.bridge import wide_enough
from snubridge.ir.budget import budget

E = sb.Edge


def graph(numbers=sb.FixedPoint(4), nodes=None, edges=(), **unit):
    base = {
        "in": sb.Input((2,), -1, 1, 3),
        "w": sb.Linear([[0.3, -0.5]], [0.25]),
        "u": sb.Unit(0.8, 1.0, **unit),
        "out": sb.Output(),
    }
    joined = [E("in", "w"), E("w", "u"), E("u", "out"), *edges]
    return sb.Graph({**base, **(nodes or {})}, joined, numbers=numbers)


def breaches(broken):
    with pytest.raises(sb.InvalidGraph) as caught:
        sb.validate(broken)
    assert all(b.place and b.found and b.needed and b.remedy for b in caught.value.breaches)
    return str(caught.value)


def test_parameters_are_rounded_once_to_nearest_ties_to_even():
    numbers = sb.FixedPoint({"w": 2, "u": 3}, decay_bits=4)
    nodes = {
        "w": sb.Linear([[0.125, 0.375], [-0.125, -0.3]], [0.62, 0.63]),
        "u": sb.Unit(0.8, 1.06, initial_state=-0.3),
    }
    g = sb.Graph({"in": sb.Input((2,), 0, 1, 0), **nodes}, [E("in", "w"), E("w", "u")], numbers=numbers)
    np.testing.assert_array_equal(g.nodes["w"].weight, [[0.0, 0.5], [0.0, -0.25]])  # ties to even multiples of 1/4
    assert not np.signbit(g.nodes["w"].weight[1, 0])  # one zero
    np.testing.assert_array_equal(g.nodes["w"].bias, [0.5, 0.75])
    assert g.nodes["u"].decay == 13 / 16  # 0.8 is 12.8 / 16
    assert (g.nodes["u"].threshold, g.nodes["u"].initial_state) == (1.0, -0.25)
    assert {array.dtype for node in g.nodes.values() for array in node.arrays().values()} == {np.dtype(np.float64)}
    assert sb.Graph(g.nodes, g.edges, numbers=numbers) == g


def test_ranges_of_inputs_are_not_rounded():
    g = graph(nodes={"in": sb.Input((2,), -0.3, 0.7, 3)})
    assert (g.nodes["in"].low, g.nodes["in"].high) == (-0.3, 0.7)


def test_a_fixed_point_graph_copies_pickles_and_compares():
    numbers = sb.FixedPoint({"u": np.int64(4), "w": 5}, 12, 6, "zero")
    g = graph(numbers)
    assert pickle.loads(pickle.dumps(g)) == g == copy.deepcopy(g)
    assert pickle.loads(pickle.dumps(numbers)) == numbers
    assert hash(numbers) == hash(sb.FixedPoint({"w": 5, "u": 4}, 12, 6, "zero"))
    others = [sb.FixedPoint({"w": 5, "u": 4}, *s) for s in ((13, 6, "zero"), (12, 7, "zero"), (12, 6, "floor"))]
    assert len({g.digest, *(graph(other).digest for other in others)}) == 4
    with pytest.raises(TypeError):
        numbers.fraction_bits["u"] = 3


@pytest.mark.parametrize("bits", [5, {"w": 5, "u": 3}])
def test_a_file_holds_it_to_the_bit_in_format_2(tmp_path, bits):
    g = graph(sb.FixedPoint(bits, 12, 6, "zero"), g=sb.LeakyReLU(-2))
    sb.save(g, tmp_path / "g.safetensors")
    assert sb.load(tmp_path / "g.safetensors") == g
    with safe_open(tmp_path / "g.safetensors", "numpy") as stored:
        document = json.loads(stored.metadata()["snubridge"])
    assert document["format"] == 2
    assert document["numbers"] == {
        "kind": "fixed_point",
        "fraction_bits": bits,
        "state_bits": 12,
        "decay_bits": 6,
        "rounding": "zero",
    }
    sb.save(sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0.5, 1.0)}, [E("in", "u")]), tmp_path / "f.safetensors")
    with safe_open(tmp_path / "f.safetensors", "numpy") as stored:
        assert json.loads(stored.metadata()["snubridge"])["format"] == 1


TAMPERED = {
    "format": (lambda d: d.update(format=1), "numbers fixed_point in format version 1"),
    "floats in format 2": (lambda d: d.update(numbers="float64"), "numbers float64 in format version 2"),
    "kind": (lambda d: d["numbers"].update(kind="posit"), "unknown numbers 'posit'"),
    "spare": (lambda d: d["numbers"].update(overflow="wrap"), "numbers has unknown keys: overflow"),
    "missing": (lambda d: d["numbers"].pop("state_bits"), "numbers lacks state_bits"),
    "rounding": (lambda d: d["numbers"].update(rounding="nearest"), "'floor' or 'zero'"),
    "rounding type": (lambda d: d["numbers"].update(rounding=["floor"]), "'floor' or 'zero'"),
    "bits": (lambda d: d["numbers"].update(fraction_bits="4"), "an integer from 0 to 52"),
    "bits of nobody": (lambda d: d["numbers"].update(fraction_bits={"w": 4, "u": 4, "x": 1}), "of x: found no Linear"),
    "no bits": (lambda d: d["numbers"].update(fraction_bits=None), "let sb.quantize"),
    "bool": (lambda d: d["numbers"].update(state_bits=True), "an integer from 2 to 53"),
    "huge": (lambda d: d["numbers"].update(decay_bits=10**30), "an integer from 0 to 52"),
    "list": (lambda d: d.update(numbers=[1]), "unknown numbers"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_reading_checks_everything(tmp_path, case):
    change, message = TAMPERED[case]
    sb.save(graph(), tmp_path / "g.safetensors")
    with safe_open(tmp_path / "g.safetensors", "numpy") as stored:
        document = json.loads(stored.metadata()["snubridge"])
    change(document)
    arrays = load_file(tmp_path / "g.safetensors")
    save_file(arrays, tmp_path / "bad.safetensors", {"snubridge": json.dumps(document)})
    with pytest.raises(sb.BadFile, match=message):
        sb.load(tmp_path / "bad.safetensors")


REFUSED = {
    "soft": (lambda: graph(h=sb.Sigmoid()), "node u, h: found Sigmoid"),
    "tanh": (lambda: graph(h=sb.Tanh()), "node u, h: found Tanh"),
    "slope": (lambda: graph(g=sb.LeakyReLU(0.5)), "slope 0.5; needed: an integer"),
    "window": (
        lambda: graph(
            nodes={"in": sb.Input((1, 3, 3), 0, 1, 0), "p": sb.AvgPool2d(3), "w": sb.Linear([[1.0]])},
            edges=[E("in", "p"), E("p", "out")],
        ),
        "node p, kernel_size: found a mean over (3, 3); needed: a power of two",
    ),
    "range": (lambda: graph(nodes={"in": sb.Input((2,), fraction_bits=3)}), "node in: found no low, high"),
    "grid": (lambda: graph(nodes={"in": sb.Input((2,), 0, 1)}), "node in: found no fraction_bits"),
    "none": (lambda: graph(sb.FixedPoint(None)), "let sb.quantize"),
    "none of one": (lambda: graph(sb.FixedPoint({"w": 3, "u": None})), "fraction_bits of u: found None"),
    "lacking": (lambda: graph(sb.FixedPoint({"w": 3})), "fraction_bits of u: found None"),
    "negative": (lambda: graph(sb.FixedPoint(-1)), "an integer from 0 to 52"),
    "state bits": (lambda: graph(sb.FixedPoint(3, 1)), "numbers, state_bits: found 1"),
    "decay bits": (lambda: graph(sb.FixedPoint(3, 16, 53)), "numbers, decay_bits: found 53"),
    "initial state": (lambda: graph(sb.FixedPoint(3, 4, 2), initial_state=2.0), "beyond the range of a state"),
    "growing grid": (
        lambda: graph(nodes={"h": sb.Linear([[0.5]])}, edges=[E("w", "h"), E("h", "h", 1), E("h", "out")]),
        "node h on the cycle through h: found a grid finer by 4 bits",
    ),
    "growing bound": (
        lambda: graph(
            sb.FixedPoint({"w": 4, "u": 4, "h": 0}),
            {"h": sb.Linear([[1]])},
            [E("w", "h"), E("h", "h", 1), E("h", "out")],
        ),
        "cycle through h: found a bound that grows",
    ),
    "doubling bound": (
        lambda: graph(
            sb.FixedPoint({"w": 4, "u": 4, "h": 0}),
            {"h": sb.Linear([[2]])},
            [E("w", "h"), E("h", "h", 1), E("h", "out")],
        ),
        "cycle through h: found a bound that grows",
    ),
    "growing grid through an integrator": (
        lambda: graph(
            nodes={"h": sb.Linear([[0.5]])}, edges=[E("u", "h", 1), E("h", "u")], h=sb.Identity(), reset=sb.Reset.NONE
        ),
        "node h on the cycle through",
    ),
    "budget of a sum": (
        lambda: graph(sb.FixedPoint({"w": 50, "u": 4}, 16)),
        "node w: found its sums reach 9,",
    ),
    "budget of a carried state": (
        lambda: graph(sb.FixedPoint(4, 40, 20)),
        "node u: found its carried state before rounding reaches 576,460,752,303,423,488 steps",
    ),
    "huge weight on silence": (
        lambda: graph(nodes={"in": sb.Input((2,), 0, 0, 0), "w": sb.Linear([[1e20, 0]])}),
        "node w: found its largest weight or slope is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_grid_or_exceeds_the_budget_is_refused(case):
    build, message = REFUSED[case]
    assert message in breaches(build())


def test_derived_grids_and_needs_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    image = sb.Conv2d(rng.integers(-8, 9, (4, 1, 2, 2)) / 4, rng.integers(-8, 9, 4) / 4, groups=2)
    nodes = {
        "in": sb.Input((2, 5, 5), -1.5, 1.0, 3),
        "conv": image,
        "avg": sb.AvgPool2d((2, 4), 1),
        "sum": sb.SumPool2d((2, 1)),
        "flat": sb.Flatten(),
        "w": sb.Linear(rng.integers(-16, 17, (3, 4)) / 16),
        "u": sb.Unit(0.5, [1.0, -2.5, 0.5], reset=sb.Reset.SUBTRACT),
        "i": sb.Unit(1.0, 0.25, h=sb.Identity(), reset=sb.Reset.NONE),
        "v": sb.Linear(rng.integers(-4, 5, (2, 3)) / 2, [0.5, 1]),
        "k": sb.Unit(0.25, 1.0),
        "out": sb.Output(),
    }
    chain = ["in", "conv", "avg", "sum", "flat", "w"]
    edges = [E(a, b) for a, b in itertools.pairwise(chain)]
    edges += [E("w", "u"), E("w", "i", 2), E("u", "v"), E("i", "v"), E("v", "k"), E("k", "out"), E("v", "out", 1)]
    numbers = sb.FixedPoint({"conv": 2, "w": 4, "u": 14, "i": 3, "v": 1, "k": 0}, state_bits=18, decay_bits=3)
    g = sb.Graph(nodes, edges, numbers=numbers)
    sb.validate(g)
    found = budget(g)
    assert found.grids == {
        **{"in": 3, "conv": 5, "avg": 8, "sum": 8, "flat": 8, "w": 12, "u": 0, "i": 12, "v": 13, "k": 0, "out": 13}
    }
    assert {name: grid.fraction_bits for name, grid in found.states.items()} == {"u": 14, "i": 12, "k": 13}
    assert (found.states["i"].low, found.states["i"].high) == (-(2**17) / 2**12, (2**17 - 1) / 2**12)
    channel = np.abs(image.weight).sum(axis=(1, 2, 3)) * 1.5 + np.abs(image.bias)  # each sees one channel
    flat = 2 * channel.max()
    w = np.abs(nodes["w"].weight).sum(axis=1) * flat
    assert found.needs["conv"].steps == channel.max() * 2**5
    assert found.needs["avg"].steps == channel.max() * 2**8
    assert found.needs["sum"].steps == flat * 2**8
    assert found.needs["w"].steps == w.max() * 2**12
    carried = (2**17 + 2.5 * 2**14) * 2**3
    assert found.needs["u"].steps == max((w * 2**14 + np.array([1, 2.5, 0.5]) * 2**14).max() + 2**17, carried)
    assert found.needs["i"].steps == max(w.max() * 2**12 + 2**17 + 0.25 * 2**12, 2**20)
    received = 1 + (2**17 / 2**12 + 0.25)
    v = (np.abs(nodes["v"].weight).sum(axis=1) * received + np.array([0.5, 1])).max()
    assert found.needs["v"].steps == v * 2**13
    assert found.needs["k"].steps == max(v * 2**13 + 2**17, 2**20)
    assert found.needs["out"].steps == (v + 1) * 2**13


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (1, False)])
def test_the_budget_ends_exactly_where_it_says(spare, fits):
    weight = [2.0**52 - 2**40, 2.0**52 - 2**40 + spare]  # their sum rounds to even where it is odd
    nodes = {"in": sb.Input((2,), 0, 1, 0), "w": sb.Linear([weight], [2.0**41]), "out": sb.Output()}
    g = sb.Graph(nodes, [E("in", "w"), E("w", "out")], numbers=sb.FixedPoint(0))
    if fits:
        sb.validate(g)
        assert budget(g).needs["w"].steps == 2**53
    else:
        assert f"reach {2**53 + 1:,} steps" in breaches(g)


@pytest.mark.parametrize(("high", "precision"), [(1.0, "float32"), (1.0 + 1 / 8, "float64")])
def test_float32_is_taken_where_the_budget_allows_it(high, precision):
    nodes = {"in": sb.Input((1,), 0, high, 3), "w": sb.Linear([[2.0**17]]), "out": sb.Output()}
    g = sb.Graph(nodes, [E("in", "w"), E("w", "out")], numbers=sb.FixedPoint(4))  # 2^17 * 2^(3 + 4) steps
    sb.validate(g)
    assert wide_enough("engine", g, None) == precision
    assert wide_enough("engine", g, "float64") == "float64"
    if precision == "float64":
        with pytest.raises(
            sb.Unsupported, match=r"node w: its sums reach 18,874,368 steps .* above the 16,777,216"
        ) as no:
            wide_enough("engine", g, "float32")
        assert "1 fraction bit fewer (3 for w" in no.value.reasons[0]


def test_a_file_off_its_own_grid_is_refused(tmp_path):
    sb.save(graph(), tmp_path / "g.safetensors")
    with safe_open(tmp_path / "g.safetensors", "numpy") as stored:
        metadata = stored.metadata()
    for key, value in (("w/weight", 0.3), ("u/decay", 0.8), ("w/bias", -0.0)):
        arrays = load_file(tmp_path / "g.safetensors")
        arrays[key] = np.full_like(arrays[key], value)
        save_file(arrays, tmp_path / "bad.safetensors", metadata)
        with pytest.raises(sb.BadFile, match=f"array {key} holds values that fixed_point would round"):
            sb.load(tmp_path / "bad.safetensors")


def test_a_long_cycle_that_only_passes_on_is_looked_at_quickly():
    many = {f"o{i}": sb.Flatten() for i in range(3000)}
    names = list(many)
    chain = [E(b, a) for a, b in itertools.pairwise(names)]  # against the order of the nodes
    nodes = {"in": sb.Input((1,), 0, 1, 0), **many, "out": sb.Output()}
    edges = [E("in", names[-1]), *chain, E(names[0], "out")]
    sb.validate(sb.Graph(nodes, edges, numbers=sb.FixedPoint(0)))
    assert "a bound that grows" in breaches(
        sb.Graph(nodes, [*edges, E(names[0], names[-1], 1)], numbers=sb.FixedPoint(0))
    )


def test_an_integrator_on_a_cycle_that_needs_too_much_is_over_budget_not_growing():
    nodes = {"in": sb.Input((1,), -1, 1, 5), "u": sb.Unit(0.5, 0.0, h=sb.Identity(), reset=sb.Reset.NONE)}
    nodes |= {"h": sb.Linear([[2.0**50]])}
    numbers = sb.FixedPoint({"u": 2, "h": 0}, state_bits=8, decay_bits=2)
    message = breaches(sb.Graph(nodes, [E("in", "u"), E("u", "h", 1), E("h", "u")], numbers=numbers))
    assert message.startswith("node h: found its sums reach"), message


def test_a_line_of_integers_that_dies_out_is_a_cycle_that_does_not_grow():
    shift = sb.Linear([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    nodes = {"in": sb.Input((3,), -1, 1, 2), "shift": shift, "out": sb.Output()}
    edges = [E("in", "shift"), E("shift", "shift", 1), E("shift", "out")]
    g = sb.Graph(nodes, edges, numbers=sb.FixedPoint(0))
    sb.validate(g)
    assert budget(g).grids["shift"] == 2
    assert budget(g).needs["shift"].steps == 2 * 4 + 4  # what the last but one received, and its own input


def test_integer_weights_keep_an_integrator_on_its_grid():
    nodes = {"in": sb.Input((1,), -1, 1, 5), "u": sb.Unit(0.5, 0.0, h=sb.Identity(), reset=sb.Reset.NONE)}
    nodes |= {"h": sb.Linear([[-3]])}
    numbers = sb.FixedPoint({"u": 2, "h": 0}, state_bits=8, decay_bits=2)
    g = sb.Graph(nodes, [E("in", "u"), E("u", "h", 1), E("h", "u")], numbers=numbers)
    sb.validate(g)
    assert budget(g).states["u"].fraction_bits == 5


def test_inputs_off_the_grid_or_out_of_range_are_bad():
    g = graph()
    sb.simulate(g, np.full((1, 1, 2), 0.125))
    for value, message in ((0.1, "no multiple of 2\\^-3"), (1.125, "outside of"), (np.nan, "not finite")):
        with pytest.raises(sb.BadInput, match=message):
            sb.simulate(g, np.full((1, 1, 2), value))
    wide = sb.Graph(
        {"in": sb.Input((1,), 0, 2.0**53, 0), "out": sb.Output()}, [E("in", "out")], numbers=sb.FixedPoint(0)
    )
    with pytest.raises(sb.BadInput, match="does not fit float64"):
        sb.simulate(wide, np.full((1, 1, 1), 2**53 - 1 + 2, np.int64))


def test_an_adapter_that_does_not_name_it_refuses_it():
    support = sb.Support.of_tables(
        [sb.Input, sb.Linear, sb.Unit, sb.Output], resets=sb.Reset, g=[sb.Identity], h=[sb.Step]
    )
    assert support.reasons(graph()) == ("numbers FixedPoint are not supported; supported here: Float32, Float64",)

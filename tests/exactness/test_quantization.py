"""``quantize``: bits and scales from weights and calibration inputs, and what they change."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import random_graph
from snubridge.ir.budget import beyond, budget

E = sb.Edge


def music(seed=0, **unit):
    """88-150-88, recurrent, ReLU, as large as what is trained on chorales; and spikes for it."""
    rng = np.random.default_rng(seed)
    nodes = {
        "in": sb.Input((88,)),
        "w": sb.Linear(rng.normal(0, 0.35, (150, 88)), rng.normal(0, 0.1, 150)),
        "u": sb.Unit(0.8, rng.uniform(0.6, 1.4, 150), g=sb.ReLU(), **unit),
        "h": sb.Linear(rng.normal(0, 0.12, (150, 150))),
        "r": sb.Linear(rng.normal(0, 0.2, (88, 150)), rng.normal(0, 0.5, 88)),
        "out": sb.Output(),
    }
    edges = [E("in", "w"), E("w", "u"), E("u", "h", 1), E("h", "u"), E("u", "r"), E("r", "out")]
    return sb.Graph(nodes, edges), (rng.random((40, 4, 88)) < 0.06).astype(np.float32)


ENGINES = {
    "brian2": ("brian2", {}),
    "nengo": ("nengo", {}),
    "pcm": ("pcm", {}),
    "onnx": ("onnx", {}),
    "onnx in float64": ("onnx", {"precision": "float64"}),
    "torch": ("torch", {}),
    "torch in float64": ("torch", {"precision": "float64"}),
}


@pytest.mark.parametrize("rounding", ["floor", "zero"])
def test_a_recurrent_network_with_16_bit_states_is_exact_on_every_engine(rounding):
    graph, inputs = music()
    quantized = sb.quantize(graph, sb.FixedPoint(None, rounding=rounding), inputs)
    report = sb.verify(quantized, inputs, ENGINES)
    assert report.equal, report.to_text()
    assert {row.rung for row in report.rows} == {"exact"}, report.to_text()
    precisions = {row.backend: row.precision for row in report.rows}
    assert (precisions["onnx"], precisions["torch"]) == ("float32", "float32")
    assert {row.spikes for row in report.rows if row.unit == "u"} == {
        int(sb.simulate(quantized, inputs).spikes["u"].sum())
    }
    for label, (name, options) in ENGINES.items():
        actual = sb.export(quantized, name, **options).run(inputs, record=("spikes", "states"))
        expected = sb.simulate(quantized, inputs, record=("spikes", "states"))
        for group in ("spikes", "states", "outputs"):
            for key, values in getattr(expected, group).items():
                np.testing.assert_array_equal(getattr(actual, group)[key], values, err_msg=f"{label} {group} {key}")


def test_the_largest_state_fits_and_takes_the_finest_grid():
    graph, inputs = music()
    quantized = sb.quantize(graph, sb.FixedPoint(None), inputs)
    largest = np.abs(sb.simulate(graph, inputs, record=("states",)).states["u"]).max()
    grid = budget(quantized).states["u"]
    assert grid.high / 2 < largest <= grid.high
    assert not beyond(quantized, "float32")
    assert quantized.numbers.fraction_bits.keys() == {"w", "h", "r", "u"}
    assert (quantized.nodes["in"].low, quantized.nodes["in"].high, quantized.nodes["in"].fraction_bits) == (0, 1, 0)


def test_the_report_counts_the_spikes_that_changed():
    graph, inputs = music()
    quantized = sb.quantize(graph, sb.FixedPoint(None), inputs)
    before, after = sb.simulate(graph, inputs), sb.simulate(quantized, inputs)
    counts = quantized.metadata["quantized"]
    assert counts["spikes"] == {
        "u": {"changed": int((before.spikes["u"] != after.spikes["u"]).sum()), "total": before.spikes["u"].size}
    }
    assert counts["outputs"]["out"] == np.abs(before.outputs["out"] - after.outputs["out"]).max()
    assert counts["from"] == graph.digest


def padded(inputs, lengths, value):
    """The inputs with a value after each sample's end."""
    alive = np.arange(len(inputs))[:, None, None] < np.asarray(lengths)[:, None]
    return np.where(alive, inputs, value).astype(np.float32)


def test_padding_neither_calibrates_nor_counts():
    graph, inputs = music()
    lengths = [40, 9, 1, 23]
    numbers = sb.FixedPoint(None, state_bits=10)
    expected = sb.quantize(graph, numbers, padded(inputs, lengths, 0), lengths=lengths)
    (node,) = expected.of_kind(sb.Input).values()
    assert (node.low, node.high, node.fraction_bits) == (0, 1, 0)
    for value in (1, -300, 0.1):  # larger states, a wider range, no grid
        found = sb.quantize(graph, numbers, padded(inputs, lengths, value), lengths=lengths)
        assert (found, found.metadata) == (expected, expected.metadata)
    loose = sb.quantize(graph, numbers, padded(inputs, lengths, -300))
    assert loose.nodes["in"].low == -300
    alive = np.arange(40)[:, None] < lengths
    before, after = sb.simulate(graph, inputs), sb.simulate(expected, inputs)
    changed = (before.spikes["u"] != after.spikes["u"])[alive]
    counts = expected.metadata["quantized"]
    assert counts["spikes"]["u"] == {"changed": int(changed.sum()), "total": sum(lengths) * 150}
    assert counts["spikes"]["u"]["changed"] > 0
    assert counts["outputs"]["out"] == np.abs(before.outputs["out"] - after.outputs["out"])[alive].max()


def test_lengths_as_long_as_the_inputs_change_nothing():
    graph, inputs = music()
    one, other = (sb.quantize(graph, sb.FixedPoint(None), inputs, lengths=lengths) for lengths in (None, [40] * 4))
    assert (one, one.metadata) == (other, other.metadata)


def test_lengths_that_do_not_fit_are_refused():
    graph, inputs = music()
    for lengths in ([40, 41, 1, 1], [0, 1, 1, 1], [1.5] * 4, [1]):
        with pytest.raises(sb.BadInput, match="lengths"):
            sb.quantize(graph, sb.FixedPoint(None), inputs, lengths=lengths)
    with pytest.raises(sb.BadInput, match="lengths: of no inputs"):
        sb.quantize(graph, sb.FixedPoint(None), lengths=[1])


def test_more_bits_change_fewer_spikes_and_enough_change_none():
    graph, inputs = music()
    changed = [
        sb.quantize(graph, sb.FixedPoint(None, bits, decay), inputs).metadata["quantized"]["spikes"]["u"]["changed"]
        for bits, decay in ((8, 8), (16, 8), (26, 24))
    ]
    assert changed[0] > changed[1] > changed[2] == 0, changed


def test_scaling_by_a_power_of_two_changes_no_spike_but_the_resolution():
    graph, inputs = music()
    scaled, plain = (sb.quantize(graph, sb.FixedPoint(6), inputs, scale=scale) for scale in ("max", None))
    factor = scaled.metadata["quantized"]["scales"]["u"]
    largest = np.abs(sb.simulate(graph, inputs, record=("states",)).states["u"]).max()
    high = budget(scaled).states["u"].high
    assert high / 2 < largest * factor <= high
    np.testing.assert_array_equal(scaled.nodes["u"].threshold, np.rint(graph.nodes["u"].threshold * factor * 64.0) / 64)
    np.testing.assert_array_equal(plain.nodes["u"].threshold, np.rint(graph.nodes["u"].threshold * 64.0) / 64)
    np.testing.assert_array_equal(scaled.nodes["r"].weight, plain.nodes["r"].weight)  # a read-out is left alone
    assert plain.metadata["quantized"]["scales"] == {"u": 1.0}
    spikes = [graph.metadata["quantized"]["spikes"]["u"]["changed"] for graph in (scaled, plain)]
    assert spikes[0] < spikes[1]


def chain(*, share=None, **nodes):
    """in -> a -> one, two -> b -> one with h = Identity and so on, as ``nodes`` say."""
    base = {
        "in": sb.Input((2,), -1, 1, 2),
        "a": sb.Linear([[0.5, 0.25], [0.25, -0.5]], [0.125, 0.0]),
        "one": sb.Unit(0.5, 0.5, initial_state=0.25),
        "b": sb.Linear([[8.0, 4.0]]),
        "two": sb.Unit(0.5, 0.5),
        "out": sb.Output(),
    }
    edges = [E("in", "a"), E("a", "one"), E("one", "b"), E("b", "two"), E("two", "out")]
    return sb.Graph({**base, **nodes}, [*edges, *(share or [])])


SCALES = {
    "each its own": (chain(), {"one": 2**11, "two": 2**8}),
    "a read-out hears the weights": (chain(share=[E("a", "out2")], out2=sb.Output()), {"one": 1, "two": 2**8}),
    "another Linear hears them": (
        chain(share=[E("a", "c"), E("c", "two")], c=sb.Linear([[1.0, 0.5]])),
        {"one": 1, "two": 2**8},
    ),
    "an input drives directly": (chain(share=[E("in", "one")]), {"one": 1, "two": 2**8}),
    "a continuous h": (
        chain(one=sb.Unit(0.5, 0.5, h=sb.Identity(), reset=sb.Reset.NONE)),
        {"one": 1, "two": 2**8},
    ),
    "two share a Linear": (
        chain(share=[E("a", "three", 1), E("three", "out3")], three=sb.Unit(0.0, 7.0), out3=sb.Output()),
        {"one": 2**9, "two": 2**8, "three": 2**9},
    ),
}


@pytest.mark.parametrize("case", SCALES)
def test_what_is_scaled_and_what_is_not(case):
    graph, expected = SCALES[case]
    inputs = np.ones((6, 1, 2))
    quantized = sb.quantize(graph, sb.FixedPoint(2, state_bits=14), inputs)
    scales = quantized.metadata["quantized"]["scales"]
    trace = sb.simulate(graph, inputs, record=("states",))
    fits = {}
    for name, unit in graph.of_kind(sb.Unit).items():
        largest = max(np.abs(trace.states[name]).max(), np.abs(unit.threshold).max(), np.abs(unit.initial_state).max())
        fits[name] = 2.0 ** np.floor(
            np.log2((2**13 - 1) * 2.0 ** -budget(quantized).states[name].fraction_bits / largest)
        )
    one = {name for name, factor in expected.items() if factor == 1}
    assert {name for name, factor in scales.items() if factor == 1} == one
    if case == "two share a Linear":
        fits["one"] = fits["three"] = min(fits["one"], fits["three"])
    assert {name: factor for name, factor in scales.items() if name not in one} == {
        name: factor for name, factor in fits.items() if name not in one
    }
    unscaled = sb.quantize(graph, sb.FixedPoint(8, state_bits=40), inputs, scale=None)
    np.testing.assert_array_equal(sb.simulate(unscaled, inputs).spikes["two"], sb.simulate(graph, inputs).spikes["two"])


def test_what_an_input_keeps_and_what_it_takes_from_the_inputs():
    graph = sb.Graph({"in": sb.Input((1,), high=3), "u": sb.Unit(0.5, 1)}, [E("in", "u")])
    inputs = np.array([0.25, -0.5, 1.125])[:, None, None]
    node = sb.quantize(graph, sb.FixedPoint(None), inputs).nodes["in"]
    assert (node.low, node.high, node.fraction_bits) == (-0.5, 3.0, 3)
    with pytest.raises(sb.InvalidGraph, match=r"node in: found no low, fraction_bits; needed: a range and a grid"):
        sb.quantize(graph, sb.FixedPoint(3))
    with pytest.raises(sb.InvalidGraph, match="inputs on no grid"):
        sb.quantize(graph, sb.FixedPoint(3), np.full((2, 1, 1), 1e-30))


def test_without_inputs_all_is_given_and_nothing_scaled():
    graph = chain()
    quantized = sb.quantize(graph, sb.FixedPoint(6))
    assert quantized == sb.Graph(graph.nodes, graph.edges, numbers=sb.FixedPoint(6))
    assert "spikes" not in quantized.metadata["quantized"]
    with pytest.raises(sb.BadInput, match="needed to choose fraction_bits of one, two"):
        sb.quantize(graph, sb.FixedPoint({"a": 3, "b": 2}))


def test_given_bits_stay_and_missing_ones_are_chosen():
    quantized = sb.quantize(chain(), sb.FixedPoint({"a": 3, "two": None}), np.ones((6, 1, 2)))
    bits = quantized.numbers.fraction_bits
    assert bits["a"] == 3
    assert bits.keys() == {"a", "b", "one", "two"}


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (sb.Unit(0.5, 1, h=sb.Sigmoid()), "node u, h"),
        (sb.Unit(0.5, 1, g=sb.LeakyReLU(0.1)), "node u, g: found slope 0.1"),
    ],
)
def test_what_no_bits_can_express_is_refused(unit, message):
    graph = sb.Graph({"in": sb.Input((1,)), "w": sb.Linear([[1.0]]), "u": unit}, [E("in", "w"), E("w", "u")])
    with pytest.raises(sb.InvalidGraph, match=message):
        sb.quantize(graph, sb.FixedPoint(None), np.ones((2, 1, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((sb.Float32(),), "pass sb.FixedPoint"), ((sb.FixedPoint(3), None, "min"), "'max' or None")],
)
def test_wrong_arguments_are_bad_input(arguments, message):
    numbers, *rest = arguments
    with pytest.raises(sb.BadInput, match=message):
        sb.quantize(chain(), numbers, *rest[:1], scale=rest[1] if rest else "max")


def test_whatever_can_be_quantized_is_valid_and_refusals_have_their_reason():
    """Over the whole space: a graph in fixed point that runs on its own calibration inputs, or a reason why not."""
    done, small, reasons = 0, 0, set()
    for seed in range(120):
        case = random_graph(seed)
        try:
            quantized = sb.quantize(case.graph, sb.FixedPoint(None), case.inputs)
        except sb.InvalidGraph as error:
            reasons |= {breach.needed.split(":")[0][:40] for breach in error.breaches}
            continue
        done += 1
        small += not beyond(quantized, "float32")
        sb.validate(quantized)
        counts = quantized.metadata["quantized"]["spikes"]
        assert counts.keys() == {name for name, unit in quantized.of_kind(sb.Unit).items() if unit.spiking}
    print(done, small, reasons)
    assert done >= 10

"""Bug or explained: differences made by hand, on either side of what the error model allows."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance import Case
from snubridge.ir.nodes import REDUCTIONS
from snubridge.verification.fuzz.judgment import judge, why_unclaimed


def changed(case: Case, group: str, name: str, *changes: tuple[tuple[int, ...], float]) -> sb.Trace:
    """The reference's trace with other values in some places."""
    trace = case.expected
    array = getattr(trace, group)[name].copy()
    for place, value in changes:
        array[place] = value
    array.setflags(write=False)
    groups = {key: dict(getattr(trace, key)) for key in ("spikes", "states", "outputs")}
    groups[group][name] = array
    frozen = {key: MappingProxyType(arrays) for key, arrays in groups.items()}
    return sb.Trace(**frozen, lengths=trace.lengths, reduced=trace.reduced)


def near_tie(numbers=sb.Float32()) -> Case:
    """Neuron 0 comes within one unit in the last place of its threshold at step 1; neuron 1 hears it one step later."""
    sums = sum(np.float64(np.float32(w)) for w in (0.1, 0.2, 0.3))
    nodes = {
        "in": sb.Input((3,)),
        "w": sb.Linear([[0.1, 0.2, 0.3], [0, 0, 0]]),
        "h": sb.Linear([[0, 0], [2, 0]]),
        "u": sb.Unit(0.5, [np.float32(sums), 1.0], reset=sb.Reset.NONE),
        "out": sb.Output(),
    }
    edges = [
        sb.Edge("in", "w"),
        sb.Edge("w", "u"),
        sb.Edge("u", "h", 1),
        sb.Edge("h", "u"),
        sb.Edge("u", "out"),
    ]
    inputs = np.zeros((4, 1, 3))
    inputs[1] = 1
    return Case("near tie", sb.Graph(nodes, edges, numbers=numbers), inputs)


FIRST = (1, 0, 0)
"""The decision that is near its threshold, and the one that depends on it."""
NEXT = (2, 0, 1)


def flip(case: Case, *places: tuple[int, ...]) -> sb.Trace:
    spikes = case.expected.spikes["u"]
    return changed(case, "spikes", "u", *((place, 1 - spikes[place]) for place in places))


def test_equal():
    case = near_tie()
    assert judge(case, sb.ErrorModel("float32"), case.expected).kind == "equal"


def test_an_open_root_explains_and_its_consequences_do_not_count():
    case = near_tie()
    for places in ([FIRST], [FIRST, NEXT]):
        found = judge(case, sb.ErrorModel("float32"), flip(case, *places))
        assert (found.kind, found.roots, found.place) == ("explained", 1, (1, 0, "u", 0))
        assert abs(found.margin) <= found.bound < 1e-6
        assert found.differing >= len(places)


def test_the_same_root_is_a_bug_where_the_model_does_not_leave_it_open():
    case = near_tie(sb.Float64())
    found = judge(case, sb.ErrorModel("float64"), flip(case, FIRST))
    assert (found.kind, found.place) == ("bug", (1, 0, "u", 0))
    assert abs(found.margin) > found.bound


def test_a_root_beside_an_open_one_is_a_bug():
    case = near_tie()
    found = judge(case, sb.ErrorModel("float32"), flip(case, FIRST, (1, 0, 1)))
    assert (found.kind, found.roots, found.place) == ("bug", 2, (1, 0, "u", 1))
    found = judge(case, sb.ErrorModel("float32"), flip(case, NEXT))  # without what it would depend on
    assert (found.kind, found.roots, found.place) == ("bug", 1, (2, 0, "u", 1))


def test_steps_beyond_the_lengths_do_not_count():
    case = near_tie()
    shorter = Case("shorter", case.graph, case.inputs, lengths=(2,))
    assert judge(shorter, sb.ErrorModel("float32"), flip(shorter, NEXT)).kind == "equal"


def cancelling(how: str | None, lengths: tuple[int, ...] | None = None) -> Case:
    """An output of about 1 that is the difference of numbers of 1e7, where float32 knows whole numbers only."""
    nodes = {"in": sb.Input((3,)), "w": sb.Linear([[1e7, -1e7, 1.0]]), "out": sb.Output(how)}
    inputs = np.broadcast_to([1.1, 1.1, 1.0], (4, 2, 3))
    return Case("cancelling", sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "out")]), inputs, lengths)


@pytest.mark.parametrize("lengths", [None, (3, 4)])
@pytest.mark.parametrize("how", [None, *REDUCTIONS])
def test_values_are_held_to_their_bounds(how, lengths):
    case = cancelling(how, lengths)
    model = sb.ErrorModel("float32")
    value = case.expected.outputs["out"]
    place = (0, 0) if how else (1, 1, 0)
    for off, kind in ((1e-7, "equal"), (1.0, "explained"), (1e3, "values")):
        found = judge(case, model, changed(case, "outputs", "out", (place, value[place] + off)))
        assert found.kind == kind, (off, found)
        assert found.failing == (kind == "values")
    assert found.place.unit == "out"
    if how is None and lengths:
        beyond = changed(case, "outputs", "out", ((3, 0, 0), 1e9))  # after the sample's end
        assert judge(case, model, beyond).kind == "equal"


def test_soft_outputs_of_units_are_held_to_theirs():
    nodes = {"in": sb.Input((1,)), "u": sb.Unit(0.5, 0.3, h=sb.Sigmoid())}
    case = Case("soft", sb.Graph(nodes, [sb.Edge("in", "u")]), np.full((5, 1, 1), 0.7))
    y = case.expected.spikes["u"]
    for off, kind in ((1e-9, "equal"), (2e-5, "values")):
        trace = changed(case, "spikes", "u", ((2, 0, 0), y[2, 0, 0] + off))
        assert judge(case, sb.ErrorModel("float32"), trace).kind == kind


def fixed(state_bits: int = 12) -> Case:
    """A spiking unit and an output in fixed point."""
    nodes = {"in": sb.Input((2,), 0, 1, 0), "w": sb.Linear([[0.5, 0.25]]), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("w", "out")]
    graph = sb.Graph(nodes, edges, numbers=sb.FixedPoint(4, state_bits=state_bits))
    return Case("fixed", graph, np.ones((3, 1, 2)))


CLAIMLESS = {
    "tf32": (fixed(), sb.ErrorModel("tf32"), "the budget of FixedPoint is known for"),
    "bf16": (fixed(), sb.ErrorModel("bf16"), "the budget of FixedPoint is known for"),
    "beyond the budget": (fixed(30), sb.ErrorModel("float32"), "node u: its carried state"),
    "other weights": (fixed(), sb.ErrorModel("float32", weight_error=0.1), "changes parameters"),
}


@pytest.mark.parametrize("named", CLAIMLESS)
def test_in_fixed_point_a_model_that_does_not_hold_it_claims_nothing(named):
    case, model, reason = CLAIMLESS[named]
    assert judge(case, model, case.expected).kind == "equal"
    for wrong in (flip(case, (1, 0, 0)), changed(case, "outputs", "out", ((1, 0, 0), 9.0))):
        found = judge(case, model, wrong)
        assert found.kind == "explained"
        assert reason in found.reason
        assert found.precision == model.precision
    assert reason in why_unclaimed(case, model)
    for precision in ("float32", "float64"):
        assert judge(fixed(), sb.ErrorModel(precision), flip(fixed(), (1, 0, 0))).kind == "bug"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_narrow_formats_are_judged(precision):
    case = near_tie()
    model = sb.ErrorModel(precision)
    assert judge(case, model, case.expected).kind == "equal"
    assert judge(case, model, flip(case, FIRST)).kind == "explained"
    assert judge(case, model, flip(case, (0, 0, 0))).kind == "bug"


def test_overflow_is_excluded_or_not():
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[1e30]]), "u": sb.Unit(0, 1)}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")])
    for value, precision, excluded in ((1e30, "float32", False), (1e30, "float64", True), (1.0, "float32", True)):
        case = Case("large", graph, np.full((1, 1, 1), value))
        assert (why_unclaimed(case, sb.ErrorModel(precision)) is None) == excluded

"""Comparisons count every bin within the lengths, and name the first that differs."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case


def trace_of(seed=4, lengths=None):
    case = random_case(seed, "dyadic")
    return sb.simulate(case.graph, case.inputs, lengths=lengths)


def changed(trace, group, name, place, value):
    """The trace with one value replaced."""
    arrays = dict(getattr(trace, group))
    array = arrays[name].copy()
    array[place] = value
    return dataclasses.replace(trace, **{group: MappingProxyType({**arrays, name: array})})


def test_a_trace_equals_itself():
    comparison = sb.compare(trace_of(), trace_of())
    assert comparison.equal
    assert comparison.first is None
    assert comparison.differing == 0
    assert sum(part.compared for part in comparison.units.values()) > 100


def test_one_flipped_bin_is_found():
    trace = trace_of()
    name = next(iter(trace.spikes))
    flipped = changed(trace, "spikes", name, (7, 1, 0), 1 - trace.spikes[name][7, 1, 0])
    comparison = sb.compare(trace, flipped)
    assert not comparison.equal
    assert comparison.differing == 1
    assert comparison.first == (7, 1, name, 0)
    assert comparison.units[name].spikes == int(trace.spikes[name].sum())


def test_what_lies_beyond_the_lengths_is_not_compared():
    trace = trace_of(lengths=[50, 5])
    name = next(iter(trace.spikes))
    flipped = changed(trace, "spikes", name, (7, 1, 0), 1 - trace.spikes[name][7, 1, 0])
    comparison = sb.compare(trace, flipped)
    assert comparison.equal
    assert comparison.units[name].compared == 55 * trace.spikes[name].shape[2]


def test_values_are_compared_within_the_precision():
    trace = next(t for t in map(trace_of, range(20)) if "out" in t.outputs)
    scale = np.abs(trace.outputs["out"]).max()
    place = (3, 0, 1)
    for rtol, precision in ((1e-9, "float64"), (1e-5, "float32")):
        inside = changed(trace, "outputs", "out", place, trace.outputs["out"][place] + 0.9 * rtol * scale)
        outside = changed(trace, "outputs", "out", place, trace.outputs["out"][place] + 1.1 * rtol * scale)
        assert sb.compare(trace, inside, precision=precision).equal
        assert sb.compare(trace, outside, precision=precision).first == (3, 0, "out", 1)
    assert not sb.compare(trace, changed(trace, "outputs", "out", place, np.nan)).equal


def test_traces_that_do_not_belong_together_are_refused():
    trace = trace_of()
    with pytest.raises(sb.BadInput, match="different networks"):
        sb.compare(trace, dataclasses.replace(trace, spikes=MappingProxyType({"x": np.zeros((1, 1, 1), np.uint8)})))
    with pytest.raises(sb.BadInput, match="different lengths"):
        sb.compare(trace, trace_of(lengths=[3, 3]))
    with pytest.raises(sb.BadInput, match="precision"):
        sb.compare(trace, trace, precision="float16")


def test_reduced_outputs_are_compared_whole():
    """(B, n) with B = n = T looks like (T, B): the trace knows which it is."""
    graph = sb.Graph(
        {"in": sb.Input((3,)), "u": sb.Unit(0, 9), "out": sb.Output("sum")}, [sb.Edge("in", "u"), sb.Edge("in", "out")]
    )
    trace = sb.simulate(graph, np.ones((3, 3, 3)), lengths=[1, 1, 1])
    assert trace.reduced == ("out",)
    other = changed(trace, "outputs", "out", (2, 1), 100.0)
    comparison = sb.compare(trace, other)
    assert not comparison.equal
    assert comparison.outputs["out"].compared == 9
    assert comparison.first == (0, 2, "out", 1)


def test_a_step_units_spikes_are_never_compared_within_a_tolerance():
    trace = trace_of()
    name = next(iter(trace.spikes))
    nearly = trace.spikes[name].astype(np.float64) * (1 + 1e-12)
    assert not sb.compare(trace, dataclasses.replace(trace, spikes={**trace.spikes, name: nearly})).equal


def test_nothing_to_compare_is_not_equal():
    empty = sb.Trace({}, {}, {}, np.array([1]))
    with pytest.raises(sb.BadInput, match="nothing to compare"):
        sb.compare(empty, empty)
    with pytest.raises(sb.BadInput, match="two traces"):
        sb.compare(None, empty)


def test_a_value_that_is_not_finite_is_never_equal():
    trace = next(t for t in map(trace_of, range(20)) if "out" in t.outputs)
    infinite = changed(trace, "outputs", "out", (3, 0, 1), np.inf)
    assert not sb.compare(infinite, trace).equal
    assert not sb.compare(trace, infinite).equal
    assert sb.compare(infinite, trace).differing == 1


def test_the_first_of_reduced_differences_is_that_of_the_sample_that_ends_first():
    graph = sb.Graph({"in": sb.Input((1,)), "out": sb.Output("sum")}, [sb.Edge("in", "out")])
    trace = sb.simulate(graph, np.ones((10, 2, 1)), lengths=[10, 4])
    other = dataclasses.replace(trace, outputs={"out": trace.outputs["out"] + 1})
    assert sb.compare(trace, other).first == (3, 1, "out", 0)

"""The suite itself: what an adapter may not do, done on purpose, fails the test that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from snubridge_torch import TorchAdapter

import snubridge as sb
from snubridge.bridge import ErrorModel, Support
from snubridge.bridge.conformance import ZOO, AdapterConformance, Case, holding, random_case
from snubridge.bridge.conformance.seal import reference_sealed
from snubridge.bridge.conformance.suite import SEEDS_WHOLE
from snubridge.reference.interpreter import CARRIED, simulate, step_unit
from snubridge.reference.interpreter import G as G_OF_THE_REFERENCE
from snubridge.reference.interpreter import H as H_OF_THE_REFERENCE
from snubridge.reference.operators import OPERATORS, conv2d
from snubridge.reference.trace import State

CASES = {case.name: case for case in ZOO}
TIE, CONV = CASES["tie"], CASES["conv_padding"]
SOUND = TorchAdapter()


def nothing(*_: object) -> None:
    """Where an adapter does no wrong."""


@dataclass(frozen=True)
class Program:
    """A sound program, but for what happens on the way."""

    inner: sb.Program
    on_run: Callable[..., Any] = nothing
    on_save: Callable[..., Any] = nothing
    changed: Callable[[sb.Trace], sb.Trace] = lambda trace: trace

    @property
    def native(self) -> object:
        return self.inner.native

    @property
    def rounding(self) -> ErrorModel:
        return self.inner.rounding

    def run(self, inputs: Any, record: Any = ("spikes",), lengths: Any = None) -> sb.Trace:
        self.on_run(inputs)
        return self.changed(self.inner.run(inputs, record, lengths))

    def save(self, path: Any) -> None:
        self.on_save(path)
        self.inner.save(path)


@dataclass(frozen=True)
class Adapter:
    """A sound adapter, but for what happens on the way."""

    on_lower: Callable[..., Any] = nothing
    on_run: Callable[..., Any] = nothing
    on_save: Callable[..., Any] = nothing
    changed: Callable[[sb.Trace], sb.Trace] = lambda trace: trace
    support: Support = SOUND.support
    name = "bent"
    engine = "own"

    def lower(self, graph: sb.Graph) -> Program:
        self.on_lower(graph)
        return Program(SOUND.lower(graph), self.on_run, self.on_save, self.changed)


@dataclass(frozen=True)
class Reader(Adapter):
    """One that reads, too."""

    on_read: Callable[[sb.Graph], sb.Graph] = lambda graph: graph

    def read(self, source: Any) -> sb.Graph:
        return self.on_read(sb.load(source))


def suite(adapter: Any, **declared: Any) -> AdapterConformance:
    made = AdapterConformance()
    made.adapter, made.suffix = adapter, ".safetensors"
    for key, value in declared.items():
        setattr(made, key, value)
    return made


def unrecorded(name: str, value: object) -> None:
    """In place of ``record_property``."""


X = np.ones((1, 1))
WAYS: dict[str, Callable[..., Any]] = {
    "simulate": lambda *_: simulate(TIE.graph, TIE.inputs),
    "sb.simulate": lambda *_: sb.simulate(TIE.graph, TIE.inputs),
    "step_unit": lambda *_: step_unit(sb.Unit(0.5, 1.0), X, X, X),
    "the resets": lambda *_: CARRIED[sb.Reset.TO_ZERO](X, X, X, X),
    "g": lambda *_: G_OF_THE_REFERENCE[sb.ReLU](sb.ReLU(), X),
    "h": lambda *_: H_OF_THE_REFERENCE[sb.Step](sb.Step(), X, X),
    "operators": lambda *_: OPERATORS[sb.Linear](sb.Linear(X), X),
    "its reductions": lambda *_: State("", {}, {}, {}).reduce("out", "sum", X, np.array([True])),
    "a convolution": lambda *_: conv2d(sb.Conv2d([[X]]), X[None, None]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("phase", ["on_lower", "on_run", "on_save", "on_read"])
def test_who_asks_the_reference_is_found_out(way, phase, tmp_path):
    WAYS[way]()
    with pytest.raises(AssertionError, match="asked the reference"):
        suite(Reader(**{phase: WAYS[way]})).test_zoo(TIE, tmp_path)
    WAYS[way]()


def test_the_seal_opens_again_when_a_test_fails():
    with pytest.raises(RuntimeError), reference_sealed():
        raise RuntimeError
    assert sb.simulate(TIE.graph, TIE.inputs).spikes["u"].ravel().tolist() == [0, 1, 0]


def test_the_sound_one_passes(tmp_path):
    for case in (TIE, CONV):
        suite(Adapter()).test_zoo(case, tmp_path)
        suite(Reader()).test_zoo(case, tmp_path)


def without_images() -> Adapter:
    full = SOUND.support
    nodes = full.nodes - {sb.Conv2d, sb.AvgPool2d, sb.SumPool2d}
    return Adapter(support=Support.of_tables(nodes, resets=full.resets, g=full.g, h=full.h, over_time=full.over_time))


def test_refusals_are_declared_exactly(tmp_path):
    refused = holding(sb.Conv2d, sb.AvgPool2d, sb.SumPool2d)
    assert {"conv_padding", "avg_pool", "sum_pool"} < refused
    suite(without_images(), refused=refused).test_zoo(CONV, tmp_path)
    with pytest.raises(AssertionError, match="conv_padding is refused, and `refused` does not say so"):
        suite(without_images()).test_zoo(CONV, tmp_path)
    with pytest.raises(AssertionError, match="tie runs; take it out"):
        suite(without_images(), refused=refused | {"tie"}).test_zoo(TIE, tmp_path)
    with pytest.raises(AssertionError, match="no_such_case"):
        suite(without_images(), refused=frozenset({"no_such_case"})).test_refused_names_cases_of_the_zoo()


def refuse_without_reason(graph: sb.Graph) -> None:
    raise sb.Unsupported("bent", [])


def test_a_refusal_has_reasons(tmp_path):
    with pytest.raises(AssertionError, match="without a reason"):
        suite(Adapter(on_lower=refuse_without_reason), refused={"tie"}).test_zoo(TIE, tmp_path)
    with pytest.raises(AssertionError, match="without a reason"):
        suite(Adapter(on_lower=refuse_without_reason)).attempted(TIE)


def test_too_few_graphs_of_the_space_are_told_with_all_reasons(capsys):
    properties: dict[str, object] = {}
    suite(without_images(), least=50).test_the_whole_space(properties.__setitem__)
    (summary,) = properties.values()
    assert str(summary) in capsys.readouterr().out
    with pytest.raises(AssertionError, match=rf"\d+ of {SEEDS_WHOLE} graphs run(.*\n)+.*Conv2d is not supported"):
        suite(without_images()).test_the_whole_space(unrecorded)


def stumble(*_: object) -> None:
    raise KeyError("a fault")


@pytest.mark.parametrize("phase", ["on_lower", "on_run"])
def test_another_exception_is_no_refusal_and_names_its_graph(phase):
    with pytest.raises(KeyError) as fault:
        suite(Adapter(**{phase: stumble})).test_the_whole_space(unrecorded)
    place = "tie" if phase == "on_lower" else "space-0"  # the first graph is the one that is asked for its precision
    assert fault.value.__notes__[0].startswith(f"on {place}, Graph(")


def refuse_late(*_: object) -> None:
    raise sb.Unsupported("bent", ["too late: lower has taken it"])


def test_a_refusal_comes_from_lower_not_from_run(tmp_path):
    with pytest.raises(sb.Unsupported):
        suite(Adapter(on_run=refuse_late), refused={"tie"}, least=0).test_the_whole_space(unrecorded)


def other_bit(graph: sb.Graph) -> sb.Graph:
    nodes = {**graph.nodes, "u": sb.Unit(0.0, np.nextafter(np.float32(1), np.float32(2)))}
    return sb.Graph(nodes, graph.edges)


def test_what_reads_back_with_another_bit_is_caught(tmp_path):
    with pytest.raises(AssertionError):
        suite(Reader(on_read=other_bit)).test_zoo(TIE, tmp_path)


def altered(group: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[sb.Trace], sb.Trace]:
    """A trace with every array of one group changed."""

    def alter(trace: sb.Trace) -> sb.Trace:
        arrays = {name: change(array.copy()) for name, array in getattr(trace, group).items()}
        for array in arrays.values():
            array.setflags(write=False)
        groups = {"spikes": trace.spikes, "states": trace.states, "outputs": trace.outputs, group: arrays}
        return sb.Trace(**groups, lengths=trace.lengths, state=None, reduced=trace.reduced)

    return alter


def writeable(trace: sb.Trace) -> sb.Trace:
    spikes = {name: array.copy() for name, array in trace.spikes.items()}
    return sb.Trace(spikes, trace.states, trace.outputs, trace.lengths)


WRONG_TRACES = {
    "a spike": altered("spikes", lambda y: 1 - y),
    "floats for bytes": altered("spikes", lambda y: y.astype(float)),
    "one bit of a state": altered("states", lambda s: np.nextafter(s, 9)),
    "states after the reset": altered("states", lambda s: s * (s <= 1)),
    "writeable": writeable,
    "no states": lambda trace: sb.Trace(trace.spikes, {}, trace.outputs, trace.lengths),
    "lengths": lambda trace: sb.Trace(trace.spikes, trace.states, trace.outputs, trace.lengths - 1),
}


@pytest.mark.parametrize("wrong", WRONG_TRACES)
def test_a_wrong_trace_is_caught(wrong, tmp_path):
    with pytest.raises(AssertionError):
        suite(Adapter(changed=WRONG_TRACES[wrong])).test_zoo(TIE, tmp_path)


def test_one_bit_of_an_output_is_caught_where_sums_are_exact(tmp_path):
    with pytest.raises(AssertionError):
        suite(Adapter(changed=altered("outputs", lambda y: np.nextafter(y, 99)))).test_zoo(CONV, tmp_path)


def overwrite(inputs: Any) -> None:
    if isinstance(inputs, np.ndarray) and inputs.flags.writeable:
        inputs[:] = 0


def test_a_run_that_changes_its_inputs_is_caught():
    with pytest.raises(AssertionError):
        suite(Adapter(on_run=overwrite)).test_inputs_are_taken_in_any_form_and_left_alone(None)


def test_a_run_that_remembers_the_last_is_caught():
    first = []

    def remember(trace: sb.Trace) -> sb.Trace:
        first.append(trace)
        return trace if len(first) == 1 else altered("spikes", lambda y: np.roll(y, 1, 0))(trace)

    with pytest.raises(AssertionError):
        suite(Adapter(changed=remember)).test_a_program_runs_twice_alike(None)


def test_expectations_are_computed_once():
    case = Case("once", TIE.graph, TIE.inputs)
    assert case.expected is case.expected
    whole = random_case(5, "dyadic")
    assert isinstance(whole.inputs, np.ndarray)
    np.testing.assert_array_equal(whole.part(7, 1), whole.inputs[:7, :1])
    assert {name: array.shape for name, array in CASES["two_inputs"].part(1, 1).items()} == {
        "left": (1, 1, 2),
        "right": (1, 1, 1),
    }

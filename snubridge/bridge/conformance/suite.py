"""The tests that every adapter inherits: ``class TestMine(AdapterConformance): adapter = MyAdapter()``."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snubridge.bridge.adapter import Adapter, Program
from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.comparison import assert_same
from snubridge.bridge.conformance.families import GENERIC_MARGIN, Family, random_case
from snubridge.bridge.conformance.fixed import random_fixed
from snubridge.bridge.conformance.seal import reference_sealed
from snubridge.bridge.conformance.space import decidable, random_graph
from snubridge.bridge.conformance.zoo import ZOO
from snubridge.bridge.lowering import lower
from snubridge.errors import BadInput, Unsupported
from snubridge.exactness import ErrorModel, smallest_margin
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import NUMBERS, FixedPoint
from snubridge.reference.trace import Trace

SEEDS = 70
"""Graphs of each family, so 140 for each adapter."""
LEAST = {"dyadic": SEEDS, "generic": 40}
"""How many of them must be compared at least; float32 engines may leave out generic ones with a near-tie."""
SEEDS_WHOLE = 200
"""Graphs over the whole space of the representation."""
SEEDS_FIXED = 80
"""Graphs in FixedPoint."""
LEAST_DECIDABLE = 0.9
"""The share of those that run in which equality can be demanded, at least."""

drawn = functools.cache(random_case)
"""``random_case``, its reference run computed once for all adapters of a session."""


class AdapterConformance:
    """Inherit, set ``adapter`` (and ``options``), and pytest runs the contract against it.

    The reference is made to raise while the adapter lowers, runs, saves and reads: its spikes have
    to be the engine's own. What an adapter does not take is refused with ``Unsupported``, and
    declared here, so that nothing is left out in silence.
    """

    adapter: Adapter
    options: dict[str, Any] = {}  # noqa: RUF012  # a plain class attribute to override
    suffix: str = ""
    """What the path of a saved artefact ends in."""
    refused: frozenset[str] = frozenset()
    """The cases of the zoo that the adapter refuses: exactly these, by name."""
    least: int = 180
    """How many of the ``SEEDS_WHOLE`` graphs over the whole space run at least."""

    @pytest.fixture
    def no_reference(self) -> Iterator[None]:
        """While this holds, the reference raises."""
        with reference_sealed():
            yield

    def lowered(self, case: Case) -> Program:
        """The case's graph as a program of this adapter."""
        return lower(self.adapter, case.graph, self.options)

    def attempted(self, case: Case) -> Program | Unsupported:
        """The case's program, or the refusal, which has to have reasons; any other exception is a fault."""
        try:
            with reference_sealed():
                return self.lowered(case)
        except Unsupported as error:
            refusal = error
        except Exception as error:
            error.add_note(f"on {case.name}, {case.graph}")
            raise
        assert refusal.reasons, f"{case.name} is refused without a reason"
        return refusal

    def ran(self, program: Program, case: Case) -> Trace:
        """What the program records of the case, spikes and states, without the reference's help."""
        try:
            with reference_sealed():
                return program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        except Exception as error:
            error.add_note(f"on {case.name}, {case.graph}")
            raise

    def precision(self) -> str:
        """What the adapter computes a float32 graph in."""
        program = self.attempted(ZOO[0])
        assert not isinstance(program, Unsupported), f"a single unit is refused: {program}"
        return program.rounding.precision

    @pytest.mark.parametrize("case", ZOO, ids=str)
    def test_zoo(self, case: Case, tmp_path: Path) -> None:
        """Each case runs as the reference does and, where the adapter reads, comes back; or is refused as declared."""
        expected = case.expected
        program = self.attempted(case)
        if isinstance(program, Unsupported):
            named = case.name in self.refused or type(case.graph.numbers) not in self.adapter.support.numbers
            assert named, f"{case.name} is refused, and `refused` does not say so: {program}"
            return
        assert case.name not in self.refused, f"{case.name} runs; take it out of `refused`"
        assert_same(case, expected, self.ran(program, case), program.rounding.precision)
        self.check_reading(program, case.graph, tmp_path / f"net{self.suffix}")

    def check_reading(self, program: Program, graph: Graph, path: Path) -> None:
        """Where the adapter reads, what the program saves is the graph, to the bit."""
        read: Callable[[Path], Graph] | None = getattr(self.adapter, "read", None)
        if read is not None:
            with reference_sealed():
                program.save(path)
                assert read(path) == graph, "what is saved does not read back as the graph"

    def test_refused_names_cases_of_the_zoo(self) -> None:
        """What is declared as refused exists."""
        unknown = self.refused - {case.name for case in ZOO}
        assert not unknown, f"`refused` names what the zoo does not hold: {sorted(unknown)}"

    @pytest.mark.parametrize("family", ["dyadic", "generic"])
    def test_random_graphs_spike_alike(self, family: Family) -> None:
        """0 differing spikes on every graph of the family in which equality can be demanded."""
        compared = spikes = 0
        precision = self.precision()
        for seed in range(SEEDS):
            case = drawn(seed, family, precision=precision)
            expected = case.expected
            program = self.attempted(case)
            assert not isinstance(program, Unsupported), f"{case.name} is refused: {program}"
            actual = self.ran(program, case)
            if (
                family == "generic"
                and program.rounding.precision == "float32"
                and smallest_margin(case.graph, expected) <= GENERIC_MARGIN
            ):
                continue
            assert_same(case, expected, actual, program.rounding.precision)
            compared += 1
            spikes += sum(int(expected.spikes[name].sum()) for name in case.graph.of_kind(Unit))
        assert compared >= LEAST[family], f"only {compared} of {SEEDS} graphs could be compared"
        assert spikes > 1000, f"only {spikes} spikes were compared"

    def test_fixed_point_is_equal_to_the_bit(self) -> None:
        """In FixedPoint no spike, state or output differs by a bit; an adapter that does not name it refuses it."""
        precision = self.precision()
        spikes = 0
        for seed in range(SEEDS_FIXED):
            case = random_fixed(seed, precision=precision)
            expected = case.expected
            program = self.attempted(case)
            if isinstance(program, Unsupported):
                assert FixedPoint not in self.adapter.support.numbers, f"{case.name} is refused: {program}"
                continue
            assert_same(case, expected, self.ran(program, case), program.rounding.precision)
            spikes += sum(int(y.sum()) for y in expected.spikes.values() if y.dtype == np.uint8)
        assert spikes > 1000 or FixedPoint not in self.adapter.support.numbers, f"only {spikes} spikes were compared"

    def test_the_whole_space(self, record_property: Callable[[str, object], None]) -> None:
        """Of ``SEEDS_WHOLE`` graphs of every kind each runs, or is refused with reasons; ``least`` of them run.

        Those that run are compared where equality can be demanded. What was refused, and why, is
        printed (``pytest -rP`` shows it), recorded as a property, and part of the message if too few ran.
        """
        precision = self.precision()
        refusals: dict[str, tuple[str, ...]] = {}
        undecided: list[str] = []
        for seed in range(SEEDS_WHOLE):
            case = random_graph(seed, precision=precision)
            expected = case.expected
            program = self.attempted(case)
            if isinstance(program, Unsupported):
                refusals[case.name] = program.reasons
                continue
            actual = self.ran(program, case)
            if decidable(case, program.rounding.precision):
                assert_same(case, expected, actual, program.rounding.precision)
            else:
                undecided.append(case.name)
        ran = SEEDS_WHOLE - len(refusals)
        listed = "\n".join(f"  {name}: {'; '.join(reasons)}" for name, reasons in refusals.items())
        summary = (
            f"{self.adapter.name}: {ran} of {SEEDS_WHOLE} graphs run, {len(undecided)} of them with a near-tie that "
            f"rounding may decide ({', '.join(undecided) or 'none'}); {len(refusals)} refused\n{listed}"
        )
        print(summary)
        record_property(f"whole_space_{self.adapter.name}", summary)
        assert ran >= self.least, summary
        assert len(undecided) <= (1 - LEAST_DECIDABLE) * ran, summary

    def test_states_are_recorded(self, no_reference: None) -> None:
        """``record=("spikes", "states")`` gives s_t, before the reset."""
        case = random_case(3, "dyadic")
        trace = self.lowered(case).run(case.inputs, record=("spikes", "states"))
        for name, unit in case.graph.of_kind(Unit).items():
            fired = trace.states[name] > unit.threshold
            np.testing.assert_array_equal(trace.spikes[name], fired.astype(np.uint8))

    @pytest.mark.parametrize("record", [(), ("states",), ("spikes",)], ids=str)
    def test_what_is_not_asked_for_is_not_recorded(self, record: tuple[str, ...], no_reference: None) -> None:
        """``record`` names what the trace holds; outputs it always does."""
        case = random_case(5, "dyadic", steps=4)
        trace = self.lowered(case).run(case.inputs, record=record)
        units = set(case.graph.of_kind(Unit))
        assert set(trace.spikes) == (units if "spikes" in record else set()), f"spikes of {set(trace.spikes)}"
        assert set(trace.states) == (units if "states" in record else set()), f"states of {set(trace.states)}"
        assert set(trace.outputs) == set(case.graph.of_kind(Output)), f"outputs of {set(trace.outputs)}"

    def test_a_program_saves(self, no_reference: None, tmp_path: Path) -> None:
        """``save`` writes something at the path that it is given, and again over it."""
        program = self.lowered(random_case(5, "dyadic"))
        for _ in range(2):
            program.save(tmp_path / f"net{self.suffix}")
        assert (tmp_path / f"net{self.suffix}").exists(), f"nothing is at net{self.suffix}"

    def test_a_program_runs_twice_alike(self, no_reference: None) -> None:
        """No state survives a run, and another number of steps and samples is no obstacle."""
        case = random_case(5, "dyadic")
        program = self.lowered(case)
        first, part, again = (program.run(x) for x in (case.inputs, case.part(7, 1), case.inputs))
        for name in first.spikes:
            np.testing.assert_array_equal(first.spikes[name], again.spikes[name])
            np.testing.assert_array_equal(first.spikes[name][:7, :1], part.spikes[name])

    def test_inputs_are_taken_in_any_form_and_left_alone(self, no_reference: None) -> None:
        """Booleans, other layouts and read-only arrays are what their values are; a run changes none."""
        case = random_case(5, "dyadic", steps=6)
        program = self.lowered(case)
        spikes = np.asarray(case.inputs) != 0
        given = [spikes, spikes.astype(np.float32), np.asfortranarray(spikes, dtype=np.float64), spikes.astype(np.int8)]
        given[2].setflags(write=False)
        before = copy.deepcopy(given)
        first, *others = (program.run(array) for array in given)
        for array, kept in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, kept)
        for other in others:
            for name in first.spikes:
                np.testing.assert_array_equal(first.spikes[name], other.spikes[name])

    def test_native_and_rounding_are_there(self, no_reference: None) -> None:
        """``native`` is something, and ``rounding`` an ``ErrorModel`` of a known precision."""
        program = self.lowered(random_case(5, "dyadic"))
        assert program.native is not None, "native is None"
        assert isinstance(program.rounding, ErrorModel), f"rounding is {program.rounding!r}, not an ErrorModel"
        assert program.rounding.precision in NUMBERS, f"precision {program.rounding.precision!r} is none of {NUMBERS}"
        assert isinstance(program, Program), "the program lacks a part of the contract"

    @pytest.mark.parametrize("last", [Output(), Unit(0.5, 1.0)], ids=["values", "spikes"])
    def test_an_overflow_is_an_error(self, last: Node, no_reference: None) -> None:
        """A value that no float can hold is ``BadInput``, not a silent infinity, nor spikes that come of one."""
        nodes: dict[str, Node] = {"in": Input((1,)), **{f"w{i}": Linear([[1e38]]) for i in range(9)}, "last": last}
        edges = [Edge(source, target) for source, target in itertools.pairwise(nodes)]
        program = self.lowered(Case("overflow", Graph(nodes, edges), np.full((1, 1, 1), 1e38)))
        with pytest.raises(BadInput, match="overflow"):
            program.run(np.full((1, 1, 1), 1e38))

    def test_an_unknown_option_is_refused(self) -> None:
        """``lower`` takes its options by keyword, and only those that it has."""
        with pytest.raises(BadInput, match="has no option 'no_such_option'"):
            lower(self.adapter, random_case(5, "dyadic").graph, {**self.options, "no_such_option": 1})

    WRONG: Mapping[str, tuple[Callable[[Any], Any], Mapping[str, Any]]] = {
        "rank": (lambda x: x[0], {}),
        "size": (lambda x: x[..., :0], {}),
        "no step": (lambda x: x[:0], {}),
        "NaN": (lambda x: x * np.nan, {}),
        "text": (lambda x: "spikes", {}),
        "another name": (lambda x: {"no such input": x}, {}),
        "lengths of others": (lambda x: x, {"lengths": [1] * 9}),
        "lengths beyond the run": (lambda x: x, {"lengths": [1, 99]}),
        "unknown record": (lambda x: x, {"record": ("voltage",)}),
    }

    @pytest.mark.parametrize("wrong", WRONG)
    def test_wrong_inputs_are_bad_input(self, wrong: str) -> None:
        """What ``prepare`` refuses comes through as ``BadInput``."""
        case = random_case(5, "dyadic", steps=4)
        change, arguments = self.WRONG[wrong]
        with pytest.raises(BadInput):
            self.lowered(case).run(change(case.inputs), **arguments)

"""The tests that every adapter inherits: ``class TestMine(AdapterConformance): adapter = MyAdapter()``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge.reference.interpreter as interpreter
from snubridge.bridge.adapter import Adapter, Program
from snubridge.bridge.conformance.families import GENERIC_MARGIN, Case, Family, random_case
from snubridge.bridge.lowering import lower
from snubridge.exactness import smallest_margin
from snubridge.ir.nodes import Unit
from snubridge.reference.trace import Trace

SEEDS = 70
"""Graphs of each family, so 140 for each adapter."""
LEAST = {"dyadic": SEEDS, "generic": 40}
"""How many of them must be compared at least; float32 engines may leave out generic ones with a near-tie."""


class AdapterConformance:
    """Inherit, set ``adapter`` (and ``options``), and pytest runs the contract against it.

    The reference is made to raise while the adapter lowers, runs and saves: its spikes have to
    be the engine's own.
    """

    adapter: Adapter
    options: dict[str, Any] = {}  # noqa: RUF012  # a plain class attribute to override
    suffix: str = ""
    """What the path of a saved artefact ends in."""

    @pytest.fixture
    def no_reference(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """While this holds, the reference interpreter raises."""

        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("an adapter asked the reference for its result")

        with monkeypatch.context() as patch:
            patch.setattr(interpreter, "simulate", forbidden)
            patch.setattr(interpreter, "step_unit", forbidden)
            yield

    def lowered(self, case: Case) -> Program:
        """The case's graph as a program of this adapter."""
        return lower(self.adapter, case.graph, self.options)

    @pytest.mark.parametrize("family", ["dyadic", "generic"])
    def test_random_graphs_spike_alike(self, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
        """0 differing spikes on every graph of the family in which equality can be demanded."""
        compared = spikes = 0
        for case in self.cases(family):
            expected = interpreter.simulate(case.graph, case.inputs, record=("spikes", "states"))
            with monkeypatch.context() as patch:
                patch.setattr(interpreter, "step_unit", None)
                program = self.lowered(case)
                actual = program.run(case.inputs)
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
        assert spikes > 1000

    def cases(self, family: Family) -> Iterator[Case]:
        """``SEEDS`` cases; dyadic ones for the precision that the adapter's program states."""
        precision = self.lowered(random_case(0, family)).rounding.precision
        for seed in range(SEEDS):
            yield random_case(seed, family, precision=precision)

    def test_states_are_recorded(self, no_reference: None) -> None:
        """``record=("spikes", "states")`` gives s_t, before the reset."""
        case = random_case(3, "dyadic")
        trace = self.lowered(case).run(case.inputs, record=("spikes", "states"))
        for name, unit in case.graph.of_kind(Unit).items():
            fired = trace.states[name] > unit.threshold
            np.testing.assert_array_equal(trace.spikes[name], fired.astype(np.uint8))

    def test_a_program_saves(self, no_reference: None, tmp_path: Path) -> None:
        """``save`` writes something at the path that it is given, and again over it."""
        program = self.lowered(random_case(5, "dyadic"))
        for _ in range(2):
            program.save(tmp_path / f"net{self.suffix}")
        assert (tmp_path / f"net{self.suffix}").exists()

    def test_a_program_runs_twice_alike(self, no_reference: None) -> None:
        """No state survives a run, and another number of steps and samples is no obstacle."""
        case = random_case(5, "dyadic")
        program = self.lowered(case)
        first, part, again = (program.run(x) for x in (case.inputs, case.inputs[:7, :1], case.inputs))
        for name in first.spikes:
            np.testing.assert_array_equal(first.spikes[name], again.spikes[name])
            np.testing.assert_array_equal(first.spikes[name][:7, :1], part.spikes[name])


def assert_same(case: Case, expected: Trace, actual: Trace, precision: str) -> None:
    """Spikes equal bit for bit, other values within the tolerance of the precision."""
    rtol = 1e-5 if precision == "float32" else 1e-9
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(actual.spikes[name], spikes, err_msg=f"{case.name}, unit {name}")
    for name, values in expected.outputs.items():
        scale = max(float(np.abs(values).max()), 1.0)
        np.testing.assert_allclose(
            actual.outputs[name], values, rtol=0, atol=rtol * scale, err_msg=f"{case.name}, {name}"
        )

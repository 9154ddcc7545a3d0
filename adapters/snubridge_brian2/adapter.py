"""The Brian2 adapter: what it can express, and its program."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

import snubridge_brian2.engine as brian2_engine
from snubridge.bridge import (
    ALWAYS,
    LINEAR,
    MAX_SYNAPSES,
    Engine,
    ErrorModel,
    Requirement,
    ScriptProgram,
    Support,
    oversize,
    read_script,
    shapes,
    time_step,
    too_large,
    upper_limit,
)
from snubridge.errors import BadFile, BadInput, MissingEngine, Unsupported, shown
from snubridge.ir import FixedPoint, Graph, Identity, Reset, Unit
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS
from snubridge.ir.numbers import NUMBERS, Array
from snubridge_brian2.engine import BATCHES
from snubridge_brian2.engine.equations import OVER_TIME, RESET, RESET_CONTINUOUS, THRESHOLD, G, H, time_constants
from snubridge_brian2.engine.targets import TARGETS, missing_compiler

FORMS = ("discrete", "continuous")
UNITS = ("none", "SI")
VOLTS = {"v_rest": -0.07, "v_threshold": -0.05}
"""Where a state of 0 and one of 1 lie unless the caller says it."""


class Brian2Program(ScriptProgram):
    """A program that keeps its C++ project, if it has one, from run to run."""

    @cached_property
    def native(self) -> Any:
        """The ``brian2.Network`` of one sample, its inputs silent; see ``snubridge_brian2.engine.build``."""
        self._demand_fitness()
        with _told(self.engine):
            return super().native

    def _demand_fitness(self) -> None:
        """The user may have changed Brian2 since ``lower``."""
        hindrance = brian2_engine.hindrance()
        if hindrance is not None:
            raise Unsupported(self.engine, [hindrance])

    @cached_property
    def _simulation(self) -> brian2_engine.Simulation:
        return brian2_engine.Simulation(*self._planned, **self.options)

    def _recorded(self, inputs: Mapping[str, Array], record: Sequence[str]) -> dict[str, Array]:
        self._demand_fitness()
        with _told(self.engine):
            return self._simulation.run(inputs, record)


@contextmanager
def _told(backend: str) -> Iterator[None]:
    """What the file system refuses is an error of ours."""
    try:
        yield
    except OSError as error:
        raise BadFile(f"{backend}: {error}") from error


class Brian2Adapter:
    """A graph as a ``brian2.Network`` of neuron groups and synapses that computes in float64."""

    name = "brian2"
    engine: Engine = "foreign"
    requirement = Requirement(("brian2",), ("brian2",), "snubridge[brian2]")
    support = Support.of_tables(
        (*ALWAYS, *LINEAR),
        resets=[Reset(kind) for kind in RESET],
        g=[STATE_FUNCTIONS[kind] for kind in G],
        h=[OUTPUT_FUNCTIONS[kind] for kind in (*THRESHOLD, *H)],
        over_time=(None, *OVER_TIME),
        numbers=(*NUMBERS.values(), FixedPoint),
    )

    def diagnosis(self) -> dict[str, str]:
        """Whether what the compiled targets need is there."""
        return {f'target "{target}"': missing_compiler(target) or "ready" for target in TARGETS if target != "numpy"}

    def lower(
        self,
        graph: Graph,
        *,
        dt: float = 1e-3,
        target: str = "numpy",
        threads: int = 1,
        batch: str = "auto",
        form: str = "discrete",
        units: str = "none",
        v_rest: float | None = None,
        v_threshold: float | None = None,
        directory: str | None = None,
        max_synapses: int = MAX_SYNAPSES,
    ) -> ScriptProgram:
        """The network with steps of ``dt`` seconds, which change no spike; nor does any other option.

        ``target``: "numpy" needs no compiler; "cython" compiles each kind of equations once for all networks, into
        a cache of its own; "cpp_standalone" makes a C++ project, with OpenMP if ``threads`` is above 1, in
        ``directory`` or a temporary one. The directory is a new or an empty folder, or that of a project before, whose
        files are deleted when the new ones are ready; nothing else in it is overwritten or deleted, and a folder of
        anything else is ``BadFile``. Programs that share a directory are compiled anew in turn. A project is compiled
        at the first run, for its number of steps T and samples B; later runs of up to T steps need no compiler, in
        portions of B samples, each as long as one of T steps. A longer run, or one that records something else, is
        compiled anew.

        ``batch``: "side_by_side" puts the samples as blocks into every group, which takes memory for the weights of
        each; "concatenated" runs them one after the other, with silence between them until all that is delayed has
        arrived; "auto" takes the first up to two million synapses of all samples together.

        ``units="SI"`` gives units a membrane potential, v = v_rest + s*(v_threshold - v_rest), in volts, -0.07 and
        -0.05 if not said otherwise; v_fire is where each neuron's own threshold lies, v_threshold where that is 1.
        The state s stays a number and decides what fires, by the same operations in the same order: a state carried
        in volts would round elsewhere, and ties would turn. v is a view of it, and ``native`` records both.

        ``form="continuous"`` is the leaky integrate-and-fire neuron of textbooks, ds/dt = -s/tau, solved exactly:
        for g identity, and resets that act on s before it decays. tau is searched for so that exp(-dt/tau) is the
        decay to the bit; where none does that, as for a fifth of all decays between 0 and 1, ``rounding`` says by
        how much the decay is off, and spikes are equal as far as a certificate under this model goes.

        ``native`` is the network of one sample with silent inputs; ``native.object_names`` maps
        the names of nodes to those of their groups, since Brian2 wants identifiers. A convolution or a pool
        becomes synapses, one for each weight at each place, and lateral inhibition one for each pair of neurons:
        more than ``max_synapses`` of them in one node are refused.
        """
        dt = time_step(self.name, dt)
        choices = (
            ("target", target, TARGETS),
            ("batch", batch, BATCHES),
            ("form", form, FORMS),
            ("units", units, UNITS),
        )
        for option, value, known in choices:
            if not isinstance(value, str) or value not in known:
                raise BadInput(f"{self.name}: {option}={shown(value)}; give one of {', '.join(known)}")
        upper_limit(self.name, "threads", threads)
        if target != "cpp_standalone" and (threads != 1 or directory is not None):
            raise BadInput(f"{self.name}: threads and directory are options of target cpp_standalone, not of {target}")
        if directory is not None and not isinstance(directory, str | os.PathLike):
            raise BadInput(f"{self.name}: directory={shown(directory)}; needed the path of a folder")
        limit = upper_limit(self.name, "max_synapses", max_synapses)
        potentials = _potentials(self.name, units, v_rest, v_threshold)
        reasons = [
            *(_not_continuous(graph) if form == "continuous" else ()),
            *too_large(graph, limit, lines_of_spikes=False),
            *oversize(_pairs(graph), "max_synapses", limit, "synapses of each pair"),
        ]
        hindrance = brian2_engine.hindrance()
        if hindrance is not None:
            reasons.append(hindrance)
        if reasons:
            raise Unsupported(self.name, reasons)
        missing = missing_compiler(target)
        if missing is not None:
            raise MissingEngine(f"{self.name}: {missing}")
        options: dict[str, Any] = {"dt": dt}
        given = {"target": (target, "numpy"), "threads": (threads, 1), "batch": (batch, "auto")}
        given["form"] = (form, "discrete")
        options |= {option: value for option, (value, default) in given.items() if value != default} | potentials
        if directory is not None:
            options["directory"] = str(directory)
        model = ErrorModel("float64", decay_error=_decay_error(graph, dt, target) if form == "continuous" else 0.0)
        # no target flushes a subnormal; measured, tanh is off by at most 1.6 u of its value on numpy 2.3.5
        return Brian2Program(graph, brian2_engine, model, "brian2", options)

    def read(
        self,
        source: Any,
        *,
        max_synapses: int | None = None,
        namespace: Mapping[str, Any] | None = None,
        inputs: Collection[str] = (),
    ) -> Graph:
        """The graph of an exported script (its path), or of a ``native`` network that was not run or changed;

        or of one that was written by hand, a ``brian2.Network`` or a list of its objects: leaky integrate-and-fire
        groups (dv/dt = (rest - v)/tau, a constant threshold, v = ... or v -= ...), synapses that add a constant
        weight after whole steps, and groups that fire by themselves, which become inputs. The graph is what one run
        from t = 0 computes, step by step; whatever does not fit is ``Unsupported``, with all reasons.

        ``namespace``     what names in the equations stand for, as for ``Network.run``; ``locals()`` will do
        ``inputs``        names of groups whose spikes are given, however they come about
        ``max_synapses``  the most weights that one matrix may hold
        """
        if isinstance(source, str | os.PathLike):
            if namespace is not None or inputs:
                raise BadInput("brian2: namespace and inputs are for networks written by hand; leave them out")
            return read_script(self, source, max_synapses)
        from snubridge_brian2.reading import read_network

        return read_network(self, source, max_synapses, namespace, inputs)


def _pairs(graph: Graph) -> dict[str, int]:
    """How many synapses lateral inhibition takes among the neurons of each unit that spikes."""
    sizes = shapes(graph)
    return {
        name: math.prod(sizes[name]) ** 2
        for name, unit in graph.of_kind(Unit).items()
        if unit.spiking and unit.reset is Reset.LATERAL
    }


def _potentials(backend: str, units: str, v_rest: Any, v_threshold: Any) -> dict[str, Any]:
    """The options that give units a potential, checked; none without SI units."""
    given = {"v_rest": v_rest, "v_threshold": v_threshold}
    if units == "none":
        if v_rest is not None or v_threshold is not None:
            raise BadInput(f"{backend}: v_rest and v_threshold are potentials in volts: give units='SI' with them")
        return {}
    found = {option: VOLTS[option] if value is None else value for option, value in given.items()}
    for option, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise BadInput(f"{backend}: {option}={shown(value)}; needed a number of volts, say {VOLTS[option]}")
    if not found["v_rest"] < found["v_threshold"]:
        raise BadInput(f"{backend}: v_rest={v_rest} is not below v_threshold={v_threshold}: a state rises from rest")
    return {"units": units} | {option: float(value) for option, value in found.items()}


def _not_continuous(graph: Graph) -> list[str]:
    """Why units cannot decay by ds/dt = -s/tau."""
    remedy = "form 'discrete' takes it"
    if isinstance(graph.numbers, FixedPoint):
        return [f"form 'continuous' rounds no state to a grid, as FixedPoint does: {remedy}"]
    reasons = []
    for name, unit in graph.of_kind(Unit).items():
        if not isinstance(unit.g, Identity):
            reasons.append(f"node {name}: g = {unit.g}, while form 'continuous' has g = Identity() only: {remedy}")
        works = sorted(RESET_CONTINUOUS) if unit.spiking else ["none"]
        if unit.reset.value not in works:
            what = "spikes" if unit.spiking else "graded outputs"
            reasons.append(f"node {name}: {unit.reset} with {what}; form 'continuous' has {', '.join(works)}: {remedy}")
    return reasons


def _decay_error(graph: Graph, dt: float, target: str) -> float:
    """By how much, relative to it, exp(-dt/tau) is off the decay of any unit at most."""
    worst = 0.0
    for unit in graph.of_kind(Unit).values():
        decay = np.unique(unit.decay.astype(np.float64))
        error = np.abs(time_constants(decay, dt, target)[1] - decay)
        worst = max(worst, float((error[decay > 0] / decay[decay > 0]).max(initial=0.0)))
    return worst * (1 + 2.0**-50)

"""The Nengo adapter: what it can express, and its program. Imports without Nengo."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from snubridge.bridge import (
    ALWAYS,
    LINEAR,
    MAX_SYNAPSES,
    Engine,
    ErrorModel,
    Requirement,
    ScriptProgram,
    Support,
    read_script,
    time_step,
    too_large,
    upper_limit,
)
from snubridge.errors import BadInput, Unsupported
from snubridge.ir import FixedPoint, Graph, Reset
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS
from snubridge.ir.numbers import NUMBERS


class NengoAdapter:
    """A graph as a ``nengo.Network``: an Ensemble of SNU neurons for each unit, wired neuron to neuron, in float64."""

    name = "nengo"
    engine: Engine = "foreign"
    requirement = Requirement(("nengo",), ("nengo",), "snubridge[nengo]")

    @property
    def support(self) -> Support:
        """Linear nodes, and what the tables of the engine module hold."""
        import snubridge_nengo.engine as engine

        return Support.of_tables(
            (*ALWAYS, *LINEAR),
            resets=[Reset(kind) for kind in engine.CARRIED],
            g=[STATE_FUNCTIONS[kind] for kind in engine.G],
            h=[OUTPUT_FUNCTIONS[kind] for kind in engine.H],
            over_time=(None, *engine.OVER_TIME),
            numbers=(*NUMBERS.values(), FixedPoint),
        )

    def lower(self, graph: Graph, *, dt: float = 1e-3, max_synapses: int = MAX_SYNAPSES) -> ScriptProgram:
        """The network with time steps of ``dt`` seconds, which change no spike.

        ``native`` is the network of one sample, its input silent until ``net.input.output.values`` is
        set to an array (T, size); see ``snubridge_nengo.engine.build`` for its Ensembles and Probes. A convolution
        or a pool becomes a ``nengo.Sparse`` transform; one with more than ``max_synapses`` entries is refused.
        """
        dt = time_step(self.name, dt)
        reasons = too_large(graph, upper_limit(self.name, "max_synapses", max_synapses))
        if reasons:
            raise Unsupported(self.name, reasons)
        import snubridge_nengo.engine as engine

        # numpy flushes no subnormal; measured on 2.3.5, its tanh is off by at most 1.6 u of its value
        return ScriptProgram(graph, engine, ErrorModel("float64"), "nengo", {"dt": dt})

    def read(
        self,
        source: Any,
        *,
        max_synapses: int | None = None,
        dt: float | None = None,
        inputs: Collection[Any] = (),
    ) -> Graph:
        """The graph of an exported script (its path), or of a ``native`` network that was not changed;

        or of a ``nengo.Network`` that was written by hand: ensembles of ``nengo.LIF(tau_ref=0)`` neurons, connected
        from neurons to neurons or decoded inputs by constant transforms and whole steps of delay. The graph is what
        ``nengo.Simulator(network, dt)`` computes, step by step; whatever does not fit is ``Unsupported``, with all
        reasons. Nodes that are functions of time or processes become inputs.

        ``dt``            the Simulator's time step in seconds, 1e-3 if not said
        ``inputs``        Nodes or Ensembles, or their names, whose output is given, however it comes about
        ``max_synapses``  the most weights that one matrix may hold
        """
        if isinstance(source, str | os.PathLike):
            if dt is not None or inputs:
                raise BadInput("nengo: dt and inputs are for networks written by hand; leave them out")
            return read_script(self, source, max_synapses)
        from snubridge_nengo.reading import read_network

        return read_network(self, source, max_synapses, dt, inputs)

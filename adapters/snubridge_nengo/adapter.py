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
    Requirement,
    ScriptProgram,
    Support,
    read_script,
    time_step,
    too_large,
    upper_limit,
)
from snubridge.errors import BadInput, Unsupported, shown
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

    def lower(
        self,
        graph: Graph,
        *,
        dt: float = 1e-3,
        profile: str = "custom",
        batch: str = "auto",
        max_synapses: int = MAX_SYNAPSES,
    ) -> ScriptProgram:
        """The network with time steps of ``dt`` seconds, which change no spike.

        ``profile``: "custom" has a neuron type of ours, which takes every graph. "stock" has ``nengo.LIF``, so that
        other backends of Nengo take it, where threshold > 0, g is Identity or ReLU, h is Step and the reset is
        TO_ZERO; anything else is refused. Its thresholds are off by 2^-40 of their value, its decays by what
        exp(-dt/tau) rounds: ``rounding`` says so, and spikes are equal as far as a certificate under this model goes,
        to which ties are open. "auto" is stock where it fits, else custom. ``facts`` say which was taken, and why.

        ``batch``: "one_by_one" runs a network of one sample, reset for each; "side_by_side" has neurons for all
        samples, and multiplies a matrix with the values of all in one product, whose sums may round in another order;
        "auto" is the second.

        ``native`` is the network of one sample, its input silent until ``net.input.output.values`` is
        set to an array (T, size); see ``snubridge_nengo.engine.build`` for its Ensembles and Probes. A convolution
        or a pool becomes a ``nengo.Sparse`` transform; one with more than ``max_synapses`` entries is refused.
        """
        from snubridge_nengo.engine import BATCHES
        from snubridge_nengo.profiles import PROFILES

        dt = time_step(self.name, dt)
        for option, value, known in (("profile", profile, tuple(PROFILES)), ("batch", batch, BATCHES)):
            if not isinstance(value, str) or value not in known:
                raise BadInput(f"{self.name}: {option}={shown(value)}; give one of {', '.join(known)}")
        reasons = too_large(graph, upper_limit(self.name, "max_synapses", max_synapses))
        if reasons:
            raise Unsupported(self.name, reasons)
        return PROFILES[profile](graph, {"dt": dt} | ({} if batch == "auto" else {"batch": batch}))

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

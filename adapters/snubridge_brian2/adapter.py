"""The Brian2 adapter: what it can express, and its program."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

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
from snubridge.errors import BadInput, Unsupported
from snubridge.ir import FixedPoint, Graph, Reset, Unit
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS
from snubridge.ir.numbers import NUMBERS
from snubridge_brian2.engine import OVER_TIME, RESET, THRESHOLD, G, H


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

    def lower(self, graph: Graph, *, dt: float = 1e-3, max_synapses: int = MAX_SYNAPSES) -> ScriptProgram:
        """The network with steps of ``dt`` seconds, which change no spike.

        ``native`` is the network of one sample with silent inputs; ``native.object_names`` maps
        the names of nodes to those of their groups, since Brian2 wants identifiers. A convolution or a pool
        becomes synapses, one for each weight at each place, and lateral inhibition one for each pair of neurons:
        more than ``max_synapses`` of them in one node are refused.
        """
        dt = time_step(self.name, dt)
        limit = upper_limit(self.name, "max_synapses", max_synapses)
        reasons = [
            *too_large(graph, limit, lines_of_spikes=False),
            *oversize(_pairs(graph), "max_synapses", limit, "synapses of each pair"),
        ]
        if not brian2_engine.is_runtime():
            reasons.append("Brian2 is in standalone mode; brian2.set_device('runtime') goes back")
        if reasons:
            raise Unsupported(self.name, reasons)
        # numpy flushes no subnormal; measured on 2.3.5, its tanh is off by at most 1.6 u of its value
        return ScriptProgram(graph, brian2_engine, ErrorModel("float64"), "brian2", {"dt": dt})

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

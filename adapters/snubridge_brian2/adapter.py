"""The Brian2 adapter: what it can express, and its program."""

from __future__ import annotations

import snubridge_brian2.engine as brian2_engine
from snubridge.bridge import ALWAYS, Engine, ErrorModel, Requirement, ScriptProgram, Support, time_step
from snubridge.errors import Unsupported
from snubridge.ir import Graph, Linear, Reset, Unit
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS
from snubridge_brian2.engine import CARRIED, RESET, THRESHOLD, G, H


class Brian2Adapter:
    """A graph as a ``brian2.Network`` of neuron groups and synapses that computes in float64."""

    name = "brian2"
    engine: Engine = "foreign"
    requirement = Requirement(("brian2",), ("brian2",), "snubridge[brian2]")
    support = Support.of_tables(
        (*ALWAYS, Linear),
        resets=[Reset(kind) for kind in RESET],
        g=[STATE_FUNCTIONS[kind] for kind in G],
        h=[OUTPUT_FUNCTIONS[kind] for kind in (*THRESHOLD, *H)],
    )

    def lower(self, graph: Graph, *, dt: float = 1e-3) -> ScriptProgram:
        """The network with steps of ``dt`` seconds, which change no spike.

        ``native`` is the network of one sample with silent inputs; ``native.object_names`` maps
        the names of nodes to those of their groups, since Brian2 wants identifiers.
        """
        dt = time_step(self.name, dt)
        reasons = [
            f"node {name}: {unit.reset} with h = {unit.h} is not supported; supported here with it: "
            + ", ".join(sorted(str(Reset(kind)) for kind in CARRIED))
            for name, unit in graph.of_kind(Unit).items()
            if not unit.spiking and unit.reset.value not in CARRIED
        ]
        if not brian2_engine.is_runtime():
            reasons.append("Brian2 is in standalone mode; brian2.set_device('runtime') goes back")
        if reasons:
            raise Unsupported(self.name, reasons)
        return ScriptProgram(graph, brian2_engine, ErrorModel("float64"), "brian2", {"dt": dt})

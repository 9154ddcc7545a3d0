"""The Nengo adapter: what it can express, and its program. Imports without Nengo."""

from __future__ import annotations

from snubridge.bridge import ALWAYS, Engine, ErrorModel, Requirement, ScriptProgram, Support, time_step
from snubridge.ir import Graph, Linear, Reset
from snubridge.ir.functions import OUTPUT_FUNCTIONS, STATE_FUNCTIONS


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
            (*ALWAYS, Linear),
            resets=[Reset(kind) for kind in engine.CARRIED],
            g=[STATE_FUNCTIONS[kind] for kind in engine.G],
            h=[OUTPUT_FUNCTIONS[kind] for kind in engine.H],
        )

    def lower(self, graph: Graph, *, dt: float = 1e-3) -> ScriptProgram:
        """The network with time steps of ``dt`` seconds, which change no spike.

        ``native`` is the network of one sample, its input silent until ``net.input.output.values`` is
        set to an array (T, size); see ``snubridge_nengo.engine.build`` for its Ensembles and Probes.
        """
        dt = time_step(self.name, dt)
        import snubridge_nengo.engine as engine

        return ScriptProgram(graph, engine, ErrorModel("float64"), "nengo", {"dt": dt})

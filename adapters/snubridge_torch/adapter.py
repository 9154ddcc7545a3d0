"""The torch network as a backend: what was trained, run beside the engines it is carried to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from snubridge.bridge import ALWAYS, ErrorModel, Requirement, Support, Trace, prepare, wide_enough
from snubridge.bridge.adapter import Engine
from snubridge.ir import Graph, Unit, save
from snubridge.ir.file import StrPath
from snubridge.ir.nodes import REDUCTIONS
from snubridge.reference.inputs import Inputs

if TYPE_CHECKING:
    from snubridge.nn.network import Network


@dataclass(frozen=True)
class TorchProgram:
    """A graph as a torch module; ``save`` writes the graph's file, from which ``nn.to_module`` makes it anew."""

    graph: Graph
    native: Network
    rounding: ErrorModel

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run the module, without gradients; see ``snubridge.simulate`` for the arguments."""
        import torch

        run = prepare(self.graph, inputs, lengths, record)
        dtype = getattr(torch, self.rounding.precision)
        with torch.inference_mode():
            given = {name: torch.tensor(array, dtype=dtype) for name, array in run.inputs.items()}
            recording, _ = self.native.evaluate(given)
            outputs = self.native.outputs(recording, torch.tensor(run.lengths))
        return Trace.of_run(
            self.graph,
            run,
            spikes={name: recording.values[name].numpy() for name in self.graph.of_kind(Unit)},
            states={name: states.numpy() for name, states in recording.states.items()},
            outputs={name: values.numpy() for name, values in outputs.items()},
        )

    def save(self, path: StrPath) -> None:
        """Write the graph as a ``.safetensors`` file."""
        save(self.graph, path)


class TorchAdapter:
    """``snubridge.export(graph, "torch", precision=None)``; the graph's precision by default."""

    name = "torch"
    engine: Engine = "own"
    requirement = Requirement("torch", "torch", "snubridge[torch]")

    @property
    def support(self) -> Support:
        """Everything that the tables of the module and of its kernel hold."""
        from snubridge.nn.kernels.eager import CARRIED, G, H
        from snubridge.nn.network import OPERATIONS

        return Support.of_tables([*ALWAYS, *OPERATIONS], resets=CARRIED, g=G, h=H, over_time=(None, *REDUCTIONS))

    def lower(self, graph: Graph, *, precision: str | None = None) -> TorchProgram:
        """The graph as a module in evaluation mode, in float32 or float64."""
        from snubridge.nn.network import to_module

        precision = wide_enough(self.name, graph, precision)
        module = to_module(graph).eval()
        return TorchProgram(graph, module.double() if precision == "float64" else module, ErrorModel(precision))

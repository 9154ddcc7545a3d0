"""The torch network as a backend: what was trained, run beside the engines it is carried to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from snubridge.bridge import ALWAYS, Engine, ErrorModel, Requirement, Support, Trace, prepare, wide_enough
from snubridge.errors import BadFile, BadInput
from snubridge.ir import FixedPoint, Graph, Unit, save
from snubridge.ir.disk import StrPath, checked_path
from snubridge.ir.nodes import REDUCTIONS
from snubridge.ir.numbers import NUMBERS
from snubridge.reference.inputs import Inputs

if TYPE_CHECKING:
    from snubridge.nn.network import Network


@dataclass(frozen=True)
class TorchProgram:
    """A graph as a torch module; ``save`` writes the graph's file, from which ``nn.to_module`` makes it anew."""

    graph: Graph
    rounding: ErrorModel

    @cached_property
    def native(self) -> Network:
        """The module, to train and to change; neither changes what ``run`` and ``save`` do."""
        return self._made()

    @cached_property
    def _module(self) -> Network:
        return self._made().requires_grad_(False)

    def _made(self) -> Network:
        from snubridge.nn import to_module

        module = to_module(self.graph).eval()
        return module.double() if self.rounding.precision == "float64" else module.float()

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run the module, without gradients; see ``snubridge.simulate`` for the arguments."""
        import torch

        run = prepare(self.graph, inputs, lengths, record)
        dtype = getattr(torch, self.rounding.precision)
        with torch.inference_mode():
            given = {name: torch.tensor(array, dtype=dtype) for name, array in run.inputs.items()}
            recording, _ = self._module.evaluate(given)
            outputs = self._module.outputs(recording, torch.tensor(run.lengths))
        for name, states in recording.states.items():
            if not torch.isfinite(states).all():
                raise BadInput(f"unit {name} overflows {self.rounding.precision}: scale the weights or the inputs down")
        return Trace.of_run(
            self.graph,
            run,
            spikes={name: recording.values[name].numpy() for name in self.graph.of_kind(Unit)},
            states={name: states.numpy() for name, states in recording.states.items()},
            outputs={name: values.numpy() for name, values in outputs.items()},
        )

    def save(self, path: StrPath) -> None:
        """Write the graph as a ``.safetensors`` file."""
        if checked_path(path).suffix in (".pt", ".pth"):  # what torch.load would expect to open
            raise BadFile(f"{path}: a graph's file ends in .safetensors; nn.to_module(sb.load(file)) is the module")
        save(self.graph, path)


class TorchAdapter:
    """``snubridge.export(graph, "torch", precision=None)``; the graph's precision by default, see ``wide_enough``."""

    name = "torch"
    engine: Engine = "own"
    requirement = Requirement(("torch",), ("torch",), "snubridge[torch]")

    @property
    def support(self) -> Support:
        """Everything that the tables of the module and of its kernel hold."""
        from snubridge.nn.kernels.eager import CARRIED, G, H
        from snubridge.nn.network import OPERATIONS

        numbers = [*NUMBERS.values(), FixedPoint]
        over_time = (None, *REDUCTIONS)
        return Support.of_tables([*ALWAYS, *OPERATIONS], resets=CARRIED, g=G, h=H, over_time=over_time, numbers=numbers)

    def diagnosis(self) -> dict[str, str]:
        """Each training kernel of ``snubridge.nn``, tried on a unit; which of them ``kernel="auto"`` runs."""
        from snubridge.nn.kernels import examined

        return {f'nn kernel "{name}"': found for name, found in examined().items()}

    def lower(self, graph: Graph, *, precision: str | None = None) -> TorchProgram:
        """The graph as a module in evaluation mode, in float32 or float64.

        Measured on torch 2.13, CPU: subnormals survive sums, products, matmul and conv2d, unless the process asks for
        ``torch.set_flush_denormal``; tanh and sigmoid are off by at most 3.0 u of their
        value, on either kernel.
        """
        precision = wide_enough(self.name, graph, precision)
        return TorchProgram(graph, ErrorModel(precision))

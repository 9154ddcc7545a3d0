"""The profile "loihi": what it takes, and its program. Imports without nengo-loihi."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from numpy.typing import ArrayLike

from snubridge.bridge import ErrorModel, ScriptProgram, draw_plan
from snubridge.errors import BadInput, MissingEngine
from snubridge.exactness.loihi import Layer, read_layers
from snubridge.ir import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.inputs import Inputs
from snubridge.reference.trace import Trace

PACKAGE = "nengo_loihi"


def lower_loihi(graph: Graph, *, dt: float) -> LoihiProgram:
    """A graph of ``sb.quantize(graph, sb.Loihi())`` for nengo-loihi's ``Simulator(net, dt, target="sim")``.

    ``Unsupported`` with every reason for any other graph; ``MissingEngine`` without nengo-loihi, whose emulator needs
    numpy below 2.
    """
    layers = read_layers(graph)
    return LoihiProgram(graph, _load(), ErrorModel("float64"), PACKAGE, {"dt": dt}, layers)


@dataclass(frozen=True)
class LoihiProgram(ScriptProgram):
    """A graph in Loihi's integers on nengo-loihi's emulator; see ``ScriptProgram``.

    Spikes of a current are its values. States are not recorded: the emulator shows voltages after their reset.
    """

    layers: tuple[Layer, ...] = ()

    @cached_property
    def _planned(self) -> tuple[dict[str, Any], dict[str, Array]]:
        plan, arrays = draw_plan(self.graph)
        plan["layers"] = [
            {
                "name": layer.name,
                "current": layer.current,
                "lag": layer.lag,
                "fraction_bits": layer.fraction_bits,
                "rectified": layer.rectified,
                "groups": [
                    {"neurons": group.neurons.tolist(), "decay": group.decay, "threshold": group.threshold}
                    for group in layer.groups
                ],
            }
            for layer in self.layers
        ]
        return plan, arrays

    @cached_property
    def facts(self) -> Mapping[str, int]:
        """How many cores, neurons and synapses it takes, and how many steps later its last layer's spikes come."""
        synapses = sum(int((s.weights != 0).sum()) for layer in self.layers for s in layer.synapses)
        return MappingProxyType(
            {
                "cores": sum(len(layer.groups) for layer in self.layers),
                "neurons": sum(len(layer.decay) for layer in self.layers),
                "synapses": synapses,
                "latency": max(layer.lag for layer in self.layers),
            }
        )

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run on the emulator, aligned step by step; see ``snubridge.simulate`` for the arguments."""
        if not isinstance(record, str) and "states" in record:
            raise BadInput("record: the emulator shows voltages after their reset, no states; record 'spikes'")
        return super().run(inputs, record, lengths)


def _load() -> Any:
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingEngine(
            "profile loihi runs on nengo-loihi, which is not installed, and whose emulator needs numpy below 2: "
            "an environment of its own, pip install nengo-loihi==1.1.0 nengo==4.1.0 'numpy<2'"
        )
    try:
        return importlib.import_module("snubridge_nengo.loihi.network")
    except ImportError as error:
        raise MissingEngine(f"profile loihi: nengo-loihi does not load: {error}") from error

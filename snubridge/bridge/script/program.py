"""Programs of engines that are built from a plan by a module of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

import snubridge.bridge.script.main as script_main
from snubridge.bridge.planning import Plan, draw_plan
from snubridge.bridge.script import pair
from snubridge.errors import BadInput
from snubridge.exactness import ErrorModel
from snubridge.ir.file import StrPath
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.inputs import Inputs, prepare
from snubridge.reference.trace import Trace


class EngineModule(Protocol):
    """A module that imports its engine and numpy only, and builds and runs a plan.

    Its source is the exported script, so it has no ``from __future__`` and no import of ours.
    """

    @staticmethod
    def build(plan: Plan, arrays: Mapping[str, Array], **options: Any) -> Any:
        """The network of the engine, as its user would have written it (for one sample)."""

    @staticmethod
    def run(
        plan: Plan,
        arrays: Mapping[str, Array],
        inputs: Mapping[str, Array],
        record: Sequence[str] = ("spikes",),
        **options: Any,
    ) -> dict[str, Array]:
        """{"spikes/<unit>", "states/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size).

        Of an output with ``over_time`` the running reduction.
        """


@dataclass(frozen=True)
class ScriptProgram:
    """A graph on an engine whose module builds it from a plan: runs there, saves as a script.

    ``options`` go to the module's ``build`` and ``run``, and into the script, as they are.
    """

    graph: Graph
    module: Any
    """An ``EngineModule``."""
    rounding: ErrorModel
    engine: str
    """The name of the module that the engine is imported as."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def _planned(self) -> tuple[Plan, dict[str, Array]]:
        return draw_plan(self.graph)

    @cached_property
    def native(self) -> Any:
        """The engine's own network, built once, for one sample; ``exported`` in it is what it can be read back by."""
        network = self.module.build(*self._planned, **self.options)
        network.exported = {"graph": self.graph, "options": dict(self.options)}
        return network

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """How many couplings between single values the network of one sample has."""
        plan, arrays = self._planned
        sizes = {stop["name"]: stop["size"] for stop in plan["stops"]}
        synapses = sum(_couplings(path["weight"], arrays, sizes[path["source"]]) for path in plan["paths"])
        return MappingProxyType({"synapses": synapses})

    @cached_property
    def files(self) -> pair.Pair:
        """The contents of the script and of its parameters."""
        return pair.compose(self.graph, *self._planned, self.module, self.engine, self.options)

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run on the engine; see ``snubridge.simulate`` for the arguments."""
        run = prepare(self.graph, inputs, lengths, record)
        flat = {
            name: a.reshape(run.steps, run.samples, -1).astype(np.float64, copy=False) for name, a in run.inputs.items()
        }
        plan = self._planned[0]
        try:
            with np.errstate(under="ignore", over="raise", invalid="raise"):
                recorded = self._recorded(flat, run.record)
        except Exception as error:
            if not script_main.overflowed(error):  # type: ignore[no-untyped-call]  # see its head
                raise
            raise BadInput("the engine overflowed: scale the weights or the inputs down") from error
        shaped = script_main.shaped(plan, recorded, run.lengths)  # type: ignore[no-untyped-call]  # see its head
        groups: dict[str, dict[str, Array]] = {"spikes": {}, "states": {}, "outputs": {}}
        for key, values in shaped.items():
            group, _, name = key.partition("/")
            groups[group][name] = values
        return Trace.of_run(self.graph, run, **groups)

    def _recorded(self, inputs: Mapping[str, Array], record: Sequence[str]) -> dict[str, Array]:
        """What the engine recorded, (T, B, size) each; a program may keep what it compiles from run to run."""
        recorded: dict[str, Array] = self.module.run(*self._planned, inputs, record, **self.options)
        return recorded

    def save(self, path: StrPath) -> None:
        """Write ``NAME.py`` and its parameters ``NAME.npz`` beside it: ``python NAME.py inputs.npy trace.npz``."""
        pair.write(self.files, path)


def _couplings(weight: str | None, arrays: Mapping[str, Array], source: int) -> int:
    """One to one as many as the source has values; else the weights that are not zero."""
    if weight is None:
        return source
    return int(np.count_nonzero(arrays[weight] if weight in arrays else arrays[f"{weight}/values"]))

"""Programs of engines that are built from a plan by a module of their own, and their scripts."""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

import snubridge.bridge.script_main as script_main
from snubridge.bridge.planning import Plan, draw_plan
from snubridge.errors import BadFile, BadInput
from snubridge.exactness import ErrorModel
from snubridge.ir.document import to_json
from snubridge.ir.file import StrPath, write_atomically
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.archive import read_arrays
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
        """{"spikes/<unit>", "states/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size)."""


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
        """The engine's own network, built once, for one sample."""
        return self.module.build(*self._planned, **self.options)

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run on the engine; see ``snubridge.simulate`` for the arguments."""
        run = prepare(self.graph, inputs, lengths, record)
        flat = {name: a.reshape(run.steps, run.samples, -1).astype(np.float64) for name, a in run.inputs.items()}
        plan, arrays = self._planned
        try:
            with np.errstate(under="ignore", over="raise", invalid="raise"):
                recorded = self.module.run(plan, arrays, flat, run.record, **self.options)
        except Exception as error:
            if not _overflowed(error):
                raise
            raise BadInput("the engine overflowed: scale the weights or the inputs down") from error
        shaped = script_main.shaped(plan, recorded)  # type: ignore[no-untyped-call]  # plain numpy, see its head
        groups: dict[str, dict[str, Array]] = {"spikes": {}, "states": {}, "outputs": {}}
        for key, values in shaped.items():
            group, _, name = key.partition("/")
            groups[group][name] = values
        return Trace.of_run(self.graph, run, **groups)

    def save(self, path: StrPath) -> None:
        """Write ``NAME.py`` and its parameters ``NAME.npz`` beside it: ``python NAME.py inputs.npy trace.npz``."""
        script = Path(path)
        if script.suffix != ".py":
            raise BadFile(f"{path}: a script ends in .py; its parameters go into the .npz beside it")
        if script.stem in {*sys.stdlib_module_names, "numpy", self.engine}:
            raise BadFile(
                f"{path}: a script of that name would hide the module {script.stem} from itself; name it anew"
            )
        _demand_ours(script.with_suffix(".npz"))
        plan, arrays = self._planned
        stored = io.BytesIO()
        np.savez(stored, plan=np.array(to_json(plan)), **arrays)  # type: ignore[arg-type]  # keys, not numpy's option
        write_atomically(script.with_suffix(".npz"), stored.getvalue())
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        digest = hashlib.sha256(stored.getvalue()).hexdigest()
        run = f"lambda plan, arrays, inputs: run(plan, arrays, inputs{', ' + options if options else ''})"
        parts = [inspect.getsource(self.module), inspect.getsource(script_main)]
        source = (
            "\n\n".join(part.strip() for part in parts)
            + f'\n\n\nif __name__ == "__main__":\n    main({run}, "{digest}")\n'
        )
        write_atomically(script, source.encode())


def _demand_ours(parameters: Path) -> None:
    """Parameters may replace parameters, and nothing else that lies there."""
    if parameters.exists() and "plan" not in read_arrays(parameters):
        raise BadFile(f"{parameters}: is there and holds no parameters of a script; move it, or name the script anew")


def _overflowed(error: BaseException | None) -> bool:
    """Whether numpy's FloatingPointError is behind an error, which an engine may have wrapped in its own."""
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__cause__
    return error is not None

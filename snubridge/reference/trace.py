"""What a run recorded, and where it stopped."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from snubridge.errors import BadFile, BadInput
from snubridge.ir.file import StrPath, write_atomically
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Output, Shape, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import shapes
from snubridge.reference.archive import read_arrays
from snubridge.reference.inputs import Run


@dataclass
class State:
    """Where a reference run stopped: states, outputs, delay lines, running reductions. Opaque."""

    digest: str
    sizes: Mapping[str, Shape]
    s: dict[str, Array]
    y: dict[str, Array]
    lines: dict[str, list[Array]] = field(default_factory=dict)
    running: dict[str, tuple[Array, NDArray[np.int64]]] = field(default_factory=dict)

    def resume(self, graph: Graph, samples: int) -> Self:
        """A copy to go on from; the same graph and batch are demanded."""
        if not isinstance(self, State) or self.digest != graph.digest:
            raise BadInput("state: it is of another graph; pass trace.state of a run of this one")
        if any(size[0] != samples for size in self.sizes.values()):
            raise BadInput(f"state: it is of another batch size than these {samples} samples")
        return copy.deepcopy(self)

    def past(self, name: str, delay: int) -> Array:
        """The output of ``name`` of ``delay`` >= 1 steps ago; zero before the start."""
        line = self.lines.get(name, [])
        return line[delay - 1] if delay <= len(line) else np.zeros(self.sizes[name])

    def push(self, now: Mapping[str, Array], longest: Mapping[str, int]) -> None:
        """A step has ended: its outputs are now one step ago."""
        for name, reach in longest.items():
            if reach:
                self.lines[name] = [now[name], *self.lines.get(name, [])][:reach]

    def reduce(self, name: str, how: str, value: Array, alive: NDArray[np.bool_]) -> None:
        """Take one step into a running reduction, for the samples that have not ended."""
        mask = alive.reshape(-1, *[1] * (value.ndim - 1))
        if name not in self.running:
            start = np.full(value.shape, -np.inf) if how == "max" else np.zeros(value.shape)
            self.running[name] = start, np.zeros(len(value), dtype=np.int64)
        total, count = self.running[name]
        new = {"max": np.maximum(total, value), "last": value}.get(how, total + value)
        self.running[name] = np.where(mask, new, total), count + alive

    def reduced(self, name: str, how: str) -> Array:
        """The reduction so far, (B, *shape)."""
        total, count = self.running[name]
        return total / count.reshape(-1, *[1] * (total.ndim - 1)) if how == "mean" else total


@dataclass(frozen=True)
class Trace:
    """What a run recorded; all arrays are read-only.

    ``spikes[unit]``    (T, B, *shape): y, uint8 for Step units, float for others
    ``states[unit]``    (T, B, *shape): s, where "states" was recorded
    ``outputs[output]`` (T, B, *shape), or (B, *shape) with a reduction over time
    ``lengths``         (B,): how many steps of each sample count
    ``state``           where the run stopped (opaque), to go on from; None if the engine offers none
    """

    spikes: Mapping[str, Array]
    states: Mapping[str, Array]
    outputs: Mapping[str, Array]
    lengths: Array
    state: Any = None

    @classmethod
    def of_run(
        cls,
        graph: Graph,
        run: Run,
        *,
        spikes: Mapping[str, Array],
        outputs: Mapping[str, Array],
        states: Mapping[str, Array] = MappingProxyType({}),
        state: Any = None,
    ) -> Trace:
        """Bring what an engine recorded into the promised form, and check it against the graph.

        Shapes must be exactly those of the graph, and a Step unit's values exactly 0 or 1: an
        engine that delivers anything else is at fault, and ``BadInput`` says where.
        """
        expected = shapes(graph)
        units = graph.of_kind(Unit) if "spikes" in run.record else {}
        recorded = graph.of_kind(Unit) if "states" in run.record else {}
        whole = (run.steps, run.samples)
        return cls(
            spikes=_frozen(
                {
                    name: _binary(name, spikes[name]) if unit.spiking else np.asarray(spikes[name])
                    for name, unit in units.items()
                },
                {name: whole + expected[name] for name in units},
            ),
            states=_frozen(
                {name: np.asarray(states[name]) for name in recorded},
                {name: whole + expected[name] for name in recorded},
            ),
            outputs=_frozen(
                {name: np.asarray(outputs[name]) for name in graph.of_kind(Output)},
                {
                    name: (whole if node.over_time is None else whole[1:]) + expected[name]
                    for name, node in graph.of_kind(Output).items()
                },
            ),
            lengths=run.lengths,
            state=state,
        )

    def arrays(self) -> dict[str, Array]:
        """All arrays by the keys of a trace file: spikes/<unit>, states/<unit>, outputs/<output>, lengths."""
        groups = {"spikes": self.spikes, "states": self.states, "outputs": self.outputs}
        keyed = {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        return {**keyed, "lengths": self.lengths}

    def save(self, path: StrPath) -> None:
        """Write an ``.npz`` file with the keys of ``arrays``; atomic."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())  # type: ignore[arg-type]  # numpy's stub takes the keys for its own option
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: StrPath) -> Trace:
        """Read a trace file; nothing in it is evaluated, no pickle is opened."""
        groups: dict[str, dict[str, Array]] = {"spikes": {}, "states": {}, "outputs": {}}
        lengths: Array | None = None
        for key, array in read_arrays(path).items():
            group, _, name = key.partition("/")
            if key == "lengths":
                lengths = array
            elif group in groups and name:
                groups[group][name] = array
            else:
                raise BadFile(f"{path}: unknown key {key!r:.80}; a trace has spikes/, states/, outputs/ and lengths")
        if lengths is None:
            steps = {array.shape[:2] for array in groups["spikes"].values()}
            if len(steps) != 1 or len(next(iter(steps))) != 2:
                raise BadFile(f"{path}: no lengths, and no spikes of one (T, B) to take them from")
            lengths = np.full(next(iter(steps))[1], next(iter(steps))[0], dtype=np.int64)
        return cls(**{group: MappingProxyType(arrays) for group, arrays in groups.items()}, lengths=lengths)


def _binary(name: str, values: Array) -> Array:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf" or not ((values == 0) | (values == 1)).all():
        raise BadInput(f"unit {name}: the engine delivered values other than 0 and 1 for a Step unit")
    return values.astype(np.uint8)


def _frozen(arrays: Mapping[str, Array], sizes: Mapping[str, Shape]) -> Mapping[str, Array]:
    for name, array in arrays.items():
        if array.shape != sizes[name]:
            raise BadInput(f"{name}: the engine delivered shape {array.shape}; the graph says {sizes[name]}")
        array.setflags(write=False)
    return MappingProxyType(dict(arrays))

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

from snubridge.errors import BadFile, BadInput, shown
from snubridge.ir.disk import StrPath, write_atomically
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Output, Shape, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.rules import NAME
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
        if self.digest != graph.digest:
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
    ``reduced``         the outputs that are reductions over time
    ``state``           where the run stopped (opaque), to go on from; None if the engine offers none
    """

    spikes: Mapping[str, Array]
    states: Mapping[str, Array]
    outputs: Mapping[str, Array]
    lengths: Array
    state: Any = None
    reduced: tuple[str, ...] = ()

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
        engine that delivers anything else is at fault, and ``BadInput`` says where. ``states`` may be
        given whether they are recorded or not: an infinite one behind finite spikes is refused.
        """
        expected = shapes(graph)
        units = graph.of_kind(Unit) if "spikes" in run.record else {}
        recorded = graph.of_kind(Unit) if "states" in run.record else {}
        whole = (run.steps, run.samples)
        for name, values in states.items():
            _demand_finite(f"states/{name}", np.asarray(values))
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
            reduced=tuple(name for name, node in graph.of_kind(Output).items() if node.over_time is not None),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        groups = dict(self.spikes), dict(self.states), dict(self.outputs)
        return _rebuilt, (*groups, self.lengths, self.state, self.reduced)

    def arrays(self) -> dict[str, Array]:
        """All arrays by the keys of a trace file: spikes/<unit>, states/<unit>, outputs/<output>.

        ``lengths`` is there where a sample is shorter than the run, and ``reduced``, the names of
        the outputs that are reduced over time, where there are such.
        """
        groups = {"spikes": self.spikes, "states": self.states, "outputs": self.outputs}
        keyed = {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        whole = [len(array) for key, array in keyed.items() if key.removeprefix("outputs/") not in self.reduced]
        if not whole or (self.lengths != whole[0]).any():
            keyed["lengths"] = self.lengths
        return {**keyed, "reduced": np.array(self.reduced)} if self.reduced else keyed

    def save(self, path: StrPath) -> None:
        """Write an ``.npz`` file with the keys of ``arrays``; atomic."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())  # type: ignore[arg-type]  # numpy's stub takes the keys for its own option
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: StrPath) -> Trace:
        """Read a trace file; nothing in it is evaluated, no pickle is opened."""
        groups: dict[str, dict[str, Array]] = {"spikes": {}, "states": {}, "outputs": {}}
        arrays = read_arrays(path)
        named, lengths = arrays.pop("reduced", np.array((), dtype=str)), arrays.pop("lengths", None)
        if named.ndim != 1 or named.dtype.kind != "U":
            raise BadFile(f"{path}: reduced is no list of names")
        for key, array in arrays.items():
            group, _, name = key.partition("/")
            if group not in groups or not NAME.fullmatch(name):
                raise BadFile(f"{path}: unknown key {shown(key)}; a trace has spikes/, states/, outputs/ and lengths")
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise BadFile(f"{path}: {key} holds {array.dtype}, not real numbers of up to 64 bits")
            if group == "spikes" and array.dtype == np.uint8 and array.max(initial=0) > 1:
                raise BadFile(f"{path}: {key} holds {array.max()}; spikes are 0 or 1")
            groups[group][name] = array
        reduced = tuple(str(name) for name in named)
        if not set(reduced) <= set(groups["outputs"]):
            raise BadFile(f"{path}: reduced names outputs that are not there")
        whole = [*groups["spikes"].values(), *groups["states"].values()]
        whole += [array for name, array in groups["outputs"].items() if name not in reduced]
        sizes = {array.shape[:2] for array in whole}
        batches = {size[1:] for size in sizes} | {groups["outputs"][name].shape[:1] for name in reduced}
        if len(sizes) > 1 or len(batches) > 1 or any(len(size) != 2 or 0 in size for size in sizes):
            found = shown([*sorted(sizes), *sorted(batches)], 200)
            raise BadFile(f"{path}: arrays that differ in steps or samples, or have none: {found}")
        steps, samples = next(iter(sizes), (None, None))
        if lengths is None and steps is not None:
            lengths = np.full(samples or 0, steps, dtype=np.int64)
        if lengths is None or lengths.dtype.kind not in "iu" or lengths.ndim != 1 or batches - {lengths.shape}:
            raise BadFile(f"{path}: lengths (B,), one integer for each sample, are needed")
        if (lengths < 1).any() or (steps is not None and (lengths > steps).any()):
            raise BadFile(f"{path}: lengths from {lengths.min()} to {lengths.max()}; needed 1 to {steps} steps")
        return _rebuilt(groups["spikes"], groups["states"], groups["outputs"], lengths, None, reduced)


def _rebuilt(
    spikes: dict[str, Array],
    states: dict[str, Array],
    outputs: dict[str, Array],
    lengths: Array,
    state: Any,
    reduced: tuple[str, ...],
) -> Trace:
    """What unpickling and copying call: read-only again."""
    for array in (*spikes.values(), *states.values(), *outputs.values()):
        array.setflags(write=False)
    groups = MappingProxyType(spikes), MappingProxyType(states), MappingProxyType(outputs)
    return Trace(*groups, lengths, state, reduced)


def _binary(name: str, values: Array) -> Array:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf" or not ((values == 0) | (values == 1)).all():
        raise BadInput(f"unit {name}: the engine delivered values other than 0 and 1 for a Step unit")
    return values.astype(np.uint8)


def _demand_finite(name: str, array: Array) -> None:
    if not np.isfinite(array).all():
        raise BadInput(f"{name}: the engine overflowed {array.dtype}: scale the weights or the inputs down")


def _frozen(arrays: Mapping[str, Array], sizes: Mapping[str, Shape]) -> Mapping[str, Array]:
    for name, array in arrays.items():
        _demand_finite(name, array)
        if array.shape != sizes[name]:
            raise BadInput(f"{name}: the engine delivered shape {array.shape}; the graph says {sizes[name]}")
        array.setflags(write=False)
    return MappingProxyType(dict(arrays))

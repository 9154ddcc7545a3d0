"""What a run takes: input arrays, checked and rounded once to the graph's numbers, for every engine alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.errors import BadInput, shown
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input
from snubridge.ir.numbers import Array, FixedPoint

Inputs = ArrayLike | Mapping[str, ArrayLike]
RECORDABLE = ("spikes", "states")


@dataclass(frozen=True)
class Run:
    """Checked inputs: ``inputs[name]`` is (T, B, *shape) in the graph's dtype, read-only."""

    inputs: Mapping[str, Array]
    steps: int
    samples: int
    lengths: Array
    """(B,) integers: how many steps of each sample count."""
    record: tuple[str, ...] = ("spikes",)


def prepare(
    graph: Graph,
    inputs: Inputs,
    lengths: ArrayLike | None = None,
    record: Sequence[str] = ("spikes",),
) -> Run:
    """Check what a caller hands to a run, and round it; ``BadInput`` says what does not fit.

    ``inputs``: an array (T, B, *shape), or a mapping from the name of each Input to one.
    ``lengths``: (B,) integers from 1 to T; default T. ``record``: of "spikes" and "states".
    """
    nodes = graph.of_kind(Input)
    if not isinstance(inputs, Mapping):
        if len(nodes) != 1:
            raise BadInput(f"the graph has {len(nodes)} inputs ({', '.join(nodes)}): pass a dict from name to array")
        inputs = {next(iter(nodes)): inputs}
    if inputs.keys() != nodes.keys():
        raise BadInput(f"inputs are given for {sorted(map(str, inputs))}; the graph's inputs are {sorted(nodes)}")
    arrays = {name: _array(graph, name, node, inputs[name]) for name, node in nodes.items()}
    sizes = {array.shape[:2] for array in arrays.values()}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {array.shape[:2]}" for name, array in arrays.items())
        raise BadInput(f"inputs of different (T, B): {found}; all share steps and samples")
    steps, samples = next(iter(sizes))
    names = tuple(record) if isinstance(record, Iterable) and not isinstance(record, str) else (record,)
    if isinstance(record, str) or any(name not in RECORDABLE for name in names):
        raise BadInput(f"record={shown(record)}: give a tuple of {', '.join(map(repr, RECORDABLE))}")
    return Run(MappingProxyType(arrays), steps, samples, _lengths(lengths, steps, samples), names)


def _array(graph: Graph, name: str, node: Input, given: Any) -> Array:
    place = f"input {name}"
    wanted = f"(T, B, {', '.join(map(str, node.shape))})"
    array = _real_array(place, given, f"numbers of shape {wanted}")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{place}: values of type {array.dtype}; pass real numbers of shape {wanted}")
    if array.ndim != 2 + len(node.shape) or array.shape[2:] != node.shape:
        raise BadInput(f"{place}: shape {array.shape}; needed {wanted}, time first, then the batch")
    if array.shape[0] < 1 or array.shape[1] < 1:
        raise BadInput(f"{place}: shape {array.shape}; at least one step and one sample are needed")
    rounded = graph.numbers.round(array)
    finite = np.isfinite(rounded)
    if not finite.all():
        where = _first(~finite)
        raise BadInput(
            f"{place}: {array[where]} at (step, sample, ...) = {where} is not finite in {graph.numbers.name}"
        )
    if isinstance(graph.numbers, FixedPoint) and array.dtype.itemsize >= 8:
        with np.errstate(over="ignore", invalid="ignore"):
            lost = rounded.astype(array.dtype) != array
        if lost.any():
            where = _first(lost)
            raise BadInput(f"{place}: {array[where]} at (step, sample, ...) = {where} does not fit float64")
    for bound, outside in ((node.low, np.less), (node.high, np.greater)):
        if bound is not None and outside(rounded, bound).any():
            where = _first(outside(rounded, bound))
            raise BadInput(
                f"{place}: {array[where]} at (step, sample, ...) = {where} is outside of [{node.low}, {node.high}]"
            )
    if node.fraction_bits is not None:
        scaled = np.ldexp(rounded.astype(np.float64), node.fraction_bits)
        if (scaled != np.rint(scaled)).any():
            where = _first(scaled != np.rint(scaled))
            raise BadInput(
                f"{place}: {array[where]} at (step, sample, ...) = {where} is no multiple of 2^-{node.fraction_bits}"
            )
    return rounded


def _real_array(place: str, given: Any, wanted: str) -> Array:
    """What is given as an array, not yet copied, with nothing lost."""
    try:
        array = np.asarray(given)
    except Exception as error:  # noqa: BLE001  # ragged lists, tensors with gradients, and anything's own __array__
        raise BadInput(f"{place}: not an array: {error}; pass {wanted}") from None
    if isinstance(given, np.ma.MaskedArray):
        raise BadInput(f"{place}: a masked array, whose mask would be lost: fill it; pass {wanted}")
    return array


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _lengths(given: ArrayLike | None, steps: int, samples: int) -> Array:
    if given is None:
        lengths = np.full(samples, steps, dtype=np.int64)
    else:
        lengths = _real_array("lengths", given, f"integers of shape ({samples},)")
        if lengths.dtype.kind not in "iu" or lengths.shape != (samples,):
            raise BadInput(f"lengths: {lengths.dtype} of shape {lengths.shape}; needed integers of shape ({samples},)")
        if lengths.min() < 1 or lengths.max() > steps:
            raise BadInput(f"lengths: from {lengths.min()} to {lengths.max()}; needed 1 to {steps} steps")
        lengths = lengths.astype(np.int64)
    lengths.setflags(write=False)
    return lengths

"""Linear nodes as couplings between single values of flattened samples, for engines that know nothing larger.

A coupling is what one weight does at one place: ``target`` receives ``weight * source``. A dense Linear on samples of
one axis is its own matrix; whatever uses a weight at many places (a convolution, a pool, a Linear on the last of
several axes) is unrolled: exact, since every product of the definition stays a product, but larger than its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snubridge.bridge.options import oversize
from snubridge.bridge.wiring import wire
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Linear, Node, Shape, SumPool2d, Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import shapes


@dataclass(frozen=True)
class Couplings:
    """``values[k]`` couples ``sources[k]`` to ``targets[k]``, indices into flattened samples; zeros are left out."""

    targets: Array
    sources: Array
    values: Array


def couple(graph: Graph, name: str) -> Couplings | Array | None:
    """What the linear node ``name`` does to a flattened sample, in float64.

    None where it passes every value on, a matrix (outputs, inputs) where it is dense, else couplings. The divisor
    of a pool is not in them: see ``divisor``.
    """
    node, shape = graph.nodes[name], _received(graph, name)
    if isinstance(node, Linear) and len(shape) == 1:
        return node.weight.astype(np.float64)
    found = _COUPLED[type(node)](node, shape)
    if found is None:
        return None
    targets, sources, values = (part.ravel() for part in np.broadcast_arrays(*found))
    kept = values != 0
    return Couplings(targets[kept], sources[kept], values[kept].astype(np.float64))


def size(graph: Graph, name: str) -> int:
    """At most how many couplings a node unrolls to (zeros and padding count); 0 for one that need not be unrolled."""
    node: Any = graph.nodes[name]
    shape = _received(graph, name)
    if isinstance(node, Linear):
        return 0 if len(shape) == 1 else node.weight.size * math.prod(shape[:-1])
    if isinstance(node, Flatten):
        return 0
    kernel = node.weight.shape[1:] if isinstance(node, Conv2d) else (1, *node.kernel_size)
    return math.prod((*node.output_shape(shape), *kernel))


def divisor(node: Node) -> float:
    """What a node divides by after it has summed: an average rounds once, by its window, as in the definition."""
    return float(math.prod(node.kernel_size)) if isinstance(node, AvgPool2d) else 1.0


def bias_vector(graph: Graph, name: str) -> Array:
    """The bias of the linear node ``name`` in float64 over a flattened sample of its output."""
    node, shape = graph.nodes[name], shapes(graph)[name]
    bias = node.arrays()["bias"].astype(np.float64)
    return np.broadcast_to(bias[:, None, None] if isinstance(node, Conv2d) else bias, shape).ravel()


@dataclass(frozen=True)
class _Taps:
    """Along one axis: which output (``at``) sees which input (``place``) through which entry of the kernel."""

    at: Array
    entry: Array
    place: Array
    count: int
    """Of outputs, those included that see nothing but padding."""


def _taps(length: int, kernel: int, stride: int, padding: int, dilation: int) -> _Taps:
    count = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    at, entry = (index.ravel() for index in np.indices((count, kernel)))
    place = at * stride + entry * dilation - padding
    inside = (place >= 0) & (place < length)  # padding is zero and couples nothing
    return _Taps(at[inside], entry[inside], place[inside], count)


Indices = tuple[Array, Array, Array]
"""Targets, sources and values, which broadcast against one another."""


def _convolved(node: Conv2d, shape: Shape) -> Indices:
    """(out, in // groups, taps along the height, taps along the width) couplings of a convolution."""
    return _windowed(node.weight, node.groups, shape, tuple(zip(node.stride, node.padding, node.dilation, strict=True)))


def _pooled(node: AvgPool2d | SumPool2d, shape: Shape) -> Indices:
    """The couplings of a convolution of each channel with ones."""
    ones = np.ones((shape[0], 1, *node.kernel_size))
    return _windowed(ones, shape[0], shape, tuple(zip(node.stride, node.padding, (1, 1), strict=True)))


def _windowed(weight: Array, groups: int, shape: Shape, windows: tuple[tuple[int, int, int], ...]) -> Indices:
    """``windows``: (stride, padding, dilation) along the height and along the width."""
    outputs, depth = weight.shape[:2]
    high, wide = (_taps(n, k, *window) for n, k, window in zip(shape[1:], weight.shape[2:], windows, strict=True))
    out_high, out_wide = high.count, wide.count
    output, local = np.arange(outputs)[:, None, None, None], np.arange(depth)[None, :, None, None]
    channel = output // (outputs // groups) * depth + local
    (row, i, y), (column, j, x) = ((t.at, t.entry, t.place) for t in (high, wide))
    targets = (output * out_high + row[:, None]) * out_wide + column
    sources = (channel * shape[1] + y[:, None]) * shape[2] + x
    return targets, sources, weight[output, local, i[:, None], j]


def _on_last_axis(node: Linear, shape: Shape) -> Indices:
    """(places, out, in) couplings of a Linear that acts at every place of the axes before the last."""
    outputs, inputs = node.weight.shape
    place = np.arange(math.prod(shape[:-1]))[:, None, None]
    return place * outputs + np.arange(outputs)[:, None], place * inputs + np.arange(inputs), node.weight


_COUPLED: Mapping[type[Node], Callable[[Any, Shape], Indices | None]] = {
    Linear: _on_last_axis,
    Conv2d: _convolved,
    AvgPool2d: _pooled,
    SumPool2d: _pooled,
    Flatten: lambda node, shape: None,
}
LINEAR = tuple(_COUPLED)
"""The kinds of nodes that couplings can say: all that are linear."""
MAX_SYNAPSES = 10_000_000
"""Couplings that a node unrolls to unless the caller raises the limit: some 250 MB in the engine."""


def too_large(graph: Graph, max_synapses: int, *, lines_of_spikes: bool = True) -> tuple[str, ...]:
    """The reasons to refuse nodes that take more room than the option ``max_synapses`` allows.

    Counted are the couplings that a node unrolls to, and the values that wait on its delay line (not those of
    spikes if ``lines_of_spikes`` is False, for an engine that delays events by itself).
    """
    couplings = {name: size(graph, name) for name, node in graph.nodes.items() if isinstance(node, LINEAR)}
    sizes, waiting = shapes(graph), dict[str, int]()
    for path in wire(graph).paths:
        node = graph.nodes[path.source]
        if lines_of_spikes or not (isinstance(node, Unit) and node.spiking):
            held = path.delay * math.prod(sizes[path.source])
            waiting[path.source] = max(held, waiting.get(path.source, 0))
    return (
        *oversize(couplings, "max_synapses", max_synapses, "couplings"),
        *oversize(waiting, "max_synapses", max_synapses, "values on its delay line"),
    )


def _received(graph: Graph, name: str) -> Shape:
    return shapes(graph)[graph.incoming[name][0].source]

"""A float graph as integer dynamics on Loihi's grids: each unit becomes a current and a voltage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.errors import BadInput, Unsupported
from snubridge.exactness.calibration import changes
from snubridge.exactness.loihi.chip import (
    CURRENT_DECAY,
    DECAY_BITS,
    MOST_INPUT,
    MOST_ODD_WEIGHT,
    MOST_THRESHOLD,
    STEP_BITS,
    VOLTAGE_BITS,
    Loihi,
)
from snubridge.exactness.loihi.layers import (
    FULL,
    Synapses,
    deepest,
    groups_of,
    largest_inputs,
    read_layers,
    settings,
    unit_reasons,
)
from snubridge.exactness.loihi.wiring import Projection, latencies, projections, read_outs, samples_in_rows
from snubridge.ir.functions import Identity, ReLU, Reset
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Array, FixedPoint, Float64
from snubridge.ir.rules import validate
from snubridge.ir.structure import shapes
from snubridge.reference.inputs import Inputs, prepare
from snubridge.reference.interpreter import simulate

KMEANS = 50
"""Rounds in which decays find the centers that they are rounded to."""
TRIED = 512
"""Thresholds among which the one is taken that rounds the weights least."""
READ_OUT_BITS = 20
"""Of the largest weight of a read-out, which is summed beside the chip."""
MOST_FINE = 40
"""Fraction bits of a threshold at most."""


def lower(graph: Graph, chip: Loihi, inputs: Inputs | None, lengths: ArrayLike | None) -> Graph:
    """The valid float graph in Loihi's integers, with what was lost on ``inputs``; see ``sb.quantize``.

    Each spiking unit becomes two: its current, ``<unit>.current``, u = trunc(u / 4096) + input, and its voltage,
    v = trunc(m v / 4096) + u, reset to zero by a spike, which is v > threshold. All thresholds of a unit become one,
    since the scale of each neuron's weights is free; of up to 512 such, the one that rounds the weights least.
    A graph that is in these integers already stays as it is; one that has left them in training is read as floats and
    laid on them again.
    ``Unsupported`` with every reason for what the emulator lacks.
    """
    lowered = graph if _is_laid(graph, chip) else _laid(_as_floats(graph), chip)
    assert isinstance(lowered.numbers, FixedPoint)
    about: dict[str, Any] = {"from": graph.digest, "numbers": repr(chip), "state_bits": lowered.numbers.state_bits}
    about["units"] = settings(read_layers(lowered, "loihi"))
    if inputs is not None:
        about |= _lost(graph, lowered, inputs, lengths)
    metadata = graph.metadata | {"quantized": about}
    return Graph(lowered.nodes, lowered.edges, numbers=lowered.numbers, metadata=metadata)


def _is_laid(graph: Graph, chip: Loihi) -> bool:
    """Whether a graph is in the integers of this chip already."""
    try:
        layers = read_layers(graph)
    except Unsupported:
        return False
    return all(np.abs(s.weights).max() <= chip.most_weight for layer in layers for s in layer.synapses)


def _laid(graph: Graph, chip: Loihi) -> Graph:
    """A graph in floats, laid on the grids."""
    found = _demand(graph)
    cells = {name: _cells(graph, name, unit, found[name], chip) for name, unit in graph.of_kind(Unit).items()}
    nodes, bits = dict[str, Node](), dict[str, int]()
    renamed = {}
    laid: dict[str, list[Synapses]] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, Unit):
            current = renamed[name] = _free(f"{name}.current", {*graph.nodes, *nodes})
            threshold, synapses, decays = _integers(graph, name, node, found[name], cells, chip)
            fine = _fraction_bits(threshold, node)
            laid[name] = synapses
            for one in synapses:
                even = bool((one.weights % 2 == 0).all()) and int(np.abs(one.weights).max()) > MOST_ODD_WEIGHT
                bits[one.name] = fine - even
                nodes[one.name] = Linear(np.ldexp(one.weights.astype(np.float64), -fine))
            bits |= {current: fine + STEP_BITS, name: fine}
            nodes[current] = Unit(CURRENT_DECAY / FULL, 0.0, reset=Reset.NONE, h=Identity())
            nodes[name] = Unit(decays / FULL, math.ldexp(threshold, -fine), g=node.g)
        elif isinstance(node, Input):
            nodes[name] = Input(node.shape, 0.0, 1.0, 0)
        elif name not in nodes:
            nodes[name] = node
            if isinstance(node, Linear) and any(
                isinstance(graph.nodes[e.target], Output) for e in graph.outgoing[name]
            ):
                bits[name] = _read_out_bits(node)
    edges = [Edge(e.source, renamed.get(e.target, e.target), e.delay) for e in graph.edges]
    edges += [Edge(current, name) for name, current in renamed.items()]
    state_bits = _voltage_bits(graph, laid, nodes)
    numbers = FixedPoint(bits, state_bits, DECAY_BITS, "zero")
    ordered = {name: nodes[name] for name in _order(graph, renamed)}
    lowered = Graph(ordered, edges, numbers=numbers)
    validate(lowered)
    return lowered


def _order(graph: Graph, renamed: Mapping[str, str]) -> list[str]:
    return [new for name in graph.nodes for new in ([renamed[name], name] if name in renamed else [name])]


def _free(name: str, taken: set[str]) -> str:
    tried, count = name, 1
    while tried in taken:
        count += 1
        tried = f"{name}_{count}"
    return tried


def _as_floats(graph: Graph) -> Graph:
    """A graph in Loihi's integers with each current and voltage as one unit again; any other as it is."""
    currents = {
        edge.source: edge.target
        for edge in graph.edges
        if isinstance(graph.numbers, FixedPoint)
        and isinstance(graph.nodes[edge.source], Unit)
        and isinstance(graph.nodes[edge.target], Unit)
    }
    if not currents:
        return graph
    nodes = {name: node for name, node in graph.nodes.items() if name not in currents}
    edges = [Edge(e.source, currents.get(e.target, e.target), e.delay) for e in graph.edges if e.source not in currents]
    return Graph(nodes, edges, numbers=Float64(), metadata=graph.metadata)


def _demand(graph: Graph) -> dict[str, list[Projection]]:
    """What each unit receives; ``Unsupported`` with all that the emulator lacks."""
    reasons: list[str] = []
    found: dict[str, list[Projection]] = {}
    units = graph.of_kind(Unit)
    if not units:
        reasons.append("the graph has no unit")
    for name, unit in units.items():
        reasons += unit_reasons(name, unit)
        found[name], refused = projections(graph, name, name)
        reasons += refused
    for name, entry in graph.of_kind(Input).items():
        given = (entry.low in (None, 0), entry.high in (None, 1), entry.fraction_bits in (None, 0))
        if not all(given):
            reasons.append(f"input {name}: from {entry.low} to {entry.high}; spikes, 0 and 1, are needed")
    heard = {projection.linear for received in found.values() for projection in received}
    for name, node in graph.nodes.items():
        out = all(isinstance(graph.nodes[edge.target], Output) for edge in graph.outgoing[name])
        if not isinstance(node, Input | Unit | Output) and name not in heard and not (isinstance(node, Linear) and out):
            reasons.append(f"node {name}: a {type(node).__name__} that is neither synapses of a unit nor a read-out")
    reasons += samples_in_rows(graph, [*graph.of_kind(Input), *units])
    if not reasons:
        lags, reasons = latencies(graph, [one for received in found.values() for one in received])
        reasons += read_outs(graph, lags)
    if reasons:
        raise Unsupported("loihi", reasons)
    return found


def _integers(
    graph: Graph, name: str, unit: Unit, received: list[Projection], cells: Mapping[str, list[Array]], chip: Loihi
) -> tuple[int, list[Synapses], Array]:
    """The threshold and the weights in units of 64, and the decays (neurons,) or () of 4096."""
    (size,) = shapes(graph)[name]
    thresholds = np.broadcast_to(unit.threshold.astype(np.float64), (size,))
    shares = [_weights(graph, one) / thresholds[:, None] for one in received]
    largest = max((float(np.abs(share).max()) for share in shares), default=0.0)
    most = min(MOST_THRESHOLD, math.floor(chip.most_weight / largest)) if largest else MOST_THRESHOLD
    if most < 1:
        found = f"weights up to {largest:.3g} times its threshold, above {chip.most_weight}"
        raise Unsupported("loihi", [f"unit {name}: {found}: raise the threshold, or lower the weights"])
    blocks = [
        [np.ix_(mine, theirs) for mine in cells[name] for theirs in cells.get(one.source, [np.arange(share.shape[1])])]
        for one, share in zip(received, shares, strict=True)
    ]
    best: tuple[float, int, list[Synapses]] | None = None
    while best is None:
        for threshold in sorted({round(m) for m in np.linspace(most, max(1, most // 2), TRIED)}, reverse=True):
            weights = [_rounded(share, threshold, parts) for share, parts in zip(shares, blocks, strict=True)]
            synapses = [Synapses(p.linear, p.source, p.delay, w) for p, w in zip(received, weights, strict=True)]
            excited, inhibited = largest_inputs(tuple(synapses))
            if excited * 2**STEP_BITS >= MOST_INPUT or inhibited * 2**STEP_BITS > MOST_INPUT:
                continue
            lost = sum(float(np.square(w / threshold - s).sum()) for w, s in zip(weights, shares, strict=True))
            if best is None or lost < best[0]:
                best = (lost, threshold, synapses)
            if not lost:
                break
        if most == 1 and best is None:
            reason = (
                f"unit {name}: its weights together are too large beside its threshold for an accumulator of 22 bits"
            )
            raise Unsupported("loihi", [reason])
        most = max(1, most // 2)
    return best[1], best[2], _decays(unit, chip)


def _decays(unit: Unit, chip: Loihi) -> Array:
    """Of 4096, as in the unit one or one per neuron; without a lower bound a voltage has to leak.

    More than the chip is to keep become the nearest of as many centers, found by k-means from evenly spaced quantiles.
    """
    most = FULL if isinstance(unit.g, ReLU) else FULL - 1
    decays = np.clip(np.rint(unit.decay.astype(np.float64) * FULL), 1, most).astype(np.int64)
    if len(np.unique(decays)) <= chip.decays:
        return np.asarray(decays)
    centers = np.quantile(decays, (np.arange(chip.decays) + 0.5) / chip.decays)
    for _ in range(KMEANS):
        nearest = np.abs(decays[:, None] - centers).argmin(axis=1)
        centers = np.array(
            [decays[nearest == at].mean() if (nearest == at).any() else c for at, c in enumerate(centers)]
        )
    return np.asarray(np.rint(centers[np.abs(decays[:, None] - centers).argmin(axis=1)]).astype(np.int64))


def _cells(graph: Graph, name: str, unit: Unit, received: list[Projection], chip: Loihi) -> list[Array]:
    """The neurons of each core that a unit takes."""
    (size,) = shapes(graph)[name]
    axons = [_weights(graph, one).shape[1] for one in received]
    every = np.broadcast_to(_decays(unit, chip), (size,))
    return [group.neurons for group in groups_of(every, np.zeros(size, np.int64), axons)]


def _weights(graph: Graph, projection: Projection) -> Array:
    linear = graph.nodes[projection.linear]
    assert isinstance(linear, Linear)
    return linear.weight.astype(np.float64)


def _rounded(share: Array, threshold: int, blocks: list[Any]) -> Array:
    """The nearest weights of those that a core holds, in units of 64.

    Where all synapses of a block are of 0 or 1 unit, which nengo-loihi cannot build, they become 0 or 2.
    """
    exact = share * threshold
    rounded = np.rint(exact)
    if np.abs(rounded).max() > MOST_ODD_WEIGHT:
        rounded = 2 * np.rint(exact / 2)
    for block in blocks:
        if np.abs(rounded[block]).max() == 1:
            rounded[block] = 2 * np.rint(exact[block] / 2)
    return np.asarray(rounded.astype(np.int64))


def _fraction_bits(threshold: int, unit: Unit) -> int:
    """So that the threshold stays near what it was, and a surrogate gradient as wide beside it."""
    middle = float(np.median(unit.threshold.astype(np.float64)))
    return min(max(round(math.log2(threshold / middle)), 1), MOST_FINE)


def _read_out_bits(node: Linear) -> int:
    largest = float(np.abs(node.weight).max())
    return min(max(READ_OUT_BITS - math.frexp(largest)[1], 0), MOST_FINE) if largest else 0


def _voltage_bits(graph: Graph, laid: Mapping[str, list[Synapses]], nodes: Mapping[str, Node]) -> int:
    """The bits of the register, where no voltage can fall below it; else those of the emulator."""
    depth = 0
    for name, synapses in laid.items():
        unit = nodes[name]
        assert isinstance(unit, Unit)
        if not isinstance(unit.g, ReLU):
            _, inhibited = largest_inputs(tuple(synapses))
            depth = max(depth, deepest(inhibited, int((unit.decay * FULL).max())))
    return next((bits for bits in VOLTAGE_BITS if depth <= 2 ** (bits - 1) - 1), VOLTAGE_BITS[-1])


def _lost(before: Graph, after: Graph, inputs: Inputs, lengths: ArrayLike | None) -> dict[str, Any]:
    run = prepare(before, inputs, lengths)
    if any(((array != 0) & (array != 1)).any() for array in run.inputs.values()):
        raise BadInput("inputs: values other than 0 and 1; a chip takes spikes")
    traces = [simulate(one, dict(run.inputs), lengths=run.lengths) for one in (before, after)]
    return changes(before, *traces)

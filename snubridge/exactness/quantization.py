"""A trained graph in fixed point: grids and scales chosen from its weights and from calibration inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from snubridge.errors import BadInput, Breach, InvalidGraph
from snubridge.exactness.calibration import changes, counted, held
from snubridge.exactness.loihi import Loihi
from snubridge.exactness.loihi.lowering import lower
from snubridge.ir.budget import STEPS, beyond, budget
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Input, Linear, Node, Output, SumPool2d, Unit
from snubridge.ir.numbers import MOST_FRACTION_BITS, Array, FixedPoint
from snubridge.ir.rules import validate
from snubridge.ir.structure import strongly_connected
from snubridge.reference.inputs import Inputs, prepare
from snubridge.reference.interpreter import simulate
from snubridge.reference.trace import Trace

Scale = Literal["max"] | None
Nodes = dict[str, Node]
WEIGHT_BITS = 6
"""Of the largest weight of a Linear or Conv2d that feeds another: bits after its leading one."""
ROUNDS = 12
"""How often chosen bits are lowered to come within a budget."""


def quantize(
    graph: Graph,
    numbers: FixedPoint | Loihi,
    inputs: Inputs | None = None,
    *,
    scale: Scale = "max",
    lengths: ArrayLike | None = None,
) -> Graph:
    """The graph in ``numbers``, valid and, where its bits leave room for that, exact in float32 too.

    ``numbers``  of its ``fraction_bits`` what is None, or missing in a dict, is chosen: for a Unit the finest grid on
                 which its largest calibrated state (and its threshold) fits ``state_bits``; for what feeds it the bits
                 that lead to this grid
    ``inputs``   (T, B, *shape), or a dict by Input: calibrate. An Input keeps its low, high and fraction_bits where
                 set; else they are the smallest that hold all of these, else it is ``InvalidGraph``
    ``scale``    "max": each unit's incoming weights, biases, threshold and initial state are multiplied by one power
                 of two, the largest with which its largest calibrated state fits; spikes do not change by it. Units
                 that share an incoming Linear share it; it is 1 for h=Identity(), whose output would change, where
                 something else also hears what is scaled, or cannot be scaled, and without ``inputs``. None: 1
    ``lengths``  (B,): only these many steps of each sample calibrate and count

    ``metadata["quantized"]`` states the scales, and by unit how many spikes changed of how many on these inputs.

    With ``sb.Loihi()`` as numbers the graph is lowered to the integer dynamics of that chip instead, see
    ``snubridge/exactness/loihi``; ``scale`` does not enter, and inputs only count what changed.
    """
    if not isinstance(numbers, FixedPoint | Loihi):
        raise BadInput(f"numbers: a {type(numbers).__name__}; pass sb.FixedPoint(fraction_bits=None), say")
    if scale not in ("max", None):
        raise BadInput(f"scale={scale!r}: 'max' or None is needed")
    if inputs is None and lengths is not None:
        raise BadInput("lengths: of no inputs; pass inputs as well, or no lengths")
    validate(graph)
    if isinstance(numbers, Loihi):
        return lower(graph, numbers, inputs, lengths)
    arrays: dict[str, Array] = {}
    trace = None
    if inputs is not None:
        run = prepare(graph, inputs, lengths)
        arrays = {name: held(array, run.lengths) for name, array in run.inputs.items()}  # as the float graph takes them
        trace = simulate(graph, arrays, record=("spikes", "states"), lengths=run.lengths)
    nodes = _with_ranges(graph, arrays)
    _demand_expressible(graph, nodes, numbers)
    ranges = _ranges(graph, trace)
    chosen = _chosen(graph, numbers)
    if chosen and trace is None:
        raise BadInput(f"inputs: needed to choose fraction_bits of {', '.join(chosen)}; pass inputs, or give them")
    found, scales = _fitted(graph, nodes, numbers, ranges, chosen, scale if trace is not None else None)
    quantized = {"from": graph.digest, "numbers": repr(found.numbers), "scales": scales}
    if trace is not None:
        quantized |= changes(graph, trace, simulate(found, arrays, lengths=trace.lengths))
    return Graph(found.nodes, found.edges, numbers=found.numbers, metadata=graph.metadata | {"quantized": quantized})


def _with_ranges(graph: Graph, arrays: Mapping[str, Array]) -> Nodes:
    """The nodes, each Input with a range and a grid."""
    breaches: list[Breach] = []
    nodes: Nodes = dict(graph.nodes)
    for name, node in graph.of_kind(Input).items():
        missing = [field for field in ("low", "high", "fraction_bits") if getattr(node, field) is None]
        if not missing:
            continue
        if name not in arrays:
            remedy = f"Give them, sb.Input({node.shape}, low=0, high=1, fraction_bits=0), say, or pass inputs."
            needed = "a range and a grid, or inputs to take them from"
            breaches.append(Breach(f"node {name}", f"no {', '.join(missing)}", needed, remedy))
            continue
        derived = {"low": float(arrays[name].min()), "high": float(arrays[name].max()), "fraction_bits": 0}
        if "fraction_bits" in missing:
            bits = next((bits for bits in range(MOST_FRACTION_BITS + 1) if _lies_on(arrays[name], bits)), None)
            if bits is None:
                needed = f"multiples of 2^-{MOST_FRACTION_BITS}, since fixed point rounds no input"
                remedy = "Round the inputs to a grid, of 1/256 say, and give fraction_bits to the Input."
                breaches.append(Breach(f"node {name}", "inputs on no grid", needed, remedy))
                continue
            derived["fraction_bits"] = bits
        nodes[name] = node.replaced(**{field: derived[field] for field in missing})
    if breaches:
        raise InvalidGraph(breaches)
    return nodes


def _lies_on(values: Array, bits: int) -> bool:
    steps = np.ldexp(values.astype(np.float64), bits)
    return bool((steps == np.rint(steps)).all())


def _demand_expressible(graph: Graph, nodes: Nodes, numbers: FixedPoint) -> None:
    """``InvalidGraph`` for what no choice of bits makes valid, before any is made: all but grids and budget."""
    bits = numbers.fraction_bits
    given = {name: value for name, value in bits.items() if value is not None} if isinstance(bits, Mapping) else bits
    if not isinstance(given, int):
        holders = {name for name, node in nodes.items() if isinstance(node, Linear | Conv2d | Unit)}
        given = dict.fromkeys(holders, 0) | (given or {})
    try:
        validate(Graph(nodes, graph.edges, numbers=replace(numbers, fraction_bits=given)))
    except InvalidGraph as error:
        lasting = [
            b for b in error.breaches if b.place.startswith("numbers") or b.place.partition(", ")[2] in ("h", "g")
        ]
        lasting += [b for b in error.breaches if b.place.endswith("kernel_size")]
        if lasting:
            raise InvalidGraph(lasting) from None


def _chosen(graph: Graph, numbers: FixedPoint) -> list[str]:
    """The nodes whose fraction bits are to be chosen."""
    holders = [name for name, node in graph.nodes.items() if isinstance(node, Linear | Conv2d | Unit)]
    return [name for name in holders if numbers.bits_of(name) is None]


def _ranges(graph: Graph, trace: Trace | None) -> dict[str, float]:
    """By unit the largest magnitude that its state has to hold: all calibrated states, its first one, its threshold."""
    found: dict[str, float] = {}
    for name, unit in graph.of_kind(Unit).items():
        values = [
            unit.initial_state,
            unit.threshold,
            *([] if trace is None else [counted(trace.states[name], trace.lengths)]),
        ]
        found[name] = max(float(np.abs(value).max()) for value in values)
    return found


def _fitted(
    graph: Graph, nodes: Nodes, numbers: FixedPoint, ranges: Mapping[str, float], chosen: list[str], scale: Scale
) -> tuple[Graph, dict[str, float]]:
    """The graph with the finest chosen bits within the budget of float32, or else of float64; and its scales."""
    refusal: InvalidGraph | None = None
    for precision in ("float32", "float64"):
        fewer: dict[str, int] = dict.fromkeys(chosen, 0)
        for _ in range(ROUNDS):
            bits = _bits(graph, nodes, numbers, ranges, fewer)
            scales = _scales(graph, nodes, replace(numbers, fraction_bits=bits), ranges) if scale else {}
            kept = bits if chosen else numbers.fraction_bits
            scaled = _scaled(graph, nodes, scales)
            candidate = Graph(scaled, graph.edges, numbers=replace(numbers, fraction_bits=kept))
            try:
                validate(candidate)
            except InvalidGraph as error:
                refusal = error
                if "_budget" not in candidate.__dict__:  # not a matter of size
                    raise
            else:
                if not beyond(candidate, precision):
                    return candidate, {name: scales.get(name, 1.0) for name in ranges}
            if not _lower(graph, candidate, fewer, precision):
                break
    assert refusal is not None  # within float64, a valid graph has been returned
    raise refusal


def _lower(graph: Graph, candidate: Graph, fewer: dict[str, int], precision: str) -> bool:
    """Take bits off what leads to sums beyond the budget; False where nothing chosen does."""
    lowered = False
    for name, need in budget(candidate).needs.items():
        if need.steps > STEPS[precision] and need.what == "sum":
            excess = (-(-need.steps // STEPS[precision]) - 1).bit_length()
            for responsible in {name, *_weighted_before(graph, name)[0]} & fewer.keys():
                fewer[responsible] += excess
                lowered = True
    return lowered


def _bits(
    graph: Graph, nodes: Nodes, numbers: FixedPoint, ranges: Mapping[str, float], fewer: Mapping[str, int]
) -> dict[str, int]:
    """The fraction bits of every node, given or chosen, less ``fewer``."""
    most = 2 ** (numbers.state_bits - 1) - 1
    target = {name: _floor_log2(most / largest) if largest else MOST_FRACTION_BITS for name, largest in ranges.items()}
    spiking = {name for name, unit in graph.of_kind(Unit).items() if unit.spiking}
    edges = [edge for edge in graph.edges if edge.source not in spiking]
    grids, bits = dict.fromkeys(spiking, 0), dict[str, int]()
    for part in strongly_connected(graph.nodes, edges):
        cyclic = len(part) > 1 or any(edge.source == edge.target == part[0] for edge in edges)
        for name in part:
            node = nodes[name]
            received = max((grids.get(edge.source, 0) for edge in graph.incoming[name]), default=0)
            if isinstance(node, Linear | Conv2d | Unit):
                given = numbers.bits_of(name)
                wanted = _wanted(graph, nodes, name, received, target, numbers.state_bits - 1)
                wanted = 0 if cyclic and not isinstance(node, Unit) else wanted
                bits[name] = max(0, min(wanted, MOST_FRACTION_BITS) - fewer.get(name, 0)) if given is None else given
            if isinstance(node, Input):
                received = int(node.fraction_bits or 0)
            elif isinstance(node, Linear | Conv2d):
                received += bits[name]
            elif isinstance(node, AvgPool2d):
                received += math.prod(node.kernel_size).bit_length() - 1
            elif isinstance(node, Unit):
                received = max(received, bits[name])
            grids[name] = 0 if name in spiking else received
    return bits


def _wanted(graph: Graph, nodes: Nodes, name: str, received: int, target: Mapping[str, int], width: int) -> int:
    """How many fraction bits a node should have: a Unit those of its target, a Linear those that lead to it.

    Of a Linear that leads to an Output, the largest weight takes ``width`` bits, as a state does.
    """
    if name in target:
        return target[name]
    heard = [target[unit] - pooled for unit, pooled in _units_after(graph, nodes, name)]
    if heard:
        return min(heard) - received
    largest = float(np.abs(nodes[name].arrays()["weight"]).max())
    onward = any(isinstance(nodes[edge.target], Linear | Conv2d) for edge in graph.outgoing[name])
    return (WEIGHT_BITS if onward else width) - 1 - _floor_log2(largest) if largest else 0


def _units_after(graph: Graph, nodes: Nodes, name: str) -> set[tuple[str, int]]:
    """The units that hear a node, through pools and Flattens, and by how many bits averages refine it on the way."""
    found: set[tuple[str, int]] = set()
    seen: set[tuple[str, int]] = set()
    waiting = [(name, 0)]
    while waiting:
        here, pooled = waiting.pop()
        for edge in graph.outgoing[here]:
            node = nodes[edge.target]
            if isinstance(node, Unit):
                found.add((edge.target, pooled))
            elif isinstance(node, AvgPool2d | SumPool2d | Flatten) and (edge.target, pooled) not in seen:
                finer = math.prod(node.kernel_size).bit_length() - 1 if isinstance(node, AvgPool2d) else 0
                seen.add((edge.target, pooled))
                if len(seen) <= len(nodes):
                    waiting.append((edge.target, pooled + finer))
    return found


def _scales(graph: Graph, nodes: Nodes, numbers: FixedPoint, ranges: Mapping[str, float]) -> dict[str, float]:
    """By unit the power of two that fits its states to its bits; units that share what is scaled share it."""
    try:
        probe = Graph(nodes, graph.edges, numbers=numbers)
        validate(probe)
    except InvalidGraph:  # the budget: grids are known all the same
        pass
    states = budget(probe).states if "_budget" in probe.__dict__ else {}
    most = 2 ** (numbers.state_bits - 1) - 1
    groups = _groups(graph, nodes)
    scales: dict[str, float] = {}
    for group, scalable in groups:
        fits = [
            _floor_log2(math.ldexp(most, -states[name].fraction_bits) / ranges[name])
            for name in group
            if name in states and ranges[name]
        ]
        power = min(fits) if fits and scalable else 0
        scales |= dict.fromkeys(group, math.ldexp(1.0, power))
    return scales


def _groups(graph: Graph, nodes: Nodes) -> list[tuple[set[str], bool]]:
    """Units that share an incoming Linear or Conv2d, and whether these can be scaled without any output changing."""
    groups: list[tuple[set[str], set[str], bool]] = []
    for name, unit in graph.of_kind(Unit).items():
        weighted, free = _weighted_before(graph, name)
        free = free and unit.spiking
        members = {name}
        for other in [group for group in groups if group[1] & weighted]:
            groups.remove(other)
            members, weighted, free = members | other[0], weighted | other[1], free and other[2]
        groups.append((members, weighted, free))
    return [
        (members, free and all(_heard_by_units_only(graph, nodes, name) for name in weighted))
        for members, weighted, free in groups
    ]


def _weighted_before(graph: Graph, name: str) -> tuple[set[str], bool]:
    """The nearest nodes with weights that feed one, through pools and Flattens; and whether nothing else does."""
    found: set[str] = set()
    seen, waiting, free = {name}, [name], True
    while waiting:
        for edge in graph.incoming[waiting.pop()]:
            node = graph.nodes[edge.source]
            if isinstance(node, Linear | Conv2d):
                found.add(edge.source)
            elif isinstance(node, Input | Unit):
                free = False
            elif edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return found, free


def _heard_by_units_only(graph: Graph, nodes: Nodes, name: str) -> bool:
    """Whether a node's output reaches units, through pools and Flattens, and nothing else."""
    seen, waiting = {name}, [name]
    while waiting:
        for edge in graph.outgoing[waiting.pop()]:
            if isinstance(nodes[edge.target], Linear | Conv2d | Output):
                return False
            if not isinstance(nodes[edge.target], Unit) and edge.target not in seen:
                seen.add(edge.target)
                waiting.append(edge.target)
    return True


def _scaled(graph: Graph, nodes: Nodes, scales: Mapping[str, float]) -> Nodes:
    """The nodes with the units' parameters, and what feeds them, scaled."""
    scaled = dict(nodes)
    for name, factor in scales.items():
        if factor == 1.0:
            continue
        for source in _weighted_before(graph, name)[0]:
            arrays = nodes[source].arrays()
            scaled[source] = nodes[source].replaced(**{key: _times(array, factor) for key, array in arrays.items()})
        unit = nodes[name].arrays()
        grown: dict[str, Any] = {key: _times(unit[key], factor) for key in ("threshold", "initial_state")}
        scaled[name] = nodes[name].replaced(**grown)
    return scaled


def _times(array: Array, factor: float) -> Array:
    return array.astype(np.float64) * factor


def _floor_log2(value: float) -> int:
    """The largest n with 2^n <= value, exactly."""
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa else -1074

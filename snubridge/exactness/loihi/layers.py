"""A graph in Loihi's integers, read as the chip holds it; what is off its grids or beyond its limits is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from snubridge.errors import Unsupported
from snubridge.exactness.loihi.chip import (
    COMPARTMENTS,
    CURRENT_DECAY,
    DECAY_BITS,
    IN_AXONS,
    MOST_INPUT,
    MOST_ODD_WEIGHT,
    MOST_THRESHOLD,
    MOST_WEIGHT,
    OUT_AXONS,
    STEP_BITS,
    SYNAPSE_BITS,
    VOLTAGE_BITS,
    synapse_memory,
)
from snubridge.exactness.loihi.wiring import Projection, latencies, projections, read_outs, samples_in_rows
from snubridge.ir.budget import state_grids
from snubridge.ir.functions import Identity, ReLU, Reset, Step
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Linear, Unit
from snubridge.ir.numbers import Array, FixedPoint
from snubridge.ir.structure import shapes

ENGINE = "nengo, profile loihi"
FULL = 2**DECAY_BITS


@dataclass(frozen=True)
class Group:
    """Neurons of a unit that share a core: ``neurons`` (indices), their ``decay`` of 4096, ``threshold`` in 64s."""

    neurons: Array
    decay: int
    threshold: int


@dataclass(frozen=True)
class Synapses:
    """``weights`` (neurons, sources) in units of 64, of the Linear ``name``, for the spikes of ``source``."""

    name: str
    source: str
    delay: int
    weights: Array


@dataclass(frozen=True)
class Layer:
    """A unit as the chip holds it; its spikes come ``lag`` steps later there than in the graph.

    A step of the chip's integers is 2^-``fraction_bits`` in the graph. ``rectified``: the voltage stays at or above 0.
    """

    name: str
    current: str
    lag: int
    fraction_bits: int
    rectified: bool
    groups: tuple[Group, ...]
    synapses: tuple[Synapses, ...]

    @property
    def decay(self) -> Array:
        """(neurons,): m of m / 4096."""
        return self._of_neurons("decay")

    @property
    def threshold(self) -> Array:
        """(neurons,), in units of 64."""
        return self._of_neurons("threshold")

    def _of_neurons(self, field: str) -> Array:
        values = np.zeros(sum(len(group.neurons) for group in self.groups), np.int64)
        for group in self.groups:
            values[group.neurons] = getattr(group, field)
        return values


def read_layers(graph: Graph, engine: str = ENGINE) -> tuple[Layer, ...]:
    """The units of a valid graph of ``sb.quantize(graph, sb.Loihi())``, trained since or not, as the chip holds them.

    ``Unsupported`` with every reason where a graph is of another form, off the grids or beyond a limit.
    """
    numbers = graph.numbers
    if not isinstance(numbers, FixedPoint) or (numbers.decay_bits, numbers.rounding) != (DECAY_BITS, "zero"):
        raise Unsupported(engine, ["a graph in Loihi's integers is needed: sb.quantize(graph, sb.Loihi(), inputs)"])
    reasons = [*_inputs(graph)]
    currents = {name: _current(graph, name) for name, unit in graph.of_kind(Unit).items() if unit.spiking}
    reasons += _shape(graph, currents)
    if not currents:
        reasons.append("the graph has no spiking unit")
    if reasons:
        raise Unsupported(engine, reasons)
    connected: list[Projection] = []
    for name, current in currents.items():
        found, refused = projections(graph, name, current)
        connected += found
        reasons += refused
    reasons += samples_in_rows(graph, [*graph.of_kind(Input), *currents])
    if reasons:
        raise Unsupported(engine, reasons)
    lags, reasons = latencies(graph, connected)
    reasons += read_outs(graph, lags)
    layers = []
    for name, current in currents.items():
        layer, refused = _layer(graph, name, current, lags[name], [p for p in connected if p.unit == name])
        layers.append(layer)
        reasons += refused
    reasons += [reason for layer in layers for reason in _limits(layer, tuple(layers), graph)]
    if reasons:
        raise Unsupported(engine, reasons)
    return tuple(layers)


def trainable_ranges(graph: Graph) -> dict[tuple[str, str], tuple[float, float]]:
    """By (node, field) what weights and thresholds of a graph in Loihi's integers may be trained to, in its own values.

    Clamp the parameters of ``nn.to_module(graph)`` to these after each step of an optimizer: the grids are kept by
    the module itself, and what leaves the range would be refused.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for layer in read_layers(graph):
        one = math.ldexp(1.0, STEP_BITS - layer.fraction_bits)
        found[layer.name, "threshold"] = (one, one * MOST_THRESHOLD)
        found[layer.current, "threshold"] = (0.0, 0.0)  # a current has none
        for synapses in layer.synapses:
            odd = _weight_bits(graph, synapses.name) == layer.fraction_bits - STEP_BITS
            most = one * (MOST_ODD_WEIGHT if odd else MOST_WEIGHT)
            found[synapses.name, "weight"] = (-most, most)
    return found


def _weight_bits(graph: Graph, name: str) -> int:
    assert isinstance(graph.numbers, FixedPoint)
    return int(graph.numbers.bits_of(name))


def _inputs(graph: Graph) -> Iterator[str]:
    for name, node in graph.of_kind(Input).items():
        if (node.low, node.high, node.fraction_bits) != (0, 1, 0):
            yield f"input {name}: spikes are needed, sb.Input({node.shape}, low=0, high=1, fraction_bits=0)"


def _current(graph: Graph, name: str) -> str:
    """The unit that holds the current of a spiking one, or "" where there is none."""
    received = graph.incoming[name]
    source = received[0].source
    node = graph.nodes[source]
    if len(received) != 1 or received[0].delay or not isinstance(node, Unit) or len(graph.outgoing[source]) != 1:
        return ""
    form = (node.reset, type(node.g), type(node.h)) == (Reset.NONE, Identity, Identity)
    still = not (node.threshold.any() or node.initial_state.any())
    return source if form and still and bool((node.decay * FULL == CURRENT_DECAY).all()) else ""


def _shape(graph: Graph, currents: dict[str, str]) -> Iterator[str]:
    for name, unit in graph.of_kind(Unit).items():
        if name in currents:
            if not currents[name]:
                yield f"unit {name}: receives no current of its own, a unit of decay 1/4096 without reset"
            yield from unit_reasons(name, unit)
        elif name not in currents.values():
            yield f"unit {name}: is neither a current nor spiking"


def unit_reasons(name: str, unit: Unit) -> Iterator[str]:
    """Why a unit is none that the emulator has."""
    if type(unit.g) not in (Identity, ReLU):
        yield f"unit {name}: g = {unit.g}; a voltage is bounded by 0 or not at all: take sb.Identity() or sb.ReLU()"
    if not isinstance(unit.h, Step) or unit.h.at_threshold:
        yield f"unit {name}: h = {unit.h}; a neuron fires above its threshold: take sb.Step()"
    if unit.reset is not Reset.TO_ZERO:
        yield f"unit {name}: {unit.reset}; the emulator resets to zero: take sb.Reset.TO_ZERO"
    if unit.initial_state.any():
        yield f"unit {name}: an initial state that is not 0; a chip starts with voltages of 0"
    if (unit.threshold <= 0).any():
        yield f"unit {name}: thresholds down to {unit.threshold.min()}; a chip's are at least 64, above 0"


def _layer(graph: Graph, name: str, current: str, lag: int, found: list[Projection]) -> tuple[Layer, list[str]]:
    unit = graph.nodes[name]
    assert isinstance(unit, Unit)
    (size,) = shapes(graph)[name]
    bits = state_grids(graph)[name].fraction_bits
    reasons: list[str] = []
    thresholds = _whole(unit.threshold, bits - STEP_BITS, f"unit {name}, threshold", reasons)
    if thresholds.max() > MOST_THRESHOLD or thresholds.min() < 1:
        reasons.append(
            f"unit {name}: thresholds from {thresholds.min()} to {thresholds.max()} x 64, beyond 1 to "
            f"{MOST_THRESHOLD}: scale it and its weights"
        )
    decays = np.broadcast_to((unit.decay * FULL).astype(np.int64), (size,))
    if decays.min() < 1:
        reasons.append(f"unit {name}: decay 0; a voltage keeps at least 1/4096")
    if decays.max() == FULL and isinstance(unit.g, Identity):
        reasons.append(f"unit {name}: decay 1 without a lower bound of the voltage: take g=sb.ReLU(), or 4095/4096")
    synapses = []
    for projection in found:
        linear = graph.nodes[projection.linear]
        assert isinstance(linear, Linear)
        weights = _whole(linear.weight, bits - STEP_BITS, f"node {projection.linear}, weight", reasons)
        synapses.append(Synapses(projection.linear, projection.source, projection.delay, weights))
    groups = groups_of(decays, np.broadcast_to(thresholds, (size,)), [s.weights.shape[1] for s in synapses])
    return Layer(name, current, lag, bits, isinstance(unit.g, ReLU), groups, tuple(synapses)), reasons


def _whole(values: Array, bits: int, place: str, reasons: list[str]) -> Array:
    steps = np.ldexp(values, bits)
    if (steps % 1).any():
        reasons.append(f"{place}: values that are no multiple of 64 steps of 2^-{bits + STEP_BITS}")
    return np.asarray(np.rint(steps).astype(np.int64))


def groups_of(decays: Array, thresholds: Array, axons: list[int]) -> tuple[Group, ...]:
    """Neurons of one decay and threshold, as many as one core holds: of compartments, and of memory for synapses."""
    memory, most = [*axons, 1], 1  # and one axon that sets the scale, see the adapter
    while most < COMPARTMENTS and sum(n * synapse_memory(most + 1) for n in memory) <= SYNAPSE_BITS:
        most += 1
    groups = []
    for decay, threshold in sorted(set(zip(decays.tolist(), thresholds.tolist(), strict=True))):
        alike = np.flatnonzero((decays == decay) & (thresholds == threshold))
        parts = np.array_split(alike, math.ceil(len(alike) / most))
        groups += [Group(part, decay, threshold) for part in parts]
    return tuple(groups)


def _limits(layer: Layer, layers: tuple[Layer, ...], graph: Graph) -> Iterator[str]:
    by_name = {one.name: one.groups for one in layers}
    spikes_in = sum(synapses.weights.shape[1] for synapses in layer.synapses) + 1
    if spikes_in > IN_AXONS:
        yield f"unit {layer.name}: {spikes_in:,} axons enter each of its cores, above {IN_AXONS:,}: fewer inputs"
    if sum(s.weights.shape[1] for s in layer.synapses) * synapse_memory(1) > SYNAPSE_BITS:
        yield f"unit {layer.name}: the synapses of one neuron take more than the {SYNAPSE_BITS:,} bits of a core"
    targets = sum(len(other.groups) for other in layers for s in other.synapses if s.source == layer.name)
    for group in layer.groups:
        if len(group.neurons) * targets > OUT_AXONS:
            yield (
                f"unit {layer.name}: {len(group.neurons) * targets:,} axons leave a core of it, one for each neuron "
                f"and target core, above {OUT_AXONS:,}: smaller units, or fewer decays in what hears it"
            )
            break
    for s in layer.synapses:
        sources = by_name.get(s.source, (Group(np.arange(s.weights.shape[1]), 0, 0),))
        worst = _unbuildable([s.weights[np.ix_(g.neurons, k.neurons)] for g in layer.groups for k in sources])
        if worst:
            yield f"node {s.name}: {worst}"
    excited, inhibited = largest_inputs(layer.synapses)
    for total, what, most in ((excited, "above", MOST_INPUT - 1), (inhibited, "below", MOST_INPUT)):
        if total * 2**STEP_BITS > most:
            yield (
                f"unit {layer.name}: all its spikes together bring {total} x 64, {what} the {most // 64} of an "
                f"accumulator, which would wrap around: smaller weights, sb.Loihi(weight_bits=...)"
            )
    assert isinstance(graph.numbers, FixedPoint)
    bits = graph.numbers.state_bits
    if bits not in VOLTAGE_BITS:
        yield f"state_bits={bits}; a voltage has {' or '.join(map(str, VOLTAGE_BITS))}"
    elif not layer.rectified and deepest(inhibited, int(layer.decay.max())) > 2 ** (bits - 1) - 1:
        yield f"unit {layer.name}: inhibition may take a voltage out of its {bits} bits: a smaller decay or sb.ReLU()"


def _unbuildable(blocks: list[Array]) -> str:
    """What nengo-loihi would not build as it is, of synapses that are made together."""
    for block in blocks:
        largest = int(np.abs(block).max())
        if largest > MOST_WEIGHT:
            return f"weights up to {largest} x 64, above {MOST_WEIGHT}"
        if largest > MOST_ODD_WEIGHT and (block % 2).any():
            return f"weights up to {largest} x 64 are even multiples of 64; odd ones reach {MOST_ODD_WEIGHT}"
        if largest == 1:
            return "weights of 0 and 1 x 64 alone, which nengo-loihi builds as 2 x 64: make one of them larger"
    return ""


def largest_inputs(synapses: tuple[Synapses, ...]) -> tuple[int, int]:
    """What all spikes of one step bring to any neuron at most: excitation, and inhibition, in units of 64."""
    excited = sum((np.maximum(s.weights, 0).sum(axis=1) for s in synapses), start=np.zeros(1, np.int64))
    inhibited = sum((np.maximum(-s.weights, 0).sum(axis=1) for s in synapses), start=np.zeros(1, np.int64))
    return int(excited.max()), int(inhibited.max())


def deepest(inhibited: int, decay: int) -> int:
    """A bound of how far below 0 a voltage gets, in its steps: the sum of the geometric series of the largest input."""
    current: int = inhibited * 2**STEP_BITS * FULL // (FULL - CURRENT_DECAY) + 1
    depth: int = current * FULL // max(FULL - decay, 1) + 1
    return depth


def settings(layers: tuple[Layer, ...]) -> dict[str, Any]:
    """By unit what the chip holds, as JSON says it: latency, integers, scales, cores."""
    return {
        layer.name: {
            "latency": layer.lag,
            "cores": len(layer.groups),
            "step": math.ldexp(1.0, -layer.fraction_bits),
            "threshold": _brief(layer.threshold * 2**STEP_BITS),
            "decay_of_4096": _brief(layer.decay),
            "largest_weight": {s.name: int(np.abs(s.weights).max()) * 2**STEP_BITS for s in layer.synapses},
            "largest_input": [total * 2**STEP_BITS for total in largest_inputs(layer.synapses)],
        }
        for layer in layers
    }


def _brief(values: Array) -> Any:
    distinct = sorted(set(values.tolist()))
    return distinct[0] if len(distinct) == 1 else values.tolist()

"""The rules of a graph, as a table: validation, documentation and tests read the same rows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snubridge.errors import Breach, InvalidGraph, shown
from snubridge.ir import budget
from snubridge.ir.document import MAX_DEPTH, is_shallow
from snubridge.ir.functions import (
    OUTPUT_FUNCTIONS,
    STATE_FUNCTIONS,
    Identity,
    LeakyReLU,
    Reset,
    Sigmoid,
    Step,
    Tanh,
)
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import (
    NODE_KINDS,
    REDUCTIONS,
    AvgPool2d,
    Conv2d,
    Input,
    Linear,
    Node,
    Output,
    Unit,
    _Pool2d,
)
from snubridge.ir.numbers import MOST_FRACTION_BITS, NUMBERS, ROUNDINGS, FixedPoint, is_fraction_bits
from snubridge.ir.structure import infer_shapes, zero_delay_order

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
MAX_DELAY = 2**20
MAX_VALUES = 2**40  # per sample and node; above, no machine could hold a step
MAX_AXES = 30  # of a sample: with time and batch, as many as numpy counts
MAX_WINDOW = 2**31 - 1  # of kernels, strides, dilations and paddings: what engines count them in


@dataclass(frozen=True)
class Rule:
    """One row of the table: its name, what it says, and the check that yields every breach."""

    name: str
    says: str
    check: Callable[[Graph], Iterable[Breach]]
    on_sound_nodes: bool = False
    """Checked only where the rows above found nothing: it would repeat what they say."""


def _nodes(graph: Graph) -> Iterator[tuple[str, Node]]:
    for name, node in graph.nodes.items():
        if type(node) in NODE_KINDS.values():
            yield f"node {_shown(name)}", node


def _shown(name: object) -> str:
    """A sound name as it is, whatever else as Python shows it."""
    return name if isinstance(name, str) and NAME.fullmatch(name) else shown(name)


def _whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _real(value: Any) -> bool:
    """A number that a float can hold, finite."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _has_input(graph: Graph) -> Iterator[Breach]:
    if not graph.of_kind(Input):
        yield Breach("graph", "no Input", "at least one Input node", "Add sb.Input(shape) and connect it.")


def _numbers(graph: Graph) -> Iterator[Breach]:
    if type(graph.numbers) is FixedPoint:
        yield from _fixed_point(graph, graph.numbers)
    elif type(graph.numbers) not in NUMBERS.values():
        yield Breach(
            "graph",
            f"numbers {shown(graph.numbers)}",
            f"{', '.join(NUMBERS)} or fixed_point",
            "Pass sb.Float32(), sb.Float64() or sb.FixedPoint(fraction_bits).",
        )


def _fixed_point(graph: Graph, numbers: FixedPoint) -> Iterator[Breach]:
    for field, least, most in (("state_bits", 2, 53), ("decay_bits", 0, MOST_FRACTION_BITS)):
        value = getattr(numbers, field)
        if not _whole(value, least, most):
            yield Breach(f"numbers, {field}", shown(value), f"an integer from {least} to {most}", "Fix the setting.")
    if not isinstance(numbers.rounding, str) or numbers.rounding not in ROUNDINGS:
        yield Breach("numbers, rounding", shown(numbers.rounding), " or ".join(map(repr, ROUNDINGS)), "Fix it.")
    bits = numbers.fraction_bits
    needed = f"an integer from 0 to {MOST_FRACTION_BITS}, or a dict of them by Linear, Conv2d and Unit"
    remedy = "Give it, or let sb.quantize(graph, numbers, inputs) choose it."
    if not isinstance(bits, Mapping):
        if not is_fraction_bits(bits):
            yield Breach("numbers, fraction_bits", shown(bits), needed, remedy)
        return
    holders = [name for name, node in graph.nodes.items() if isinstance(node, Linear | Conv2d | Unit)]
    for name in [*holders, *(name for name in bits if name not in holders)]:
        place = f"numbers, fraction_bits of {_shown(name)}"
        if name not in holders:
            yield Breach(place, "no Linear, Conv2d or Unit of this name", needed, "Remove it, or fix the name.")
        elif not is_fraction_bits(bits.get(name)):
            yield Breach(place, shown(bits.get(name)), needed, remedy)


def _on_the_grid(graph: Graph) -> Iterator[Breach]:
    """What nodes need in FixedPoint."""
    if type(graph.numbers) is not FixedPoint:
        return
    for place, node in _nodes(graph):
        if isinstance(node, Input):
            missing = [field for field in ("low", "high", "fraction_bits") if getattr(node, field) is None]
            if missing:
                yield Breach(
                    place, f"no {', '.join(missing)}", "a range and a grid of fixed-point inputs", "Give them."
                )
        if isinstance(node, AvgPool2d) and not (_is_pair(node.kernel_size, 1) and budget.divides_exactly(node)):
            remedy = "Choose another window, or sb.SumPool2d."
            yield Breach(f"{place}, kernel_size", f"a mean over {node.kernel_size}", "a power of two of values", remedy)
        if isinstance(node, Unit) and isinstance(node.h, Sigmoid | Tanh):
            yield Breach(f"{place}, h", f"{node.h}", "Step() or Identity(), exact on a grid", "Take one, or a float.")
        if isinstance(node, Unit) and isinstance(node.g, LeakyReLU) and _real(node.g.slope) and node.g.slope % 1:
            yield Breach(f"{place}, g", f"slope {node.g.slope}", "an integer in FixedPoint", "Take 0, or a float.")


def _budget(graph: Graph) -> Iterable[Breach]:
    return budget.breaches(graph) if type(graph.numbers) is FixedPoint else ()


def _names(graph: Graph) -> Iterator[Breach]:
    for name in graph.nodes:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield Breach(
                "graph",
                f"a node named {_shown(name)}",
                "1 to 100 of A-Z a-z 0-9 _ . -, not starting with . or -",
                "Rename it.",
            )


def _kinds(graph: Graph) -> Iterator[Breach]:
    for name, node in graph.nodes.items():
        if type(node) not in NODE_KINDS.values():
            yield Breach(f"node {_shown(name)}", f"a {type(node).__name__}", ", ".join(NODE_KINDS), "Use one of these.")


def _numeric(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        for field, array in node.arrays().items():
            if array.dtype.kind not in "biuf":
                yield Breach(
                    f"{place}, {field}", f"values of type {array.dtype}", "real numbers", "Convert the array to float."
                )
            elif array.size == 0:
                yield Breach(f"{place}, {field}", f"an empty array {array.shape}", "at least one value", "Fill it.")
            elif not np.isfinite(array).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                yield Breach(
                    f"{place}, {field}",
                    f"{array[where]} at {where}",
                    f"finite numbers in {graph.numbers.name}",
                    "Look at the training run, or take Float64.",
                )


def _ranks(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        if isinstance(node, Linear | Conv2d):
            rank, form = (2, "(out, in)") if isinstance(node, Linear) else (4, "(out, in // groups, height, width)")
            if node.weight.ndim != rank:
                yield Breach(f"{place}, weight", f"shape {node.weight.shape}", form, "Reshape the weight.")
            elif node.bias is not None and node.bias.shape != node.weight.shape[:1]:
                needed = f"({node.weight.shape[0]},), one value per output"
                yield Breach(f"{place}, bias", f"shape {node.bias.shape}", needed, "Reshape the bias.")


def _windows(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        if not isinstance(node, Conv2d | _Pool2d):
            continue
        for field, least in {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": 0}.items():
            value = node.settings().get(field, (1, 1))
            if not _is_pair(value, least):
                needed = f"one or two integers, each at least {least}, below 2^31"
                yield Breach(f"{place}, {field}", shown(value), needed, "Fix the setting.")
        if isinstance(node, Conv2d) and not _whole(node.groups, 1, MAX_WINDOW):
            yield Breach(f"{place}, groups", shown(node.groups), "an integer, at least 1", "Fix the setting.")
        elif isinstance(node, Conv2d) and node.weight.ndim == 4 and node.weight.shape[0] % node.groups:
            yield Breach(
                f"{place}, groups",
                f"{node.groups} groups for {node.weight.shape[0]} outputs",
                "a divisor of the number of outputs",
                "Change groups or the weight.",
            )
        if (
            isinstance(node, _Pool2d)
            and _is_pair(node.padding, 0)
            and _is_pair(node.kernel_size, 1)
            and any(2 * p > k for p, k in zip(node.padding, node.kernel_size, strict=True))
        ):
            needed = f"at most half of the kernel {node.kernel_size}"
            yield Breach(f"{place}, padding", f"{node.padding}", needed, "Pad less, as PyTorch demands.")


def _is_pair(value: Any, least: int) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_whole(v, least, MAX_WINDOW) for v in value)


def _unit_values(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        if not isinstance(node, Unit):
            continue
        decay = node.decay
        if decay.dtype.kind in "biuf" and decay.size:
            outside = ~((decay >= 0) & (decay <= 1)) & np.isfinite(decay)
            if outside.any():
                where = tuple(int(i) for i in np.argwhere(outside)[0])
                yield Breach(f"{place}, decay", f"{decay[where]} at {where}", "0 <= decay <= 1", "Clamp the decay.")
        if not isinstance(node.reset, Reset):
            yield Breach(f"{place}, reset", shown(node.reset), "a member of sb.Reset", "Take Reset.TO_ZERO, say.")
        if type(node.g) not in STATE_FUNCTIONS.values():
            yield Breach(f"{place}, g", shown(node.g), "Identity(), ReLU() or LeakyReLU(slope)", "Pass an instance.")
        if type(node.h) not in OUTPUT_FUNCTIONS.values():
            yield Breach(f"{place}, h", shown(node.h), "Step(), Sigmoid(), Tanh() or Identity()", "Pass an instance.")
        if isinstance(node.h, Identity) and node.reset is not Reset.NONE:
            yield Breach(
                f"{place}, h",
                f"Identity() with {node.reset}",
                "Reset.NONE: a leaky integrator has no spike to reset it",
                "Pass reset=sb.Reset.NONE.",
            )
        if isinstance(node.g, LeakyReLU) and not _real(node.g.slope):
            yield Breach(f"{place}, g", f"slope {shown(node.g.slope)}", "a finite number", "Fix the slope.")
        if isinstance(node.h, Step) and not isinstance(node.h.at_threshold, bool):
            yield Breach(f"{place}, h", f"at_threshold {shown(node.h.at_threshold)}", "True or False", "Fix the flag.")


def _input_values(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        if not isinstance(node, Input):
            continue
        shape = node.shape
        if not (isinstance(shape, tuple) and shape and all(_whole(n, 1) for n in shape)):
            needed = "a tuple of at least one integer, each at least 1, without time and batch"
            yield Breach(f"{place}, shape", shown(shape), needed, "Write sb.Input((88,)), say.")
        elif max(shape) > MAX_VALUES:
            yield Breach(f"{place}, shape", shown(shape), f"at most {MAX_VALUES} values a sample", "Make it smaller.")
        elif len(shape) > MAX_AXES:
            yield Breach(f"{place}, shape", f"{len(shape)} axes", f"at most {MAX_AXES}", "Flatten what comes in.")
        for field in ("low", "high"):
            value = getattr(node, field)
            if value is not None and not _real(value):
                yield Breach(f"{place}, {field}", shown(value), "a finite number or None", "Fix the range.")
        if _real(node.low) and _real(node.high) and node.low > node.high:  # type: ignore[operator]  # both are real here
            yield Breach(f"{place}, low", f"{node.low} > high {node.high}", "low <= high", "Swap them.")
        if node.fraction_bits is not None and not _whole(node.fraction_bits, 0, 52):
            yield Breach(f"{place}, fraction_bits", shown(node.fraction_bits), "an integer from 0 to 52", "Fix it.")


def _reductions(graph: Graph) -> Iterator[Breach]:
    for place, node in _nodes(graph):
        if isinstance(node, Output) and not (
            node.over_time is None or (isinstance(node.over_time, str) and node.over_time in REDUCTIONS)
        ):
            needed = f"None or one of {', '.join(REDUCTIONS)}"
            yield Breach(f"{place}, over_time", _shown(node.over_time), needed, "Fix the reduction.")


def _edge_problem(graph: Graph, edge: Any) -> tuple[str, str, str] | None:
    if not isinstance(edge, Edge):
        return shown(edge), "an sb.Edge", "Write sb.Edge(source, target, delay=0)."
    for name in (edge.source, edge.target):
        if not isinstance(name, str) or name not in graph.nodes:
            return f"no node {_shown(name)}", "names of nodes", "Fix the name or add the node."
    if not _whole(edge.delay, 0, MAX_DELAY):
        return f"delay {shown(edge.delay)}", f"an integer from 0 to {MAX_DELAY}", "Count the delay in steps."
    if isinstance(graph.nodes[edge.target], Input):
        return "an edge into an Input", "edges out of inputs only", "Remove the edge."
    if isinstance(graph.nodes[edge.source], Output):
        return "an edge out of an Output", "edges into outputs only", "Connect what feeds the Output."
    return None


def _edges(graph: Graph) -> Iterator[Breach]:
    seen: set[Edge] = set()
    for edge in graph.edges:
        problem = _edge_problem(graph, edge)
        if problem is not None:
            yield Breach(
                f"edge {_shown(edge.source)} -> {_shown(edge.target)}" if isinstance(edge, Edge) else "edges", *problem
            )
        elif edge in seen:
            yield Breach(
                str(edge), "the same edge twice", "no two identical edges", "Remove one, or double the weight."
            )
        else:
            seen.add(edge)


def _sound_edges(graph: Graph) -> tuple[Edge, ...]:
    return tuple(dict.fromkeys(edge for edge in graph.edges if _edge_problem(graph, edge) is None))


def _connected(graph: Graph) -> Iterator[Breach]:
    targets = {edge.target for edge in graph.edges if isinstance(edge, Edge) and isinstance(edge.target, str)}
    for name, node in graph.nodes.items():
        if isinstance(node, Node) and not isinstance(node, Input) and name not in targets:
            yield Breach(f"node {_shown(name)}", "no incoming edge", "at least one", "Connect it or remove it.")


def _cycles(graph: Graph) -> Iterator[Breach]:
    edges = _sound_edges(graph)
    late = set(graph.nodes) - set(zero_delay_order(graph.nodes, edges))
    # What hangs behind a cycle cannot be ordered either: keep only what also leads back into it.
    backwards = [Edge(e.target, e.source) for e in edges if e.delay == 0 and {e.source, e.target} <= late]
    cyclic = late - set(zero_delay_order(late, backwards))
    if cyclic:
        names = ", ".join(name for name in graph.nodes if name in cyclic)
        yield Breach(
            f"cycle through {names}",
            "a cycle whose delays add up to 0",
            "at least 1 step along any cycle",
            "Give the recurrent edge delay=1.",
        )


def _shapes(graph: Graph) -> Iterator[Breach]:
    found, breaches = infer_shapes(graph.nodes, graph.edges)
    yield from breaches
    for name, shape in found.items():
        if math.prod(shape) > MAX_VALUES:
            yield Breach(
                f"node {name}", f"shape {shape!s:.60}", f"at most {MAX_VALUES} values a sample", "Make it smaller."
            )


def _metadata(graph: Graph) -> Iterator[Breach]:
    try:
        metadata = graph.metadata
        read = json.loads(json.dumps(metadata, allow_nan=False))
        if read != metadata:
            raise ValueError("keys that are no text, or tuples: JSON would change them")
        if not is_shallow(read, MAX_DEPTH // 2):
            raise ValueError(f"more than {MAX_DEPTH // 2} levels")
    except (TypeError, ValueError, RecursionError) as error:
        yield Breach("metadata", str(error), "what JSON can say", "Keep strings, numbers, lists and dicts.")


RULES: tuple[Rule, ...] = (
    Rule("numbers", "A graph computes in Float32, Float64 or a FixedPoint whose settings make sense.", _numbers),
    Rule("inputs", "A graph has at least one Input: it gives the steps and the samples.", _has_input),
    Rule("names", "Names match [A-Za-z0-9_][A-Za-z0-9_.-]{0,99}.", _names),
    Rule("kinds", "Nodes are of the kinds of the representation.", _kinds),
    Rule("parameters", "Parameters are real, finite after rounding, and not empty.", _numeric),
    Rule("ranks", "Weights have the rank of their node; a bias has one value per output.", _ranks),
    Rule("windows", "Kernels, strides, dilations and groups are at least 1, paddings at least 0.", _windows),
    Rule(
        "units", "0 <= decay <= 1; reset, g and h are of the given kinds; Identity h only without reset.", _unit_values
    ),
    Rule("ranges", "An Input has a shape, and its range and grid make sense.", _input_values),
    Rule(
        "fixed point",
        "In FixedPoint inputs have a range and a grid, means are over powers of two, g and h stay on the grid.",
        _on_the_grid,
    ),
    Rule("reductions", "Outputs reduce over time by mean, sum, max, last or not at all.", _reductions),
    Rule("edges", "Edges join existing nodes, none twice, with a delay that is a whole number of steps.", _edges),
    Rule("connections", "Every node but the inputs receives something.", _connected),
    Rule("cycles", "Along any cycle the delays add up to at least 1.", _cycles),
    Rule("metadata", "Metadata is what JSON can say.", _metadata),
    Rule(
        "shapes", "What is summed has one shape, and it fits the node that receives it.", _shapes, on_sound_nodes=True
    ),
    Rule("budget", "In FixedPoint every sum is exact in float64.", _budget, on_sound_nodes=True),
)


def validate(graph: Graph) -> None:
    """Raise ``InvalidGraph`` with every breach of the rules; return nothing if there is none.

    A graph is frozen, so one that passed is not looked at again.
    """
    if not isinstance(graph, Graph):
        raise InvalidGraph([Breach("graph", f"a {type(graph).__name__}", "an sb.Graph", "Build or load one.")])
    if graph.__dict__.get("_valid"):
        return
    breaches: list[Breach] = []
    for rule in RULES:
        if not (rule.on_sound_nodes and breaches):
            breaches.extend(rule.check(graph))
    if breaches:
        raise InvalidGraph(breaches)
    graph.__dict__["_valid"] = True

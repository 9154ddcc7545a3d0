"""The table of named mistakes: each says how the meaning of a graph changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snubridge.ir.functions import Reset, Step
from snubridge.ir.graph import Edge, Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.numbers import Array
from snubridge.ir.structure import strongly_connected
from snubridge.reference.interpreter import H


class Before(NamedTuple):
    """What one step of a unit is given, each (B, *shape): s_{t-1}, y_{t-1}, y_{t-2}, and the drive x_t."""

    s: Array
    y: Array
    older: Array
    drive: Array


@dataclass(frozen=True)
class Variant:
    """A meaning that is not the graph's.

    ``name``           what is wrong, for people: "equal if <name>"
    ``graph``          the graph that is computed instead
    ``given``          what a step of a unit takes instead of what it is given
    ``first``          y_{-1}, of the unit and its initial state
    ``inputs_late``    by how many steps inputs come late; early if negative
    ``recorded_late``  by how many steps what is recorded comes late; early if negative
    """

    name: str
    graph: Callable[[Graph], Graph] = lambda graph: graph
    given: Callable[[Unit, Before], Before] = lambda unit, before: before
    first: Callable[[Unit, Array], Array] = lambda unit, s: np.zeros(s.shape)
    inputs_late: int = 0
    recorded_late: int = 0


def rebuilt(change: Callable[[Unit], Unit]) -> Callable[[Graph], Graph]:
    """Every unit changed."""

    def change_all(graph: Graph) -> Graph:
        nodes = {name: change(node) if isinstance(node, Unit) else node for name, node in graph.nodes.items()}
        return Graph(nodes, graph.edges, numbers=graph.numbers)

    return change_all


def delayed(more: Callable[[Graph, Edge], int]) -> Callable[[Graph], Graph]:
    """Every edge delayed by so many steps more."""

    def delay_all(graph: Graph) -> Graph:
        edges = [Edge(edge.source, edge.target, edge.delay + more(graph, edge)) for edge in graph.edges]
        return Graph(graph.nodes, edges, numbers=graph.numbers)

    return delay_all


def reset(new: Reset, *instead_of: Reset) -> Callable[[Graph], Graph]:
    """One reset in the place of others."""
    return rebuilt(lambda unit: unit.replaced(reset=new) if unit.reset in instead_of else unit)


def decayed(change: Callable[[Array], Array]) -> Callable[[Graph], Graph]:
    """Another decay."""

    def change_decay(unit: Unit) -> Unit:
        with np.errstate(divide="ignore"):
            return unit.replaced(decay=np.clip(change(unit.decay.astype(np.float64)), 0.0, 1.0))

    return rebuilt(change_decay)


def started(value: float) -> Callable[[Graph], Graph]:
    """Another initial state."""
    return rebuilt(lambda unit: unit.replaced(initial_state=np.float64(value)))


def tied(at_threshold: bool) -> Callable[[Graph], Graph]:
    """Every Step unit fires at a tie, or none does."""
    return rebuilt(lambda unit: unit.replaced(h=Step(at_threshold=at_threshold)) if unit.spiking else unit)


def _leaves_a_unit(graph: Graph, edge: Edge) -> int:
    return int(isinstance(graph.nodes[edge.source], Unit))


def _enters_a_unit(graph: Graph, edge: Edge) -> int:
    return int(isinstance(graph.nodes[edge.target], Unit))


def _leaves_a_unit_for_another_layer(graph: Graph, edge: Edge) -> int:
    part = {name: i for i, names in enumerate(strongly_connected(graph.nodes, graph.edges)) for name in names}
    return int(_leaves_a_unit(graph, edge) and part[edge.source] != part[edge.target])


def _over_the_batch(unit: Unit, before: Before) -> Before:
    if unit.reset is not Reset.LATERAL:
        return before
    return before._replace(y=np.full(before.y.shape, before.y.max()))


def _variants() -> Iterator[Variant]:
    yield Variant("inputs come one step early", inputs_late=-1)
    yield Variant("inputs come one step late", inputs_late=1)
    for steps, words in ((1, "one step"), (2, "two steps")):
        yield Variant(f"spikes are recorded {words} early", recorded_late=-steps)
        yield Variant(f"spikes are recorded {words} late", recorded_late=steps)
    yield Variant("every layer adds a step of latency to what it sends", graph=delayed(_leaves_a_unit))
    yield Variant(
        "every layer adds a step of latency to what it sends on, not to its own loops",
        graph=delayed(_leaves_a_unit_for_another_layer),
    )
    yield Variant("every layer adds a step of latency to what it receives", graph=delayed(_enters_a_unit))
    yield Variant("delays are one step too long", graph=delayed(lambda graph, edge: int(edge.delay > 0)))
    yield Variant("delays above one step are one step too short", graph=delayed(lambda graph, edge: -(edge.delay > 1)))
    yield Variant("the reset comes one step late", given=lambda unit, before: before._replace(y=before.older))
    yield Variant(
        "the reset is soft, decay * s - threshold * y, where it should be to zero",
        graph=reset(Reset.SUBTRACT, Reset.TO_ZERO),
    )
    yield Variant(
        "the reset is soft, decay * (s - threshold * y), where it should be to zero",
        graph=reset(Reset.SUBTRACT_DECAYED, Reset.TO_ZERO),
    )
    yield Variant(
        "the reset is to zero where it should be soft",
        graph=reset(Reset.TO_ZERO, Reset.SUBTRACT, Reset.SUBTRACT_DECAYED),
    )
    yield Variant(
        "the soft reset is decayed where it should not be", graph=reset(Reset.SUBTRACT_DECAYED, Reset.SUBTRACT)
    )
    yield Variant(
        "the soft reset is not decayed where it should be", graph=reset(Reset.SUBTRACT, Reset.SUBTRACT_DECAYED)
    )
    yield Variant("there is no reset", graph=reset(Reset.NONE, *Reset))
    yield Variant(
        "a spike resets its own neuron only where it should reset the layer",
        graph=reset(Reset.TO_ZERO, Reset.LATERAL),
    )
    yield Variant("lateral inhibition looks at the whole batch", given=_over_the_batch)
    yield Variant(
        "the decay is applied to the drive too",
        given=lambda unit, before: before._replace(drive=unit.decay.astype(np.float64) * before.drive),
    )
    yield Variant(
        "the drive is multiplied by 1 - decay",
        given=lambda unit, before: before._replace(drive=(1 - unit.decay.astype(np.float64)) * before.drive),
    )
    yield Variant("the initial state is 0", graph=started(0.0))
    yield Variant("the initial state is 1", graph=started(1.0))
    yield Variant(
        "an initial state above the threshold counts as a spike",
        first=lambda unit, s: H[type(unit.h)](unit.h, s, unit.threshold.astype(np.float64)),
    )
    yield Variant("a state at the threshold fires, >= for >", graph=tied(True))
    yield Variant("a state at the threshold does not fire, > for >=", graph=tied(False))
    yield Variant("dt is twice what it should be (decay squared)", graph=decayed(np.square))
    yield Variant("dt is half of what it should be (the root of the decay)", graph=decayed(np.sqrt))
    yield Variant("dt is ten times what it should be (decay to the tenth)", graph=decayed(lambda decay: decay**10))
    yield Variant(
        "dt is a tenth of what it should be (the tenth root of the decay)", graph=decayed(lambda decay: decay**0.1)
    )
    yield Variant(
        "the decay is exp(-dt/tau) of a tau that was meant for 1 - dt/tau", graph=decayed(lambda d: np.exp(d - 1))
    )
    yield Variant(
        "the decay is 1 - dt/tau of a tau that was meant for exp(-dt/tau)", graph=decayed(lambda d: 1 + np.log(d))
    )


VARIANTS: tuple[Variant, ...] = tuple(_variants())
"""In the order in which they are tried and named."""

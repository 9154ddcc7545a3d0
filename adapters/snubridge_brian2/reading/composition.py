"""Neurons and projections of Brian2 as the units and edges of a graph.

Where spikes arrive between the update and the threshold, a group is one unit. Where they arrive later, as in Brian2's
default schedule, a decision is made one step after its state: it is v_t > theta', the largest v that the update does
not take across the threshold, and two units say so:

    <group>.potential   s_t = decay*s_{t-1} + drive    what v is at the end of step t, threshold theta'
    <group>             y_t                            Brian2's spikes, one step later

and with a reset <group>.reset leads back from the spikes to the potential, within the step:

    reset to a value, arrivals lost    a weight above all others: the potential fires once more, and so carries nothing;
                                       <group> carries minus its threshold, and does not fire once more
    reset to a value, nothing lost     nothing leads back: the potential resets itself
    subtraction                        minus what is subtracted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from snubridge.ir import Edge, Linear, Node, Reset, Step, Unit
from snubridge_brian2.reading.expressions import Array, Refused
from snubridge_brian2.reading.neurons import Neurons
from snubridge_brian2.reading.schedule import Arrival
from snubridge_brian2.reading.synapses import Projection


@dataclass
class Parts:
    """The nodes and edges of a graph that is being put together."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def connect(self, source: str, target: str, delay: int = 0) -> None:
        """Add an edge."""
        self.edges.append(Edge(source, target, delay))


Arrivals = Sequence[tuple[Projection, Arrival]]


def compose(parts: Parts, neurons: Neurons, arrivals: Arrivals, limit: int) -> None:
    """Add the units of a group and all that leads to it, or refuse."""
    windows = {arrival.window for _, arrival in arrivals}
    if neurons.reset == "none":
        windows = {"threshold" if window == "reset" else window for window in windows}
    if not windows:
        raise Refused("nothing leads to it", "connect it, or name it in inputs=[...] if its spikes are given")
    if len(windows) > 1:
        raise Refused(
            f"spikes reach it in several windows of a step, after its {' and after its '.join(sorted(windows))}",
            "give all synapses onto it the same place in the schedule",
        )
    (window,) = windows
    for projection, arrival in arrivals:
        if projection.delay + arrival.lag < 0:
            raise Refused(
                f"{projection.name} acts before its update on spikes of the same step",
                "let its sources fire, or the synapses act, in their default slots",
            )
    if window == "update":
        _at_once(parts, neurons, arrivals)
    else:
        _one_step_on(parts, neurons, arrivals, window, limit)


def _at_once(parts: Parts, neurons: Neurons, arrivals: Arrivals) -> None:
    resets = {"zero": Reset.TO_ZERO, "subtract": Reset.SUBTRACT_DECAYED, "none": Reset.NONE}
    if neurons.reset == "subtract" and not (neurons.subtracted == neurons.threshold).all():
        raise Refused("its reset subtracts something else than its threshold", "subtract threshold - rest")
    parts.nodes[neurons.name] = Unit(
        neurons.decay,
        neurons.threshold,
        reset=resets[neurons.reset],
        h=Step(at_threshold=neurons.inclusive),
        initial_state=neurons.initial,
    )
    _feed(parts, neurons.name, neurons, arrivals)


def _one_step_on(parts: Parts, neurons: Neurons, arrivals: Arrivals, window: str, limit: int) -> None:
    name, potential, back = neurons.name, f"{neurons.name}.potential", f"{neurons.name}.reset"
    lost = neurons.reset == "zero" and window == "threshold"
    if (neurons.fires_next(np.broadcast_to(neurons.initial, (neurons.size,)))).any():
        raise Refused("it starts above its threshold", "start it below: the first decision is that of the first step")
    if neurons.reset == "zero" and neurons.fires_next(np.zeros(neurons.size)).any():
        raise Refused("it fires again after every reset, without input", "take a threshold above the reset value")
    if neurons.reset == "zero" and not lost and neurons.drive.any():
        raise Refused(
            "it rests elsewhere than it is reset to, and spikes reach it after the reset",
            "leave the synapses in their default slot, or reset to the resting value",
        )
    if (lost or neurons.reset == "subtract") and neurons.size**2 > limit:
        raise Refused(
            f"its reset takes a matrix of {neurons.size} x {neurons.size}, above the limit of {limit:,}",
            f"raise it with the option max_synapses={neurons.size**2}",
        )
    threshold = neurons.last_silent()
    parts.nodes[potential] = Unit(
        neurons.decay,
        threshold,
        reset=Reset.TO_ZERO if neurons.reset == "zero" else Reset.NONE,
        initial_state=neurons.initial,
    )
    parts.nodes[name] = Unit(0.0, 0.5, reset=Reset.SUBTRACT if lost else Reset.NONE)
    _feed(parts, potential, neurons, arrivals)
    parts.connect(potential, name, 1)
    if lost or neurons.reset == "subtract":
        taken = _above_all(threshold, neurons.drive, arrivals) if lost else -neurons.subtracted
        parts.nodes[back] = Linear(np.diag(np.broadcast_to(taken, (neurons.size,))))
        parts.connect(name, back)
        parts.connect(back, potential)


def _above_all(threshold: Array, drive: Array, arrivals: Arrivals) -> Array:
    """A power of two that takes every neuron across its threshold, whatever else arrives."""
    most = sum(np.abs(projection.weight).sum(axis=1).max() for projection, _ in arrivals)
    largest = np.abs(threshold).max() + np.abs(drive).max() + most + np.finfo(np.float64).tiny
    return np.asarray(np.exp2(np.ceil(np.log2(2 * largest))))


def _feed(parts: Parts, target: str, neurons: Neurons, arrivals: Arrivals) -> None:
    """The drive, in the order in which it arrives within a step; a constant one as the bias of the first matrix."""
    bias = np.broadcast_to(neurons.drive, (neurons.size,)) if neurons.drive.any() else None
    for projection, arrival in arrivals:
        parts.nodes[projection.name] = Linear(projection.weight, bias)
        parts.connect(projection.source, projection.name, projection.delay + arrival.lag)
        parts.connect(projection.name, target)
        bias = None

"""Which of the usual mistakes an engine made: those whose spikes are its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.ir.structure import shapes
from snubridge.reference.trace import Trace
from snubridge.verification.comparison import within
from snubridge.verification.suspects.simulation import respond
from snubridge.verification.suspects.variants import VARIANTS, Variant

BUDGET = 2_000_000
"""Values of all nodes that the trial of one variant computes at most, where the first bug comes early enough."""
BEYOND = 32
"""How many steps beyond the first bug are compared at least."""


@dataclass(frozen=True)
class Suspect:
    """A mistake that would explain what an engine did.

    ``name``       what is wrong
    ``compared``   the decisions that were compared
    ``differing``  those in which the engine differs from a run with the mistake; 0: the engine's very spikes
    ``share``      the share of the engine's differences from the reference that the mistake explains
    """

    name: str
    compared: int
    differing: int
    share: float

    def __str__(self) -> str:
        if not self.differing:
            return f"equal if {self.name} ({self.compared:,} decisions compared)"
        return f"closest: {self.share:.0%} of the differences are gone if {self.name}"


def suspects(
    graph: Graph,
    inputs: Mapping[str, Array],
    expected: Trace,
    actual: Trace,
    first: int,
) -> tuple[Suspect, ...]:
    """The mistakes under which every spike is the engine's; if there is none, the one that comes closest, if any does.

    ``inputs``  as ``prepare`` gives them        ``first``  the step of the first bug

    Only the first steps are tried where the run is long (``BUDGET``), all samples of them.
    """
    samples = len(expected.lengths)
    size = samples * sum(math.prod(shape) for shape in shapes(graph).values())
    steps = max(first + BEYOND, BUDGET // size)
    given = {name: array[:steps] for name, array in inputs.items()}
    found = [_tried(variant, respond(graph, given, variant), expected, actual) for variant in VARIANTS]
    right = tuple(suspect for suspect in found if suspect.share == 1)
    closest = max(found, key=lambda suspect: suspect.share)
    return right or ((closest,) if closest.share > 0 else ())


def _tried(variant: Variant, spikes: Mapping[str, Array], expected: Trace, actual: Trace) -> Suspect:
    compared = differing = before = 0
    for name, array in spikes.items():
        steps = len(array)
        one, other = expected.spikes[name][:steps], actual.spikes[name][:steps]
        counted = _counted(variant, expected.lengths, array)
        compared += int(counted.sum())
        differing += int(((np.roll(array, variant.recorded_late, axis=0) != other) & counted).sum())
        before += int(((one != other) & counted).sum())
    return Suspect(variant.name, compared, differing, max(0.0, 1 - differing / before) if before else 0.0)


def _counted(variant: Variant, lengths: Array, like: Array) -> NDArray[np.bool_]:
    """What can be told: steps within the lengths, without those that the variant takes from outside of the run."""
    step = np.arange(len(like)).reshape(-1, *[1] * (like.ndim - 1))
    late, early = max(variant.recorded_late, 0), max(-variant.recorded_late, -variant.inputs_late, 0)
    inside = within(lengths, like) & (step >= late) & (step < len(like) - early)
    return np.broadcast_to(inside, like.shape)

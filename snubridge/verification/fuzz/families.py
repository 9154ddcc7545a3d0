"""The graphs of a campaign: families drawn from a seed, each with its share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.families import random_case
from snubridge.bridge.conformance.fixed import random_fixed
from snubridge.bridge.conformance.space import random_graph
from snubridge.errors import BadInput, InvalidGraph
from snubridge.ir.rules import validate
from snubridge.verification.fuzz.extremes import on_ties, stretched
from snubridge.verification.fuzz.populations import population

ATTEMPTS = 100
"""How often a graph is drawn at most until the reference can run it: extreme ones overflow at times."""


@dataclass(frozen=True)
class Family:
    """A kind of graphs: ``share`` of all (they add up to 1), and how one is drawn."""

    share: float
    draw: Callable[[np.random.Generator], Case]


def _space(rng: np.random.Generator) -> Case:
    """Any node, reset, g, h, delay and reduction; few neurons, up to 20 steps."""
    # Past the cache: a campaign draws each graph once.
    return random_graph.__wrapped__(int(rng.integers(2**31)), precision=str(rng.choice(["float32", "float64"])))


def _dense(rng: np.random.Generator) -> Case:
    """Layers of the SNU with recurrence, skips and feedback, 50 steps."""
    family, precision = ("dyadic" if rng.random() < 0.5 else "generic"), str(rng.choice(["float32", "float64"]))
    seed, units = int(rng.integers(2**31)), int(rng.integers(3, 20))
    return random_case(seed, family, precision=precision, units=units)  # type: ignore[arg-type]  # one of the two


def _fixed(rng: np.random.Generator) -> Case:
    """FixedPoint: no difference at all is allowed, in whatever precision."""
    return random_fixed.__wrapped__(int(rng.integers(2**31)), precision=str(rng.choice(["float32", "float64"])))


def _small(rng: np.random.Generator) -> Case:
    return (_space if rng.random() < 0.7 else _dense)(rng)


def _extremes(rng: np.random.Generator) -> Case:
    """At the edge of the format; half of them with states on their thresholds, where the least difference shows."""
    case = stretched(_small(rng), rng)
    return on_ties(case, rng) if rng.random() < 0.5 else case


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "space": Family(0.4, _space),
        "dense": Family(0.1, _dense),
        "ties": Family(0.15, lambda rng: on_ties(_small(rng), rng)),
        "extremes": Family(0.15, _extremes),
        "fixed": Family(0.1, _fixed),
        "populations": Family(0.1, population),
    }
)


def draw(seed: int, number: int) -> Case:
    """Graph ``number`` of the campaign of that seed, with inputs and lengths; the reference can run it.

    ``case.name`` is ``<family>-<seed>-<number>``. The same arguments give the same case.
    """
    rng = np.random.default_rng([seed, number])
    names = list(FAMILIES)
    name = names[int(rng.choice(len(names), p=[family.share for family in FAMILIES.values()]))]
    for _ in range(ATTEMPTS):
        try:
            case = FAMILIES[name].draw(rng)
            validate(case.graph)
            case = replace(case, name=f"{name}-{seed}-{number}")
            assert case.expected is not None  # runs the reference
        except (InvalidGraph, BadInput):  # a parameter, an input or a state beyond its format
            continue
        return case
    raise BadInput(f"no graph {number} of the family {name} runs on the reference, in {ATTEMPTS} attempts")

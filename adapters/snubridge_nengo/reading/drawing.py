"""What Nengo draws when it builds a network, and from which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nengo
import numpy as np
from nengo.builder.network import seed_network

Array = np.ndarray[Any, Any]


class Refused(Exception):
    """Something that the graph cannot say: the cause, and what helps."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")


@dataclass(frozen=True)
class Seeds:
    """The seed of every object of a network, as Nengo gives them out, and whether it is the same at every build."""

    of: Mapping[Any, int] = field(default_factory=dict)
    fixed: Mapping[Any, bool] = field(default_factory=dict)

    def demand(self, thing: Any, what: str) -> None:
        """Refuse what is drawn anew at every build."""
        if not self.fixed[thing]:
            raise Refused(f"Nengo draws its {what} anew at every build", f"set a seed, or give {what} as an array")


def seeds(network: nengo.Network) -> Seeds:
    """The seeds that a build of the network takes; numpy's own generator is left alone."""
    found = Seeds({}, {})
    # Even with a seed Nengo draws one more, from numpy's generator if it is given none.
    seed_network(network, found.of, found.fixed, base_rng=np.random.RandomState(0))
    return found


def is_random(value: Any, what: str) -> bool:
    """Whether an array or a distribution of Nengo's depends on the seed; others are refused, since they are code."""
    if not isinstance(value, nengo.dists.Distribution):
        if not isinstance(value, np.ndarray | np.generic | list | tuple | int | float):
            raise Refused(f"its {what} is a {type(value).__name__}", "give an array, or a distribution of nengo.dists")
        return False
    if type(value).__module__ != nengo.dists.__name__ or "sample" in vars(value):
        raise Refused(
            f"its {what} is drawn by a {type(value).__name__}, code of its own",
            "give an array, or a distribution of nengo.dists",
        )
    if type(value) is nengo.dists.Choice:
        return len(value.options) > 1
    return type(value) is not nengo.dists.Samples

"""A case: a graph, inputs for it, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import snubridge.reference.interpreter as interpreter
from snubridge.ir.graph import Graph
from snubridge.ir.numbers import Array
from snubridge.reference.trace import Trace

Figures = Sequence[Any] | Array


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, inputs (T, B, *shape) for it (or a dict by Input), and what they are called.

    ``lengths``  (B,), or None
    ``idea``     what the case is there for, in one sentence
    ``exact``    every sum of the run is exact in float32, in any order: no value may deviate by a bit
    ``spikes``, ``states``, ``outputs``   by node, what was worked out by hand, as far as it was;
                 nested as (T, B, *shape) or with axes of length 1 left out
    """

    name: str
    graph: Graph
    inputs: Array | Mapping[str, Array]
    lengths: tuple[int, ...] | None = None
    idea: str = ""
    exact: bool = False
    spikes: Mapping[str, Figures] = field(default_factory=dict)
    states: Mapping[str, Figures] = field(default_factory=dict)
    outputs: Mapping[str, Figures] = field(default_factory=dict)

    @cached_property
    def expected(self) -> Trace:
        """The reference's trace, with states; computed once."""
        return interpreter.simulate(self.graph, self.inputs, record=("spikes", "states"), lengths=self.lengths)

    def part(self, steps: int, samples: int) -> Array | Mapping[str, Array]:
        """The inputs of the first steps and samples only."""
        if isinstance(self.inputs, Mapping):
            return {name: array[:steps, :samples] for name, array in self.inputs.items()}
        return self.inputs[:steps, :samples]

    def __str__(self) -> str:
        return self.name

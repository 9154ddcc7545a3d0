"""What the values in a ``forward`` are while it is captured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from snubridge.ir.nodes import Shape


@dataclass(frozen=True)
class Term:
    """The output of a node, ``delay`` steps ago; ``norms``: how many batch norms were folded into the node so far."""

    node: str
    delay: int = 0
    norms: int = 0


@dataclass(frozen=True)
class Signal:
    """The sum of these terms; ``shape`` is that of one sample.

    ``merged``: its two leading axes are one, (T * B, *shape). ``over_time``: reduced to (B, *shape).
    """

    terms: tuple[Term, ...]
    shape: Shape
    merged: bool = False
    over_time: str | None = None

    def delayed(self, steps: int) -> Self:
        """The same, ``steps`` steps later: each term is delayed."""
        return replace(self, terms=tuple(replace(term, delay=term.delay + steps) for term in self.terms))

    @property
    def leading(self) -> tuple[Size, ...]:
        """The sizes before those of a sample."""
        return (Size((0, 1)),) if self.merged else (Size((0,)), Size((1,)))

    @property
    def sizes(self) -> tuple[Size | int, ...]:
        """What ``x.shape`` is."""
        return (*self.leading, *self.shape)


@dataclass(frozen=True)
class Size:
    """The size of a leading axis: of the first, (0,), the second, (1,), or the product of both, (0, 1)."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """What a layer with a state returns: the pair (y, state)."""

    path: str
    signal: Signal


@dataclass(frozen=True)
class After:
    """The state that a layer returned: may be returned, cannot be computed with."""

    path: str


@dataclass(frozen=True)
class Lost:
    """What a refused operation would have returned: what follows is still looked at."""


class Refused(Exception):
    """One reason, with its place."""

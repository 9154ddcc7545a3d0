"""A graph: named nodes and edges with delays, in one number format. Frozen, compared by bits."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from snubridge.errors import Breach, InvalidGraph
from snubridge.ir.nodes import Node
from snubridge.ir.numbers import Float32, Numbers

NodeKind = TypeVar("NodeKind", bound=Node)


def _plain(name: Any) -> Any:
    """A string of a subclass (numpy.str_, say) as a plain one; anything else is left to the rules."""
    return str(name) if isinstance(name, str) and type(name) is not str else name


@dataclass(frozen=True)
class Edge:
    """The target receives the source's output of ``delay`` steps ago (zero before the start)."""

    source: str
    target: str
    delay: int = 0

    def __post_init__(self) -> None:
        """numpy's integers and strings are taken as Python's own, as in nodes."""
        for field in ("source", "target"):
            object.__setattr__(self, field, _plain(getattr(self, field)))
        if isinstance(self.delay, np.integer):
            object.__setattr__(self, "delay", int(self.delay))

    def __str__(self) -> str:
        return f"edge {self.source} -> {self.target}" + (f" (delay {self.delay})" if self.delay else "")


class Graph:
    """A network of Spiking Neural Units, as data.

    At step t a node receives the sum, over its incoming edges and in their order, of each
    source's output at step t - delay. Every parameter is rounded once to ``numbers``;
    ``graph.nodes[name]`` returns the rounded values. A graph is never changed after it is built,
    and ``sb.validate`` (which whatever takes a graph calls first) tells whether it keeps the rules.

    ``nodes``     mapping from name to node; the order is kept
    ``edges``     ``Edge`` values; their order is the order of summation
    ``numbers``   ``Float32()`` (default), ``Float64()`` or ``FixedPoint(fraction_bits)``
    ``metadata``  anything JSON can say; travels with the graph and changes nothing
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        edges: Iterable[Edge],
        *,
        numbers: Numbers = Float32(),
        metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        try:
            nodes, edges = dict(nodes), tuple(edges)
        except (TypeError, ValueError) as error:
            breach = Breach("graph", str(error), "a mapping of nodes and a list of edges", "Pass sb.Graph(dict, list).")
            raise InvalidGraph([breach]) from None
        self.numbers: Numbers = numbers
        self.nodes: Mapping[str, Node] = MappingProxyType(
            {
                _plain(name): node.rounded(numbers, name)
                if isinstance(node, Node) and isinstance(numbers, Numbers)
                else node
                for name, node in nodes.items()
            }
        )
        self.edges: tuple[Edge, ...] = edges
        if not isinstance(metadata, Mapping):
            raise InvalidGraph([Breach("metadata", f"a {type(metadata).__name__}", "a mapping", "Pass a dict.")])
        try:
            self._metadata = copy.deepcopy(dict(metadata))
        except RecursionError:
            raise InvalidGraph([Breach("metadata", "too many levels", "what JSON can say", "Nest it less.")]) from None
        self._frozen = True

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"a Graph is frozen; build a new one to change {name}")
        super().__setattr__(name, value)

    @property
    def metadata(self) -> dict[str, Any]:
        """A copy of the metadata (provenance, library versions): changing it changes nothing."""
        return copy.deepcopy(self._metadata)

    def of_kind(self, kind: type[NodeKind]) -> dict[str, NodeKind]:
        """The nodes of one class, in the graph's order."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, kind)}

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Edge, ...]]:
        """The edges into each node, in the graph's order."""
        return self._grouped("target")

    @cached_property
    def outgoing(self) -> Mapping[str, tuple[Edge, ...]]:
        """The edges out of each node, in the graph's order."""
        return self._grouped("source")

    def _grouped(self, end: str) -> Mapping[str, tuple[Edge, ...]]:
        groups: dict[str, list[Edge]] = {name: [] for name in self.nodes}
        for edge in self.edges:
            groups[getattr(edge, end)].append(edge)
        return MappingProxyType({name: tuple(edges) for name, edges in groups.items()})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of structure and bits, without the metadata: two equal graphs have the same."""
        digest = hashlib.sha256(repr((self.numbers, self.edges)).encode())
        for name, node in self.nodes.items():
            digest.update(repr((name, type(node).__name__, node.settings())).encode())
            for field, array in node.arrays().items():
                digest.update(f"{field} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def __copy__(self) -> Graph:
        return self

    def __deepcopy__(self, memo: object) -> Graph:
        return self  # frozen: a copy could never differ

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (dict(self.nodes), self.edges, self.numbers, self._metadata)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return (
            self.numbers == other.numbers
            and list(self.nodes) == list(other.nodes)
            and self.edges == other.edges
            and all(self.nodes[name] == other.nodes[name] for name in self.nodes)
        )

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        lines = [f"  {name}: {node}" for name, node in self.nodes.items()]
        return "\n".join([f"Graph({self.numbers}", *lines, *(f"  {edge}" for edge in self.edges), ")"])


def _rebuilt(nodes: dict[str, Node], edges: tuple[Edge, ...], numbers: Numbers, metadata: dict[str, Any]) -> Graph:
    """What unpickling calls; rounding again changes nothing."""
    return Graph(nodes, edges, numbers=numbers, metadata=metadata)

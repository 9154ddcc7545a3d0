"""The contract of an adapter: what a plug-in implements, and what it gets in return."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import ArrayLike

from snubridge.exactness import ErrorModel
from snubridge.ir.file import StrPath
from snubridge.ir.functions import Reset
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Input, Node, Output, Unit
from snubridge.ir.numbers import NUMBERS
from snubridge.reference.inputs import Inputs
from snubridge.reference.trace import Trace

Engine = Literal["foreign", "own"]


@runtime_checkable
class Program(Protocol):
    """A graph lowered to one engine: frozen, runs as often as wanted.

    An optional attribute ``facts`` (a mapping to numbers or text, say {"devices": 52800}) tells
    readers of a report what else is worth knowing.
    """

    @property
    def native(self) -> Any:
        """What a user of the engine would have written: brian2.Network, nengo.Network, onnx.ModelProto, ..."""

    @property
    def rounding(self) -> ErrorModel:
        """How this program rounds."""

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run on the engine; spikes and outputs come from the engine's own monitors or outputs."""

    def save(self, path: StrPath) -> None:
        """Write the artefact that a user of the engine can use without snubridge."""


@dataclass(frozen=True)
class Requirement:
    """What has to be installed for an engine to run."""

    modules: tuple[str, ...]
    """The modules that have to import, say ("onnxruntime", "onnx")."""
    distributions: tuple[str, ...]
    """The distributions that have to be there; a report states the version of the first."""
    install: str
    """What to pass to ``pip install``, say "snubridge[onnx]"."""


@dataclass(frozen=True)
class Support:
    """What an adapter can express exactly; built from the keys of its lowering tables."""

    nodes: frozenset[type[Node]]
    resets: frozenset[Reset]
    g: frozenset[type]
    h: frozenset[type]
    over_time: frozenset[str | None]
    numbers: frozenset[type] = frozenset(NUMBERS.values())
    """The float formats, unless the adapter names FixedPoint too."""

    @classmethod
    def of_tables(
        cls,
        nodes: Collection[type[Node]],
        *,
        resets: Collection[Reset],
        g: Collection[type],
        h: Collection[type],
        over_time: Collection[str | None] = (None,),
        numbers: Collection[type] = tuple(NUMBERS.values()),
    ) -> Support:
        """Pass the tables themselves (their keys count), so that support cannot drift from the code."""
        functions = frozenset(resets), frozenset(g), frozenset(h)
        return cls(frozenset(nodes), *functions, frozenset(over_time), frozenset(numbers))

    def reasons(self, graph: Graph) -> tuple[str, ...]:
        """Every reason why ``graph`` cannot be expressed, each naming the node; empty if it can."""
        reasons = [reason for name, node in graph.nodes.items() for reason in self._node_reasons(name, node)]
        if type(graph.numbers) not in self.numbers:
            works = ", ".join(sorted(kind.__name__ for kind in self.numbers))
            reasons.insert(0, f"numbers {type(graph.numbers).__name__} are not supported; supported here: {works}")
        return tuple(reasons)

    def _node_reasons(self, name: str, node: Node) -> Iterator[str]:
        if type(node) not in self.nodes:
            yield _reason(name, type(node).__name__, (kind.__name__ for kind in self.nodes))
        if isinstance(node, Unit):
            if node.reset not in self.resets:
                yield _reason(name, str(node.reset), map(str, self.resets))
            if type(node.g) not in self.g:
                yield _reason(name, f"g = {node.g}", (kind.__name__ for kind in self.g))
            if type(node.h) not in self.h:
                yield _reason(name, f"h = {node.h}", (kind.__name__ for kind in self.h))
        if isinstance(node, Output) and node.over_time not in self.over_time:
            yield _reason(name, f"over_time = {node.over_time!r}", map(repr, self.over_time))


def _reason(name: str, found: str, works: Iterator[str] | map[str]) -> str:
    return f"node {name}: {found} is not supported; supported here: {', '.join(sorted(works))}"


ALWAYS: tuple[type[Node], ...] = (Input, Output, Unit)
"""The kinds that every adapter takes; its table of nodes adds the linear ones."""


@runtime_checkable
class Adapter(Protocol):
    """A plug-in, found by an entry point in the group ``snubridge.adapters``.

    A module that holds an adapter must import without its engine; ``lower`` may import it. Three
    attributes may be there: ``requirement`` (a ``Requirement``; without it the engine counts as
    installed and no version is stated), a method ``read(source, **options) -> Graph`` if it can
    read back, and a method ``diagnosis() -> dict[str, str]``: what the doctor tries within an
    engine that is ready, and what came of each.
    """

    name: str
    engine: Engine

    @property
    def support(self) -> Support:
        """What it takes: an attribute, or a property where its tables need the engine."""

    @property
    def lower(self) -> Callable[..., Program]:
        """A method ``lower(self, graph, *, <options by keyword>) -> Program``: the graph as a program of the engine,
        or ``Unsupported`` with every reason.

        The graph is valid and within ``support``: whoever calls this has checked both.
        """

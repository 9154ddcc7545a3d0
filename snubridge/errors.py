"""Everything that snubridge raises on purpose.

    SnubridgeError
    ├── InvalidGraph    .breaches  a graph that breaks the rules of the representation
    ├── Unsupported     .reasons   a valid graph that an engine cannot express exactly
    ├── BadFile                    a file that cannot be read or written
    ├── BadInput                   arrays, names or options that do not fit
    ├── MissingEngine              an engine that is not installed
    └── SpikesDiffer    .report    engines that do not agree

Every message names the place, the cause and what helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class SnubridgeError(Exception):
    """The root of the tree: catch this to catch them all."""


@dataclass(frozen=True)
class Breach:
    """One broken rule: where, what was found, what is needed, and what to do."""

    place: str
    found: str
    needed: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: found {self.found}; needed: {self.needed}. {self.remedy}"


class InvalidGraph(SnubridgeError):
    """A graph that breaks the rules; ``breaches`` holds all of them, not only the first."""

    def __init__(self, breaches: Iterable[Breach]) -> None:
        self.breaches: tuple[Breach, ...] = tuple(breaches)
        super().__init__("\n".join(map(str, self.breaches)))


class Unsupported(SnubridgeError):
    """A valid graph that ``engine`` cannot express exactly; ``reasons`` holds every reason."""

    def __init__(self, engine: str, reasons: Iterable[str]) -> None:
        self.engine = engine
        self.reasons: tuple[str, ...] = tuple(reasons)
        super().__init__("\n".join(f"{engine} refuses: {reason}" for reason in self.reasons))


class BadFile(SnubridgeError):
    """A file that cannot be read or written as asked."""


class InvalidGraphFile(BadFile, InvalidGraph):
    """A well-formed file that holds an invalid graph: both a bad file and an invalid graph."""

    def __init__(self, path: str, breaches: Iterable[Breach]) -> None:
        InvalidGraph.__init__(self, breaches)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: " + "\n".join(map(str, self.breaches))


class BadInput(SnubridgeError, ValueError):
    """Arrays, names or options that do not fit what was asked."""


class MissingEngine(SnubridgeError):
    """An engine, or a library that a command needs, is not installed or does not load."""


class SpikesDiffer(SnubridgeError):
    """Engines disagree; ``report`` says where."""

    def __init__(self, message: str, report: object) -> None:
        self.report = report
        super().__init__(message)

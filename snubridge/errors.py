"""Everything that snubridge raises on purpose.

    SnubridgeError
    ├── InvalidGraph    .breaches  a graph that breaks the rules of the representation
    ├── Unsupported     .reasons   a valid graph that an engine cannot express exactly
    ├── BadFile                    a file that cannot be read or written
    ├── BadInput                   arrays, names or options that do not fit
    ├── MissingEngine              an engine that is not installed
    └── SpikesDiffer    .report    engines that do not agree

Every message names the place, the cause and what helps. Names and values out of a file are shown
with their control characters escaped, and cut where they are long: a terminal obeys no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LISTED = 100  # reasons in a message; an error holds all of them
LONGEST = 8_000  # characters of one reason: two paths of any length and what is said about them
# Controls and separators of lines, what turns or hides text, and halves of a pair that no terminal can encode.
_CONTROLS = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ud800-\\udfff]"
)


def one_line(text: str, longest: float = LONGEST) -> str:
    """``text`` as one line that a terminal only shows: lines joined, controls escaped, the middle cut if too long."""
    if len(text) > longest:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    if text.isascii() and text.isprintable():
        return text
    text = "; ".join(text.rstrip("\n").split("\n"))
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shown(value: object, longest: int = 60) -> str:
    """``repr(value)`` for a message, short, whatever the value does when it is asked for it."""
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python does not write more than 4300 digits
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # an object of somebody else's, or nested without end
        text = f"a {type(value).__name__}"
    return one_line(text if len(text) <= longest else f"{text[: longest - 3]}...")


def _listed(lines: list[str], total: int) -> str:
    """One line for each reason, up to ``LISTED`` of them."""
    return "\n".join([*lines[:LISTED], *[f"and {total - LISTED:,} more"] * (total > LISTED)])


class SnubridgeError(Exception):
    """The root of the tree: catch this to catch them all. The message is one line for each reason."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True)
class Breach:
    """One broken rule: where, what was found, what is needed, and what to do."""

    place: str
    found: str
    needed: str
    remedy: str

    def __str__(self) -> str:
        return one_line(f"{self.place}: found {self.found}; needed: {self.needed}. {self.remedy}")


class InvalidGraph(SnubridgeError):
    """A graph that breaks the rules; ``breaches`` holds all of them, not only the first."""

    def __init__(self, breaches: Iterable[Breach]) -> None:
        self.breaches: tuple[Breach, ...] = tuple(breaches)
        Exception.__init__(self, _listed([str(breach) for breach in self.breaches[:LISTED]], len(self.breaches)))


class Unsupported(SnubridgeError):
    """A valid graph that ``engine`` cannot express exactly; ``reasons`` holds every reason."""

    def __init__(self, engine: str, reasons: Iterable[str]) -> None:
        self.engine = engine
        self.reasons: tuple[str, ...] = tuple(map(one_line, reasons))
        lines = [f"{engine} refuses: {reason}" for reason in self.reasons[:LISTED]]
        Exception.__init__(self, _listed(lines, len(self.reasons)))


class BadFile(SnubridgeError):
    """A file that cannot be read or written as asked."""


class InvalidGraphFile(BadFile, InvalidGraph):
    """A well-formed file that holds an invalid graph: both a bad file and an invalid graph."""

    def __init__(self, path: str, breaches: Iterable[Breach]) -> None:
        InvalidGraph.__init__(self, breaches)
        self.path = path

    def __str__(self) -> str:
        return f"{one_line(self.path)}: {self.args[0]}"


class BadInput(SnubridgeError, ValueError):
    """Arrays, names or options that do not fit what was asked."""


class MissingEngine(SnubridgeError):
    """An engine, or a library that a command needs, is not installed or does not load."""


class SpikesDiffer(SnubridgeError):
    """Engines disagree; ``report`` says where."""

    def __init__(self, message: str, report: object) -> None:
        self.report = report
        super().__init__(message)

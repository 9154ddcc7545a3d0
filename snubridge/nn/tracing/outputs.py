"""What ``forward`` returns: values become outputs, states are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snubridge.ir import Output
from snubridge.ir.rules import NAME
from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.values import Pair, Refused, Signal, Size


@dataclass(frozen=True)
class Returned:
    """A value, the keys that lead to it, and the name that it was given, the key of a dict."""

    where: tuple[Any, ...]
    name: str | None
    signal: Signal


def draw_outputs(draft: Draft, returned: Any) -> dict[str, tuple[Any, ...]]:
    """One Output for each value: the keys that lead to it, by output."""
    found = list(_values(returned, ()))
    if not found:
        raise Refused("forward returns no value besides states; return what the network puts out")
    places: dict[str, tuple[Any, ...]] = {}
    for value in found:
        if value.signal.merged:
            raise Refused("forward returns (T * B, ...): steps and samples in one axis; unflatten it into (T, B, ...)")
        if value.name is not None and (value.name in draft.nodes or not NAME.fullmatch(value.name)):
            what = "the name of a node" if value.name in draft.nodes else "no legal name of a node"
            raise Refused(f"forward returns a value under {value.name!r:.60}, which is {what}; call it something else")
        output = draft.add(value.name or "output", Output(value.signal.over_time), value.signal)
        places[output.terms[0].node] = value.where
    return places


def _values(returned: Any, where: tuple[Any, ...]) -> Iterator[Returned]:
    if isinstance(returned, Signal):
        yield Returned(where, None, returned)
    elif isinstance(returned, Pair):
        yield Returned((*where, 0), None, returned.signal)
    elif isinstance(returned, Size):
        raise Refused("forward returns a size; return values and states only")
    elif isinstance(returned, tuple | list):
        for index, item in enumerate(returned):
            yield from _values(item, (*where, index))
    elif isinstance(returned, dict):
        for key, item in returned.items():
            found = list(_values(item, (*where, key)))
            if not isinstance(key, str):
                raise Refused(f"forward returns a dict with the key {key!r:.60}; names are text")
            if len(found) > 1:
                raise Refused(f"forward returns {len(found)} values under {key!r:.60}; give each a name")
            for value in found:
                yield Returned(value.where, key, value.signal)

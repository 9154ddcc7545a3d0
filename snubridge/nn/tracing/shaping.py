"""What reshapes a value without changing it: leading axes merged and parted, a sample's axes made one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snubridge.ir import Flatten
from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.values import Refused, Signal, Size

MIXES = "would mix steps or samples; take snubridge.nn.Flatten, which makes all axes of one sample one"


def flattened(draft: Draft, place: str, path: str, x: Signal, start: int, end: int) -> Signal:
    """``x.flatten(start, end)``: of a sample's axes, or of the two leading ones."""
    axes = len(x.sizes)
    first, last = (dim + axes if dim < 0 else dim for dim in (start, end))
    leading = len(x.leading)
    if not 0 <= first <= last < axes:
        raise Refused(f"{place}: flattens the axes {start} to {end} of {axes}")
    if first == last:
        return x
    if (first, last, leading) == (0, 1, 2):
        return replace(x, merged=True)
    if first < leading:
        raise Refused(f"{place}: flattening the axes {start} to {end} of {_shown(x)} {MIXES}")
    if (first, last) != (leading, axes - 1):
        raise Refused(
            f"{place}: flattens some axes of a sample ({start} to {end} of {_shown(x)}); a graph flattens all or none"
        )
    return one_axis(draft, path, x)


def one_axis(draft: Draft, path: str, x: Signal) -> Signal:
    """All axes of a sample as one."""
    return x if len(x.shape) == 1 else draft.add(path, Flatten(), x)


def parted(place: str, x: Signal, dim: Any, sizes: Any) -> Signal:
    """``x.unflatten(0, (T, B))`` of merged axes."""
    if not x.merged or dim not in (0, -len(x.sizes)) or not isinstance(sizes, tuple | list) or not _steps(sizes):
        raise Refused(f"{place}: unflatten cannot be captured, except as x.unflatten(0, (T, B)) with sizes of x.shape")
    return replace(x, merged=False)


def reshaped(draft: Draft, place: str, path: str, x: Signal, sizes: Sequence[Any]) -> Signal:
    """``x.reshape(sizes)``: the leading axes merged, parted or left, those of a sample left or made one."""
    if _steps(sizes[:2]) and len(sizes) > 2:
        merged, sample = False, tuple(sizes[2:])
    elif sizes[:1] in [(Size((0, 1)),), (-1,)] and len(sizes) > 1:
        merged, sample = True, tuple(sizes[1:])
    else:
        raise Refused(
            f"{place}: reshapes {_shown(x)} to ({', '.join(map(_size, sizes))}), which is not seen to keep steps and "
            "samples apart; take T and B from x.shape, x.flatten(0, 1), x.unflatten(0, (T, B)), or snubridge.nn.Flatten"
        )
    x = replace(x, merged=merged)
    if sample == x.shape:
        return x
    if sample in [(-1,), (math.prod(x.shape),)]:
        return one_axis(draft, path, x)
    raise Refused(
        f"{place}: reshapes samples of {x.shape} to ({', '.join(map(_size, sample))}); a graph flattens all or none"
    )


def _steps(sizes: Sequence[Any]) -> bool:
    """Whether these are (T, B), one of them possibly as -1."""
    return tuple(sizes) in [(Size((0,)), Size((1,))), (-1, Size((1,))), (Size((0,)), -1)]


def _shown(x: Signal) -> str:
    return f"({', '.join(map(_size, x.sizes))})"


def _size(size: Any) -> str:
    return {(0,): "T", (1,): "B", (0, 1): "T * B"}[size.axes] if isinstance(size, Size) else str(size)

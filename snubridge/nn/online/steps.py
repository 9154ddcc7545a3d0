"""A sequence and its targets, step by step, whether they are tensors or come in one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple

from torch import Tensor

from snubridge.errors import BadInput, shown
from snubridge.nn.reductions import Lengths, checked_lengths
from snubridge.nn.units import SNU

_END = object()


class Step(NamedTuple):
    """x_t (B, in_features), target_t, and which samples count (B,); None: all of them."""

    x: Tensor
    target: Any
    counts: Tensor | None


def paired(layer: SNU, x: Tensor | Iterable[Tensor], target: Any, lengths: Lengths | None) -> Iterator[Step]:
    """The steps of x and target, tensors in the layer's order of axes or iterables, to the last that counts.

    x is 0 where it does not count. ``BadInput`` where x, target and lengths do not fit each other: before the first
    step if they are tensors, else where it shows.
    """
    steps = None
    if isinstance(x, Tensor):
        if x.ndim != 3 or x.shape[-1] != layer.in_features or not x.numel():
            raise BadInput(f"x: shape {tuple(x.shape)}; needed {layer._expected(layer.in_features)}, none of them 0")
        x = x.transpose(0, 1) if layer.batch_first else x
        steps = len(x)
    if isinstance(target, Tensor):
        if target.ndim < 2:
            raise BadInput(f"target: shape {tuple(target.shape)}; needed an entry for each step and sample")
        target = target.transpose(0, 1) if layer.batch_first else target
    if steps is not None and isinstance(target, Sized) and len(target) != steps:
        raise BadInput(f"target: {len(target)} steps; needed {steps}, as many as x has")
    if not isinstance(x, Iterable) or not isinstance(target, Iterable):
        raise BadInput(f"x, target: a {type(x).__name__}, a {type(target).__name__}; tensors or iterables are needed")
    return _counted(layer.in_features, _entries(x), _entries(target), lengths, steps)


def _entries(steps: Iterable[Any]) -> Iterator[Any]:
    """One after the other; torch's own iterator makes all views of a tensor at once."""
    return (steps[t] for t in range(len(steps))) if isinstance(steps, Tensor) else iter(steps)


def _counted(
    size: int, x: Iterator[Tensor], targets: Iterator[Any], lengths: Lengths | None, steps: int | None
) -> Iterator[Step]:
    counted, shortest, longest, t = None, 0, -1, -1
    for t, x_t in enumerate(x):
        if not isinstance(x_t, Tensor) or x_t.ndim != 2 or not len(x_t) or x_t.shape[1] != size:
            found = f"shape {tuple(x_t.shape)}" if isinstance(x_t, Tensor) else shown(x_t)
            raise BadInput(f"x at step {t}: {found}; needed a tensor (B, {size})")
        if t == 0 and lengths is not None:
            counted = checked_lengths(lengths, len(x_t), steps, x_t.device)
            shortest, longest = int(counted.min()), int(counted.max())
        if t == longest:
            return
        target = next(targets, _END)
        if target is _END:
            raise BadInput(f"target: ended before step {t}, which x has")
        if counted is None or t < shortest:
            yield Step(x_t.detach(), target, None)
        else:
            yield Step(x_t.detach().masked_fill((t >= counted)[:, None], 0), target, t < counted)
    if t < 0:
        raise BadInput("x: at least one step is needed")
    if t + 1 < longest:
        raise BadInput(f"lengths: up to {longest}; x ended after {t + 1} steps")
    if longest < 0 and next(targets, _END) is not _END:
        raise BadInput(f"target: goes on after the {t + 1} steps of x")

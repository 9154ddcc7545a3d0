"""What each layer becomes: a table by class, one small function per kind of layer."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from snubridge import ir
from snubridge.nn import images
from snubridge.nn.delays import Delay
from snubridge.nn.reductions import OverTime
from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.normalization import fold1d, fold2d, unsettled
from snubridge.nn.tracing.shaping import flattened
from snubridge.nn.tracing.values import Pair, Refused, Signal
from snubridge.nn.units import SNU, Unit


class Takes(enum.Enum):
    """The form of the values that a layer acts on as it should."""

    STEPS = "(T, B, ...)"
    MERGED = "(T * B, ...)"
    BOTH = "either"


@dataclass(frozen=True)
class Row:
    """How a layer is drawn, from its path, itself and the value that it receives; ``bars``: settings beyond a graph."""

    draw: Callable[[Draft, str, Any, Signal], Signal | Pair]
    takes: Takes = Takes.STEPS
    bars: Callable[[str, Any], Iterator[str]] = lambda path, layer: iter(())


def _same(draft: Draft, path: str, layer: Any, x: Signal) -> Signal:
    return x


def _linear(draft: Draft, path: str, layer: torch.nn.Linear, x: Signal) -> Signal:
    return draft.linear(path, layer.weight, layer.bias, x)


def _unit(draft: Draft, path: str, layer: Unit, x: Signal) -> Pair:
    if x.shape != layer.shape:
        raise Refused(f"{path}: a unit of shape {layer.shape} receives {x.shape}")
    draft.time_axes[path] = layer.batch_first
    dynamics = layer.dynamics
    node = ir.Unit(
        draft.array(f"{path}.decay", layer.effective_decay),
        draft.array(f"{path}.threshold", layer.threshold),
        reset=dynamics.reset,
        g=dynamics.g,
        h=dynamics.h,
        initial_state=draft.array(f"{path}.initial_state", layer.initial_state),
    )
    return Pair(path, draft.add(path, node, x))


def _snu(draft: Draft, path: str, layer: SNU, x: Signal) -> Pair:
    pair = _unit(draft, path, layer, draft.linear(f"{path}.weight", layer.weight, layer.bias, x))
    if layer.recurrent is not None:
        unit = pair.signal.terms[0].node
        weight = draft.array(f"{path}.recurrent", layer.recurrent, 2)
        recurrent = draft.add(f"{path}.recurrent", ir.Linear(weight), pair.signal.delayed(1)).terms[0].node
        draft.edges.append(ir.Edge(recurrent, unit))
    return pair


def _delay(draft: Draft, path: str, layer: Delay, x: Signal) -> Pair:
    draft.time_axes[path] = layer.batch_first
    return Pair(path, x.delayed(layer.steps))


def _over_time(draft: Draft, path: str, layer: OverTime, x: Signal) -> Signal:
    draft.time_axes[path] = layer.batch_first
    return replace(x, over_time=layer.how)


def _conv2d(draft: Draft, path: str, layer: torch.nn.Conv2d, x: Signal) -> Signal:
    bias = None if layer.bias is None else draft.array(f"{path}.bias", layer.bias, 1)
    padding: Any = layer.padding
    if isinstance(padding, str):
        across = zip(layer.dilation, layer.kernel_size, strict=True)
        padding = tuple(d * (k - 1) // 2 if padding == "same" else 0 for d, k in across)
    weight = draft.array(path, layer.weight, 4)
    stride: Any = layer.stride
    dilation: Any = layer.dilation
    return draft.add(path, ir.Conv2d(weight, bias, stride, padding, dilation, layer.groups), x)


def _conv2d_bars(path: str, layer: torch.nn.Conv2d) -> Iterator[str]:
    if layer.padding_mode != "zeros":
        yield f"{path}: padding_mode={layer.padding_mode!r} cannot be captured; a graph pads with zeros"
    if layer.padding == "same" and any(d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)):
        yield f"{path}: padding='same' pads one side more with this kernel; take an odd kernel, or give a number"


def _pool2d(draft: Draft, path: str, layer: torch.nn.AvgPool2d, x: Signal) -> Signal:
    kind = ir.SumPool2d if layer.divisor_override == 1 else ir.AvgPool2d
    sizes: tuple[Any, ...] = (layer.kernel_size, layer.stride, layer.padding)
    return draft.add(path, kind(*sizes), x)


def _pool2d_bars(path: str, layer: torch.nn.AvgPool2d) -> Iterator[str]:
    kernel = ir.AvgPool2d(layer.kernel_size).kernel_size
    if layer.ceil_mode:
        yield f"{path}: ceil_mode=True cannot be captured; choose sizes that divide, or pad"
    if layer.divisor_override not in (None, 1) and layer.divisor_override != math.prod(kernel):
        yield (
            f"{path}: divisor_override={layer.divisor_override} cannot be captured; take nn.SumPool2d and scale the "
            "weights behind it"
        )
    if layer.divisor_override is None and not layer.count_include_pad and layer.padding not in (0, (0, 0)):
        yield f"{path}: count_include_pad=False cannot be captured with padding; pass True, or padding=0"


def _flatten(draft: Draft, path: str, layer: torch.nn.Flatten, x: Signal) -> Signal:
    return flattened(draft, path, path, x, layer.start_dim, layer.end_dim)


_CONV2D, _POOL2D = Row(_conv2d, bars=_conv2d_bars), Row(_pool2d, bars=_pool2d_bars)
_NORM1D, _NORM2D = Row(fold1d, bars=unsettled), Row(fold2d, bars=unsettled)
_IDENTITY = Row(_same, Takes.BOTH)

LAYERS: Mapping[type[torch.nn.Module], Row] = {
    SNU: Row(_snu),
    Unit: Row(_unit),
    Delay: Row(_delay),
    OverTime: Row(_over_time),
    torch.nn.Linear: Row(_linear, Takes.BOTH),
    images.Conv2d: _CONV2D,
    images.AvgPool2d: _POOL2D,
    images.SumPool2d: _POOL2D,
    images.Flatten: Row(_flatten, Takes.BOTH),
    images.BatchNorm1d: _NORM1D,
    images.BatchNorm2d: _NORM2D,
    torch.nn.Conv2d: replace(_CONV2D, takes=Takes.MERGED),
    torch.nn.AvgPool2d: replace(_POOL2D, takes=Takes.MERGED),
    torch.nn.BatchNorm1d: replace(_NORM1D, takes=Takes.MERGED),
    torch.nn.BatchNorm2d: replace(_NORM2D, takes=Takes.MERGED),
    torch.nn.Flatten: Row(_flatten, Takes.BOTH),
    torch.nn.Identity: _IDENTITY,
    torch.nn.Dropout: _IDENTITY,
    torch.nn.Dropout1d: _IDENTITY,
    torch.nn.Dropout2d: _IDENTITY,
    torch.nn.AlphaDropout: _IDENTITY,
}
"""Layers that can be captured. Exactly these classes: a subclass may compute anything."""
VIEWS = (*(kind for kind, row in LAYERS.items() if row is _IDENTITY), torch.nn.Flatten, images.Flatten)
"""Layers whose result may share its memory with what they receive."""
LEAVES = (Unit, Delay, OverTime, *images.OURS)
"""Layers of ours that are not traced into."""

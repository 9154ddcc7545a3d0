"""Batch norms, folded into the layer before: in evaluation they are one factor and one offset per channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from snubridge.ir import Conv2d, Linear
from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.values import Refused, Signal

REMEDY = "put it directly behind a {layer} whose value nothing else uses, or leave it out"


def unsettled(path: str, layer: Any) -> Iterator[str]:
    """What makes a batch norm depend on the batch in evaluation too."""
    if layer.running_mean is None or layer.running_var is None:
        yield (
            f"{path}: a {type(layer).__name__} without running statistics normalizes with those of the batch in "
            "evaluation too; pass track_running_stats=True"
        )


def fold1d(draft: Draft, path: str, layer: Any, x: Signal) -> Signal:
    """BatchNorm1d behind a Linear of (T, B, features)."""
    return _folded(draft, path, layer, x, Linear, 1)


def fold2d(draft: Draft, path: str, layer: Any, x: Signal) -> Signal:
    """BatchNorm2d behind a convolution."""
    return _folded(draft, path, layer, x, Conv2d, 3)


def _folded(draft: Draft, path: str, layer: Any, x: Signal, kind: type[Linear] | type[Conv2d], axes: int) -> Signal:
    """W' = W k and b' = (b - mean) k + beta, k = gamma / sqrt(variance + eps): in float64, rounded once, later."""
    name, remedy = type(layer).__name__, REMEDY.format(layer=kind.__name__)
    term = x.terms[0]
    source = draft.nodes[term.node]
    if len(x.terms) > 1 or term.delay or not isinstance(source, kind) or len(x.shape) != axes:
        what = "a sum" if len(x.terms) > 1 else "a delayed value" if term.delay else f"{term.node}"
        raise Refused(f"{path}: a {name} cannot be captured behind {what}; {remedy}")
    draft.present(term)
    if any(edge.source == term.node for edge in draft.edges):
        raise Refused(f"{path}: normalizes a value that is used elsewhere too; give it a layer of its own")
    channels = source.weight.shape[0]
    mean, variance, gamma, beta = (
        np.full(channels, default)
        if getattr(layer, field) is None
        else draft.array(f"{path}.{field}", getattr(layer, field), 1)
        for field, default in (("running_mean", 0.0), ("running_var", 1.0), ("weight", 1.0), ("bias", 0.0))
    )
    if {array.shape for array in (mean, variance, gamma, beta)} != {(channels,)}:
        raise Refused(f"{path}: a {name} of {layer.num_features} channels receives {channels}; make them alike")
    with np.errstate(all="ignore"):  # what is not finite afterwards is named when the graph is validated
        k = gamma / np.sqrt(variance + layer.eps)
        weight = source.weight * k.reshape(-1, *[1] * (source.weight.ndim - 1))
        bias = ((0.0 if source.bias is None else source.bias) - mean) * k + beta
    draft.nodes[term.node] = source.replaced(weight=weight, bias=bias)
    draft.norms.setdefault(term.node, []).append(path)
    return replace(x, terms=(replace(term, norms=term.norms + 1),))

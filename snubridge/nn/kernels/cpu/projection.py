"""The projection W x of inputs of 0 and 1 as operators of torch: ``snubridge::project`` and its gradient.

Kept for the way back are the inputs as bits, 1/32 of their memory; the inputs themselves only where they may have to be
multiplied after all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snubridge.errors import BadInput
from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.threads import parts, spread
from snubridge.nn.kernels.functions import first_derivatives_alone, function_of, keep_nothing, one_by_one

Outputs = tuple[Tensor, Tensor, Tensor]
ROWS = 64  # of a part of the work, at least


def _forward(x: Tensor, weight: Tensor, always: bool, rate: float) -> Outputs:
    """x (R, K) and W (N, K) to W x (R, N), the bits of x (R, words), and whether the events were summed (1,).

    With ``always`` they are, and an x of other values is ``BadInput``; else where x is of 0 and 1 and the share of ones
    is at most ``rate``.
    """
    gather = compiled_code("events").gather
    bits, ones, place = _packed(x)
    if always and place >= 0:
        row, column = divmod(place, x.shape[1])
        raise BadInput(
            f"x: {x[row, column].item()!r} for input {column}; projection='events' needs inputs of 0 and 1, "
            "projection='dense' takes any"
        )
    if not always and (place >= 0 or ones > rate * x.numel()):
        return torch.mm(x, weight.t()), bits, torch.zeros(1, dtype=torch.bool, device=x.device)
    out, columns = x.new_empty((len(x), len(weight))), weight.t().contiguous().numpy()
    given, filled = bits.numpy().view(np.uint32), out.numpy()
    work = parts(out.shape[1], len(x), ROWS)
    spread(lambda _, lo, hi: gather(given, columns, filled, lo, hi), work, len(x), ROWS)
    return out, bits, torch.ones(1, dtype=torch.bool, device=x.device)


def _backward(g: Tensor, x: Tensor | None, bits: Tensor, events: Tensor, weight: Tensor) -> Tensor:
    """dL/dW (N, K) of dL/d(W x), g (R, N); x (R, K) is needed where the events were not summed."""
    scatter = compiled_code("events").scatter
    if x is not None and not events.item():
        return torch.mm(g.t(), x)
    columns = weight.new_empty(weight.t().shape)
    given, received, filled = bits.numpy().view(np.uint32), g.contiguous().numpy(), columns.numpy()
    work = parts(len(g), len(weight), ROWS)
    spread(lambda _, lo, hi: scatter(given, received, filled, lo, hi), work, len(weight), ROWS)
    return columns.t().contiguous()


def _packed(x: Tensor) -> tuple[Tensor, int, int]:
    """The bits of x, how many ones there are, and the place of the first value that is neither 0 nor 1, or -1."""
    pack = compiled_code("events").pack
    bits, rows = torch.empty(_words(x), dtype=torch.int32, device=x.device), x.detach().contiguous().numpy()
    words = bits.numpy().view(np.uint32)
    work = parts(x.shape[1], len(x), ROWS)
    found = np.empty((work, 2), np.int64)
    spread(lambda part, lo, hi: pack(rows, words, found[part], lo, hi), work, len(x), ROWS)
    places = found[found[:, 1] >= 0, 1]
    return bits, int(found[:, 0].sum()), int(places.min()) if len(places) else -1


def _words(x: Tensor) -> tuple[int, int]:
    return x.shape[0], (x.shape[1] + 31) // 32


project = torch.library.custom_op("snubridge::project", _forward, mutates_args=(), device_types="cpu")
project_backward = torch.library.custom_op(
    "snubridge::project_backward", _backward, mutates_args=(), device_types="cpu"
)


@project.register_fake
def _(x: Tensor, weight: Tensor, always: bool, rate: float) -> Outputs:
    return (
        x.new_empty((x.shape[0], weight.shape[0])),
        x.new_empty(_words(x), dtype=torch.int32),
        x.new_empty(1, dtype=torch.bool),
    )


@project_backward.register_fake
def _(g: Tensor, x: Tensor | None, bits: Tensor, events: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


project.register_vmap(one_by_one(project))
project_backward.register_vmap(one_by_one(project_backward))

_ProjectBackward = function_of(project_backward, _backward, keep_nothing, first_derivatives_alone("cpu"))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    x, weight, always, _ = inputs
    _, bits, events = output
    ctx.save_for_backward(None if always else x, bits, events, weight)


def _differentiate(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, bits, events, weight = ctx.saved_tensors
    from_x = torch.mm(g, weight) if ctx.needs_input_grad[0] else None
    from_weight = None
    if ctx.needs_input_grad[1]:
        from_weight = _ProjectBackward.apply(g, x, bits, events, weight)
    return from_x, from_weight, None, None


project.register_autograd(_differentiate, setup_context=_keep)


Project = function_of(project, _forward, _keep, _differentiate)

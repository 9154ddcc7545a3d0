"""What a trace cannot see: a captured graph is run beside its module before anyone relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import Unsupported
from snubridge.ir import Graph, Input
from snubridge.nn.network import Network

STEPS, SAMPLES, TRIALS = 8, 2, 3
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}


def check(module: torch.nn.Module, graph: Graph, *, batch_first: bool, where: Sequence[Any]) -> None:
    """Refuse a graph that does not compute what its module does, in evaluation, on random inputs.

    A trace does not show everything: a branch on the type of a value, an overridden ``__call__``,
    a dropout that stays active. ``where`` leads to the captured value in what the module returns.
    One trial that agrees is enough, since rounding may flip a spike; a difference of meaning
    shows in all.
    """
    name = type(module).__name__
    (shape,) = (node.shape for node in graph.of_kind(Input).values())
    dtype = getattr(torch, graph.numbers.name)
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    network = Network(graph)
    largest = 0.0
    for trial in range(TRIALS):
        generator = torch.Generator().manual_seed(trial)
        x = 2 * torch.randn(STEPS, SAMPLES, *shape, generator=generator, dtype=dtype)
        with torch.no_grad():
            expected, _ = network(x)
            with _untouched(module):
                try:
                    returned = module((x.transpose(0, 1) if batch_first else x).to(device))
                    for key in where:
                        returned = returned[key]
                except Exception as error:  # user code may fail in any way; the cause is kept
                    cause = f"{type(error).__name__}: {error}".splitlines()[0]
                    reason = f"{name} fails on an input of shape {tuple(x.shape)}: {cause}"
                    raise Unsupported("capture", [reason]) from error
        y = returned.transpose(0, 1) if batch_first else returned
        largest = _apart(expected, y)
        if largest <= TOLERANCE[graph.numbers.name]:
            return
    reason = (
        f"{name} computes something else than what its trace shows (relative difference {largest:.1e}): look for "
        "branches on types, an overridden __call__, or layers that do not follow eval()"
    )
    raise Unsupported("capture", [reason])


def _apart(expected: Tensor | dict[str, Tensor], y: Any) -> float:
    """The largest difference relative to the scale; infinite for another shape."""
    if not isinstance(expected, Tensor) or not isinstance(y, Tensor) or expected.shape != y.shape:
        return float("inf")
    gap = (expected.double() - y.detach().cpu().double()).abs().max()
    return float(gap / expected.double().abs().max().clamp(min=1))


@contextmanager
def evaluation(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode within, and every submodule's own mode again after."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


@contextmanager
def _untouched(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode within; modes, buffers and random state as before after it."""
    buffers = {buffer: buffer.detach().clone() for buffer in module.buffers()}
    try:
        with evaluation(module), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for buffer, before in buffers.items():
            buffer.copy_(before)

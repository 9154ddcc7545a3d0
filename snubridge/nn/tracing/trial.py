"""What a trace cannot see: a captured graph is run beside its module before anyone relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import Unsupported
from snubridge.ir import Input, Output, Unit
from snubridge.nn.network import Network
from snubridge.nn.tracing.translation import Captured
from snubridge.nn.units import SNU

STEPS, SAMPLES, TRIALS, TRIALS_IF_FOLDED = 8, 2, 3, 6
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
SCALES = (2.0, 16.0, 128.0, 2.0**10, 2.0**14, 0.25, 2.0**-5)
"""Of random inputs: on one of them, most units fire and rest."""


def check(
    module: torch.nn.Module, captured: Captured, arguments: Mapping[str, str], *, by_name: bool
) -> tuple[str, ...]:
    """Refuse a graph that does not compute what its module does, in evaluation, on random inputs.

    A trace does not show everything: a branch on the type of a value, an overridden ``__call__``,
    a dropout that stays active. ``arguments``: the Input that each argument of ``forward`` became,
    passed by name or, where there is one, by position. Inputs are scaled so that every Step unit
    both fires and rests on one of them: a silent one would agree with anything. Returns the units
    that did not on any.
    """
    network = Network(captured.graph)
    scales, untried = _telling(network, captured)
    for scale in scales:
        _compare(module, captured, arguments, by_name, network, scale)
    return untried


def _telling(network: Network, captured: Captured) -> tuple[list[float], tuple[str, ...]]:
    """The usual scale, those on which some unit fires and rests that does not on one before, and the units left."""
    graph = captured.graph
    left = {name for name, unit in graph.of_kind(Unit).items() if unit.spiking}
    chosen: list[float] = []
    for scale in SCALES:
        with torch.no_grad():
            recording, _ = network.evaluate(_drawn(captured, 0, scale))
        telling = {name for name in left if 0 < recording.values[name].mean() < 1}
        if telling or not chosen:
            chosen.append(scale)
            left -= telling
        if not left:
            break
    return chosen, tuple(name for name in graph.nodes if name in left)


def _drawn(captured: Captured, trial: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(trial)
    dtype = getattr(torch, captured.graph.numbers.name)
    return {
        node: scale * torch.randn(STEPS, SAMPLES, *given.shape, generator=generator, dtype=dtype)
        for node, given in captured.graph.of_kind(Input).items()
    }


def _compare(
    module: torch.nn.Module,
    captured: Captured,
    arguments: Mapping[str, str],
    by_name: bool,
    network: Network,
    scale: float,
) -> None:
    """One trial that agrees is enough, since rounding may flip a spike; a difference of meaning shows in all.

    Where a batch norm was folded every sum is rounded differently: there it is enough that each sample agrees in one
    trial, of more trials.
    """
    graph = captured.graph
    name = type(module).__name__
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    folded = "folded" in graph.metadata
    agreed = torch.zeros(SAMPLES, dtype=torch.bool)
    smallest = torch.full((SAMPLES,), torch.inf, dtype=torch.float64)
    for trial in range(TRIALS_IF_FOLDED if folded else TRIALS):
        x = _drawn(captured, trial, scale)
        handed = {
            argument: (x[node].transpose(0, 1) if captured.batch_first else x[node]).to(device)
            for argument, node in arguments.items()
        }
        with torch.no_grad():
            recording, _ = network.evaluate(x)
            expected = network.outputs(recording)
            with _untouched(module):
                try:
                    returned = module(**handed) if by_name else module(*handed.values())
                    found = {output: _at(returned, where) for output, where in captured.where.items()}
                except Exception as error:  # user code may fail in any way; the cause is kept
                    cause = f"{type(error).__name__}: {error}".splitlines()[0]
                    shapes = ", ".join(str(tuple(value.shape)) for value in handed.values())
                    raise Unsupported("capture", [f"{name} fails on an input of shape {shapes}: {cause}"]) from error
        apart = torch.zeros(SAMPLES, dtype=torch.float64)
        for output, node in graph.of_kind(Output).items():
            turned = captured.batch_first and node.over_time is None
            apart = torch.maximum(apart, _apart(expected[output], found[output], turned, node.over_time is not None))
        smallest = torch.minimum(smallest, apart)
        close = apart <= TOLERANCE[graph.numbers.name]
        agreed |= close if folded else close.all()
        if agreed.all():
            return
    reason = (
        f"{name} computes something else than what its trace shows (relative difference {smallest.max():.1e}): look "
        "for branches on types, an overridden __call__, or layers that do not follow eval()"
    )
    raise Unsupported("capture", [reason])


def _at(returned: Any, where: Sequence[Any]) -> Any:
    for key in where:
        returned = returned[key]
    return returned


def _apart(expected: Tensor, y: Any, turned: bool, reduced: bool) -> Tensor:
    """The largest difference of each sample relative to the scale; infinite for another shape."""
    y = y.transpose(0, 1) if turned and isinstance(y, Tensor) and y.ndim > 1 else y
    if not isinstance(y, Tensor) or expected.shape != y.shape:
        return torch.full((SAMPLES,), torch.inf, dtype=torch.float64)
    gap = (expected.double() - y.detach().cpu().double()).abs() / expected.double().abs().max().clamp(min=1)
    by_sample = gap if reduced else gap.transpose(0, 1)
    return by_sample.flatten(1).amax(1)


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
    """Evaluation mode within; modes, buffers and random state as before after it.

    Layers that sum events multiply: the inputs of a trial are not of 0 and 1.
    """
    buffers = {buffer: buffer.detach().clone() for buffer in module.buffers()}
    summing = [layer for layer in module.modules() if isinstance(layer, SNU) and layer.projection == "events"]
    try:
        for layer in summing:
            layer.projection = "dense"
        with evaluation(module), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for layer in summing:
            layer.projection = "events"
        for buffer, before in buffers.items():
            buffer.copy_(before)

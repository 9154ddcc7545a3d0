"""A recurrent layer: the recurrence alone, its drive given, beside the matrix products in it, and the whole layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snubridge import Reset, nn
from snubridge.nn import kernels
from training import ours
from training.layer import Projected
from training.opponents import SteppedRLeaky
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import DRIVE_MEAN, DRIVE_STD, RATE, Options, bernoulli, normal, weights
from training.timing import Candidate, Expected, Times, trained

SHAPE, QUICK = (100, 64, 256), (10, 4, 16)
RECURRENT_STD = 0.2
"""Of what a neuron receives from its layer."""
HIDDEN_RATE = 0.1
BASE, EAGER, FLOOR = "snubridge cpu", "snubridge eager", "matrix products alone"
BOUND = 1.15
"""Times the floor."""
CASCADE = 1e-2
"""The share of spikes that a peer's rounding may move: in a recurrent layer one spike moves others."""
RESETS = {"zero": "reset to zero, evaluates the recurrence twice", "subtract": "reset by subtraction"}


class Bare(torch.nn.Module):
    """A recurrent layer of snubridge without its projection, on the kernel that the layer runs."""

    def __init__(self, recurrent: Tensor, kernel: str, reset: Reset = Reset.TO_ZERO) -> None:
        super().__init__()
        made = ours.layer(torch.zeros(len(recurrent), 1), kernel, recurrent, reset=reset).layer
        self.layer = made.requires_grad_(False)
        self.recurrent = torch.nn.Parameter(recurrent.clone())

    def forward(self, drive: Tensor) -> Tensor:
        """Spikes of every step."""
        return bare_recurrence(self.layer, drive, self.recurrent)


def bare_recurrence(layer: nn.SNU, drive: Tensor, recurrent: Tensor) -> Tensor:
    """A layer's dynamics with its recurrence, given what its projection would give it."""
    rest = layer.rest(drive.shape[1])
    return kernels.run(layer.kernel, layer.dynamics, layer.effective_decay, layer.threshold, rest, drive, recurrent).y


class FirstOutput(torch.nn.Module):
    """torch's own recurrent layers, without the state that they return."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The output of every step."""
        y: Tensor = self.layer(x)[0]
        return y


def run(options: Options) -> list[Section]:
    """The recurrence alone, then the whole layer."""
    shape = QUICK if options.quick else SHAPE
    return [_recurrence(shape, options), _layer(shape, options)]


def _peers(recurrent: Tensor, options: Options) -> list[tuple[str, torch.nn.Module, str, str]]:
    """Name, module, settings and reset."""
    if "snntorch" not in options.opponents:
        return []
    made = [
        (f"snnTorch RLeaky, {reset}", SteppedRLeaky(recurrent, reset), text, reset) for reset, text in RESETS.items()
    ]
    return [(name, module, f"{text}; detached", reset) for name, module, text, reset in made]


def _recurrence(shape: tuple[int, int, int], options: Options) -> Section:
    x = normal(shape, 6, DRIVE_MEAN, DRIVE_STD).requires_grad_()
    gradient, recurrent = normal(shape, 7), weights(shape[-1], shape[-1], HIDDEN_RATE, 8, RECURRENT_STD)

    def candidate(name: str, module: torch.nn.Module, settings: str, wanted: Expected | None) -> Candidate:
        leaves = [x, *(p for p in module.parameters() if p.requires_grad)]
        return trained(name, lambda: module(x), leaves, gradient, settings, wanted)

    def spikes(reset: Reset) -> Tensor:
        with torch.no_grad():
            return Bare(recurrent, "eager", reset)(x)

    eager = candidate(EAGER, Bare(recurrent, "eager"), "over unbind", None)
    same = Expected(spikes(Reset.TO_ZERO), 0.0, eager.gradients())
    wanted = {"subtract": Expected(spikes(Reset.SUBTRACT), CASCADE)}  # "zero" of RLeaky is an equation of its own
    candidates = [
        _floor(shape, recurrent, same.spikes),
        candidate(BASE, Bare(recurrent, "cpu"), "reset to zero; gradient through the reset", same),
        eager,
        *(candidate(n, module, text, wanted.get(reset)) for n, module, text, reset in _peers(recurrent, options)),
    ]

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        return [ratio_goal(f"recurrent {shape}: {BASE} / {FLOOR}", BOUND, times, [BASE], FLOOR, at_least=False)]

    title = f"the recurrence alone, (T, B, N) = {shape}"
    return compare("recurrent", title, candidates, options, base=BASE, floor=FLOOR, goals=goals)


def _floor(shape: tuple[int, int, int], recurrent: Tensor, spikes: Tensor) -> Candidate:
    """2 T products of one step, H y forward and H^T g backward, and one for the gradient of H."""
    steps, samples, units = shape
    gradient = normal(shape, 7)
    out, total = torch.empty(samples, units), torch.empty(units, units)

    def call() -> None:
        for y in spikes.unbind(0):
            torch.mm(y, recurrent.t(), out=out)
        for g in gradient.unbind(0):
            torch.mm(g, recurrent, out=out)
        torch.mm(gradient.reshape(steps * samples, units).t(), spikes.reshape(steps * samples, units), out=total)

    return Candidate(FLOOR, call, "2 T of one step, one for the gradient of H; preallocated")


def _layer(shape: tuple[int, int, int], options: Options) -> Section:
    units = shape[-1]
    x = bernoulli(shape, RATE, 9).requires_grad_()
    gradient, recurrent = normal(shape, 10), weights(units, units, HIDDEN_RATE, 8, RECURRENT_STD)
    weight = weights(units, units, RATE, 11)

    def candidate(name: str, module: torch.nn.Module, settings: str, wanted: Expected | None = None) -> Candidate:
        leaves = [x, *module.parameters()]
        return trained(name, lambda: module(x), leaves, gradient, settings, wanted)

    eager = candidate(EAGER, ours.layer(weight, "eager", recurrent), "dense")
    with torch.no_grad():
        spikes = eager.forward()
    events = ours.layer(weight, recurrent=recurrent, projection="events")
    candidates = [
        candidate(BASE, ours.layer(weight, recurrent=recurrent), "dense", Expected(spikes, 0.0, eager.gradients())),
        candidate("snubridge cpu, events", events, "", Expected(spikes, CASCADE)),
        eager,
        *(
            candidate(f"Linear, {name}", Projected(weight, module, 1.0), settings)
            for name, module, settings, _ in _peers(recurrent, options)
        ),
    ]
    for kind in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
        candidates.append(candidate(f"nn.{kind.__name__}", FirstOutput(kind(units, units)), ""))
    title = f"the whole layer, {units} to {units}, {100 * RATE:g} % of the inputs, with their gradient"
    return compare("recurrent", f"{title}; T = {shape[0]}, B = {shape[1]}", candidates, options, base=BASE)

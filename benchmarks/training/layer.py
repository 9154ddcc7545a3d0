"""A dense layer with binary inputs: the projection of all steps, the dynamics, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from training import ours
from training.opponents import PEERS, Peer
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import RATE, Options, bernoulli, normal, weights
from training.timing import Candidate, Expected, Times, trained

STEPS, SAMPLES, WIDTHS = 100, 64, (256, 1024)
QUICK = (10, 4, (32,))
OTHER_RATES = (0.02, 0.1, 0.2)
EVENTS, DENSE, EAGER = "snubridge events", "snubridge dense", "snubridge eager, dense"
SNNTORCH = "snntorch"
SPEED = {False: 5.0, True: 2.2}
"""Times snnTorch at 5 %, without and with the gradient of the input."""
REORDERED = 1e-4
"""The share of spikes that another order of summation may move."""


class Projected(torch.nn.Module):
    """``torch.nn.Linear`` over all steps and a peer's neuron."""

    def __init__(self, weight: Tensor, neuron: torch.nn.Module, gain: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(gain * weight)
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of every step."""
        spikes: Tensor = self.neuron(self.linear(x))
        return spikes


def projected(peer: Peer, weight: Tensor) -> Projected:
    """A layer of a peer."""
    return Projected(weight, peer.unit(len(weight)), peer.gain)


def run(options: Options) -> list[Section]:
    """At 5 % against all; at other rates against snnTorch."""
    steps, samples, widths = QUICK if options.quick else (STEPS, SAMPLES, WIDTHS)
    return [
        _section((steps, samples, width), rate, backward, options)
        for rate in (RATE, *OTHER_RATES)
        for width in widths
        for backward in (False, True)
    ]


def _section(shape: tuple[int, int, int], rate: float, backward: bool, options: Options) -> Section:
    width, complete = shape[-1], rate == RATE
    x = bernoulli(shape, rate, 3).requires_grad_(backward)
    weight, gradient = weights(width, width, rate, 4), normal(shape, 5)
    inputs = [x] if backward else []

    def expected(flips: float = 0.0, gain: float = 1.0, detach_reset: bool = False) -> Expected:
        module = ours.layer(weight, "eager", detach_reset=detach_reset)
        spikes = module(x)
        *gx, gw = torch.autograd.grad(spikes, [*inputs, *module.parameters()], gradient)
        return Expected(spikes.detach(), flips, [*gx, gw / gain], 1e-2 if flips else 1e-4)

    def candidate(name: str, module: torch.nn.Module, settings: str, wanted: Expected | None) -> Candidate:
        return trained(name, lambda: module(x), [*inputs, *module.parameters()], gradient, settings, wanted)

    candidates = [
        candidate(EVENTS, ours.layer(weight, projection="events"), "", expected(REORDERED)),
        candidate(DENSE, ours.layer(weight, projection="dense"), "", expected()),
    ]
    if complete:
        candidates += [
            candidate("snubridge auto", ours.layer(weight, projection="auto"), "", expected(REORDERED)),
            candidate(EAGER, ours.layer(weight, "eager"), "", None),
            _projection(x, weight, gradient, inputs),
        ]
    for name in options.opponents if complete else set(options.opponents) & {SNNTORCH}:
        peer = PEERS[name]
        wanted = expected(peer.flips, peer.gain, peer.detached)
        candidates.append(candidate(f"Linear, {peer.name}", projected(peer, weight), peer.settings, wanted))

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        if not complete:
            return ()
        theirs = [f"Linear, {PEERS[name].name}" for name in options.opponents if name == SNNTORCH]
        what = f"layer {width}, 5 % input, {'with' if backward else 'without'} input gradient: snnTorch / {EVENTS}"
        return [ratio_goal(what, SPEED[backward], times, theirs, EVENTS)]

    title = f"{width} to {width}, {100 * rate:g} % of the inputs, {'with' if backward else 'without'} their gradient"
    return compare("layer", f"{title}; T = {shape[0]}, B = {shape[1]}", candidates, options, base=EVENTS, goals=goals)


def _projection(x: Tensor, weight: Tensor, gradient: Tensor, inputs: list[Tensor]) -> Candidate:
    leaf = weight.clone().requires_grad_()

    def call() -> None:
        torch.autograd.grad(linear(x, leaf), [*inputs, leaf], gradient)

    return Candidate("Linear alone", call, "no neurons")

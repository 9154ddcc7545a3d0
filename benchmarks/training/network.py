"""A training step of 784-256-256-10: forward, cross entropy of the mean over time, backward, Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training import ours
from training.layer import projected
from training.opponents import PEERS
from training.recurrent import FirstOutput
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import RATE, Options, bernoulli, normal, seeded, weights
from training.timing import Candidate, CandidateFailed, Times

STEPS, SAMPLES, SIZES = 100, 64, (784, 256, 256, 10)
QUICK = (20, 8, (24, 64, 64, 10))
STD, HIDDEN_RATE = 0.8, 0.1
"""Of what a hidden neuron receives, and what the second layer's weights assume of the first; rates are measured."""
PLAUSIBLE = (0.05, 0.2)
"""Rates of the hidden layers, before and after the steps that are timed: neither silent nor saturated."""
LEARNING_RATE = 1e-4
"""Small, so that the rates stay what they are."""
LSTM, BASE = "nn.LSTM", "snubridge auto"
PROJECTIONS = ("auto", "events", "dense")
SPEED = 8.0
"""Times the network of nn.LSTM."""
MOVED = 1e-2
"""The share of the second layer's spikes that other roundings in the first may move."""


class Network(torch.nn.Module):
    """Hidden layers one after the other, a linear read-out, the mean over time."""

    def __init__(self, hidden: Sequence[torch.nn.Module], readout: Tensor) -> None:
        super().__init__()
        self.hidden = torch.nn.ModuleList(hidden)
        self.readout = torch.nn.Linear(readout.shape[1], readout.shape[0])
        with torch.no_grad():
            self.readout.weight.copy_(readout)
            self.readout.bias.zero_()

    def activities(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer gives."""
        found = []
        for layer in self.hidden:
            x = layer(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        for layer in self.hidden:
            x = layer(x)
        logits: Tensor = self.readout(x).mean(0)
        return logits


def rates(network: Network, x: Tensor) -> list[float]:
    """Of the hidden layers."""
    with torch.no_grad():
        return [float(activity.mean()) for activity in network.activities(x)]


def run(options: Options) -> list[Section]:
    """One section."""
    steps, samples, sizes = QUICK if options.quick else (STEPS, SAMPLES, SIZES)
    inputs, first, second, classes = sizes
    x = bernoulli((steps, samples, inputs), RATE, 12)
    labels = torch.randint(classes, (samples,), generator=seeded(13))
    w1, w2 = weights(first, inputs, RATE, 14, STD), weights(second, first, HIDDEN_RATE, 15, STD)
    readout = normal((classes, second), 16, std=second**-0.5)

    spiking: dict[str, tuple[Network, str]] = {}
    for projection in PROJECTIONS:
        layers = [ours.layer(w, projection=projection) for w in (w1, w2)]
        spiking[f"snubridge {projection}"] = Network(layers, readout), "kernel cpu"
    eager = Network([ours.layer(w, "eager") for w in (w1, w2)], readout)
    spiking["snubridge eager, dense"] = eager, "over unbind"
    for peer in (PEERS[name] for name in options.opponents):
        spiking[f"Linear, {peer.name}"] = Network([projected(peer, w) for w in (w1, w2)], readout), peer.settings
    gated = {
        LSTM: torch.nn.LSTM(inputs, first, num_layers=2),
        "nn.GRU": torch.nn.GRU(inputs, first, num_layers=2),
    }
    with torch.no_grad():
        wanted = eager.activities(x)
    before = {name: _checked(name, network, x, wanted) for name, (network, _) in spiking.items()}
    networks = spiking | {name: (Network([FirstOutput(cell)], readout), "2 layers") for name, cell in gated.items()}
    candidates = [_step(name, network, x, labels, settings) for name, (network, settings) in networks.items()]

    def notes() -> Sequence[str]:
        shared: dict[str, list[str]] = {}
        for name, (network, _) in spiking.items():
            after = rates(network, x)
            _check_rates(name, after)
            text = f"{_percent(before[name])} before, {_percent(after)} after all steps"
            shared.setdefault(text, []).append(name)
        return [f"Rates of the hidden layers: {text} ({'; '.join(names)})." for text, names in shared.items()]

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        shape = "-".join(map(str, sizes))
        names = [f"snubridge {projection}" for projection in PROJECTIONS if projection != "dense"]  # inputs are events
        return [ratio_goal(f"training step of {shape}: {LSTM} / {mine}", SPEED, times, [LSTM], mine) for mine in names]

    title = f"{'-'.join(map(str, sizes))}, T = {steps}, B = {samples}, {100 * RATE:g} % of the inputs, Adam"
    return [compare("network", title, candidates, options, base=BASE, goals=goals, notes=notes)]


def _step(name: str, network: Network, x: Tensor, labels: Tensor, settings: str) -> Candidate:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)

    def call() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return Candidate(name, call, settings)


def _checked(name: str, network: Network, x: Tensor, wanted: Sequence[Tensor]) -> list[float]:
    """The rates, and an error where spikes are not those of the eager kernel."""
    with torch.no_grad():
        found = network.activities(x)
    for index, (mine, its) in enumerate(zip(found, wanted, strict=True)):
        share = float((mine != its).double().mean())
        if share > MOVED:
            raise CandidateFailed(
                f"network: {name}: {100 * share:.3f} % of layer {index}'s spikes are not the eager ones"
            )
    measured = [float(activity.mean()) for activity in found]
    _check_rates(name, measured)
    return measured


def _check_rates(name: str, found: Sequence[float]) -> None:
    if not all(PLAUSIBLE[0] <= rate <= PLAUSIBLE[1] for rate in found):
        raise CandidateFailed(f"network: {name}: rates {_percent(found)} of the hidden layers are not plausible")


def _percent(values: Sequence[float]) -> str:
    return " and ".join(f"{100 * value:.1f} %" for value in values)

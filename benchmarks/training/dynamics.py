"""The dynamics alone, forward and backward: a drive (T, B, N) to spikes, and their gradient to the drive's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge import nn
from training import ours
from training.compiled import compiled
from training.opponents import PEERS
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import DRIVE_MEAN, DRIVE_STD, Options, normal
from training.timing import Candidate, Expected, Times, trained

SHAPES = ((100, 64, 256), (100, 64, 1024), (784, 32, 256))
QUICK = ((10, 4, 16),)
BASE, FLOOR, EAGER = "snubridge cpu", "copy of the same bytes", "snubridge eager"
LEARNED, DEFAULT = "snubridge cpu, learned", "snubridge cpu, default"
SPEED = {(100, 64, 256): 8.0, (100, 64, 1024): 4.5, QUICK[0]: 8.0}
"""Times the best peer, by shape."""
COPIES = {(100, 64, 1024): 3.0, QUICK[0]: 3.0}
"""Times the floor, by shape."""
SAVED = 4.3
"""Bytes per element."""


def run(options: Options) -> list[Section]:
    """A section for each shape."""
    return [_section(shape, options) for shape in (QUICK if options.quick else SHAPES)]


def _section(shape: tuple[int, int, int], options: Options) -> Section:
    x = normal(shape, 1, DRIVE_MEAN, DRIVE_STD).requires_grad_()
    gradient = normal(shape, 2)
    neurons = shape[-1]

    def expected(flips: float = 0.0, gain: float = 1.0, **choices: Any) -> Expected:
        module = ours.unit(neurons, "eager", **choices)
        spikes = module(x)
        found = torch.autograd.grad(spikes, [x, *module.parameters()], gradient)
        return Expected(spikes.detach(), flips, [found[0] / gain, *found[1:]])

    def candidate(name: str, module: torch.nn.Module, settings: str, wanted: Expected | None) -> Candidate:
        return trained(name, lambda: module(x), [x, *module.parameters()], gradient, settings, wanted)

    same, learning = expected(), {"learn_decay": True, "learn_threshold": True}
    default = {"surrogate": nn.TanhDerivative(), "learn_threshold": True}
    candidates = [
        _floor(x, gradient),
        candidate(BASE, ours.unit(neurons), "as the peers: nothing learned", same),
        candidate(LEARNED, ours.unit(neurons, **learning), "decay and threshold learned", expected(**learning)),
        candidate(DEFAULT, ours.unit(neurons, **default), "threshold learned, surrogate tanh'", expected(**default)),
        candidate(EAGER, ours.unit(neurons, "eager"), "over unbind", None),
    ]
    peers = [PEERS[name] for name in options.opponents]
    for peer in peers:
        drive = (peer.gain * x).detach().requires_grad_()
        module = peer.unit(neurons)
        wanted = expected(peer.flips, peer.gain, detach_reset=peer.detached)
        made = trained(peer.name, lambda m=module, d=drive: m(d), [drive], gradient, peer.settings, wanted)
        candidates.append(made)
    if options.compiled:
        eager = ours.unit(neurons, "eager")
        candidates += [candidate(name, module, settings, same) for name, module, settings in compiled(eager, shape[0])]

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        names, found = [peer.name for peer in peers], []
        for mine in (BASE, LEARNED, DEFAULT):
            if shape in SPEED:
                what = f"dynamics {shape}: best peer / {mine}"
                found.append(ratio_goal(what, SPEED[shape], times, names, mine))
            if shape in COPIES:
                what = f"dynamics {shape}: {mine} / {FLOOR}"
                found.append(ratio_goal(what, COPIES[shape], times, [mine], FLOOR, at_least=False))
            what = f"dynamics {shape}: bytes saved per element, {mine}"
            found.append(Goal(what, SAVED, False, rows[mine].saved_bytes))
        return found

    title = f"(T, B, N) = {shape}"
    return compare("dynamics", title, candidates, options, base=BASE, floor=FLOOR, goals=goals, saved=True)


def _floor(x: Tensor, gradient: Tensor) -> Candidate:
    source, y, gx = x.detach(), torch.empty_like(x), torch.empty_like(x)

    def call() -> None:
        y.copy_(source)
        torch.add(gradient, source, out=gx)

    return Candidate(FLOOR, call, "20 bytes per element, preallocated")

"""The dynamics alone on a GPU, forward and backward, by type: what limits them is the traffic to memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.triton.launch import spacing
from training import ours, traffic
from training.opponents import FUSED_PEERS, FusedLIF
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import DRIVE_MEAN, DRIVE_STD, Options, normal
from training.timing import Candidate, Expected, Times, trained

SHAPE, QUICK = (100, 1024, 1024), (20, 3, 16)
COPY, BASE, EAGER = "copy", "snubridge triton", "snubridge eager"
LEARNED = "snubridge triton, learned"
SHARE = 0.85
"""Of the bandwidth of the copy."""
BYTES = {torch.float32: 0.86, torch.float16: 0.67, torch.bfloat16: 0.67}
"""Times those of SpikingJelly, at most."""
COUNTED = 1.05
"""Times what its fused kernels keep, at most; more is kept by other code, for which the bytes were not counted."""
SPEED = {torch.float32: 1.1, torch.float16: 1.4, torch.bfloat16: 1.4}
"""Times SpikingJelly."""
STEP_BY_STEP = 30.0
"""Times the eager kernel."""


def name_of(kind: torch.dtype) -> str:
    """As in a title."""
    return str(kind).removeprefix("torch.")


def tolerance(kind: torch.dtype) -> float:
    """Of gradients that are rounded to this type, relative to the largest: one unit in its last place."""
    return max(1e-4, torch.finfo(kind).eps)


def run(options: Options) -> list[Section]:
    """A section for each type of the drive, the spikes and their gradients."""
    return [_section(QUICK if options.quick else SHAPE, kind, options) for kind in BYTES]


def _section(shape: tuple[int, int, int], kind: torch.dtype, options: Options) -> Section:
    device, neurons = options.device, shape[-1]
    x = normal(shape, 1, DRIVE_MEAN, DRIVE_STD).to(device, kind).requires_grad_()
    gradient = normal(shape, 2).to(device, kind)
    learning = {"learn_decay": True, "learn_threshold": True}

    def expected(flips: float = 0.0, **choices: Any) -> Expected:
        module = ours.unit(neurons, "eager", device, **choices)
        spikes = module(x)
        found = torch.autograd.grad(spikes, [x, *module.parameters()], gradient.to(spikes.dtype))
        return Expected(spikes.detach(), flips, found, tolerance(kind))

    def mine(name: str, settings: str, wanted: Expected, **choices: Any) -> Candidate:
        module = ours.unit(neurons, "triton", device, **choices)
        leaves = list(module.parameters())
        steps = spacing(encoded(module.layer.dynamics)[0])
        moved = traffic.of_snubridge(x, steps, len(leaves))
        return trained(name, lambda: module(x), [x, *leaves], gradient, settings, wanted, moved)

    same = expected()
    eager = ours.unit(neurons, "eager", device)
    candidates = [
        _copy(x),
        mine(BASE, "as the peer: nothing learned", same),
        mine(LEARNED, "decay and threshold learned", expected(**learning), **learning),
        trained(EAGER, lambda: eager(x), [x], gradient.to(same.spikes.dtype), "over unbind"),
    ]
    peers = [FUSED_PEERS[name] for name in options.opponents]
    for peer in peers:
        module: FusedLIF = peer.unit(neurons)
        wanted = Expected(same.spikes, peer.flips, same.gradients, same.tolerance)
        settings = f"{peer.settings}; {module.implementation(device)}"
        moved = traffic.of_spikingjelly(x)
        candidates.append(trained(peer.name, lambda m=module: m(x), [x], gradient, settings, wanted, moved))

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        what, theirs = f"dynamics {name_of(kind)}", [peer.name for peer in peers]
        moved = {name: row.traffic for name, row in rows.items() if row.traffic is not None}
        ratios = [moved[BASE].per_element / moved[name].per_element for name in theirs]
        kept = [rows[name].saved_bytes * moved[name].elements / moved[name].kept for name in theirs]
        scale = moved[BASE].total / moved[COPY].total
        return [
            ratio_goal(f"{what}: bandwidth of {BASE} / {COPY}", SHARE, times, [COPY], BASE, scale=scale),
            Goal(f"{what}: bytes moved, {BASE} / peer", BYTES[kind], False, max(ratios, default=None)),
            Goal(f"{what}: bytes that the peer saves / those counted", COUNTED, False, max(kept, default=None)),
            ratio_goal(f"{what}: peer / {BASE}", SPEED[kind], times, theirs, BASE),
            ratio_goal(f"{what}: {EAGER} / {BASE}", STEP_BY_STEP, times, [EAGER], BASE),
        ]

    title = f"{name_of(kind)}, (T, B, N) = {shape}"
    return compare("dynamics", title, candidates, options, base=BASE, floor=COPY, goals=goals, saved=True)


def _copy(x: Tensor) -> Candidate:
    """Of as many elements in float32, whatever the type of the case: the bandwidth is the card's."""
    source = x.detach().float()
    target = torch.empty_like(source)

    def call() -> None:
        target.copy_(source)

    return Candidate(COPY, call, "y.copy_(x) in float32, preallocated", traffic=traffic.of_copy(source))

"""A dense layer with binary inputs on a GPU, beside an LSTM layer of equal width and the eager kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from training import ours
from training.cuda.dynamics import STEP_BY_STEP, name_of, tolerance
from training.recurrent import FirstOutput
from training.sections import Goal, Row, Section, compare, ratio_goal
from training.settings import RATE, Options, bernoulli, normal, weights
from training.timing import Expected, Times, trained

SHAPES, QUICK = ((100, 4096, 256), (100, 1024, 1024)), ((20, 3, 16),)
KINDS = (torch.float32, torch.bfloat16)
BASE, EAGER, LSTM = "snubridge triton", "snubridge eager", "nn.LSTM"
GATED = 8.0
"""Times the LSTM layer."""


def run(options: Options) -> list[Section]:
    """For each width, in float32 and within autocast."""
    shapes = QUICK if options.quick else SHAPES
    return [_section(shape, kind, options) for shape in shapes for kind in KINDS]


def autocast(kind: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """To this type; nothing for float32."""
    return nullcontext() if kind is torch.float32 else torch.autocast(device.type, kind)


def _section(shape: tuple[int, int, int], kind: torch.dtype, options: Options) -> Section:
    device, width = options.device, shape[-1]
    x = bernoulli(shape, RATE, 3).to(device, kind).requires_grad_()
    gradient = normal(shape, 5).to(device, kind)
    weight = weights(width, width, RATE, 4).to(device)
    modules = {
        BASE: ours.layer(weight, "triton"),
        EAGER: ours.layer(weight, "eager"),
        LSTM: FirstOutput(torch.nn.LSTM(width, width, device=device)),
    }

    def forward(name: str) -> Tensor:
        with autocast(kind, device):
            y: Tensor = modules[name](x)
        return y

    leaves = {name: [x, *module.parameters()] for name, module in modules.items()}
    spikes = forward(EAGER)
    wide = gradient.to(spikes.dtype)
    found = torch.autograd.grad(spikes, leaves[EAGER], wide)
    same = Expected(spikes.detach(), 0.0, found, tolerance(kind))
    del spikes  # and what it keeps for a way back that is over
    candidates = [
        trained(BASE, lambda: forward(BASE), leaves[BASE], gradient, "dense", same),
        trained(EAGER, lambda: forward(EAGER), leaves[EAGER], wide, "dense, over unbind"),
        trained(LSTM, lambda: forward(LSTM), leaves[LSTM], gradient, "cuDNN" if device.type == "cuda" else "torch's"),
    ]

    def goals(times: Mapping[str, Times], rows: Mapping[str, Row]) -> Sequence[Goal]:
        what = f"layer {width}, {name_of(kind)}"
        return [
            ratio_goal(f"{what}: {LSTM} / {BASE}", GATED, times, [LSTM], BASE),
            ratio_goal(f"{what}: {EAGER} / {BASE}", STEP_BY_STEP, times, [EAGER], BASE),
        ]

    products = "float32" if kind is torch.float32 else f"autocast to {name_of(kind)}"
    title = f"{width} to {width}, {products}, {100 * RATE:g} % of the inputs, with their gradient"
    return compare("layer", f"{title}; T = {shape[0]}, B = {shape[1]}", candidates, options, base=BASE, goals=goals)

"""A recurrent layer on a GPU, its projection included, beside an LSTM layer of equal width and the eager kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from training import ours
from training.cuda.layer import BASE, EAGER, LSTM
from training.recurrent import HIDDEN_RATE, RECURRENT_STD, FirstOutput
from training.sections import Section, compare
from training.settings import RATE, Options, bernoulli, normal, weights
from training.timing import Expected, trained

STEPS, NEURONS = 100, 2**20
WIDTHS, QUICK = (64, 128, 256, 512), (16, 130)
"""The first two run in one launch for all steps, the others step by step under a CUDA graph."""
GRID = 2**12
"""Recurrent weights are multiples of a 4096th, so that no sum of up to 512 of them is rounded, in whatever order."""


def run(options: Options) -> list[Section]:
    """A section for each width."""
    if options.quick:
        return [_section((5, 2, width), options) for width in QUICK]
    return [_section((STEPS, NEURONS // width, width), options) for width in WIDTHS]


def on_grid(weight: Tensor) -> Tensor:
    """The nearest multiples of 1 / GRID."""
    return (weight * GRID).round() / GRID


def _section(shape: tuple[int, int, int], options: Options) -> Section:
    device, width = options.device, shape[-1]
    x = bernoulli(shape, RATE, 9).to(device).requires_grad_()
    gradient, weight = normal(shape, 10).to(device), weights(width, width, RATE, 11).to(device)
    recurrent = on_grid(weights(width, width, HIDDEN_RATE, 8, RECURRENT_STD)).to(device)
    mine, eager = (ours.layer(weight, kernel, recurrent) for kernel in ("triton", "eager"))
    lstm = FirstOutput(torch.nn.LSTM(width, width, device=device))
    spikes = eager(x)
    found = torch.autograd.grad(spikes, [x, *eager.parameters()], gradient)
    same = Expected(spikes.detach(), 0.0, found)
    del spikes  # and what it keeps for a way back that is over
    library = "cuDNN" if device.type == "cuda" else "torch's"
    candidates = [
        trained(BASE, lambda: mine(x), [x, *mine.parameters()], gradient, mine.layer.running_kernel.reason, same),
        trained(EAGER, lambda: eager(x), [x, *eager.parameters()], gradient, "over unbind"),
        trained(LSTM, lambda: lstm(x), [x, *lstm.parameters()], gradient, library),
    ]
    title = f"{width} to {width}, {100 * RATE:g} % of the inputs, with their gradient"
    return compare("recurrent", f"{title}; T = {shape[0]}, B = {shape[1]}", candidates, options, base=BASE)

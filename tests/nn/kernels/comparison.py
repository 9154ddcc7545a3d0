"""Gradients of a kernel beside those of the reference, for the tests of the kernels."""

from __future__ import annotations

import torch

from snubridge.nn.kernels import State, run
from tests.nn.kernels.cases import drawn
from tests.nn.kernels.reference import reference

NAMES = ("decay", "threshold", "s", "y", "drive", "weight")
EXACT = {torch.float32: 1e-6, torch.float64: 1e-13}
"""The largest difference that is allowed, of the largest gradient."""
OUTPUTS = ("y", "states", "last s", "last y")


def compare(
    dynamics,
    steps,
    samples,
    shape,
    dtype=torch.float32,
    *,
    recurrent=False,
    outputs=OUTPUTS,
    learned=NAMES,
    hold=False,
    kernel="cpu",
    **case,
):
    """All gradients of a random sum of the outputs are those of float64, with the kernel's spikes held fixed.

    ``hold``: its states too. In float32 those of a decay of 1 wander off over many steps, on either kernel, and the
    derivatives at them with them; what is left is the way back.
    """
    decay, threshold, state, drive, weight = drawn(steps, samples, shape, dtype, recurrent=recurrent, **case)
    given = {"decay": decay, "threshold": threshold, "s": state.s, "y": state.y, "drive": drive, "weight": weight}
    given = {name: x for name, x in given.items() if x is not None}
    learned = [name for name in learned if name in given]
    generator = torch.Generator().manual_seed(1)

    ours = {name: x.clone().requires_grad_(name in learned) for name, x in given.items()}
    before = State(ours["s"], ours["y"])
    ran = run(kernel, dynamics, ours["decay"], ours["threshold"], before, ours["drive"], ours.get("weight"))
    values = {"y": ran.y, "states": ran.states, "last s": ran.last.s, "last y": ran.last.y}
    weights = {name: torch.randn(values[name].shape, generator=generator, dtype=dtype) for name in outputs}
    found = torch.autograd.grad(
        [values[name] for name in outputs], [ours[name] for name in learned], [weights[name] for name in outputs]
    )

    exact = {name: x.double().requires_grad_(name in learned) for name, x in given.items()}
    held = ran.states.detach().double() if hold else None
    y, states = reference(dynamics, **exact, spikes=ran.y.detach().double(), held=held)
    values = {"y": y, "states": states, "last s": states[-1], "last y": y[-1]}
    expected = torch.autograd.grad(
        [values[name] for name in outputs if values[name].requires_grad],
        [exact[name] for name in learned],
        [weights[name].double() for name in outputs if values[name].requires_grad],
        allow_unused=True,
        materialize_grads=True,
    )
    sizes = {name: float(other.abs().max()) for name, other in zip(learned, expected, strict=True)}
    of_states = max(sizes.get(name, 0) for name in ("s", "y", "drive"))  # one kind of thing, before the run and in it
    for name, one, other in zip(learned, found, expected, strict=True):
        assert one.dtype == dtype
        off, size = float((one.double() - other).abs().max()), of_states if name in ("s", "y") else sizes[name]
        assert off <= EXACT[dtype] * size, f"{name}: {off:.2e} of {size:.2e}, {off / (size or 1):.1e}"
    return dict(zip(learned, found, strict=True))

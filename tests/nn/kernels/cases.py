"""Units of every kind, and their drives, for the tests of the kernels."""

from __future__ import annotations

import contextlib
from itertools import product

import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import Dynamics, State, run

RESETS = list(sb.Reset)
G = [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3), sb.LeakyReLU(-0.5), sb.LeakyReLU(0.0)]
STEPS = [sb.Step(), sb.Step(at_threshold=True)]
SURROGATES = [
    nn.TanhDerivative(),
    nn.SigmoidDerivative(),
    nn.SigmoidDerivative(-2.5),
    nn.ArctanDerivative(),
    nn.PiecewiseLinear(),
    nn.SuperSpike(),
]
SOFT = [sb.Sigmoid(), sb.Tanh()]


def dynamics(reset=sb.Reset.TO_ZERO, g=G[0], h=STEPS[0], surrogate=SURROGATES[0], detach_reset=False):
    """What a unit computes; the paper's where nothing else is said."""
    return Dynamics(reset, g, h, surrogate, detach_reset=detach_reset)


def named(*kinds):
    """Every combination of kinds, as parameters of pytest with short names."""
    import pytest

    return [pytest.param(*each, id="-".join(map(_name, each))) for each in product(*kinds)]


def _name(kind):
    if isinstance(kind, sb.Reset):
        return kind.value
    values = [str(value) for value in vars(kind).values()]
    return type(kind).__name__ + (f"({','.join(values)})" if values else "")


def drawn(steps, samples, shape, dtype=torch.float32, seed=0, dyadic=False, recurrent=False, largest=1.0):
    """decay, threshold, the state before, the drive and H: random, with decays of 0 and 1 among others.

    ``dyadic``: multiples of 1/4 and powers of two, of which no sum and product is rounded: states meet thresholds.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        x = torch.randn(size, generator=generator, dtype=torch.float64)
        return (x * 4).round() / 4 if dyadic else x

    def of(values, *size):
        return torch.tensor(values, dtype=torch.float64)[torch.randint(len(values), size, generator=generator)]

    decay = of([0.0, 0.5, 1.0] if dyadic else [0.0, 0.25, 0.8, 0.95, largest], *shape)
    threshold = of([0.25, 0.5, 1.0] if dyadic else [0.1, 0.3, 0.7, 1.0], *shape)
    state = State(normal(samples, *shape), of([0.0, 1.0], samples, *shape))
    size = shape[0]
    weight = normal(size, size) / (4 if dyadic else size**0.5) if recurrent else None
    values = decay, threshold, *state, normal(steps, samples, *shape) * 0.8 ** (not dyadic), weight
    decay, threshold, s, y, drive, weight = (None if x is None else x.to(dtype) for x in values)
    return decay, threshold, State(s, y), drive, weight


def assert_same(dynamics, *given, spikes=True, kernel="cpu"):
    """The same as of the eager kernel, to the last bit: y, all states and the state after; some neuron spikes."""
    expected, found = (run(name, dynamics, *given) for name in ("eager", kernel))
    for one, other in [
        (found.y, expected.y),
        (found.states, expected.states),
        *zip(found.last, expected.last, strict=True),
    ]:
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert bool(found.y.any()) or not spikes
    return found


@contextlib.contextmanager
def threads(number):
    """As many threads of torch as said, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The dynamics and their gradients in float64 by autograd, for the tests alone, with given spikes held fixed."""

from __future__ import annotations

import torch

import snubridge as sb
from snubridge import nn


def reference(dynamics, decay, threshold, s, y, drive, weight=None, spikes=None, held=None):
    """y and s of every step.

    Where ``spikes`` are given, y has these values, and the surrogate's derivative at s; ``held``: values of s.
    """
    outputs, states = [], []
    for t in range(len(drive)):
        reset = y.detach() if dynamics.detach_reset else y
        match dynamics.reset:
            case sb.Reset.TO_ZERO:
                c = decay * s * (1 - reset)
            case sb.Reset.LATERAL:
                c = decay * s * (1 - reset.flatten(1).amax(1).reshape(-1, *[1] * (s.ndim - 1)))
            case sb.Reset.SUBTRACT:
                c = decay * s - threshold * reset
            case sb.Reset.SUBTRACT_DECAYED:
                c = decay * (s - threshold * reset)
            case sb.Reset.NONE:
                c = decay * s
        a = c + drive[t]
        if weight is not None:
            a = a + y @ weight.T
        match dynamics.g:
            case sb.Identity():
                s = a
            case sb.ReLU():
                s = a * (a > 0)
            case sb.LeakyReLU(slope):
                s = torch.where(a > 0, a, slope * a)
        if held is not None:
            s = held[t] + (s - s.detach())
        v = s - threshold
        match dynamics.h:
            case sb.Step():
                y = spikes[t] + slope_at(dynamics.surrogate, v.detach()) * (v - v.detach())
            case sb.Sigmoid():
                y = 1 / (1 + torch.exp(-v))
            case sb.Tanh():
                y = torch.tanh(v)
            case sb.Identity():
                y = v
        outputs.append(y)
        states.append(s)
    return torch.stack(outputs), torch.stack(states)


def slope_at(surrogate, v):
    """What stands for dy/dv."""
    match surrogate:
        case nn.TanhDerivative():
            return 1 / torch.cosh(v) ** 2
        case nn.SigmoidDerivative(k):
            return k * torch.exp(-k * v) / (1 + torch.exp(-k * v)) ** 2
        case nn.ArctanDerivative():
            return 1 / (1 + torch.pi**2 * v**2)
        case nn.PiecewiseLinear():
            return torch.relu(1 - v.abs())
        case nn.SuperSpike(k):
            return (1 + k * v.abs()) ** -2
    raise AssertionError(surrogate)

"""Eligibility traces of a layer: gradients carried forward with its state, so that no step has to be kept.

For a parameter p of a neuron, with the total derivatives of its state and output through the neuron's own past,

    ds_t/dp = ds_t/ds_{t-1} ds_{t-1}/dp + ds_t/dy_{t-1} dy_{t-1}/dp + (the direct term of p)
    dy_t/dp = h'(v_t) (ds_t/dp - dthreshold/dp),  v_t = s_t - threshold
    dL/dp   = sum over t of dL_t/dy_t dy_t/dp

(OSTL: Bohnstingl et al., IEEE TNNLS 2022; e-prop: Bellec et al., Nature Communications 11, 3625, 2020.) The partial
derivatives are those that autograd takes of ``kernels.step``, with the layer's reset, g, h, surrogate and
``detach_reset``. For a feed-forward layer the sum is the gradient of backpropagation through time, up to rounding.

For a recurrent layer it is e-prop's approximation: H y_{t-1} counts with its value and with the direct terms of H, and
of the paths from y_{t-1} through H only that of a neuron to itself, by the diagonal of H; those to other neurons are
left out. So it is exact where H is diagonal, and the gradient of ``method="bptt"`` it is not in general.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from snubridge.errors import BadInput, shown
from snubridge.ir.functions import Reset
from snubridge.nn.kernels import State, step
from snubridge.nn.units import SNU

PER_NEURON = ("bias", "threshold", "decay", "initial_state")
PER_SYNAPSE = ("weight", "recurrent")


class Traces(NamedTuple):
    """What a layer carries from step to step: constant in size, whatever the number of steps.

    ``state``          s_t and y_t, each (B, N), cut from the graph of gradients
    ``slope``          h'(v_t), (B, N), the surrogate's for a step; 0 at the start, where y is no function of s
    ``eligibilities``  ds_t/dp by the parameter's name, of those that are learned: weight (B, N, in), recurrent
                       (B, N, N), where [b, j, i] is that of neuron j's state to its own weight from i; bias,
                       threshold, decay and initial_state (B, N)
    """

    state: State
    slope: Tensor
    eligibilities: Mapping[str, Tensor]


@torch.no_grad()
def start(layer: SNU, samples: int) -> Traces:
    """The traces before the first step of a batch: the layer at rest, nothing eligible but its initial state.

    ``BadInput`` for a layer whose derivatives are not those of each neuron by itself, with all reasons.
    """
    demand_local(layer)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise BadInput(f"samples={shown(samples)}: an integer, at least 1, is needed")
    rest = layer.rest(samples)
    state = State(rest.s.clone(), rest.y)  # not the parameter itself, which an optimizer changes in place
    eligibilities = {}
    for name in learned(layer):
        parameter = getattr(layer, name)
        size = state.s.shape if name in PER_NEURON else (samples, *parameter.shape)
        eligibilities[name] = state.s.new_full(size, float(name == "initial_state"))
    return Traces(state, torch.zeros_like(state.s), eligibilities)


def advance(layer: SNU, traces: Traces, x: Tensor, *, reuse: bool = False) -> tuple[Tensor, Traces]:
    """x_t (B, in_features) to y_t (B, N), cut from the graph of gradients, and the traces after this step.

    The step is the eager kernel's, whichever the layer runs: s_t and y_t are those of ``layer(x_t[None], state)``, bit
    for bit with a Step, to rounding with a continuous h. With ``reuse`` the memory of ``traces`` serves for the new
    ones, and ``traces`` must not be used any more.
    """
    before = traces.state
    if not isinstance(x, Tensor) or x.shape != (len(before.s), layer.in_features):
        found = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise BadInput(f"x_t: {found}; needed a tensor ({len(before.s)}, {layer.in_features})")
    if x.dtype != layer.weight.dtype:
        raise BadInput(f"x_t of type {x.dtype}; needed {layer.weight.dtype}, that of the layer")
    x = x.detach()
    after, partial = _step(layer, before, x)
    with torch.no_grad():
        onto_y = partial["y"]
        if layer.recurrent is not None:  # the neuron's own y by way of H
            onto_y = onto_y + partial["drive"] * layer.recurrent.diagonal()
        keep = partial["s"] + onto_y * traces.slope
        direct = {
            "bias": partial["drive"],
            "threshold": partial["threshold"] - onto_y * traces.slope,
            "decay": partial["decay"],
            "initial_state": torch.zeros_like(keep),
        }
        eligibilities = {}
        for name, old in traces.eligibilities.items():
            if name in PER_NEURON:
                eligibilities[name] = keep * old + direct[name]
            else:
                received = x if name == "weight" else before.y
                kept = old.mul_(keep[..., None]) if reuse else old * keep[..., None]
                eligibilities[name] = kept.addcmul_(partial["drive"][..., None], received[:, None, :])
    return after.y, Traces(after, partial["slope"], eligibilities)


@torch.no_grad()
def gradients(layer: SNU, traces: Traces, signal: Tensor) -> dict[str, Tensor]:
    """dL_t/dp by the parameter's name, each of its parameter's shape, from the signal dL_t/dy_t (B, N).

    Sum them over the steps, then see ``lead_back`` for a learned decay: this is the gradient to the decay in use.
    """
    if signal.shape != traces.slope.shape:
        raise BadInput(f"signal: shape {tuple(signal.shape)}; needed {tuple(traces.slope.shape)}, that of y_t")
    onto_s = signal * traces.slope
    found = {}
    for name, eligible in traces.eligibilities.items():
        if name in PER_NEURON:
            past = eligible - 1 if name == "threshold" else eligible
            found[name] = (onto_s * past).sum(0)
        else:
            found[name] = (onto_s[..., None] * eligible).sum(0)
    return found


def lead_back(layer: SNU, summed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Summed ``gradients`` as they reach the parameters: a learned decay's by way of the clamp to [0, 1]."""
    found = dict(summed)
    if "decay" in found:
        with torch.enable_grad():
            (found["decay"],) = torch.autograd.grad(layer.effective_decay, layer.decay, found["decay"])
    return found


def learned(layer: SNU) -> list[str]:
    """The names of the layer's parameters that are learned."""
    return [name for name, parameter in layer.named_parameters() if parameter.requires_grad]


def demand_local(layer: SNU) -> None:
    """``BadInput`` for a layer that cannot learn by traces, with all reasons."""
    if type(layer) is not SNU:
        raise BadInput(f"layer: a {type(layer).__name__}, which may compute otherwise; give an nn.SNU itself")
    reasons = []
    if layer.dynamics.reset is Reset.LATERAL and not layer.dynamics.detach_reset:
        reasons.append(
            "reset=Reset.LATERAL leads the gradient from the most active neuron to all others, and a trace holds what "
            "stays within a neuron; detach the reset, or take method='bptt'"
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        reasons.append("forward hooks are registered, which may change its values; remove them")
    if reasons:
        raise BadInput(f"layer: {'; '.join(reasons)}")


def _step(layer: SNU, before: State, x: Tensor) -> tuple[State, dict[str, Tensor]]:
    """One step, and its partial derivatives, each (B, N): of s_t by all that it depends on, and of y_t by s_t."""
    with torch.no_grad():
        drive = layer.project(x)
        if layer.recurrent is not None:
            drive = drive + functional.linear(before.y, layer.recurrent)
        inputs = {"s": before.s, "y": before.y, "drive": drive}
        inputs |= {"decay": layer.effective_decay, "threshold": layer.threshold}
    with torch.enable_grad():
        leaves = {name: value.detach().expand_as(drive).requires_grad_() for name, value in inputs.items()}
        after = step(
            layer.dynamics,
            leaves["decay"],
            leaves["threshold"],
            State(leaves["s"], leaves["y"]),
            leaves["drive"],
        )
        found = torch.autograd.grad(
            after.s, list(leaves.values()), torch.ones_like(drive), retain_graph=True, materialize_grads=True
        )
        (slope,) = torch.autograd.grad(after.y, after.s, torch.ones_like(drive))
    return after.detach(), {**dict(zip(leaves, found, strict=True)), "slope": slope}

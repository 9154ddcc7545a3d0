"""Units as ``nengo.LIF``, which is Nengo's own leaky integrate-and-fire neuron.

A LIF neuron steps v += (J - v)*(1 - exp(-dt/tau)), fires if v > 1, and starts again at 0. With tau = -dt/ln(decay),
tau_ref = 0 and a gain of 1/(threshold*(1 - exp(-dt/tau))) its v is s/threshold. It rounds in other places than the SNU,
so a state of exactly the threshold might fire or not: the gain puts the threshold higher by ``GUARD`` of it (lower by
as much where a tie fires), and what lies within the guard is not decided reliably.
"""

from collections.abc import Mapping
from typing import Any

import nengo
import numpy as np

from snubridge_nengo.engine.neurons import Array
from snubridge_nengo.engine.population import Part, ensemble

GUARD = 2.0**-40
"""The threshold is off by this share of it."""
LEAST_DECAY = 2.0**-44
"""A smaller decay, 0, is this one: else v might round to more than J, of which LIF has no time of firing."""
HELD = 2.0**60
"""tau in steps for a decay of 1: less than half a unit in the last place leaks."""


def time_constant(decay: float, dt: float) -> tuple[float, float]:
    """tau in seconds, and the share of J - v that is added in a step, as LIF computes it."""
    tau = HELD * dt if decay == 1 else -dt / np.log(max(decay, LEAST_DECAY))
    return float(tau), float(-np.expm1(-dt / tau))


def lif_parts(unit: Mapping[str, Any], arrays: Mapping[str, Array], samples: int, dt: float) -> list[Part]:
    """An Ensemble for each distinct decay of a unit.

    The gains are multiplied by a power of two that makes all of them larger than 1, as Nengo wants them, and
    whatever arrives is divided by it.
    """
    name = unit["name"]
    decays, thresholds, started = (arrays[f"{key}/{name}"] for key in ("decay", "threshold", "initial_state"))
    guarded = thresholds * (1 - GUARD if unit["h"]["at_threshold"] else 1 + GUARD)
    distinct = np.unique(decays)
    parts = []
    for decay in distinct:
        rows = np.flatnonzero(decays == decay)
        tau, share = time_constant(float(decay), dt)
        gain = 1 / (guarded[rows] * share)
        exponent = max(0, 1 - int(np.floor(np.log2(gain.min()))))
        neurons = nengo.LIF(
            tau_rc=tau,
            tau_ref=0,
            min_voltage=0 if unit["g"]["kind"] == "relu" or decay < LEAST_DECAY else -np.inf,
            amplitude=dt,  # a spike is amplitude/dt
            initial_state={"voltage": _each((started[rows] if decay else 0 * started[rows]) / guarded[rows], samples)},
        )
        label = name if len(distinct) == 1 else f"{name} with decay {decay:.6g}"
        made = ensemble(len(rows) * samples, neurons, _each(np.ldexp(gain, exponent), samples), label)
        parts.append(Part(made, None if len(distinct) == 1 else rows, exponent))
    return parts


def lif_states(part: Part, unit: Mapping[str, Any], arrays: Mapping[str, Array], voltage: Array, J: Array) -> Array:
    """s (T, samples, neurons) of the recorded v and J.

    Where v is 0, because the neuron fired or because a decay of 0 keeps nothing below it, it is put together as
    v_{t-1} + (J_t - v_{t-1})*share.
    """
    neurons, name = part.ensemble.neuron_type, unit["name"]
    rows = slice(None) if part.rows is None else part.rows
    threshold = arrays[f"threshold/{name}"][rows] * (1 - GUARD if unit["h"]["at_threshold"] else 1 + GUARD)
    started = arrays[f"initial_state/{name}"][rows] / threshold
    started = np.where(arrays[f"decay/{name}"][rows] > 0, started, 0.0)
    before = np.concatenate([np.broadcast_to(started, voltage[:1].shape), voltage[:-1]])
    reached = before - (J - before) * np.expm1(-neurons.amplitude / neurons.tau_rc)
    reached = np.maximum(reached, 0.0) if unit["g"]["kind"] == "relu" else reached
    return np.asarray(np.where(voltage == 0, reached, voltage) * threshold)


def _each(values: Array, samples: int) -> Any:
    """A value for each neuron, the same of all samples; ``Samples`` does not take a single one."""
    if (values == values[0]).all():
        return nengo.dists.Choice([float(values[0])])
    return nengo.dists.Samples(np.tile(values, samples))

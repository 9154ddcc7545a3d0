"""Ensembles of leaky integrate-and-fire neurons, as what Nengo builds of them.

Without refractory time a step of ``nengo.LIF`` is, with K = -expm1(-dt/tau_rc),

    v = v + (J - v)*K      y = v > 1      v = max(v, min_voltage), and 0 where y

The unit's state is s = v/(K*|gain|), relative to which the weights are those of the connections:

    s = decay*s + x      decay = 1 - K      threshold = 1/(K*|gain|)      x = (J - bias)/|gain| + bias/|gain|

so v is state/threshold. Where gain is 0 the bias alone arrives, and s = v/K.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
from nengo.exceptions import NengoException

from snubridge.errors import shown
from snubridge_nengo.engine.stock import LEAST_DECAY
from snubridge_nengo.reading.drawing import Array, Refused, Seeds, is_random

FARTHEST = 500
"""Thresholds lie between 2^-FARTHEST and 2^FARTHEST, so that no state under- or overflows."""
KINDS: Mapping[type, str] = {
    nengo.SpikingRectifiedLinear: "rectifies what it integrates, fires at its threshold and several times a step",
    nengo.AdaptiveLIF: "has an adaptation beside its voltage",
    nengo.Izhikevich: "has a recovery variable beside its voltage",
    nengo.RegularSpiking: "fires at a rate that what arrives now sets",
    nengo.PoissonSpiking: "fires at random",
    nengo.StochasticSpiking: "fires at random",
    nengo.Direct: "has no neurons",
}


@dataclass(frozen=True)
class Neurons:
    """An ensemble; all arrays are one value, or one for each neuron.

    ``sign``      of each gain: -1, 0 or 1, which rows of incoming weights are multiplied by
    ``bias``      of the drive, as ``threshold`` relative to |gain|
    ``encoders``  (neurons, dimensions): what a decoded input is multiplied by, likewise
    ``height``    of a spike, amplitude/dt
    ``drawn``     what Nengo drew for it, from a seed
    """

    name: str
    size: int
    decay: Array
    threshold: Array
    sign: Array
    bias: Array
    encoders: Array
    initial: Array
    rectified: bool
    height: float
    drawn: tuple[str, ...]


def ensemble_oddities(ensemble: nengo.Ensemble, limit: int) -> Iterator[Refused]:
    """All that is no unit, as far as it can be told without building it."""
    kind = ensemble.neuron_type
    if type(kind) is not nengo.LIF:
        why = KINDS.get(type(kind), "puts out rates" if not kind.spiking else "is not one that a graph has")
        if isinstance(kind, nengo.LIF) and type(kind) not in KINDS:
            why = "is a LIF with code of its own"
        yield Refused(f"its neuron type {type(kind).__name__} {why}", "only nengo.LIF(tau_ref=0) itself fits")
        return
    if vars(kind).keys() != vars(nengo.LIF()).keys():
        yield Refused("attributes of its neuron type were set by hand", "take a plain nengo.LIF")
    if kind.tau_ref != 0:
        yield Refused(
            f"it is refractory for {kind.tau_ref:g} s, to an instant within a step that depends on its input",
            "set tau_ref=0",
        )
    if kind.min_voltage not in (0, -math.inf):
        yield Refused(f"its voltage is clipped at {kind.min_voltage:g}", "set min_voltage to 0 or -np.inf")
    if ensemble.noise is not None:
        yield Refused("noise is injected into it", "set noise=None")
    if (ensemble.gain is None) != (ensemble.bias is None):
        yield Refused("only one of gain and bias is given, which Nengo does not build", "give both")
    points = max(ensemble.n_neurons, ensemble.n_eval_points or 0) * ensemble.dimensions
    if points > limit:
        yield Refused(
            f"it has {points:,} encoders or evaluation points, above the limit of {limit:,}",
            f"raise it with the option max_synapses={points}",
        )


def read_neurons(name: str, ensemble: nengo.Ensemble, seeds: Seeds, dt: float, decoded: bool) -> Neurons:
    """The neurons of an ensemble that shows no oddities; ``decoded``: whether anything reaches it by its encoders."""
    kind = ensemble.neuron_type
    given = {"gain": ensemble.gain, "bias": ensemble.bias}
    if ensemble.gain is None:
        given = {"max_rates": ensemble.max_rates, "intercepts": ensemble.intercepts}
    initial = {**type(kind).state, **(kind.initial_state or {})}
    given |= {f"initial {key}": value for key, value in initial.items()}
    if decoded:
        given["encoders"] = ensemble.encoders
    for what, value in {"encoders": ensemble.encoders, "evaluation points": ensemble.eval_points}.items():
        is_random(value, what)  # drawn before the others, whether they matter or not
    drawn = tuple(what for what, value in given.items() if is_random(value, what))
    if drawn:
        seeds.demand(ensemble, " and ".join(drawn))
    built, model = _built(ensemble, seeds, dt)
    gain, bias = (
        _finite(np.asarray(values, dtype=np.float64), what) for values, what in zip(built, given, strict=False)
    )
    # As Nengo computes it: an array divided by a number, whose expm1 may differ from that of a number.
    share = -np.expm1(-np.full(ensemble.n_neurons, dt) / kind.tau_rc)
    if not (1 - share >= LEAST_DECAY).all():
        raise Refused(
            f"with tau_rc={kind.tau_rc:g} a step of {dt:g} s leaves nothing of the voltage, which may round above what "
            "drives it: there Nengo's own step raises",
            f"set tau_rc to dt/30 or more, {dt / 30:.2g}",
        )
    size = np.where(gain == 0, 1.0, np.abs(gain))
    with np.errstate(all="ignore"):
        threshold = 1 / (share * size)
        voltage, refractory = (model.sig[ensemble.neurons][key].initial_value for key in ("voltage", "refractory_time"))
        encoders = model.sig[ensemble]["encoders"].initial_value / size[:, None] if decoded else np.zeros((0, 0))
    if not ((threshold > 2.0**-FARTHEST) & (threshold < 2.0**FARTHEST)).all():
        raise Refused(f"gains from {size.min():g} to {size.max():g} leave the range of a state", "scale the weights")
    if not (_finite(voltage, "initial voltage") <= 1).all():
        raise Refused("it starts above its threshold, where Nengo's refractory time sets in", "start it at 1 at most")
    if not (refractory <= dt).all():
        raise Refused("it starts refractory", "leave the initial refractory_time at 0")
    return Neurons(
        name=name,
        size=ensemble.n_neurons,
        decay=_plain(1 - share),
        threshold=_plain(threshold),
        sign=np.sign(gain),
        bias=bias / size,
        encoders=_finite(encoders, "encoders"),
        initial=_plain(voltage * threshold),
        rectified=kind.min_voltage == 0,
        height=float(kind.amplitude / dt),
        drawn=drawn,
    )


def _built(ensemble: nengo.Ensemble, seeds: Seeds, dt: float) -> tuple[tuple[Array, Array], Any]:
    """Gain and bias, and the model that Nengo's builder puts them into, as in a build of the whole network."""
    model = nengo.builder.Model(dt=dt)
    model.seeds[ensemble] = seeds.of[ensemble]
    model.seeded[ensemble] = seeds.fixed[ensemble]
    try:
        # Nengo warns of small gains, whose tuning curves would make no sense; nothing is decoded here.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model.build(ensemble)
    except (NengoException, TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
        raise Refused(f"Nengo does not build it: {shown(str(error), 200)}", "fix its parameters") from None
    return (model.params[ensemble].gain, model.params[ensemble].bias), model


def _finite(values: Array, what: str) -> Array:
    if not np.isfinite(values).all():
        raise Refused(f"its {what} is not finite", "give finite values")
    return values


def _plain(values: Array) -> Array:
    """One value where all are the same."""
    return values if (values != values[0]).any() else np.asarray(values[0])

"""A network of Spiking Neural Units in Brian2, step for step.

One time step at stop k = 1, 2, ... (an input, relay, unit or output, in the order of evaluation):

    slot        order  object
    thresholds  4k-3   ff_*        synapses without delay: u_post += w, or w*y_pre from a graded source
    thresholds  4k-2   <k>_update  a unit: s = g(c + u), c = decay*s; any other: y = u; then u = 0. In fixed point
                                   c is rounded to whole steps before, and s is clipped after g
    thresholds  4k-1   <k>_output  in Cython, of a graded unit with a tanh: y and c, apart
    thresholds  4k     <k>         spikes, s > threshold; of a graded y the events y != 0
    synapses    -1     rec_*       synapses with a delay of d >= 1 steps, (d - 1)*dt in Brian2: u is read one step on
    resets      4k     <k>         what a spike does to the carried state c; <k>_lateral: c of graded units that
                                   inhibit one another
    end                state_*     monitors of s and y

All variables are without unit: drive u, state s, carried state c, graded output y. A synapse reads
y when its event arrives, so graded values delayed by d >= 2 steps pass along line_*, groups of one-step relays.
Where a graded source goes through a dense matrix, ff_* and rec_* are no synapses but one matrix product.

With the form "continuous" a unit decays as ds/dt = -s/tau in the slot groups; <k>_update adds u to s, a reset changes
s itself, and s is recorded before. The potential v in volts is a view of s: what fires is decided by s.

Samples lie side by side, as blocks of every group, or follow one another in time: each for ``steps`` steps, then
silence until all that is delayed has arrived, then the next, each ``period`` steps after the last.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Plan = dict[str, Any]
Array = np.ndarray[Any, Any]

# Brian2 may reorder sums and products within a statement: where the order counts, there are two.
G = {
    "identity": "s = c + u",
    "relu": "s = clip(c + u, 0, inf)",
    "leaky_relu": "s = c + u\ns = clip(s, 0, inf) + slope*clip(s, -inf, 0)",
}
THRESHOLD = {"step": {False: "s > threshold", True: "s >= threshold"}}  # by at_threshold
H = {
    "sigmoid": "y = 0.5*(1 + tanh(0.5*(s - threshold)))",
    "tanh": "y = tanh(s - threshold)",
    "identity": "y = s - threshold",
}
WHOLE = {  # the same, by numpy's tanh of the whole group: a fourth of the time of the C library's, and its very bits
    "sigmoid": "y = 0.5*(1 + tanh_of_all(0.5*(s - threshold), i))",
    "tanh": "y = tanh_of_all(s - threshold, i)",
}
ROUNDED = {  # the carried state, in whole steps of the grid of a unit in fixed point
    "floor": "c = rounded_down(c*steps)*step",  # Brian2's own floor gives integers of 32 bits
    "zero": "c = rounded_to_zero(c*steps)*step",
}
SATURATED = "s = clip(s, low, high)"
RESET = {  # what a spike does to c = decay*s
    "to_zero": "c = 0",
    "lateral": "",  # lateral_*: synapses from every neuron to every neuron of its sample
    "subtract": "c -= threshold",
    "subtract_decayed": "c = decay*(s - threshold)",
    "none": "",
}
RESET_CONTINUOUS = {"to_zero": "s = 0", "subtract_decayed": "s -= threshold", "none": ""}
"""What a spike does to s before it decays: what these resets do to c."""
CARRIED = {  # c with a graded y
    "to_zero": "c = s*(1 - y)\nc = decay*c",
    "lateral": "c = s*(1 - largest(y, i))\nc = decay*c",
    "subtract": "c = decay*s - threshold*y",
    "subtract_decayed": "c = s - threshold*y\nc = decay*c",
    "none": "c = decay*s",
}
OVER_TIME = {  # r, the reduction up to now of what an output receives: (its update, where it starts)
    "sum": ("r += y", 0.0),
    "mean": ("total += y\nr = total/(t_in_timesteps + 1)", 0.0),
    "max": ("r = clip(y, r, inf)", -np.inf),
    "last": ("r = y", 0.0),
}
# The same for samples one after the other: ``first`` is 1 in the first step of each, ``live`` is 0 in the silence.
OVER_EACH = {
    "sum": "r = r*(1 - first) + y",
    "mean": "total = total*(1 - first) + y\nr = total/(t_in_timesteps % sample_period + 1)",
    "max": "r = clip(y, r, inf)*(1 - first) + y*first",
    "last": "r = y",
}
PACED = (
    "sample_period : integer (constant, shared)\nsample_steps : integer (constant, shared)\n"
    "first = int(t_in_timesteps % sample_period == 0) : 1 (shared)\n"
    "live = int(t_in_timesteps % sample_period < sample_steps) : 1 (shared)\n"
)
POTENTIAL = (
    "v = v_rest + s*(v_threshold - v_rest) : volt\n"
    "v_fire = v_rest + threshold*(v_threshold - v_rest) : volt\n"  # where each neuron's own threshold is
)


@dataclass(frozen=True)
class Form:
    """What equations a network has, and what they run on.

    ``dt``           seconds of a step
    ``target``       "numpy", "cython" or "cpp_standalone"
    ``continuous``   whether units decay by ds/dt = -s/tau instead of step by step
    ``volts``        v_rest and v_threshold, where s is 0 and 1; no potential if None
    """

    dt: float
    target: str
    continuous: bool = False
    volts: tuple[float, float] | None = None


def is_graded(stop: Mapping[str, Any]) -> bool:
    """Whether a stop puts out any numbers y, not spikes."""
    graded: bool = stop["kind"] != "unit" or stop["h"]["kind"] in H
    return graded


def is_binary(entry: Mapping[str, Any]) -> bool:
    """Whether an input of the plan takes 0 and 1 only, and is spikes."""
    return (entry["low"], entry["high"], entry["fraction_bits"]) == (0, 1, 0)


def is_by_whole(stop: Mapping[str, Any], form: Form) -> bool:
    """Whether y is computed apart from s, of the whole group at once."""
    return form.target == "cython" and stop["kind"] == "unit" and stop["h"]["kind"] in WHOLE


def equations(
    stop: Mapping[str, Any], onsets: Sequence[int], paced: bool, form: Form
) -> tuple[str, list[str], str | None, str | None]:
    """The model, the updates in each step, the threshold and the reset of a stop, biases setting in at ``onsets``.

    ``paced``: for samples that follow one another in time.
    """
    if stop["kind"] == "input":
        return (
            ("y = stream(t, i) : 1", [], "y != 0", "")
            if stop["binary"]
            else ("y : 1", ["y = stream(t, i)"], "y != 0", "")
        )
    step = "t_in_timesteps % sample_period" if paced else "t_in_timesteps"
    model = PACED if paced else ""
    model += "".join(["u : 1\n", *(f"bias_{onset} : 1 (constant)\n" for onset in onsets)])
    update = "".join(f"u += bias_{onset}*int({step} >= {onset})\n" for onset in onsets)
    silent = "\ny = y*live" if paced else ""
    if stop["kind"] == "relay":
        if stop["divisor"] != 1:
            model += "y : 1\ndivisor : 1 (constant)"
            return model, [f"{update}y = u/divisor{silent}\nu = 0"], "y != 0", ""
        return f"{model}y : 1", [f"{update}y = u{silent}\nu = 0"], "y != 0", ""
    if stop["kind"] == "output":
        update += "y = u\nu = 0"
        if stop["over_time"] is not None:
            model += "r : 1\ntotal : 1\n" if stop["over_time"] == "mean" else "r : 1\n"
            update += "\n" + (OVER_EACH[stop["over_time"]] if paced else OVER_TIME[stop["over_time"]][0])
        return f"{model}y : 1", [update], None, None
    state = "s" if form.continuous else "c"
    model += (
        "ds/dt = -s/tau : 1\ntau : second (constant)\n" if form.continuous else "s : 1\nc : 1\ndecay : 1 (constant)\n"
    )
    model += "threshold : 1 (constant)\n"
    if form.volts is not None:
        model += POTENTIAL
    if paced:
        model += f"{state}_start : 1 (constant)\n"
        update += f"{state} = {state}*(1 - first) + {state}_start*first\n"
    activation = "s += u" if form.continuous else G[stop["g"]["kind"]]
    if "grid" in stop:
        activation = f"{ROUNDED[stop['grid']['rounding']]}\n{activation}\n{SATURATED}"
    update += f"{activation}\nu = 0\n"
    if paced:
        update += "s = s*live\n"
    if is_graded(stop):
        whole = is_by_whole(stop, form)
        output = f"{(WHOLE if whole else H)[stop['h']['kind']]}{silent}"
        if stop["reset"] != "lateral" and not form.continuous:
            output += f"\n{CARRIED[stop['reset']]}"
        return f"{model}y : 1", [update, output] if whole else [update + output], "y != 0", ""
    threshold = THRESHOLD["step"][stop["h"]["at_threshold"]]
    if paced:
        threshold = f"{threshold} and live > 0"
    if form.continuous:
        return model, [update], threshold, RESET_CONTINUOUS[stop["reset"]]
    return model, [f"{update}c = decay*s"], threshold, RESET[stop["reset"]]


def time_constants(decay: Array, dt: float, target: str) -> tuple[Array, Array]:
    """tau in seconds, and exp(-dt/tau) as the target computes it: ``decay`` to the bit wherever a tau gives it.

    Among the 64 neighbors on either side of -dt/ln(decay) the one that comes closest is taken. A decay of 1 has an
    infinite tau; one of 0 a tau so short that nothing is left after a step.
    """
    with np.errstate(all="ignore"):
        first = -dt / np.log(decay)
    first = np.where(decay == 0, dt / 2000, np.where(decay == 1, np.inf, first))
    tau, reached = first, decays_of(first, dt, target)
    for steps in range(1, 65):
        for sign in (-1, 1):
            near = first + np.where(np.isfinite(first), sign * steps * np.spacing(first), 0)
            given = decays_of(near, dt, target)
            closer = np.abs(given - decay) < np.abs(reached - decay)
            tau, reached = np.where(closer, near, tau), np.where(closer, given, reached)
    return tau, reached


def decays_of(tau: Array, dt: float, target: str) -> Array:
    """exp(-dt/tau): numpy's own, or that of the C library."""
    with np.errstate(under="ignore"):
        exponents = -dt / tau
        if target == "numpy":
            return np.asarray(np.exp(exponents))
        return np.array([math.exp(exponent) for exponent in exponents])


class Names:
    """Names for Brian2: identifiers, each free together with the names that are derived from it."""

    DERIVED = (
        "",
        "_update",
        "_output",
        "_stateupdater",
        "_spike_thresholder",
        "_spike_resetter",
        "_pre",
        "_lateral",
        "_stream",
    )

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """``wanted`` with _ for what no identifier has, numbered if it is taken."""
        stem = re.sub(r"^(?=[0-9])", "_", re.sub(r"[^A-Za-z0-9_]", "_", wanted))
        name, count = stem, 1
        while not self.taken.isdisjoint(name + suffix for suffix in self.DERIVED):
            count += 1
            name = f"{stem}_{count}"
        self.taken.update(name + suffix for suffix in self.DERIVED)
        return name

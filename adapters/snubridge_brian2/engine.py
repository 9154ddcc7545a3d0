"""A network of Spiking Neural Units in Brian2, step for step.

One time step at stop k = 1, 2, ... (an input, relay, unit or output, in the order of evaluation):

    slot        order  object
    thresholds  3k-2   ff_*        synapses without delay: u_post += w, or w*y_pre from a graded source
    thresholds  3k-1   <k>_update  a unit: s = g(c + u), c = decay*s; any other: y = u; then u = 0. In fixed point
                                   c is rounded to whole steps before, and s is clipped after g
    thresholds  3k     <k>         spikes, s > threshold; of a graded y the events y != 0
    synapses    -1     rec_*       synapses with a delay of d >= 1 steps, (d - 1)*dt in Brian2: u is read one step on
    resets      3k     <k>         what a spike does to the carried state c
    end                state_*     monitors of s and y

All variables are without unit: drive u, state s, carried state c, graded output y. A synapse reads
y when its event arrives, so delayed graded values pass along line_*, groups of one-step relays.
"""

import re
from collections.abc import Mapping, Sequence
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
CARRIED = {  # c with a graded y
    "to_zero": "c = s*(1 - y)\nc = decay*c",
    "lateral": "c = s*(1 - largest(y))\nc = decay*c",
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


def build(plan: Plan, arrays: Mapping[str, Array], dt: float = 1e-3) -> Any:
    """The ``brian2.Network`` of one sample, its inputs silent; dt in seconds.

    ``network.object_names`` maps the names of nodes to those of their groups, ``network.monitors`` the keys of
    a trace ("spikes/<unit>", "states/<unit>", "outputs/<output>") to the monitors. Feed x (T, size) to an input by
    ``network[...].namespace["stream"] = TimedArray(x, dt=dt*second)`` before the run: x as it is (a network of
    float32 parameters expects float32 values, one in fixed point multiples of the input's step within its range),
    whose last row holds on if the run is longer. The dynamics are in the groups' ``<name>_update``
    (``run_regularly``). Add your own objects with ``network.add``.
    """
    silence = {entry["name"]: np.zeros((1, 1, int(np.prod(entry["shape"])))) for entry in plan["inputs"]}
    circuit = Circuit(plan, arrays, silence, ("spikes", "states"), dt)
    circuit.network.monitors = circuit.monitors
    circuit.network.run(0 * circuit.dt, namespace={})  # else Brian2 complains of each object if none is ever run
    return circuit.network


def run(
    plan: Plan,
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    dt: float = 1e-3,
) -> dict[str, Array]:
    """What the monitors recorded, (T, B, size) each; the samples run side by side, as blocks of every group."""
    from brian2 import SpikeMonitor

    steps, samples = next(iter(inputs.values())).shape[:2]
    circuit = Circuit(plan, arrays, inputs, record, dt)
    circuit.network.run(steps * circuit.dt, namespace={})
    recorded = {}
    for key, monitor in circuit.monitors.items():
        if isinstance(monitor, SpikeMonitor):
            values = np.zeros((steps, len(monitor.source)))
            values[np.rint(monitor.t_[:] / dt).astype(int), monitor.i[:]] = 1
        else:
            (variable,) = monitor.record_variables
            values = getattr(monitor, variable).T
        recorded[key] = values.reshape(steps, samples, -1)
    return recorded


def is_runtime() -> bool:
    """Whether Brian2 runs networks at once; in standalone mode it would only write code for later."""
    import brian2
    from brian2.devices.device import RuntimeDevice

    return isinstance(brian2.get_device(), RuntimeDevice)


def largest(samples: int) -> Any:
    """A function for equations that gives every neuron the largest y of its sample's neurons."""
    from brian2 import Function

    def of_its_sample(y: Array) -> Array:
        highest: Array = np.broadcast_to(y, np.shape(y)).reshape(samples, -1).max(axis=1)
        return np.repeat(highest, np.size(y) // samples)

    return Function(of_its_sample, arg_units=[1], return_unit=1)


def rounding() -> dict[str, Any]:
    """The functions of ``ROUNDED``."""
    from brian2 import Function

    functions = {"rounded_down": np.floor, "rounded_to_zero": np.trunc}
    return {name: Function(function, arg_units=[1], return_unit=1) for name, function in functions.items()}


def is_graded(stop: Mapping[str, Any]) -> bool:
    """Whether a stop puts out any numbers y, not spikes."""
    graded: bool = stop["kind"] != "unit" or stop["h"]["kind"] in H
    return graded


def equations(stop: Mapping[str, Any], onsets: Sequence[int]) -> tuple[str, str, str | None, str | None]:
    """The model, the update in each step, the threshold and the reset of a stop, biases setting in at ``onsets``."""
    if stop["kind"] == "input":
        return "y : 1", "y = stream(t, i)", "y != 0", ""
    model = "".join(["u : 1\n", *(f"bias_{onset} : 1 (constant)\n" for onset in onsets)])
    update = "".join(f"u += bias_{onset}*int(t_in_timesteps >= {onset})\n" for onset in onsets)
    if stop["kind"] == "relay":
        if stop["divisor"] != 1:
            return f"{model}y : 1\ndivisor : 1 (constant)", f"{update}y = u/divisor\nu = 0", "y != 0", ""
        return f"{model}y : 1", f"{update}y = u\nu = 0", "y != 0", ""
    if stop["kind"] == "output":
        update += "y = u\nu = 0"
        if stop["over_time"] is not None:
            model += "r : 1\ntotal : 1\n" if stop["over_time"] == "mean" else "r : 1\n"
            update += f"\n{OVER_TIME[stop['over_time']][0]}"
        return f"{model}y : 1", update, None, None
    model += "s : 1\nc : 1\ndecay : 1 (constant)\nthreshold : 1 (constant)\n"
    activation = G[stop["g"]["kind"]]
    if "grid" in stop:
        activation = f"{ROUNDED[stop['grid']['rounding']]}\n{activation}\n{SATURATED}"
    update += f"{activation}\nu = 0\n"
    if is_graded(stop):
        return f"{model}y : 1", f"{update}{H[stop['h']['kind']]}\n{CARRIED[stop['reset']]}", "y != 0", ""
    return model, f"{update}c = decay*s", THRESHOLD["step"][stop["h"]["at_threshold"]], RESET[stop["reset"]]


class Names:
    """Names for Brian2: identifiers, each free together with the names that are derived from it."""

    DERIVED = ("", "_update", "_stateupdater", "_spike_thresholder", "_spike_resetter", "_pre")

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


class Circuit:
    """The ``network`` of a plan, and its ``monitors`` by the keys of a trace."""

    def __init__(
        self, plan: Plan, arrays: Mapping[str, Array], inputs: Mapping[str, Array], record: Sequence[str], dt: float
    ) -> None:
        import brian2
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        if not is_runtime():
            raise RuntimeError("Brian2 is in standalone mode; brian2.set_device('runtime') goes back")
        self.plan, self.arrays, self.inputs = plan, arrays, inputs
        self.stops = {stop["name"]: stop for stop in plan["stops"]}
        self.samples = next(iter(inputs.values())).shape[1]
        self.dt = dt * brian2.second
        self.names = Names()
        self.network = brian2.Network()
        self.network.object_names = {name: self.names.take(name) for name in self.stops}
        # Schedule, clock, target and precision are given: as preferences of the user they might change a spike.
        self.network.schedule = ["start", "groups", "thresholds", "synapses", "resets", "end"]
        self.codegen = {"codeobj_class": NumpyCodeObject}
        self.clocked = {**self.codegen, "clock": brian2.Clock(self.dt, name=self.names.take("clock"))}
        self.lines: dict[str, Any] = {}
        self.monitors: dict[str, Any] = {}
        self.order = {name: 3 * k for k, name in enumerate(self.stops, 1)}
        self.groups = {
            name: self.group(stop, self.network.object_names[name], self.order[name])
            for name, stop in self.stops.items()
        }
        for path in plan["paths"]:
            self.path(**path)
        for name, stop in self.stops.items():
            if stop.get("reset") == "lateral" and not is_graded(stop):
                self.lateral(name)
            self.watch(name, stop, record)

    def group(self, stop: Mapping[str, Any], label: str, order: int) -> Any:
        """The neurons of a stop, a block of them for each sample."""
        from brian2 import NeuronGroup, TimedArray

        name, onsets = stop["name"], self.onsets(stop["name"])
        values = {f"bias_{onset}": bias for onset, bias in onsets.items()}
        namespace: dict[str, Any] = {}
        if stop["kind"] == "input":
            stream = self.inputs[name].reshape(len(self.inputs[name]), -1)
            namespace["stream"] = TimedArray(stream, dt=self.dt)
        if stop.get("divisor", 1) != 1:
            values["divisor"] = np.full(stop["size"], stop["divisor"])
        if stop.get("over_time") is not None:
            values["r"] = np.full(stop["size"], OVER_TIME[stop["over_time"]][1])
        if stop["kind"] == "unit":
            values |= {field: self.arrays[f"{field}/{name}"] for field in ("decay", "threshold")}
            values["s"] = self.arrays[f"initial_state/{name}"]
            values["c"] = values["decay"] * values["s"]
            namespace |= {key: value for key, value in stop["g"].items() if key != "kind"}
            if "grid" in stop:
                grid = stop["grid"]
                steps = 2.0 ** grid["fraction_bits"]
                namespace |= {"steps": steps, "step": 1 / steps, "low": grid["low"], "high": grid["high"], **rounding()}
            if is_graded(stop) and stop["reset"] == "lateral":
                namespace["largest"] = largest(self.samples)
        model, update, threshold, reset = equations(stop, list(onsets))
        group = NeuronGroup(
            self.samples * stop["size"],
            model,
            threshold=threshold,
            reset=reset,
            order=order,
            namespace=namespace,
            name=label,
            dtype=np.float64,
            **self.clocked,
        )
        group.run_regularly(update, when="thresholds", order=order - 1, name=f"{label}_update")
        for variable, value in values.items():
            setattr(group, variable, np.tile(value, self.samples))
        self.network.add(group)
        return group

    def onsets(self, name: str) -> dict[int, Array]:
        """The constant drive of a stop by the step from which on it is received."""
        drives: dict[int, Array] = {}
        for bias in self.plan["biases"]:
            if bias["target"] == name:
                drives[bias["delay"]] = drives.get(bias["delay"], 0.0) + self.arrays[bias["bias"]]
        return drives

    def path(self, source: str, target: str, delay: int, weight: str | None) -> None:
        """The synapses of a path, for each sample from its block to its block."""
        size = self.stops[source]["size"]
        pre = post = np.arange(size)
        factors, weights = [], None
        if weight is not None and weight in self.arrays:
            matrix = self.arrays[weight]
            pre, post = np.nonzero(matrix.T)
            factors, weights = ["w"], matrix[post, pre]
        elif weight is not None:
            pre, post, weights = (self.arrays[f"{weight}/{part}"] for part in ("sources", "targets", "values"))
            factors = ["w"]
        group, first, options = self.groups[source], 0, {}
        graded = is_graded(self.stops[source])
        if graded:
            factors.append("y_pre")
            if delay:
                group, first = self.line(source), (delay - 1) * self.samples * size
        elif delay:
            options["delay"] = (delay - 1) * self.dt
        synapses = self.synapses(
            f"{'rec' if delay else 'ff'}_{self.groups[source].name}_{self.groups[target].name}",
            group,
            self.groups[target],
            f"u_post += {'*'.join(factors) or 1}",
            first + self.blocks(pre, size),
            self.blocks(post, self.stops[target]["size"]),
            weights,
            **options,
        )
        if graded or not delay:
            synapses.pre.when, synapses.pre.order = "thresholds", self.order[target] - 2

    def line(self, source: str) -> Any:
        """The group that holds what a graded source put out 1, 2, ... steps ago, in this order."""
        if source not in self.lines:
            group = self.groups[source]
            longest = max(path["delay"] for path in self.plan["paths"] if path["source"] == source)
            label = self.names.take(f"line_{group.name}")
            stop = {"name": None, "kind": "relay", "divisor": 1, "size": longest * self.stops[source]["size"]}
            self.lines[source] = line = self.group(stop, label, 0)
            now, past = np.arange(len(group)), np.arange(len(line) - len(group))
            self.synapses(f"{label}_now", group, line, "u_post += y_pre", now, now)
            self.synapses(f"{label}_past", line, line, "u_post += y_pre", past, past + len(group))
        return self.lines[source]

    def lateral(self, unit: str) -> None:
        """Every spike of a unit takes the carried state from every neuron of its sample."""
        size = self.stops[unit]["size"]
        pre, post = (self.blocks(indices, size) for indices in np.divmod(np.arange(size**2), size))
        group = self.groups[unit]
        self.synapses(f"lateral_{group.name}", group, group, "c_post = 0", pre, post).pre.when = "resets"

    def blocks(self, neurons: Array, size: int) -> Array:
        """The indices of these neurons, out of ``size`` for each sample, in every sample."""
        indices: Array = (np.arange(self.samples)[:, np.newaxis] * size + neurons).ravel()
        return indices

    def synapses(
        self,
        label: str,
        source: Any,
        target: Any,
        on_pre: str,
        pre: Array,
        post: Array,
        weights: Array | None = None,
        **options: Any,
    ) -> Any:
        """Synapses from neurons ``pre`` to neurons ``post``, of the same weights in every sample."""
        from brian2 import Synapses

        synapses = Synapses(
            source,
            target,
            "" if weights is None else "w : 1",
            on_pre=on_pre,
            namespace={},
            name=self.names.take(label),
            dtype=np.float64,
            **options,
            **self.clocked,
        )
        if len(pre):
            synapses.connect(i=pre, j=post)
            if weights is not None:
                synapses.w = np.tile(weights, self.samples)
        else:
            synapses.active = False
        self.network.add(synapses)
        return synapses

    def watch(self, name: str, stop: Mapping[str, Any], record: Sequence[str]) -> None:
        """The monitors of a stop. At the end of a step s is still s_t, since resets change c."""
        from brian2 import SpikeMonitor, StateMonitor

        group = self.groups[name]
        variables = {"outputs": "y" if stop["over_time"] is None else "r"} if stop["kind"] == "output" else {}
        if stop["kind"] == "unit":
            variables = {key: variable for key, variable in (("spikes", "y"), ("states", "s")) if key in record}
        for key, variable in variables.items():
            label = self.names.take(f"{'spikes' if key == 'spikes' else 'state'}_{group.name}")
            if key == "spikes" and not is_graded(stop):
                monitor = SpikeMonitor(group, name=label, **self.codegen)
            else:
                monitor = StateMonitor(group, variable, record=True, when="end", name=label, **self.clocked)
            self.monitors[f"{key}/{name}"] = monitor
            self.network.add(monitor)

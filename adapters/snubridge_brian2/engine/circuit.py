"""The ``brian2.Network`` of a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snubridge_brian2.engine.equations import (
    CARRIED,
    OVER_TIME,
    Array,
    Form,
    Names,
    Plan,
    equations,
    is_binary,
    is_by_whole,
    is_graded,
    time_constants,
)
from snubridge_brian2.engine.functions import largest, product, rounding, tanh_of_all, values
from snubridge_brian2.engine.stream import spike_input, stream_of
from snubridge_brian2.engine.targets import strict_cython

DENSE = 1 / 16
"""From this share of weights that are not zero on, a matrix product takes less time than an event for each weight."""


@dataclass(frozen=True)
class Layout:
    """Where the samples of a run are: ``side_by_side`` in every group, and ``in_turn`` in time.

    In turn each has ``steps`` steps, and the next begins ``period`` steps after it.
    """

    side_by_side: int
    in_turn: int
    steps: int
    period: int

    @property
    def paced(self) -> bool:
        """Whether samples follow one another in time."""
        return self.in_turn > 1

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.period * (self.in_turn - 1) + self.steps


class Circuit:
    """The ``network`` of a plan for inputs (T, B, size), and its ``monitors`` by the keys of a trace."""

    def __init__(
        self,
        plan: Plan,
        arrays: Mapping[str, Array],
        inputs: Mapping[str, Array],
        record: Sequence[str],
        layout: Layout,
        form: Form,
    ) -> None:
        import brian2
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        self.plan, self.arrays, self.inputs, self.layout, self.form = plan, arrays, inputs, layout, form
        target = form.target
        self.stops = {stop["name"]: stop for stop in plan["stops"]}
        self.samples = layout.side_by_side
        self.dt = form.dt * brian2.second
        self.names = Names()
        self.network = brian2.Network(name=self.names.take("network"))
        self.network.object_names = {name: self.names.take(name) for name in self.stops}
        # Schedule, clock, target and precision are given: as preferences of the user they might change a spike.
        self.network.schedule = ["start", "groups", "thresholds", "synapses", "resets", "end"]
        self.whole = {} if target == "cpp_standalone" else {"codeobj_class": NumpyCodeObject}
        self.codegen = {"codeobj_class": strict_cython()} if target == "cython" else self.whole
        self.clocked = {**self.codegen, "clock": brian2.Clock(self.dt, name=self.names.take("clock"))}
        self.streams: dict[str, Any] = {}
        self.lines: dict[str, Any] = {}
        self.monitors: dict[str, Any] = {}
        self.spiking = {name for name, stop in self.stops.items() if not is_graded(stop)}
        self.binary = {entry["name"] for entry in plan["inputs"] if is_binary(entry)}
        self.spiking |= self.binary
        if target != "cpp_standalone":  # a project takes any other input later
            self.spiking |= {name for name, x in inputs.items() if x.any() and ((x == 0) | (x == 1)).all()}
        self.order = {name: 4 * k for k, name in enumerate(self.stops, 1)}
        self.paths = [path for path in plan["paths"] if self.arrives(path["delay"])]
        self.heard = {path["source"] for path in self.paths if path["delay"] > 1 or not self.is_whole(path)}
        self.groups = {
            name: self.group(stop, self.network.object_names[name], self.order[name])
            for name, stop in self.stops.items()
        }
        for path in self.paths:
            self.path(path)
        for name, stop in self.stops.items():
            if stop.get("reset") == "lateral":
                self.lateral(name)
            self.watch(name, stop, record)

    def arrives(self, delay: int) -> bool:
        """Whether what is delayed by so many steps arrives before its sample ends."""
        return delay < self.layout.steps or not self.layout.paced

    def group(self, stop: Mapping[str, Any], label: str, order: int) -> Any:
        """The neurons of a stop, a block of them for each sample."""
        from brian2 import NeuronGroup, volt

        name, onsets = stop["name"], self.onsets(stop["name"])
        values = {f"bias_{onset}": bias for onset, bias in onsets.items()}
        namespace: dict[str, Any] = {}
        if stop["kind"] == "input":
            stream = self.inputs[name].reshape(len(self.inputs[name]), -1)
            self.streams[name] = namespace["stream"] = stream_of(stream, self.dt, f"{label}_stream", self.form.target)
        if stop.get("divisor", 1) != 1:
            values["divisor"] = np.full(stop["size"], stop["divisor"])
        if stop.get("over_time") is not None:
            start = 0.0 if self.layout.paced else OVER_TIME[stop["over_time"]][1]
            values["r"] = np.full(stop["size"], start)
        if stop["kind"] == "unit":
            values |= self.started(name)
            if self.form.volts is not None:
                namespace["v_rest"], namespace["v_threshold"] = (value * volt for value in self.form.volts)
            namespace |= {key: value for key, value in stop["g"].items() if key != "kind"}
            if "grid" in stop:
                grid = stop["grid"]
                steps = 2.0 ** grid["fraction_bits"]
                namespace |= {"steps": steps, "step": 1 / steps, "low": grid["low"], "high": grid["high"], **rounding()}
        model, updates, threshold, reset = equations(
            {**stop, "binary": name in self.binary}, list(onsets), self.layout.paced, self.form
        )
        if is_graded(stop) and name is not None and name not in self.heard:
            threshold = reset = None  # no synapse waits for its events
        group = (spike_input() if name in self.binary else NeuronGroup)(
            self.samples * stop["size"],
            model,
            threshold=threshold,
            reset=reset,
            order=order,
            namespace=namespace,
            name=label,
            dtype=np.float64,
            method="exact",  # of what has a differential equation
            **self.clocked,
        )
        if is_by_whole(stop, self.form):
            group.namespace["tanh_of_all"] = tanh_of_all(group, stop["h"]["kind"] == "sigmoid")
        for place, (part, update) in enumerate(zip(("update", "output"), updates, strict=False)):
            options = {"when": "thresholds", "order": order - 2 + place, "name": f"{label}_{part}"}
            group.run_regularly(update, **options, **self.codegen)
        if reset == "":
            group.resetter["spike"].active = False  # it would do nothing, in every step
        for variable, value in values.items():
            setattr(group, variable, np.tile(value, self.samples))
        if "sample_period" in group.variables:
            group.sample_period, group.sample_steps = self.layout.period, self.layout.steps
        self.network.add(group)
        return group

    def started(self, unit: str) -> dict[str, Array]:
        """The parameters of a unit, and its variables before the first step."""
        decay, threshold, s = (self.arrays[f"{field}/{unit}"] for field in ("decay", "threshold", "initial_state"))
        values = {"threshold": threshold, "s": s}
        if self.form.continuous:
            values["tau_"], decay = time_constants(decay, self.form.dt, self.form.target)
            state = "s"
        else:
            values |= {"decay": decay, "c": decay * s}
            state = "c"
        if self.layout.paced:
            values[f"{state}_start"] = decay * s
        return values

    def onsets(self, name: str) -> dict[int, Array]:
        """The constant drive of a stop by the step from which on it is received."""
        drives: dict[int, Array] = {}
        for bias in self.plan["biases"]:
            if bias["target"] == name:
                drives[bias["delay"]] = drives.get(bias["delay"], 0.0) + self.arrays[bias["bias"]]
        return drives

    def path(self, path: Mapping[str, Any]) -> None:
        """The synapses of a path, for each sample from its block to its block."""
        source, target, delay, weight = (path[key] for key in ("source", "target", "delay", "weight"))
        size = self.stops[source]["size"]
        graded = source not in self.spiking
        group, first, later = self.groups[source], 0, max(delay - 1, 0)
        if graded and delay > 1:
            group, first, later = self.line(source), (delay - 2) * self.samples * size, 0
        label = f"{'rec' if delay else 'ff'}_{self.groups[source].name}_{self.groups[target].name}"
        if graded and weight is None:
            self.pass_on(self.names.take(label), group, first, target, delay)
            return
        if self.is_dense(path):
            self.multiply(self.names.take(label), group, first, target, delay, self.arrays[weight])
            return
        pre = post = np.arange(size, dtype=np.int32)
        weights = None
        if weight in self.arrays:
            matrix = self.arrays[weight]
            pre, post = (index.astype(np.int32) for index in np.nonzero(matrix.T))
            weights = matrix[post, pre]
        elif weight is not None:
            pre, post, weights = (self.arrays[f"{weight}/{part}"] for part in ("sources", "targets", "values"))
        factors = [*(["w"] if weights is not None else []), *(["y_pre"] if graded else [])]
        synapses = self.synapses(
            self.names.take(label),
            group,
            self.groups[target],
            f"u_post += {'*'.join(factors) or 1}",
            first + self.blocks(pre, size),
            self.blocks(post, self.stops[target]["size"]),
            weights,
            delay=later * self.dt,  # one for all, also if it is 0: 8 bytes less for each
        )
        if not delay:
            synapses.pre.when, synapses.pre.order = "thresholds", self.order[target] - 3

    def is_whole(self, path: Mapping[str, Any]) -> bool:
        """Whether the values of its source are taken as a whole, without events."""
        return self.is_dense(path) or (path["weight"] is None and path["source"] not in self.spiking)

    def is_dense(self, path: Mapping[str, Any]) -> bool:
        """Whether its matrix is multiplied as a whole: mostly not zero, as are the values that it meets."""
        source, matrix = self.stops[path["source"]], self.arrays.get(path["weight"] or "")
        if matrix is None or source["kind"] == "input" or not is_graded(source):
            return False
        return bool(np.count_nonzero(matrix) >= DENSE * matrix.size)

    def pass_on(self, label: str, group: Any, first: int, target: str, delay: int) -> None:
        """What synapses of weight 1 from each value to its like would do to u."""
        self.drive(label, values(f"{label}_drive", group, first), target, delay)

    def multiply(self, label: str, group: Any, first: int, target: str, delay: int, matrix: Array) -> None:
        """What synapses of all weights of ``matrix`` would do to u, as one product."""
        self.drive(label, product(f"{label}_drive", matrix, group, first, self.samples), target, delay)

    def drive(self, label: str, function: Any, target: str, delay: int) -> None:
        """Add a function of the neurons to their u where synapses of this delay would act."""
        reached = self.groups[target]
        when, order = ("synapses", -1) if delay else ("thresholds", self.order[target] - 3)
        reached.namespace[f"{label}_drive"] = function
        reached.run_regularly(f"u += {label}_drive(i)", when=when, order=order, name=label, **self.codegen)

    def line(self, source: str) -> Any:
        """The group that holds what a graded source put out 1, 2, ... steps ago, in this order."""
        if source not in self.lines:
            group = self.groups[source]
            delays = [path["delay"] for path in self.plan["paths"] if path["source"] == source]
            longest = max(delay for delay in delays if delay < self.layout.steps or not self.layout.paced) - 1
            label = self.names.take(f"line_{group.name}")
            stop = {"name": None, "kind": "relay", "divisor": 1, "size": longest * self.stops[source]["size"]}
            self.lines[source] = line = self.group(stop, label, 0)
            now, past = np.arange(len(group)), np.arange(len(line) - len(group))
            for part, start, pre in (("now", group, now), ("past", line, past)):
                post = past + len(group) if start is line else now
                self.synapses(self.names.take(f"{label}_{part}"), start, line, "u_post += y_pre", pre, post)
        return self.lines[source]

    def lateral(self, unit: str) -> None:
        """Every spike of a unit takes the carried state from every neuron of its sample."""
        size = self.stops[unit]["size"]
        group = self.groups[unit]
        if is_graded(self.stops[unit]):
            group.namespace["largest"] = largest(f"{group.name}_largest", group, size)
            options = {"when": "resets", "order": self.order[unit], "name": f"{group.name}_lateral"}
            group.run_regularly(CARRIED["lateral"], **options, **self.whole)
            return
        pre, post = (self.blocks(indices, size) for indices in np.divmod(np.arange(size**2), size))
        label = self.names.take(f"lateral_{group.name}")
        self.synapses(label, group, group, "c_post = 0", pre, post).pre.when = "resets"

    def blocks(self, neurons: Array, size: int) -> Array:
        """The indices of these neurons, out of ``size`` for each sample, in every sample."""
        starts = np.arange(self.samples, dtype=np.int32)[:, np.newaxis] * np.int32(size)
        indices: Array = (starts + neurons.astype(np.int32)).ravel()
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
            name=label,
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
        """The monitors of a stop. At the end of a step s is still s_t where resets change c."""
        from brian2 import SpikeMonitor, StateMonitor

        group = self.groups[name]
        variables: dict[str, Any] = (
            {"outputs": "y" if stop["over_time"] is None else "r"} if stop["kind"] == "output" else {}
        )
        if stop["kind"] == "unit":
            state = ["s", "v"] if "potentials" in record and self.form.volts is not None else "s"
            variables = {key: variable for key, variable in (("spikes", "y"), ("states", state)) if key in record}
        for key, variable in variables.items():
            label = self.names.take(f"{'spikes' if key == 'spikes' else 'state'}_{group.name}")
            if key == "spikes" and not is_graded(stop):
                monitor = SpikeMonitor(group, name=label, **self.codegen)
            else:
                when = "before_resets" if self.form.continuous else "end"
                monitor = StateMonitor(group, variable, record=True, when=when, name=label, **self.clocked)
            self.monitors[f"{key}/{name}"] = monitor
            self.network.add(monitor)

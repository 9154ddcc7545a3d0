"""The digital twin of a described chip: what its crossbars and its periphery compute, step by step.

It knows nothing but the description and its arrays. In one step, in the order of the schedule:

    drive    = sum over the routes into an element, each the source's output of delay_steps ago
    crossbar   currents = drive @ (G_plus - G_minus)   [uS];   y = currents * column_scale + bias,
               one use after another where there are several, of a window at each of its positions
    pool       the sum or the mean over each window
    neurons    s = g(carried(s, y) + drive),   y = h(s - threshold)
               on a fixed-point grid carried is rounded to whole steps first, and s saturates after g

All in float64. Scales are powers of two, so a crossbar rounds exactly where drive @ weight would.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from snubridge.errors import BadInput
from snubridge.ir.numbers import Array

Element = Callable[[Array], Array]
Entry = Mapping[str, Any]

CARRIED: Mapping[str, Callable[[Array, Array, Array, Array], Array]] = {
    "to_zero": lambda decay, threshold, s, y: decay * (s * (1.0 - y)),
    "lateral": lambda decay, threshold, s, y: decay * (s * (1.0 - _winner(y))),
    "subtract": lambda decay, threshold, s, y: decay * s - threshold * y,
    "subtract_decayed": lambda decay, threshold, s, y: decay * (s - threshold * y),
    "none": lambda decay, threshold, s, y: decay * s,
}
G: Mapping[str, Callable[[Entry, Array], Array]] = {
    "identity": lambda g, s: s,
    "relu": lambda g, s: np.maximum(s, 0.0),
    "leaky_relu": lambda g, s: np.where(s > 0, s, g["slope"] * s),
}
H: Mapping[str, Callable[[Entry, Array, Array], Array]] = {
    "step": lambda h, s, threshold: np.where(s >= threshold if h["at_threshold"] else s > threshold, 1.0, 0.0),
    "sigmoid": lambda h, s, threshold: 0.5 + 0.5 * np.tanh(0.5 * (s - threshold)),
    "tanh": lambda h, s, threshold: np.tanh(s - threshold),
    "identity": lambda h, s, threshold: s - threshold,
}


ROUNDED: Mapping[str, Callable[[Array], Array]] = {"floor": np.floor, "zero": np.fix}


def _winner(y: Array) -> Array:
    """The largest y of each sample, (B, 1, ...)."""
    largest: Array = y.reshape(len(y), -1).max(axis=1)
    return largest.reshape(-1, *[1] * (y.ndim - 1))


def _counted(y: Array, lengths: Array) -> Array:
    """(T, B, 1, ...): whether a step of a sample counts."""
    steps = np.arange(len(y)).reshape(-1, 1)
    return (steps < lengths).reshape(*y.shape[:2], *[1] * (y.ndim - 2))


def _sum(y: Array, lengths: Array) -> Array:
    total: Array = np.where(_counted(y, lengths), y, 0.0).sum(axis=0)
    return total


REDUCED: Mapping[str | None, Callable[[Array, Array], Array]] = {
    None: lambda y, lengths: y,
    "sum": _sum,
    "mean": lambda y, lengths: _sum(y, lengths) / lengths.reshape(-1, *[1] * (y.ndim - 2)),
    "max": lambda y, lengths: np.where(_counted(y, lengths), y, -np.inf).max(axis=0),
    "last": lambda y, lengths: y[lengths - 1, np.arange(y.shape[1])],
}


def _windows(window: Entry, x: Array) -> Array:
    """(B, C, H, W) to (B, C, kernel_h, kernel_w, out_h, out_w); what lies beyond the sample is 0."""
    (rows, in_rows), (columns, in_columns) = (_places(window, axis, x.shape[2 + axis]) for axis in (0, 1))
    values = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return np.where(in_rows[:, None, :, None] & in_columns[None, :, None, :], values, 0.0)


def _places(window: Entry, axis: int, size: int) -> tuple[Array, Array]:
    """(kernel, out) along one axis: which value stands there, and whether there is one."""
    kernel, stride, padding = (window[key][axis] for key in ("kernel", "stride", "padding"))
    dilation = window["dilation"][axis] if "dilation" in window else 1
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    places = dilation * np.arange(kernel)[:, None] + stride * np.arange(count) - padding
    within = (places >= 0) & (places < size)
    return np.where(within, places, 0), within


POOLED: Mapping[str, Callable[[Array, int], Array]] = {
    "sum": lambda total, count: total,
    "mean": lambda total, count: total / count,
}


class Pool:
    """The digital periphery sums over each window."""

    def __init__(self, entry: Entry) -> None:
        self.window, self.pooled = entry["window"], POOLED[entry["operation"]]

    def __call__(self, x: Array) -> Array:
        return self.pooled(_windows(self.window, x).sum(axis=(2, 3)), math.prod(self.window["kernel"]))


class Crossbars:
    """Rows driven by values, column currents sensed, scaled and biased; the crossbars of one entry, side by side."""

    def __init__(self, entry: Entry, arrays: Mapping[str, Array]) -> None:
        self.net_uS = arrays[entry["G_plus_uS"]] - arrays[entry["G_minus_uS"]]
        self.scale = arrays[entry["column_scale_per_uS"]]
        self.bias = None if entry["bias"] is None else arrays[entry["bias"]].astype(np.float64)
        self.size = entry["crossbars"], entry["rows"], entry["columns"]
        self.window = entry["window"]

    def __call__(self, drive: Array) -> Array:
        currents = self.over_last_axis(drive) if self.window is None else np.moveaxis(self.over_windows(drive), 1, -1)
        y: Array = currents * self.scale
        y = y if self.bias is None else y + self.bias
        return y if self.window is None else np.moveaxis(y, -1, 1)

    def over_last_axis(self, drive: Array) -> Array:
        """(B, ..., rows) to (B, ..., columns) in uS."""
        currents: Array = drive @ self.net_uS
        return currents

    def over_windows(self, drive: Array) -> Array:
        """(B, channels, H, W) to (B, crossbars * columns, out_h, out_w) in uS: each crossbar has its own channels."""
        crossbars, rows, columns = self.size
        values = _windows(self.window, drive)
        samples, positions = len(drive), values.shape[4:]
        driven = values.reshape(samples, crossbars, rows, math.prod(positions))
        net_uS = self.net_uS.reshape(rows, crossbars, columns).transpose(1, 2, 0)
        currents: Array = net_uS @ driven
        return currents.reshape(samples, crossbars * columns, *positions)


class Neurons:
    """A population in the digital periphery; ``s`` and ``y`` are (B, *shape)."""

    def __init__(self, entry: Entry, arrays: Mapping[str, Array], samples: int) -> None:
        self.decay, self.threshold = (arrays[entry[key]].astype(np.float64) for key in ("decay", "threshold"))
        self.grid = entry.get("state")
        self.carried, self.g, self.h = CARRIED[entry["reset"]], entry["g"], entry["h"]
        size = (samples, *entry["shape"])
        self.s = np.broadcast_to(arrays[entry["initial_state"]], size).astype(np.float64)
        self.y = np.zeros(size)

    def __call__(self, drive: Array) -> Array:
        carried = self.carried(self.decay, self.threshold, self.s, self.y)
        if self.grid is not None:
            step = 2.0 ** -self.grid["fraction_bits"]
            carried = ROUNDED[self.grid["rounding"]](carried / step) * step
        self.s = G[self.g["kind"]](self.g, carried + drive)
        if self.grid is not None:
            self.s = np.minimum(np.maximum(self.s, self.grid["low"]), self.grid["high"])
        self.y = H[self.h["kind"]](self.h, self.s, self.threshold)
        return self.y


def simulate(
    hardware: Entry,
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    lengths: Array,
    states: bool = False,
) -> dict[str, dict[str, Array]]:
    """Run the chip: inputs (T, B, *shape) to {"spikes", "states", "outputs"}, each by node.

    ``lengths`` (B,): how many steps of each sample enter reductions over time.
    """
    steps, samples = next(iter(inputs.values())).shape[:2]
    populations = {entry["node"]: Neurons(entry, arrays, samples) for entry in hardware["neurons"]}
    elements: dict[str, Element] = {entry["node"]: Crossbars(entry, arrays) for entry in hardware["crossbars"]}
    elements |= {entry["node"]: Pool(entry) for entry in hardware["pools"]}
    elements |= {entry["node"]: lambda x: x.reshape(len(x), -1) for entry in hardware["reshapes"]}
    elements |= {entry["node"]: lambda x: x for entry in hardware["outputs"]}
    elements |= populations
    routes: dict[str, list[Entry]] = {name: [] for name in elements}
    for route in hardware["routing"]:
        routes[route["to"]].append(route)
    past = _delay_lines(hardware, samples)
    recorded: dict[str, dict[str, list[Array]]] = {
        "spikes": {name: [] for name in populations},
        "states": {name: [] for name in populations if states},
        "outputs": {entry["node"]: [] for entry in hardware["outputs"]},
    }
    for t in range(steps):
        now: dict[str, Array] = {}
        for name in hardware["schedule"]:
            if name in inputs:
                now[name] = inputs[name][t].astype(np.float64)
                continue
            terms = [past[r["from"]](r["delay_steps"]) if r["delay_steps"] else now[r["from"]] for r in routes[name]]
            with np.errstate(over="ignore", invalid="ignore"):
                now[name] = elements[name](sum(terms[1:], start=terms[0]))
            values = populations[name].s if name in populations else now[name]
            if not np.isfinite(values).all():
                raise BadInput(f"node {name} overflows float64 at step {t}: scale the weights or the inputs down")
        for name, value in now.items():
            past[name].push(value)
        for name, neurons in populations.items():
            recorded["spikes"][name].append(neurons.y)
            if states:
                recorded["states"][name].append(neurons.s)
        for name, values_so_far in recorded["outputs"].items():
            values_so_far.append(now[name])
    trace = {group: {name: np.stack(values) for name, values in of.items()} for group, of in recorded.items()}
    for entry in hardware["outputs"]:
        whole = trace["outputs"][entry["node"]]
        trace["outputs"][entry["node"]] = REDUCED[entry["over_time"]](whole, lengths)
    return trace


class DelayLine:
    """What a node put out before, as far back as its longest route and no further than the run; zeros before that."""

    def __init__(self, longest: int, size: tuple[int, ...]) -> None:
        self.values: deque[Array] = deque(maxlen=longest)
        self.size = size

    def __call__(self, delay: int) -> Array:
        return self.values[-delay] if delay <= len(self.values) else np.zeros(self.size)

    def push(self, value: Array) -> None:
        """A step has ended: its output is now one step ago."""
        self.values.append(value)


def _delay_lines(hardware: Entry, samples: int) -> dict[str, DelayLine]:
    """One for each node."""
    groups = ("inputs", "crossbars", "pools", "reshapes", "neurons", "outputs")
    sizes = {entry["node"]: (samples, *entry["shape"]) for group in groups for entry in hardware[group]}
    reach = dict.fromkeys(sizes, 0)
    for route in hardware["routing"]:
        reach[route["from"]] = max(reach[route["from"]], route["delay_steps"])
    return {name: DelayLine(longest, sizes[name]) for name, longest in reach.items()}

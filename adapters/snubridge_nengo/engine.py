# Spiking Neural Units in Nengo. Imports nengo and numpy only: this source is also the exported script.
import contextlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from nengo.exceptions import BuildError, ValidationError
from nengo.params import DictParam, EnumParam, IntParam, NdarrayParam, NumberParam
from numpy.typing import NDArray

Array = NDArray[np.float64]
Settings = Mapping[str, Any]

CARRIED: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "to_zero": lambda decay, threshold, s, y: decay * (s * (1 - y)),
    "lateral": lambda decay, threshold, s, y: decay * (s * (1 - y.max())),
    "subtract": lambda decay, threshold, s, y: decay * s - threshold * y,
    "subtract_decayed": lambda decay, threshold, s, y: decay * (s - threshold * y),
    "none": lambda decay, threshold, s, y: decay * s,
}
G: dict[str, Callable[[Settings, Array], Array]] = {
    "identity": lambda g, x: x,
    "relu": lambda g, x: np.maximum(x, 0.0),
    "leaky_relu": lambda g, x: np.where(x > 0, x, g["slope"] * x),
}
H: dict[str, Callable[[Settings, Array, Array], Array]] = {
    "step": lambda h, s, threshold: np.asarray(s >= threshold if h["at_threshold"] else s > threshold, np.float64),
    "sigmoid": lambda h, s, threshold: 0.5 * (1.0 + np.tanh(0.5 * (s - threshold))),
    "tanh": lambda h, s, threshold: np.tanh(s - threshold),
    "identity": lambda h, s, threshold: s - threshold,
}
ROUNDED: dict[str, Callable[[Array], Array]] = {"floor": np.floor, "zero": np.trunc}
OVER_TIME: dict[str, Callable[[Array, Array, int], Array]] = {  # the reduction up to now: (before, x, steps), from 0
    "sum": lambda before, x, steps: before + x,
    "mean": lambda before, x, steps: before + x,  # the sum, which `Running` divides by the steps
    "max": lambda before, x, steps: x if steps == 1 else np.maximum(before, x),
    "last": lambda before, x, steps: x,
}


class SNU(nengo.neurons.NeuronType):
    """Spiking Neural Units: s_t = g(c_{t-1} + J_t), y_t = h(s_t - threshold), time counted in steps.

    ``decay``, ``threshold``: (n_neurons,), without unit. ``reset`` names the carried state c, see
    ``CARRIED``; ``g`` and ``h`` are {"kind": ..., settings}. State variables, both probeable: ``s``,
    before the reset, and ``y``. The output is y itself: a spike is 1, not 1/dt.
    ``grid``, in fixed point {"fraction_bits", "rounding", "low", "high"}, else {}: c is rounded to whole steps of
    2^-fraction_bits before J is added, and s is clipped after g.
    """

    state = {"s": nengo.dists.Choice([0.0]), "y": nengo.dists.Choice([0.0])}  # noqa: RUF012  # as Nengo's types do

    decay = NdarrayParam("decay", shape=("*",))
    threshold = NdarrayParam("threshold", shape=("*",))
    reset = EnumParam("reset", values=tuple(CARRIED))
    g = DictParam("g")
    h = DictParam("h")
    grid = DictParam("grid")

    def __init__(
        self,
        decay: Array,
        threshold: Array,
        reset: str,
        g: Settings,
        h: Settings,
        initial_state: Mapping[str, Array],
        grid: Settings = types.MappingProxyType({}),
    ) -> None:
        super().__init__(dict(initial_state))
        self.decay = decay
        self.threshold = threshold
        self.reset = reset
        self.g = dict(g)
        self.h = dict(h)
        self.grid = dict(grid)

    # Nengo's optimizer joins the populations of equal neuron types: parameters are per neuron here, and the
    # lateral reset knows its own population, so no two types are equal.
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def spiking(self) -> bool:
        return bool(self.h["kind"] == "step")

    def gain_bias(self, max_rates: Any, intercepts: Any) -> tuple[Array, Array]:
        """No tuning curve is solved for: gain 1 and bias 0."""
        return np.ones(np.shape(max_rates)), np.zeros(np.shape(max_rates))

    def max_rates_intercepts(self, gain: Any, bias: Any) -> tuple[None, None]:
        """Always ``None, None``: a unit with memory has no such rates."""
        return None, None

    def rates(self, x: Any, gain: Any, bias: Any) -> Array:
        """Raises: connect and probe ``.neurons``, there is no tuning curve to decode from."""
        raise NotImplementedError("SNU has no rates to solve decoders with: connect from and to ensemble.neurons")

    def make_state(self, n_neurons: int, rng: Any = np.random, dtype: Any = None) -> dict[str, Any]:
        """The initial state; refuses 32 bits, in which other spikes would follow."""
        if n_neurons != self.decay.size:
            raise BuildError(f"SNU: parameters for {self.decay.size} neurons, an ensemble of {n_neurons}")
        state: dict[str, Any] = super().make_state(n_neurons, rng=rng, dtype=dtype)
        if any(values.dtype != np.float64 for values in state.values()):
            raise BuildError("SNU computes in float64: set nengo.rc['precision']['bits'] = '64'")
        return state

    def step(self, dt: float, J: Array, output: Array, s: Array, y: Array) -> None:
        """One step of all neurons; ``dt`` does not enter."""
        decay, threshold, g, h = self.decay, self.threshold, self.g, self.h
        carried, grid = CARRIED[self.reset](decay, threshold, s, y), self.grid
        if grid:
            steps = np.ldexp(carried, grid["fraction_bits"])
            carried = np.ldexp(ROUNDED[grid["rounding"]](steps), -grid["fraction_bits"])
        s[...] = G[g["kind"]](g, carried + J)
        if grid:
            s[...] = np.clip(s, grid["low"], grid["high"])
        y[...] = H[h["kind"]](h, s, threshold)
        output[...] = y


class Frames(nengo.Process):
    """``values`` (T, size), one row a step, whatever dt is; zeros before they are set and after their end."""

    numbers = EnumParam("numbers", values=("float32", "float64", "fixed_point"))
    limits = DictParam("limits")

    def __init__(
        self,
        default_size_out: int,
        numbers: str = "float64",
        limits: Settings = types.MappingProxyType({}),
        default_dt: float = 0.001,
    ) -> None:
        super().__init__(default_size_in=0, default_size_out=default_size_out, default_dt=default_dt)
        self.numbers = numbers
        self.limits = dict(limits)
        self._values: Array = np.zeros((0, default_size_out))

    @property
    def values(self) -> Array:
        """(T, size), rounded to the network's numbers when set; in fixed point on the grid and in the range instead.

        ``limits`` are {"low", "high", "fraction_bits"}.
        """
        return self._values

    @values.setter
    def values(self, values: Any) -> None:
        with np.errstate(over="ignore"):
            fixed = self.numbers == "fixed_point"
            rounded = np.asarray(values).astype("float64" if fixed else self.numbers).astype(np.float64)
        sound = rounded.ndim == 2 and rounded.shape[1] == self.default_size_out and np.isfinite(rounded).all()
        needed = f"(steps, {self.default_size_out}), finite in {self.numbers}"
        if fixed:
            low, high, bits = (self.limits[key] for key in ("low", "high", "fraction_bits"))
            needed += f", multiples of 2^-{bits} from {low} to {high}"
            sound = sound and bool(((rounded >= low) & (rounded <= high) & (np.ldexp(rounded, bits) % 1 == 0)).all())
        if not sound:
            raise ValidationError(f"needed {needed}; got {rounded.shape}", attr="values", obj=self)
        self._values = rounded

    def make_step(self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any) -> Callable[[float], Array]:
        def step(t: float) -> Array:
            row = round(t / dt) - 1
            return self._values[row] if row < len(self._values) else np.zeros(shape_out)

        return step


class Running(nengo.Process):
    """The reduction over all steps up to now of what a Node receives; ``over_time`` names it, see ``OVER_TIME``."""

    over_time = EnumParam("over_time", values=tuple(OVER_TIME))

    def __init__(self, over_time: str, size: int, default_dt: float = 0.001) -> None:
        super().__init__(default_size_in=size, default_size_out=size, default_dt=default_dt)
        self.over_time = over_time

    def make_state(self, shape_in: Any, shape_out: Any, dt: float, dtype: Any = None) -> dict[str, Any]:
        return {"reduced": np.zeros(shape_out), "steps": np.zeros((), dtype=np.int64)}

    def make_step(
        self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any
    ) -> Callable[[float, Array], Array]:
        reduced, steps = state["reduced"], state["steps"]

        def step(t: float, x: Array) -> Array:
            steps[...] += 1
            reduced[...] = OVER_TIME[self.over_time](reduced, x, int(steps))
            now: Array = reduced / steps if self.over_time == "mean" else reduced.copy()
            return now

        return step


class Divided(nengo.Process):
    """What a Node receives, by ``divisor``: an average divides once, after it has summed."""

    divisor = NumberParam("divisor")

    def __init__(self, divisor: float, size: int, default_dt: float = 0.001) -> None:
        super().__init__(default_size_in=size, default_size_out=size, default_dt=default_dt)
        self.divisor = divisor

    def make_step(
        self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any
    ) -> Callable[[float, Array], Array]:
        return lambda t, x: x / self.divisor


class Delay(nengo.synapses.Synapse):
    """A connection's values of exactly ``steps`` >= 2 steps ago, zero before.

    The line holds one value less, since Nengo adds one step to every synapse by itself.
    """

    steps = IntParam("steps", low=2)

    def __init__(self, steps: int, default_dt: float = 0.001) -> None:
        super().__init__(default_dt=default_dt)
        self.steps = steps

    def make_state(self, shape_in: Any, shape_out: Any, dt: float, dtype: Any = None, y0: Any = 0) -> dict[str, Any]:
        return {"line": np.full((self.steps - 1, *shape_out), y0, dtype=dtype or np.float64)}

    def make_step(
        self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any
    ) -> Callable[[float, Array], Array]:
        line = state["line"]

        def step(t: float, x: Array) -> Array:
            row = round(t / dt) % len(line)
            oldest: Array = line[row].copy()
            line[row] = x
            return oldest

        return step


def build(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    record: Sequence[str] = ("spikes", "states"),
    dt: float = 0.001,
) -> nengo.Network:
    """The network for one sample; it runs under any ``nengo.Simulator(net, dt)``.

    ``net.input``, ``net.output``   the Node, or a dict by name where there are several (or none)
    ``net.units``                   the Ensembles by name
    ``net.spikes``, ``net.states``, ``net.outputs``   the Probes by name

    The input is silent until ``net.input.output.values`` is set to an array (T, size).
    """
    net = nengo.Network(label="Spiking Neural Units", seed=0, add_to_container=False)
    kinds: dict[str, dict[str, Any]] = {"input": {}, "relay": {}, "unit": {}, "output": {}}
    ports: dict[str, Any] = {}
    with net:
        for stop in plan["stops"]:
            name, kind = stop["name"], stop["kind"]
            if kind == "unit":
                kinds[kind][name] = ensemble = _ensemble(stop, arrays)
                ports[name] = ensemble.neurons
            else:
                limits: Settings = next((entry for entry in plan["inputs"] if entry["name"] == name), {})
                kinds[kind][name] = ports[name] = _stop(stop, plan["numbers"], limits, dt)
        for path in plan["paths"]:
            source, target = ports[path["source"]], ports[path["target"]]
            _connect(source, target, _transform(path["weight"], arrays, source, target), path["delay"], dt)
        for bias in plan["biases"]:
            constant = _node(arrays[bias["bias"]], len(arrays[bias["bias"]]), 0, bias["bias"])
            _connect(constant, ports[bias["target"]], None, bias["delay"], dt)
        net.spikes = {name: _probe(ports[name], "output") for name in kinds["unit"] if "spikes" in record}
        net.states = {name: _probe(ports[name], "s") for name in kinds["unit"] if "states" in record}
        net.outputs = {name: _probe(node, "output") for name, node in kinds["output"].items()}
    net.units, net.input, net.output = kinds["unit"], _single(kinds["input"]), _single(kinds["output"])
    return net


def run(
    plan: Mapping[str, Any],
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    dt: float = 0.001,
) -> dict[str, Array]:
    """{"spikes/<unit>", "states/<unit>", "outputs/<output>": (T, B, size)} of inputs (T, B, size)."""
    steps, samples = next(iter(inputs.values())).shape[:2]
    with _globals_kept():
        net = build(plan, arrays, record, dt)
        nodes = net.input if isinstance(net.input, dict) else {net.input.label: net.input}
        groups = {"spikes": net.spikes, "states": net.states, "outputs": net.outputs}
        probes = {f"{group}/{name}": probe for group, named in groups.items() for name, probe in named.items()}
        recorded = {key: np.empty((steps, samples, probe.size_in)) for key, probe in probes.items()}
        # A model of our own: the Simulator's would keep a cache of decoders on disk.
        with nengo.Simulator(net, model=nengo.builder.Model(dt=dt), progress_bar=False, optimize=False) as sim:
            for sample in range(samples):
                for name, node in nodes.items():
                    node.output.values = inputs[name][:, sample]
                sim.reset()
                sim.run_steps(steps)
                for key, probe in probes.items():
                    recorded[key][:, sample] = sim.data[probe]
    return recorded


def _ensemble(unit: Mapping[str, Any], arrays: Mapping[str, Array]) -> nengo.Ensemble:
    name = unit["name"]
    neurons = SNU(
        arrays[f"decay/{name}"],
        arrays[f"threshold/{name}"],
        reset=unit["reset"],
        g=unit["g"],
        h=unit["h"],
        initial_state={"s": arrays[f"initial_state/{name}"]},
        grid=unit.get("grid", {}),
    )
    one, zero = nengo.dists.Choice([1.0]), nengo.dists.Choice([0.0])
    return nengo.Ensemble(unit["size"], 1, neuron_type=neurons, gain=one, bias=zero, noise=None, label=name)


def _stop(stop: Mapping[str, Any], numbers: str, limits: Settings, dt: float) -> nengo.Node:
    """The Node of an input, a relay or an output."""
    size, process = stop["size"], None
    if stop["kind"] == "input":
        checked = {key: limits[key] for key in ("low", "high", "fraction_bits")} if numbers == "fixed_point" else {}
        return _node(Frames(size, numbers, checked, default_dt=dt), size, 0, stop["name"])
    if stop.get("divisor", 1) != 1:
        process = Divided(stop["divisor"], size, default_dt=dt)
    if stop.get("over_time") is not None:
        process = Running(stop["over_time"], size, default_dt=dt)
    return _node(process, size, size, stop["name"])


def _transform(weight: Any, arrays: Mapping[str, Array], source: Any, target: Any) -> Any:
    """None for values that pass as they are, a matrix, or a sparse one for what is used at many places."""
    if weight is None or weight in arrays:
        return None if weight is None else arrays[weight]
    targets, sources, values = (arrays[f"{weight}/{part}"] for part in ("targets", "sources", "values"))
    if not len(values):  # Nengo has no empty one
        targets, sources, values = np.zeros(1, int), np.zeros(1, int), np.zeros(1)
    shape = target.size_in, source.size_out
    return nengo.Sparse(shape, init=values, indices=np.stack([targets, sources], axis=1))


def _node(output: Any, size: int, size_in: int, label: str) -> nengo.Node:
    """Everything explicit, as in ``_connect``."""
    return nengo.Node(output, size_in=size_in, size_out=None if output is None else size, label=label, seed=None)


def _connect(source: Any, target: Any, weight: Array | None, delay: int, dt: float) -> None:
    """Everything explicit: the defaults are a synapse of 5 ms, and whatever a surrounding network configures."""
    synapse = None if delay == 0 else nengo.Lowpass(0) if delay == 1 else Delay(delay, default_dt=dt)
    nengo.Connection(source, target, transform=weight, synapse=synapse, learning_rule_type=None)


def _probe(target: Any, attribute: str) -> nengo.Probe:
    return nengo.Probe(target, attribute, synapse=None, sample_every=None)


def _single(named: dict[str, Any]) -> Any:
    return next(iter(named.values())) if len(named) == 1 else named


@contextlib.contextmanager
def _globals_kept() -> Iterator[None]:
    """Signals of 64 bits, whatever the user's nengorc says; it and numpy's generator, from which Nengo draws, stay."""
    precision, drawn = nengo.rc["precision"], np.random.get_state()
    bits = precision["bits"]
    precision["bits"] = "64"
    try:
        yield
    finally:
        precision["bits"] = bits
        np.random.set_state(drawn)

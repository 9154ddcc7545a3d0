"""Spiking Neural Units as a neuron type of Nengo."""

import types
from collections.abc import Callable, Mapping
from typing import Any

import nengo
import numpy as np
from nengo.exceptions import BuildError
from nengo.params import DictParam, EnumParam, IntParam, NdarrayParam
from numpy.typing import NDArray

Array = NDArray[np.float64]
Settings = Mapping[str, Any]
times, less = np.multiply, np.subtract

# In ``out``, no new arrays: of large populations, these would take most of the time.
CARRIED: dict[str, Callable[[Array, Array, Array, Array, Array], Array]] = {
    "to_zero": lambda decay, threshold, s, y, out: times(decay, times(s, less(1, y, out), out), out),
    "lateral": lambda decay, threshold, s, most, out: times(decay, times(s, less(1, most, out), out), out),
    "subtract": lambda decay, threshold, s, y, out: less(times(decay, s, out), threshold * y, out),
    "subtract_decayed": lambda decay, threshold, s, y, out: times(decay, less(s, times(threshold, y, out), out), out),
    "none": lambda decay, threshold, s, y, out: times(decay, s, out),
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


class SNU(nengo.neurons.NeuronType):
    """Spiking Neural Units: s_t = g(c_{t-1} + J_t), y_t = h(s_t - threshold), time counted in steps.

    ``decay``, ``threshold``: (n_neurons,), without unit. These may be those of several ``samples``, all of the first,
    then all of the second: the lateral reset is of each by itself. ``reset`` names the carried state c, see
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
    samples = IntParam("samples", low=1)

    def __init__(
        self,
        decay: Array,
        threshold: Array,
        reset: str,
        g: Settings,
        h: Settings,
        initial_state: Mapping[str, Array],
        grid: Settings = types.MappingProxyType({}),
        samples: int = 1,
    ) -> None:
        super().__init__(dict(initial_state))
        self.decay = decay
        self.threshold = threshold
        self.reset = reset
        self.g = dict(g)
        self.h = dict(h)
        self.grid = dict(grid)
        self.samples = samples

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
        most = self._most(y) if self.reset == "lateral" else y
        carried, grid = CARRIED[self.reset](decay, threshold, s, most, output), self.grid
        if grid:
            steps = np.ldexp(carried, grid["fraction_bits"])
            carried = np.ldexp(ROUNDED[grid["rounding"]](steps), -grid["fraction_bits"])
        s[...] = G[g["kind"]](g, carried + J)
        if grid:
            s[...] = np.clip(s, grid["low"], grid["high"])
        y[...] = H[h["kind"]](h, s, threshold)
        output[...] = y

    def _most(self, y: Array) -> Array:
        """For each neuron the largest y of its sample."""
        return np.repeat(y.reshape(self.samples, -1).max(axis=1), len(y) // self.samples)

"""What Nengo has no process or synapse for: frames of an input, reductions over time, quotients, whole delays."""

import types
from collections.abc import Callable
from typing import Any

import nengo
import numpy as np
from nengo.exceptions import BuildError, ValidationError
from nengo.params import DictParam, EnumParam, IntParam, NumberParam

from snubridge_nengo.engine.neurons import Array, Settings

OVER_TIME: dict[str, Callable[[Array, Array, int], Array]] = {  # the reduction up to now: (before, x, steps), from 0
    "sum": lambda before, x, steps: before + x,
    "mean": lambda before, x, steps: before + x,  # the sum, which `Running` divides by the steps
    "max": lambda before, x, steps: x if steps == 1 else np.maximum(before, x),
    "last": lambda before, x, steps: x,
}


class Frames(nengo.Process):
    """``values`` (T, size), one row a step, whatever dt is; zeros before they are set and after their end.

    ``only_dt``, in seconds: a Simulator with any other step is refused: the network computes something else there.
    """

    numbers = EnumParam("numbers", values=("float32", "float64", "fixed_point"))
    limits = DictParam("limits")
    only_dt = NumberParam("only_dt", low=0, low_open=True, optional=True)

    def __init__(
        self,
        default_size_out: int,
        numbers: str = "float64",
        limits: Settings = types.MappingProxyType({}),
        only_dt: float | None = None,
        default_dt: float = 0.001,
    ) -> None:
        super().__init__(default_size_in=0, default_size_out=default_size_out, default_dt=default_dt)
        self.only_dt = only_dt
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
            rounded = np.asarray(values).astype("float64" if fixed else self.numbers).astype(np.float64, copy=False)
        sound = rounded.ndim == 2 and rounded.shape[1] == self.default_size_out and np.isfinite(rounded).all()
        needed = f"(steps, {self.default_size_out}), finite in {self.numbers}"
        if fixed:
            low, high, bits = (self.limits[key] for key in ("low", "high", "fraction_bits"))
            needed += f", multiples of 2^-{bits} from {low} to {high}"
            sound = sound and bool(((rounded >= low) & (rounded <= high) & (np.ldexp(rounded, bits) % 1 == 0)).all())
        if not sound:
            raise ValidationError(f"needed {needed}; got {rounded.shape}", attr="values", obj=self)
        self._values = rounded

    def put(self, values: Array) -> None:
        """Set values that were rounded and checked before, as they are."""
        self._values = values

    def make_state(self, shape_in: Any, shape_out: Any, dt: float, dtype: Any = None) -> dict[str, Any]:
        """None; refuses a step in which other spikes would follow."""
        if self.only_dt is not None and dt != self.only_dt:
            raise BuildError(
                f"the network is for steps of {self.only_dt} s, not {dt}: Simulator(net, dt={self.only_dt})"
            )
        return {}

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

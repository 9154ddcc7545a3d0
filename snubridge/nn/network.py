"""A graph as a trainable torch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snubridge.bridge import order, shapes, strongly_connected
from snubridge.errors import BadInput, MissingEngine, Unsupported
from snubridge.ir import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Float32,
    Float64,
    Graph,
    Input,
    Linear,
    Node,
    Output,
    SumPool2d,
    Unit,
    validate,
)
from snubridge.ir.budget import STEPS, beyond, state_grids
from snubridge.ir.numbers import NUMBERS, Array, FixedPoint
from snubridge.nn.kernels import Choice, Dynamics, State, choose, clamped, on_grid, run, step
from snubridge.nn.reductions import Lengths, reduced
from snubridge.nn.surrogates import Surrogate, TanhDerivative

Values = Mapping[str, Tensor]
_ON_A_CYCLE = "is part of a cycle, which runs step by step"


@dataclass(frozen=True)
class NetworkState:
    """Where a run of a ``Network`` stopped: the units' states, and the delay lines, latest step last."""

    units: Mapping[str, State]
    lines: Mapping[str, Tensor]

    def detach(self) -> NetworkState:
        """The same values, cut from the graph of gradients."""
        return NetworkState(
            {name: state.detach() for name, state in self.units.items()},
            {name: line.detach() for name, line in self.lines.items()},
        )


def _linear(node: Linear, p: Values, x: Tensor) -> Tensor:
    return functional.linear(x, p["weight"], p.get("bias"))


def _conv2d(node: Conv2d, p: Values, x: Tensor) -> Tensor:
    return functional.conv2d(x, p["weight"], p.get("bias"), node.stride, node.padding, node.dilation, node.groups)


def _avg_pool2d(node: AvgPool2d, p: Values, x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, node.kernel_size, node.stride, node.padding)


def _sum_pool2d(node: SumPool2d, p: Values, x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, node.kernel_size, node.stride, node.padding, divisor_override=1)


def _flatten(node: Flatten, p: Values, x: Tensor) -> Tensor:
    return x.flatten(1)


def _direct_conv2d(node: Conv2d, p: Values, x: Tensor) -> Tensor:
    """Every product formed and summed: a kernel of another algorithm (Winograd, say) leaves the grid on its way."""
    height, width = node.output_shape(tuple(x.shape[1:]))[1:]
    windows = functional.unfold(x, node.weight.shape[2:], node.dilation, node.padding, node.stride)
    columns = windows.reshape(len(x), node.groups, -1, height * width)
    rows = p["weight"].reshape(node.groups, len(node.weight) // node.groups, -1)
    y: Tensor = (rows @ columns).reshape(len(x), len(node.weight), height, width)
    return y if node.bias is None else y + p["bias"][:, None, None]


OPERATIONS: Mapping[type[Node], Callable[[Any, Values, Tensor], Tensor]] = {
    Linear: _linear,
    Conv2d: _conv2d,
    AvgPool2d: _avg_pool2d,
    SumPool2d: _sum_pool2d,
    Flatten: _flatten,
}
"""What the stateless nodes compute, over a batch (B, *shape)."""
ON_A_GRID: Mapping[type[Node], Callable[[Any, Values, Tensor], Tensor]] = {**OPERATIONS, Conv2d: _direct_conv2d}
"""The same in FixedPoint."""


@dataclass
class Recording:
    """The values of one evaluation, by node: y of every node and s of every unit, each (T, B, *shape)."""

    values: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    last: dict[str, State] = field(default_factory=dict)


class Network(torch.nn.Module):
    """A graph as a torch module with the graph's parameters, made by ``nn.to_module``.

    ``forward(x, state=None, lengths=None)`` takes x (T, B, *shape), or a dict by input, and
    returns (y, state): y is the output, or a dict by output where there are several or none.
    Parts without recurrence run over the whole sequence at once on ``kernel`` (see ``nn.Unit``), recurrent cores step
    by step on the eager one.
    ``parameter(node, field)`` gives one parameter; ``nn.capture`` gives the graph back.

    In FixedPoint the module computes in float32 where the budget allows it, else in float64, and exactly; ``BadInput``
    where it, or what it is given, was converted to a type that does not hold every sum. Its parameters are trained as
    they are, and rounded to their grids each time that they are used; gradients pass rounding and saturation as if they
    were not there. ``nn.capture`` gives the rounded ones.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        surrogate: Surrogate = TanhDerivative(),
        learn_decay: bool = False,
        detach_reset: bool = False,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        validate(graph)
        self._graph = graph
        self._shapes = shapes(graph)
        self._reach = {name: max((e.delay for e in graph.outgoing[name]), default=0) for name in graph.nodes}
        position = {name: place for place, name in enumerate(order(graph))}
        self._parts = [
            tuple(sorted(part, key=position.__getitem__)) for part in strongly_connected(graph.nodes, graph.edges)
        ]
        self._fixed = graph.numbers if isinstance(graph.numbers, FixedPoint) else None
        self._inexact: dict[torch.dtype, str] = {}
        grids = state_grids(graph)
        self._dynamics = {
            name: Dynamics(unit.reset, unit.g, unit.h, surrogate, grids.get(name), detach_reset)
            for name, unit in graph.of_kind(Unit).items()
        }
        precision = graph.numbers.name if self._fixed is None else "float64" if beyond(graph, "float32") else "float32"
        dtype = NUMBERS[precision].dtype
        self.learn_decay = learn_decay
        self.kernel = kernel
        learned = {"weight", "bias", "threshold"} | ({"decay"} if learn_decay else set())
        with np.errstate(over="ignore"):  # of a threshold that no state reaches
            self._values = torch.nn.ParameterDict(
                {
                    f"{name.replace('.', '/')}/{field}": torch.nn.Parameter(
                        torch.tensor(array.astype(dtype)), field in learned
                    )
                    for name, node in graph.nodes.items()
                    for field, array in node.arrays().items()
                }
            )

        self._kernels(placed=False)

    def running_kernels(self) -> dict[str, Choice]:
        """The kernel of every unit with the present parameters; ``Unsupported`` where the one asked for cannot run."""
        return self._kernels()

    def _kernels(self, placed: bool = True) -> dict[str, Choice]:
        within = {name for part in self._parts if len(part) > 1 for name in part}
        if self.kernel not in ("auto", "eager") and (cyclic := sorted(within & set(self._dynamics))):
            raise Unsupported(
                f"kernel={self.kernel!r}", [f"{name} {_ON_A_CYCLE}; kernel='auto' runs the rest" for name in cyclic]
            )
        return {
            name: Choice("eager", _ON_A_CYCLE)
            if name in within and self.kernel == "auto"
            else self._chosen(name, placed=placed)
            for name in self._dynamics
        }

    def _chosen(self, name: str, *given: Tensor, placed: bool = True) -> Choice:
        decay = self.parameter(name, "decay").expand(self._shapes[name])
        return choose(self.kernel, self._dynamics[name], decay, given=given, placed=placed)

    def parameter(self, node: str, name: str) -> torch.nn.Parameter:
        """The parameter ``name`` (weight, bias, decay, threshold, initial_state) of a node."""
        value: torch.nn.Parameter = self._values[f"{node.replace('.', '/')}/{name}"]
        return value

    def graph(self) -> Graph:
        """The graph with the present parameters, in their precision."""
        dtypes = {parameter.dtype for parameter in self._values.values()}
        if dtypes not in ({torch.float32}, {torch.float64}, set()):
            raise BadInput(f"parameters of type {sorted(map(str, dtypes))}: call .float() or .double() first")
        numbers = self._fixed or (
            Float64() if dtypes == {torch.float64} else Float32() if dtypes else self._graph.numbers
        )
        nodes = {
            name: node.replaced(**{field: self._array(name, field) for field in node.arrays()})
            for name, node in self._graph.nodes.items()
        }
        return Graph(nodes, self._graph.edges, numbers=numbers, metadata=self._graph.metadata)

    def _array(self, name: str, field: str) -> Array:
        array: Array = self.parameter(name, field).detach().cpu().numpy()
        if field == "decay":  # as `_decay` does; np.clip would not keep the sign of a zero
            array = np.where(array < 0, array.dtype.type(0), np.where(array > 1, array.dtype.type(1), array))
        return array

    def _used(self, name: str, field: str) -> Tensor:
        """A parameter as it is computed with: a learned decay clamped to [0, 1], in FixedPoint rounded to its grid."""
        value: Tensor = self.parameter(name, field)
        if field == "decay" and self.learn_decay:
            value = clamped(value)
        if self._fixed is None:
            return value
        return on_grid(value, self._fixed.decay_bits if field == "decay" else self._fixed.bits_of(name))

    def forward(
        self,
        x: Tensor | Values,
        state: NetworkState | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Tensor | dict[str, Tensor], NetworkState]:
        """Run over a sequence; see the class."""
        recording, after = self.evaluate(x, state, states=False)
        if state is not None and any(node.over_time for node in self._graph.of_kind(Output).values()):
            raise BadInput("state: an output that reduces over time cannot go on from an earlier run")
        outputs = self.outputs(recording, lengths)
        return (next(iter(outputs.values())) if len(outputs) == 1 else outputs), after

    def outputs(self, recording: Recording, lengths: Lengths | None = None) -> dict[str, Tensor]:
        """What the Output nodes record of an evaluation, reductions over time taken."""
        outputs: dict[str, Tensor] = {}
        for name, node in self._graph.of_kind(Output).items():
            y = recording.values[name]
            outputs[name] = y if node.over_time is None else reduced(y, node.over_time, lengths)
        return outputs

    def evaluate(
        self, x: Tensor | Values, state: NetworkState | None = None, *, states: bool = True
    ) -> tuple[Recording, NetworkState]:
        """Every node's values over a sequence, with those of the units' states if wanted, and the state after it."""
        names = list(self._graph.of_kind(Input))
        inputs = dict(x) if isinstance(x, Mapping) else {names[0]: x} if len(names) == 1 else {}
        if inputs.keys() != set(names):
            raise BadInput(f"x: values for {sorted(inputs)}; the network's inputs are {names}")
        for name, value in inputs.items():
            if not isinstance(value, Tensor):
                raise BadInput(f"input {name}: a {type(value).__name__}; a tensor is needed")
            if value.shape[2:] != self._shapes[name] or value.ndim != 2 + len(self._shapes[name]):
                needed = f"(T, B, {', '.join(map(str, self._shapes[name]))})"
                raise BadInput(f"input {name}: shape {tuple(value.shape)}; needed {needed}")
            if self._fixed is not None:
                self._demand_exact(f"input {name}", value)
                _demand_on_grid(name, self._graph.of_kind(Input)[name], value)
        if self._fixed is not None:
            for key, parameter in self._values.items():
                self._demand_exact(f"parameter {key}", parameter)
        sizes = {tuple(value.shape[:2]) for value in inputs.values()}
        if len(sizes) > 1 or 0 in next(iter(sizes)):
            raise BadInput(
                f"inputs of (T, B) {sorted(sizes)}; all the same, at least one step and one sample, are needed"
            )
        sample = next(iter(inputs.values()))
        before = self._initial(sample) if state is None else state
        if not isinstance(before, NetworkState) or any(
            held.s.shape[0] != sample.shape[1] for held in before.units.values()
        ):
            raise BadInput(f"state: the NetworkState of a run with these {sample.shape[1]} samples is needed")
        recording = Recording(values=inputs)
        for part in self._parts:
            if len(part) == 1 and all(edge.source != part[0] for edge in self._graph.incoming[part[0]]):
                if part[0] not in inputs:
                    self._sequence(part[0], recording, before, states)
            else:
                self._core(part, recording, before, len(sample))
        lines = {
            name: torch.cat([before.lines[name], recording.values[name]])[-reach:]
            for name, reach in self._reach.items()
            if reach
        }
        return recording, NetworkState(recording.last, lines)

    def _demand_exact(self, place: str, value: Tensor) -> None:
        """``BadInput`` for values of a type in which not every sum is exact: torch would round without a word."""
        dtype = value.dtype
        if not dtype.is_floating_point:
            return
        if dtype not in self._inexact:  # the budget is the graph's, whatever is trained: once for each type will do
            name = str(dtype).removeprefix("torch.")
            types = f"{' or '.join(STEPS)} is needed in FixedPoint"
            self._inexact[dtype] = "; ".join(beyond(self._graph, name)) if name in STEPS else types
        if self._inexact[dtype]:
            remedy = "" if dtype is torch.float64 else "; call .double() on the module and on what it is given"
            raise BadInput(f"{place} of type {dtype}: {self._inexact[dtype]}{remedy}")

    def _initial(self, sample: Tensor) -> NetworkState:
        samples = sample.shape[1]
        units, lines = {}, {}
        for name, unit_shape in self._shapes.items():
            size = (samples, *unit_shape)
            if name in self._dynamics:
                s = self._used(name, "initial_state").expand(size)
                units[name] = State(s, torch.zeros_like(s))
            if self._reach[name]:
                lines[name] = sample.new_zeros((self._reach[name], *size))
        return NetworkState(units, lines)

    def _delayed(self, source: str, delay: int, recording: Recording, before: NetworkState) -> Tensor:
        """The source's output of ``delay`` steps ago, for every step."""
        y = recording.values[source]
        return torch.cat([before.lines[source][len(before.lines[source]) - delay :], y])[: len(y)] if delay else y

    def _sequence(self, name: str, recording: Recording, before: NetworkState, states: bool) -> None:
        """A node outside of any cycle, over the whole sequence."""
        received = [self._delayed(e.source, e.delay, recording, before) for e in self._graph.incoming[name]]
        drive = sum(received[1:], start=received[0])
        if name in self._dynamics:
            decay, threshold = self._used(name, "decay"), self._used(name, "threshold")
            dynamics = self._dynamics[name]
            kernel = self._chosen(name, drive, *before.units[name]).kernel
            ran = run(kernel, dynamics, decay, threshold, before.units[name], drive)
            recording.values[name], recording.last[name] = ran.y, ran.last
            if states:  # which no kernel keeps
                recording.states[name] = ran.states
        else:
            recording.values[name] = self._over_all_steps(name, drive)

    def _over_all_steps(self, name: str, x: Tensor) -> Tensor:
        y = self._operate(name, x.flatten(0, 1))
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def _operate(self, name: str, x: Tensor) -> Tensor:
        node = self._graph.nodes[name]
        if isinstance(node, Output):
            return x
        operations = OPERATIONS if self._fixed is None else ON_A_GRID
        return operations[type(node)](node, {field: self._used(name, field) for field in node.arrays()}, x)

    def _core(self, part: tuple[str, ...], recording: Recording, before: NetworkState, steps: int) -> None:
        """A recurrent core, step by step; what comes from outside of it is there already."""
        outside = {
            edge: self._delayed(edge.source, edge.delay, recording, before).unbind(0)
            for name in part
            for edge in self._graph.incoming[name]
            if edge.source not in part
        }
        history = {
            name: list(before.lines[name].unbind(0)) if self._reach[name] else [] for name in part
        }  # the step t - d of a name stands at history[name][reach + t - d]
        states: dict[str, list[State]] = {name: [before.units[name]] for name in part if name in self._dynamics}
        for t in range(steps):
            for name in part:
                received = [
                    outside[e][t] if e in outside else history[e.source][self._reach[e.source] + t - e.delay]
                    for e in self._graph.incoming[name]
                ]
                drive = sum(received[1:], start=received[0])
                if name in states:
                    decay, threshold = self._used(name, "decay"), self._used(name, "threshold")
                    states[name].append(step(self._dynamics[name], decay, threshold, states[name][-1], drive))
                    history[name].append(states[name][-1].y)
                else:
                    history[name].append(self._operate(name, drive))
        for name in part:
            recording.values[name] = torch.stack(history[name][self._reach[name] :])
        for name, trail in states.items():
            recording.states[name] = torch.stack([state.s for state in trail[1:]])
            recording.last[name] = trail[-1]

    def extra_repr(self) -> str:
        """The nodes, their number of parameters, and the kernels that run the units."""
        try:
            chosen = ", ".join(dict.fromkeys(str(choice) for choice in self.running_kernels().values()))
        except (Unsupported, MissingEngine) as error:
            chosen = f"none: {error}"
        parameters = sum(p.numel() for p in self.parameters())
        detached = ", detach_reset=True" if any(d.detach_reset for d in self._dynamics.values()) else ""
        return f"{len(self._graph.nodes)} nodes, {parameters} parameters{detached}, kernel={chosen}"


def _demand_on_grid(name: str, node: Input, value: Tensor) -> None:
    """``BadInput`` for an input of a FixedPoint network that is off its grid or out of its range."""
    low, high, bits = float(node.low or 0.0), float(node.high or 0.0), int(node.fraction_bits or 0)  # all are given
    steps = value.detach() * 2.0**bits
    if not bool(((value >= low) & (value <= high) & (steps == steps.round())).all()):
        needed = f"multiples of 2^-{bits} from {low} to {high}"
        raise BadInput(f"input {name}: values that are no {needed}; FixedPoint rounds no input")


def to_module(
    graph: Graph,
    *,
    surrogate: Surrogate = TanhDerivative(),
    learn_decay: bool = False,
    detach_reset: bool = False,
    kernel: str = "auto",
) -> Network:
    """A trainable torch module of a graph; ``nn.capture`` of it gives the same graph back, names and bits.

    A graph holds what is computed, not how it was trained: surrogate, what is learned, whether the reset was detached,
    kernel and projection are not in it, and are chosen here (the projection is dense).
    """
    return Network(graph, surrogate=surrogate, learn_decay=learn_decay, detach_reset=detach_reset, kernel=kernel)

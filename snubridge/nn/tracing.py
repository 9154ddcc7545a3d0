"""``capture``: a torch module as a graph, by torch.fx, exact or refused with every reason."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from snubridge.errors import BadInput, Unsupported
from snubridge.ir import Edge, Float32, Float64, Graph, Input, Linear, Node, Numbers, Output, validate
from snubridge.ir import Unit as UnitNode
from snubridge.ir.numbers import Array
from snubridge.nn.network import Network
from snubridge.nn.units import SNU, Unit

NEAREST = {
    "MaxPool2d": "AvgPool2d",
    "ReLU": "a unit with g=ReLU(), h=Identity(), reset=Reset.NONE, decay 0",
    "LSTM": "nn.SNU with recurrent=True",
    "GRU": "nn.SNU with recurrent=True",
    "RNN": "nn.SNU with recurrent=True",
    "Sequential": "nn.Sequential, which threads the states",
}
"""What to take instead of a layer that cannot be captured."""
IDENTITIES = (torch.nn.Identity, torch.nn.Dropout, torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.AlphaDropout)
"""Layers that do nothing in evaluation."""


@dataclass(frozen=True)
class _Sum:
    """A value while capturing: the sum of these nodes' outputs."""

    terms: tuple[str, ...]


@dataclass(frozen=True)
class _Stateful:
    """What a unit returns: the pair (y, state)."""

    unit: str


@dataclass(frozen=True)
class _State:
    """The state that a unit returned: may be returned, cannot be computed with."""

    unit: str


@dataclass(frozen=True)
class _Lost:
    """What a refused operation would have returned: what follows is still looked at."""


class _Refused(Exception):
    """One reason, with its place."""


class _Tracer(fx.Tracer):
    """Leaves: our units, and the layers of torch.nn; everything else is traced into."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return type(m) in (Unit, SNU, Network) or super().is_leaf_module(m, module_qualified_name)


class _Root(torch.nn.Module):
    """Holds a layer that is itself what is captured, so that it has a path."""

    def __init__(self, unit: torch.nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Any) -> Any:
        return self.unit(x)


def capture(module: torch.nn.Module, input_shape: int | tuple[int, ...]) -> Graph:
    """The graph of a torch module, as it computes in evaluation; the module is left as it was.

    ``input_shape``: the shape of one sample at one step, without T and B. Takes ``nn.SNU``,
    ``nn.Unit``, ``nn.Sequential``, ``torch.nn.Linear``, Dropout (the identity), ``nn.to_module``'s
    networks, and any module whose ``forward`` passes one value through such layers, adding
    values where it likes. Parameters are float32 or float64, all the same.

    Raises ``Unsupported`` naming by path everything that cannot be taken, and ``InvalidGraph``.
    """
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"capture takes a torch module, not a {type(module).__name__}")
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    if type(module) is Network:
        graph = module.graph()
        if [node.shape for node in graph.of_kind(Input).values()] != [shape]:
            found = [node.shape for node in graph.of_kind(Input).values()]
            raise BadInput(f"input_shape {shape}: the network's inputs have the shapes {found}")
        return graph
    root = _Root(module) if _Tracer().is_leaf_module(module, "") else module
    graph = _Capture(root, shape, _traced(root)).graph()
    validate(graph)
    return graph


@contextmanager
def _evaluation(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode within, and every submodule's own mode again after."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def _traced(module: torch.nn.Module) -> fx.Graph:
    parameters = list(inspect.signature(module.forward).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) != 1:
        raise Unsupported("capture", [f"forward takes {', '.join(needed) or 'nothing'}; one value is taken so far"])
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        with _evaluation(module):
            return _Tracer().trace(module, concrete_args=defaults or None)
    except Exception as error:  # user code may fail on symbolic values in any way; the cause is kept
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = f"{type(module).__name__}.forward cannot be traced ({cause}): avoid control flow on values"
        raise Unsupported("capture", [reason]) from error


@dataclass
class _Capture:
    """Builds the graph backwards from what ``forward`` returns."""

    root: torch.nn.Module
    shape: tuple[int, ...]
    traced: fx.Graph
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    time_axes: dict[str, bool] = field(default_factory=dict)

    def graph(self) -> Graph:
        """The graph, or every reason why there is none."""
        values: dict[fx.Node, Any] = {}
        needed = self._needed()
        for node in self.traced.nodes:
            if node not in needed:
                continue
            try:
                values[node] = self._value(node, [self._resolve(a, values) for a in node.args], values)
            except _Refused as refused:
                self.reasons.append(str(refused))
                values[node] = _Lost()
        numbers = self._numbers()
        if len(set(self.time_axes.values())) > 1:
            self.reasons.append(f"layers differ in batch_first: {self.time_axes}; make them alike")
        if self.reasons:
            raise Unsupported("capture", self.reasons)
        metadata = {"captured": {"module": type(self.root).__name__, "torch": torch.__version__}}
        return Graph(self.nodes, self.edges, numbers=numbers, metadata=metadata)

    def _needed(self) -> set[fx.Node]:
        """What the output depends on: a layer whose result is not used is no part of the network."""
        needed: set[fx.Node] = set()
        waiting = [node for node in self.traced.nodes if node.op == "output"]
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting.extend(node.all_input_nodes)
        return needed

    def _resolve(self, argument: Any, values: dict[fx.Node, Any]) -> Any:
        return fx.node.map_arg(argument, values.__getitem__)

    def _value(self, node: fx.Node, args: list[Any], values: dict[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            return _Sum((self._add("input", Input(self.shape), ()),))
        if node.op == "output":
            return self._output(args[0])
        if node.op == "call_module":
            return self._layer(str(node.target), node, args)
        if any(isinstance(argument, _Lost) for argument in args):
            return _Lost()
        if node.op == "call_function" and node.target is operator.getitem and isinstance(args[0], _Stateful):
            if args[1] not in (0, 1):
                raise _Refused(f"{_place(node)}: item {args[1]} of (y, state)")
            return _Sum((args[0].unit,)) if args[1] == 0 else _State(args[0].unit)
        if node.target in (operator.add, operator.iadd, torch.add, "add") and not node.kwargs:
            return self._added(node, args)
        what = f"attribute {node.target}" if node.op == "get_attr" else getattr(node.target, "__name__", node.target)
        raise _Refused(f"{_place(node)}: {what} cannot be captured; use layers of snubridge.nn, Linear, and +")

    def _added(self, node: fx.Node, args: list[Any]) -> _Sum:
        if not all(isinstance(argument, _Sum) for argument in args):
            raise _Refused(f"{_place(node)}: a sum with a constant or a state; use a Linear with bias, or a threshold")
        terms = tuple(term for argument in args for term in argument.terms)
        if len(set(terms)) < len(terms):
            raise _Refused(f"{_place(node)}: a value added to itself; double the weight instead")
        return _Sum(terms)

    def _layer(self, path: str, node: fx.Node, args: list[Any]) -> Any:
        layer = self.root.get_submodule(path)
        if type(layer) not in (*IDENTITIES, torch.nn.Linear, Unit, SNU):
            nearest = NEAREST.get(type(layer).__name__)
            remedy = f"the nearest that can is {nearest}" if nearest else "take layers of snubridge.nn and Linear"
            raise _Refused(f"{path}: a {type(layer).__name__} cannot be captured; {remedy}")
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise _Refused(f"{path}: has forward hooks, which may change its values; remove them before capturing")
        given = [a for a in (*args, *node.kwargs.values()) if a is not None]
        if any(isinstance(value, _Lost) for value in given):
            return _Lost()
        if len(given) != 1 or not isinstance(given[0], _Sum):
            what = "a given state" if type(layer) in (Unit, SNU) else "something else than one value"
            raise _Refused(f"{path}: called with {what}; capture starts from rest, with the value alone")
        terms = given[0].terms
        if type(layer) is torch.nn.Linear:
            return _Sum((self._linear(path, layer.weight, layer.bias, terms),))
        if type(layer) in (Unit, SNU):
            return self._unit(path, layer, terms)
        return given[0]

    def _unit(self, path: str, layer: Any, terms: tuple[str, ...]) -> _Stateful:
        self.time_axes[path] = layer.batch_first
        if type(layer) is SNU:
            terms = (self._linear(f"{path}.weight", layer.weight, layer.bias, terms),)
        dynamics = layer.dynamics
        node = UnitNode(
            self._array(f"{path}.decay", layer.effective_decay),
            self._array(f"{path}.threshold", layer.threshold),
            reset=dynamics.reset,
            g=dynamics.g,
            h=dynamics.h,
        )
        unit = self._add(path, node, terms)
        if type(layer) is SNU and layer.recurrent is not None:
            weight = Linear(self._array(f"{path}.recurrent", layer.recurrent))
            recurrent = self._add(f"{path}.recurrent", weight, ())
            self.edges += [Edge(unit, recurrent, 1), Edge(recurrent, unit)]
        return _Stateful(unit)

    def _linear(self, path: str, weight: torch.Tensor, bias: torch.Tensor | None, terms: tuple[str, ...]) -> str:
        arrays = [None if tensor is None else self._array(path, tensor) for tensor in (weight, bias)]
        assert arrays[0] is not None
        return self._add(path, Linear(arrays[0], arrays[1]), terms)

    def _output(self, returned: Any) -> None:
        values = list(_flat(returned))
        ys = [_Sum((v.unit,)) if isinstance(v, _Stateful) else v for v in values if isinstance(v, _Sum | _Stateful)]
        if self.reasons:
            return
        if len(ys) != 1:
            raise _Refused(f"forward returns {len(ys)} values besides states; one is captured so far")
        self._add("output", Output(), ys[0].terms)

    def _add(self, path: str, node: Node, terms: tuple[str, ...]) -> str:
        name, count = path, 1
        while name in self.nodes:
            count += 1
            name = f"{path}_{count}"
        self.nodes[name] = node
        self.edges += [Edge(term, name) for term in terms]
        return name

    def _array(self, place: str, tensor: torch.Tensor) -> Array:
        self.dtypes[place] = tensor.dtype
        return tensor.detach().cpu().to(torch.float64).numpy()

    def _numbers(self) -> Numbers:
        found = set(self.dtypes.values())
        if len(found) > 1 or not found <= {torch.float32, torch.float64}:
            shown = ", ".join(f"{place} {dtype}" for place, dtype in self.dtypes.items())
            self.reasons.append(f"parameters of several or unknown types ({shown}): call .float() or .double() first")
        return Float64() if found == {torch.float64} else Float32()


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _place(node: fx.Node) -> str:
    """The path of the module in whose ``forward`` a value is computed."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack), "") if stack else ""
    return f"forward of {path}" if path else "forward"

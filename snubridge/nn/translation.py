"""From the operations that a trace shows to the nodes and edges of a graph, or every reason why not."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx._symbolic_trace import _assert_is_none

from snubridge.bridge import shapes
from snubridge.errors import Unsupported
from snubridge.ir import Edge, Float32, Float64, Graph, Input, Linear, Node, Numbers, Output, validate
from snubridge.ir import Unit as UnitNode
from snubridge.ir.numbers import Array
from snubridge.nn.units import SNU, Unit
from snubridge.version import __version__

LAYERS = (torch.nn.Linear, Unit, SNU)
"""Layers that become nodes. Exactly these: a subclass may compute anything."""
NEAREST = {
    "MaxPool2d": "the nearest that a graph can say is AvgPool2d; pools are not captured yet",
    "AvgPool2d": "a graph can say it (snubridge.AvgPool2d), but pools are not captured yet",
    "Conv2d": "a graph can say it (snubridge.Conv2d), but convolutions are not captured yet",
    "ReLU": "the same is nn.Unit(shape, decay=0, threshold=0, learn_threshold=False, g=ReLU(), h=Identity(), "
    "reset=Reset.NONE)",
    "LSTM": "the nearest is nn.SNU with recurrent=True",
    "GRU": "the nearest is nn.SNU with recurrent=True",
    "RNN": "the nearest is nn.SNU with recurrent=True",
    "Network": "capture it alone, not within another module",
}
"""What to take instead of a layer that cannot be captured."""
HARMLESS = (operator.getitem, operator.eq, getattr, torch._assert, _assert_is_none)
"""Functions that change no value: fx itself adds some of them, for arguments with defaults."""
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


@dataclass
class Translation:
    """Builds a graph from a trace: only what the returned value depends on becomes part of it.

    ``time_axes``  whether each unit is batch first    ``shapes``  the shape that each unit was made for
    ``where``      the keys that lead to the captured value in what ``forward`` returns
    """

    name: str
    root: torch.nn.Module
    shape: tuple[int, ...]
    traced: fx.Graph
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    time_axes: dict[str, bool] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    where: list[Any] = field(default_factory=list)

    def graph(self) -> Graph:
        """The graph, or every reason why there is none."""
        values: dict[fx.Node, Any] = {}
        needed = self._needed()
        for node in self.traced.nodes:
            if node not in needed:
                self._pass_over(node)
                continue
            try:
                args = [fx.node.map_arg(a, values.__getitem__) for a in (*node.args, *node.kwargs.values())]
                values[node] = self._value(node, args)
            except _Refused as refused:
                self.reasons.append(str(refused))
                values[node] = _Lost()
        numbers = self._numbers()
        if len(set(self.time_axes.values())) > 1:
            self.reasons.append(f"layers differ in batch_first: {self.time_axes}; make them alike")
        if self.reasons:
            raise Unsupported("capture", self.reasons)
        graph = Graph(self.nodes, self.edges, numbers=numbers)
        validate(graph)
        found = shapes(graph)
        wrong = [
            f"{name}: a unit of shape {shape} receives {found[name]}"
            for name, shape in self.shapes.items()
            if found[name] != shape
        ]
        if wrong:
            raise Unsupported("capture", wrong)
        metadata = {
            "captured_from": self.name,
            "torch": torch.__version__,
            "snubridge": __version__,
            "sha256": graph.digest,
        }
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

    def _pass_over(self, node: fx.Node) -> None:
        """Leave out what nothing depends on, unless it may change a value in place."""
        if node.op in ("placeholder", "get_attr", "output") or node.target in HARMLESS:
            return
        if node.op == "call_module" and type(self.root.get_submodule(str(node.target))) in (*LAYERS, *IDENTITIES):
            return
        self.reasons.append(f"{_place(node)}: {_name(node)} may change a value in place; assign its result")

    def _value(self, node: fx.Node, args: list[Any]) -> Any:
        if node.op == "placeholder":
            return _Sum((self._add("input", Input(self.shape), ()),))
        if node.op == "output":
            return self._output(args[0])
        if node.op == "call_module":
            return self._layer(str(node.target), args)
        if any(isinstance(argument, _Lost) for argument in args):
            return _Lost()
        if node.op == "call_function" and node.target is operator.getitem and isinstance(args[0], _Stateful):
            if args[1] not in (0, 1):
                raise _Refused(f"{_place(node)}: item {args[1]} of (y, state)")
            return _Sum((args[0].unit,)) if args[1] == 0 else _State(args[0].unit)
        if node.target in (operator.add, operator.iadd, torch.add, "add") and not node.kwargs:
            return self._added(node, args)
        if node.target is torch.nn.functional.dropout and _training(node) is False:
            return args[0]
        raise _Refused(f"{_place(node)}: {_name(node)} cannot be captured; use layers of snubridge.nn, Linear, and +")

    def _added(self, node: fx.Node, args: list[Any]) -> _Sum:
        args = [argument for argument in args if not (type(argument) is int and argument == 0)]  # sum() starts so
        if not all(isinstance(argument, _Sum) for argument in args):
            raise _Refused(f"{_place(node)}: a sum with a constant or a state; use a Linear with bias, or a threshold")
        if node.target is operator.iadd and self._is_used_elsewhere(node.all_input_nodes[0]):
            raise _Refused(f"{_place(node)}: += changes a value that is used elsewhere too; write a = a + b")
        terms = tuple(term for argument in args for term in argument.terms)
        if len(set(terms)) < len(terms):
            raise _Refused(f"{_place(node)}: a value added to itself; double the weight instead")
        return _Sum(terms)

    def _is_used_elsewhere(self, node: fx.Node) -> bool:
        """Whether a value has other users than the next, under this name or that of an identity before it."""
        while len(node.users) == 1:
            if not self._is_identity(node):
                return False
            node = node.all_input_nodes[0]
        return True

    def _is_identity(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self.root.get_submodule(str(node.target))) in IDENTITIES
        return node.target is torch.nn.functional.dropout

    def _layer(self, path: str, args: list[Any]) -> Any:
        layer = self.root.get_submodule(path)
        if type(layer) not in (*IDENTITIES, *LAYERS):
            remedy = NEAREST.get(type(layer).__name__, "take layers of snubridge.nn and Linear")
            if isinstance(layer, Unit):
                remedy = "a subclass may compute anything; take nn.Unit or nn.SNU itself"
            raise _Refused(f"{path}: a {type(layer).__name__} cannot be captured; {remedy}")
        given = [argument for argument in args if argument is not None]
        if any(isinstance(value, _Lost) for value in given):
            return _Lost()
        if given and isinstance(given[0], _Stateful):
            pair = f"the pair (y, state) of {given[0].unit}"
            raise _Refused(f"{path}: receives {pair}; pass y on, or put the layers into nn.Sequential, which does")
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
        self.shapes[unit] = layer.shape
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
        found = list(_values(returned))
        if self.reasons:
            return
        if len(found) != 1:
            raise _Refused(f"forward returns {len(found)} values besides states; one is captured so far")
        ((self.where, value),) = found
        self._add("output", Output(), value.terms)

    def _add(self, path: str, node: Node, terms: tuple[str, ...]) -> str:
        name, count = path, 1
        while name in self.nodes:
            count += 1
            name = f"{path}_{count}"
        self.nodes[name] = node
        self.edges += [Edge(term, name) for term in terms]
        return name

    def _array(self, place: str, tensor: torch.Tensor) -> Array:
        if tensor.is_meta:
            raise _Refused(f"{place}: is on the meta device and has no values; materialize the module first")
        self.dtypes[place] = tensor.dtype
        return tensor.detach().cpu().to(torch.float64).numpy()

    def _numbers(self) -> Numbers:
        found = set(self.dtypes.values())
        if len(found) > 1 or not found <= {torch.float32, torch.float64}:
            shown = ", ".join(f"{place} {dtype}" for place, dtype in self.dtypes.items())
            self.reasons.append(f"parameters of several or unknown types ({shown}): call .float() or .double() first")
        return Float64() if found == {torch.float64} else Float32()


def _values(returned: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[list[Any], _Sum]]:
    """The values in what ``forward`` returns, each with the keys that lead to it; states are passed over."""
    if isinstance(returned, tuple | list):
        for index, item in enumerate(returned):
            yield from _values(item, (*where, index))
    elif isinstance(returned, dict):
        for key, item in returned.items():
            yield from _values(item, (*where, key))
    elif isinstance(returned, _Stateful):
        yield [*where, 0], _Sum((returned.unit,))
    elif isinstance(returned, _Sum):
        yield list(where), returned


def _name(node: fx.Node) -> str:
    what = getattr(node.target, "__name__", node.target)
    return f"attribute {what}" if node.op == "get_attr" else str(what)


def _training(node: fx.Node) -> Any:
    """The argument ``training`` of a call of ``torch.nn.functional.dropout``."""
    return node.kwargs["training"] if "training" in node.kwargs else node.args[2] if len(node.args) > 2 else True


def _place(node: fx.Node) -> str:
    """The path of the module in whose ``forward`` a value is computed."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack), "") if stack else ""
    return f"forward of {path}" if path else "forward"

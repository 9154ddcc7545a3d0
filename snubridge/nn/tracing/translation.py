"""From the operations that a trace shows to the nodes and edges of a graph, or every reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from snubridge.errors import Breach, InvalidGraph, Unsupported
from snubridge.ir import Graph, Input, validate
from snubridge.ir.nodes import Shape
from snubridge.nn.reductions import OverTime
from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.functions import Call, is_harmless, value_of
from snubridge.nn.tracing.layers import LAYERS, Takes
from snubridge.nn.tracing.outputs import draw_outputs
from snubridge.nn.tracing.refusals import nearest
from snubridge.nn.tracing.values import Lost, Pair, Refused, Signal
from snubridge.version import __version__


@dataclass(frozen=True)
class Captured:
    """A graph, the keys that lead to each of its outputs in what ``forward`` returns, and the order of axes."""

    graph: Graph
    where: Mapping[str, tuple[Any, ...]]
    batch_first: bool


@dataclass
class Translation:
    """Walks through a trace: only what the returned value depends on becomes part of the graph.

    ``inputs``: the name and the shape of the Input that each argument of ``forward`` becomes.
    """

    name: str
    root: torch.nn.Module
    inputs: Mapping[str, tuple[str, Shape]]
    traced: fx.Graph
    draft: Draft = field(default_factory=Draft)
    reasons: list[str] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    where: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def captured(self) -> Captured:
        """The graph, or every reason why there is none."""
        values: dict[fx.Node, Any] = {}
        needed = self._needed()
        for node in self.traced.nodes:
            if node in needed:
                values[node] = self._attempted(node, values)
            else:
                self._pass_over(node)
        axes = self.draft.time_axes
        if len(set(axes.values())) > 1:
            self.reasons.append(f"layers differ in batch_first: {axes}; make them alike")
        try:
            numbers = self.draft.numbers()
        except Refused as refused:
            self.reasons.append(str(refused))
        if self.reasons:
            raise Unsupported("capture", dict.fromkeys([*self.reasons, *map(str, self.breaches)]))
        if self.breaches:
            raise InvalidGraph(self.breaches)
        graph = Graph(self.draft.nodes, self.draft.edges, numbers=numbers)
        validate(graph)
        metadata: dict[str, Any] = {
            "captured_from": self.name,
            "torch": torch.__version__,
            "snubridge": __version__,
            "sha256": graph.digest,
        }
        folded = [{"batch_norm": path, "into": node} for node, paths in self.draft.norms.items() for path in paths]
        if folded:
            metadata["folded"] = folded
        graph = Graph(self.draft.nodes, self.draft.edges, numbers=numbers, metadata=metadata)
        return Captured(graph, self.where, any(axes.values()))

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
        if node.op == "placeholder" and node.target in self.inputs:
            self.reasons.append(f"forward: what it returns does not depend on {node.target}; leave that input out")
        if node.op in ("placeholder", "get_attr", "output") or is_harmless(node):
            return
        if node.op == "call_module" and type(self.root.get_submodule(str(node.target))) in LAYERS:
            return
        call = Call(node, self.root)
        self.reasons.append(f"{call.place}: {call.name} may change a value in place; assign its result")

    def _attempted(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        try:
            args = fx.node.map_arg(node.args, values.__getitem__)
            kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
            return self._value(node, tuple(args), dict(kwargs))
        except Refused as refused:
            self.reasons.append(str(refused))
        except InvalidGraph as error:
            self.breaches += error.breaches
        return Lost()

    def _value(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.op == "placeholder":
            if node.target not in self.inputs:
                raise Refused(f"forward: the argument {node.target} cannot be captured; give each input a name")
            name, shape = self.inputs[str(node.target)]
            return self.draft.add_source(name, Input(shape), shape)
        call = Call(node, self.root)
        given = [value for value in (*args, *kwargs.values()) if value is not None]
        if node.op == "call_module":
            return self._layer(str(node.target), given)
        if any(_holds(value, Lost) for value in given):
            return Lost()
        if node.op == "output":
            self.where = draw_outputs(self.draft, args[0])
            return None
        _check_order(call.place, given)
        return value_of(self.draft, call, args, kwargs)

    def _layer(self, path: str, given: list[Any]) -> Any:
        layer = self.root.get_submodule(path)
        name = type(layer).__name__
        row = LAYERS.get(type(layer))
        if row is None:
            raise Refused(f"{path}: a {name} cannot be captured; {nearest(layer, tuple(LAYERS))}")
        bars = list(row.bars(path, layer))
        self.reasons += bars
        if bars or any(_holds(value, Lost) for value in given):
            return Lost()
        if given and isinstance(given[0], Pair):
            pair = f"the pair (y, state) of {given[0].path}"
            raise Refused(f"{path}: receives {pair}; pass y on, or put the layers into nn.Sequential, which does")
        _check_order(path, given)
        if len(given) != 1 or not isinstance(given[0], Signal):
            state = "a given state; capture starts from rest, with the value alone"
            lengths = "lengths; leave them out, and give them to the run of the graph"
            raise Refused(f"{path}: called with {lengths if isinstance(layer, OverTime) else state}")
        (x,) = given
        if row.takes is Takes.STEPS and x.merged:
            raise Refused(f"{path}: receives {Takes.MERGED.value}; a {name} takes (T, B, ...): unflatten it before")
        if row.takes is Takes.MERGED and not x.merged:
            raise Refused(
                f"{path}: a torch.nn.{name} would take T or B for another axis; take nn.{name}, or put it into "
                "nn.Sequential"
            )
        return row.draw(self.draft, path, layer, x)


def _check_order(place: str, given: list[Any]) -> None:
    if any(isinstance(value, Signal) and value.over_time is not None for value in given):
        raise Refused(f"{place}: computes with a value that is reduced over time; nn.OverTime has to come last")


def _holds(value: Any, kind: type) -> bool:
    """Whether a value, or what it is made of, is of a kind."""
    if isinstance(value, tuple | list):
        return any(_holds(item, kind) for item in value)
    if isinstance(value, dict):
        return any(_holds(item, kind) for item in value.values())
    return isinstance(value, kind)

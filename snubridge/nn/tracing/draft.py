"""A graph in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from snubridge.bridge import shapes
from snubridge.ir import Edge, Float32, Float64, Graph, Input, Linear, Node, Numbers, validate
from snubridge.ir.nodes import Shape
from snubridge.ir.numbers import Array
from snubridge.nn.tracing.values import Refused, Signal, Term


@dataclass
class Draft:
    """Nodes and edges so far, in float64, and what else the graph's making has to know.

    ``dtypes``     the type of each parameter that was taken     ``time_axes``  whether each layer is batch first
    ``norms``      the batch norms that were folded into each node, by path
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    time_axes: dict[str, bool] = field(default_factory=dict)
    norms: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, node: Node, x: Signal) -> Signal:
        """A node that receives x; a name already taken gets _2, _3, ...; ``InvalidGraph`` if it breaks a rule."""
        name = self._free(path)
        edges = [Edge(self.present(term).node, name, term.delay) for term in x.terms]
        source = "x" if name != "x" else "y"
        numbers = Float32() if torch.float32 in self.dtypes.values() else Float64()
        alone = Graph({source: Input(x.shape), name: node}, [Edge(source, name)], numbers=numbers)
        validate(alone)
        self.nodes[name] = node
        self.edges += edges
        return Signal((Term(name),), shapes(alone)[name], merged=x.merged)

    def add_source(self, path: str, node: Node, shape: Shape) -> Signal:
        """A node that receives nothing yet."""
        name = self._free(path)
        self.nodes[name] = node
        return Signal((Term(name),), shape)

    def _free(self, path: str) -> str:
        name, count = path, 1
        while name in self.nodes:
            count += 1
            name = f"{path}_{count}"
        return name

    def present(self, term: Term) -> Term:
        """The term, unless a batch norm was folded into its node since the value was taken."""
        norms = self.norms.get(term.node, [])
        if len(norms) > term.norms:
            raise Refused(
                f"{norms[term.norms]}: normalizes a value that is used elsewhere too; give it a layer of its own"
            )
        return term

    def linear(self, path: str, weight: torch.Tensor, bias: torch.Tensor | None, x: Signal) -> Signal:
        """A Linear node that receives x."""
        matrix = self.array(path, weight, 2)
        return self.add(path, Linear(matrix, None if bias is None else self.array(f"{path}.bias", bias, 1)), x)

    def array(self, place: str, tensor: Any, axes: int | None = None) -> Array:
        """A parameter's values; its type is noted."""
        if tensor.is_meta:
            raise Refused(f"{place}: is on the meta device and has no values; materialize the module first")
        if axes is not None and tensor.ndim != axes:
            raise Refused(f"{place}: a parameter of shape {tuple(tensor.shape)}; one of {axes} axes is needed")
        if tensor.is_complex():
            raise Refused(f"{place}: a parameter of type {tensor.dtype}; a graph has real numbers")
        self.dtypes[place] = tensor.dtype
        array: Array = tensor.detach().cpu().to(torch.float64).numpy()
        return array

    def numbers(self) -> Numbers:
        """The number format of all parameters."""
        found = set(self.dtypes.values())
        if len(found) > 1 or not found <= {torch.float32, torch.float64}:
            shown = ", ".join(f"{place} {dtype}" for place, dtype in self.dtypes.items())
            raise Refused(f"parameters of several or unknown types ({shown}): call .float() or .double() first")
        return Float64() if found == {torch.float64} else Float32()

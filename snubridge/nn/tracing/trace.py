"""``capture``: a torch module as a graph, by torch.fx, exact or refused with every reason."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from snubridge.errors import BadInput, Unsupported
from snubridge.ir import Graph, Input
from snubridge.ir.nodes import Shape
from snubridge.nn.network import Network
from snubridge.nn.tracing.layers import LEAVES
from snubridge.nn.tracing.translation import Translation
from snubridge.nn.tracing.trial import check, evaluation

InputShape = int | tuple[int, ...]


class _Proxy(fx.Proxy):
    """Tells ``a += b``, which changes what other names of a see, from ``a + b``: torch.fx by itself does not."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Leaves: our layers, and those of torch.nn; everything else is traced into."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*LEAVES, Network)) or super().is_leaf_module(m, module_qualified_name)


class _Root(torch.nn.Module):
    """Holds a layer that is itself what is captured, so that it has a path."""

    def __init__(self, unit: torch.nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Any) -> Any:
        return self.unit(x)


def capture(module: torch.nn.Module, input_shape: InputShape | Mapping[str, InputShape]) -> Graph:
    """The graph of a torch module, as it computes in evaluation; the module is left as it was.

    ``input_shape``: the shape of one sample at one step, without T and B; its node is called
    ``input``. For several inputs, or other names, a dict from arguments of ``forward`` to shapes.

    Takes the layers of ``snubridge.nn``, ``torch.nn.Linear``, Dropout (the identity), torch's own
    Conv2d, AvgPool2d, BatchNorm1d and BatchNorm2d where T and B are merged (by ``nn.Sequential``, or
    by ``x.flatten(0, 1)`` and ``x.unflatten(0, (T, B))``), and any module whose ``forward`` passes
    values through such layers, adding them where it likes; or a network made by ``nn.to_module``.
    A batch norm is folded into the Linear or Conv2d directly before it (``metadata["folded"]``).

    The values that ``forward`` returns are the outputs: ``output``, ``output_2``, ..., or, in a
    dict, its keys; states are passed over. Parameters are float32 or float64, all the same.

    The graph is run beside the module on small random inputs before it is returned; units that
    none of them made fire and rest are named in ``metadata["untried"]``. Raises ``Unsupported``
    naming by path everything that cannot be taken, and ``InvalidGraph``.
    """
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"capture takes a torch module, not a {type(module).__name__}")
    shapes = _shapes(input_shape)
    tampered = list(_tampered(module))
    if tampered:
        raise Unsupported("capture", tampered)
    if type(module) is Network:
        return _graph_of(module, shapes)
    if isinstance(module, torch.jit.ScriptModule):
        raise Unsupported("capture", ["a compiled module (torch.jit) has no forward to trace: pass the module itself"])
    leaf = _Tracer().is_leaf_module(module, "")
    arguments = _arguments(module, shapes)
    inputs = {argument: (name or "input", shape) for argument, (name, shape) in arguments.items()}
    root = _Root(module) if leaf else module
    if leaf and len(inputs) > 1:
        raise BadInput(f"input_shape: shapes for {', '.join(inputs)}; a layer alone takes one input")
    seen = dict(zip(["x"], inputs.values(), strict=True)) if leaf else inputs
    captured = Translation(type(module).__name__, root, seen, _traced(root, seen)).captured()
    named = {argument: name for argument, (name, _) in inputs.items()}
    untried = check(module, captured, named, by_name=None not in shapes)
    graph = captured.graph
    if not untried:
        return graph
    return Graph(graph.nodes, graph.edges, numbers=graph.numbers, metadata={**graph.metadata, "untried": list(untried)})


def _shapes(input_shape: Any) -> dict[str | None, Shape]:
    """Shapes by argument; None stands for the one argument of a single shape."""
    given = dict(input_shape) if isinstance(input_shape, Mapping) else {None: input_shape}
    if not given:
        raise BadInput("input_shape={}: at least one input is needed")
    found: dict[str | None, Shape] = {}
    for name, value in given.items():
        place = "input_shape" if name is None else f"input_shape[{name!r:.60}]"
        shape = tuple(value) if isinstance(value, tuple | list) else (value,)
        if not shape or any(not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1 for n in shape):
            needed = "an integer or a tuple of integers, each at least 1, without time and batch, is needed"
            raise BadInput(f"{place}={value!r:.60}: {needed}")
        if name is not None and not isinstance(name, str):
            raise BadInput(f"{place}: names of arguments of forward are text")
        found[name] = tuple(int(n) for n in shape)
    return found


def _tampered(module: torch.nn.Module) -> Iterator[str]:
    """What changes values behind ``forward``'s back, where no trace shows it."""
    everywhere = torch.nn.modules.module
    if everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks:
        yield "global forward hooks are registered, which may change any value; remove them before capturing"
    for path, child in module.named_modules():
        place = path or type(module).__name__
        if child._forward_hooks or child._forward_pre_hooks:
            yield f"{place}: has forward hooks, which may change its values; remove them before capturing"
        if "forward" in vars(child):
            yield f"{place}: its forward is replaced on the instance; define it in a class"


def _graph_of(network: Network, shapes: Mapping[str | None, Shape]) -> Graph:
    graph = network.graph()
    found = {name: node.shape for name, node in graph.of_kind(Input).items()}
    given = {next(iter(found)): shapes[None]} if None in shapes and len(found) == 1 else dict(shapes)
    if given != found:
        shown = next(iter(shapes.values())) if None in shapes else shapes
        raise BadInput(f"input_shape {shown}: the network's inputs have the shapes {found}")
    return graph


def _arguments(module: torch.nn.Module, shapes: Mapping[str | None, Shape]) -> dict[str, tuple[str | None, Shape]]:
    """Which arguments of ``forward`` are inputs: the name each was given, if any, and its shape."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in parameters if p.default is p.empty and p.name in names]
    if None in shapes:
        if len(needed) != 1:
            shown = ", ".join(needed) or "nothing"
            raise Unsupported("capture", [f"forward takes {shown}; give a dict from each input's name to its shape"])
        return {needed[0]: (None, shapes[None])}
    if not shapes.keys() <= set(names) or not set(needed) <= shapes.keys():
        raise BadInput(f"input_shape: shapes for {', '.join(map(str, shapes))}; forward takes {', '.join(names)}")
    return {str(name): (name, shape) for name, shape in shapes.items()}


def _traced(module: torch.nn.Module, inputs: Mapping[str, object]) -> fx.Graph:
    parameters = inspect.signature(module.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in inputs}
    nested = [name for name, default in defaults.items() if isinstance(default, tuple | list | dict)]
    if nested:
        reason = f"forward: the default of {', '.join(nested)} is no single value; take None, a number or text"
        raise Unsupported("capture", [reason])
    try:
        with evaluation(module):
            return _Tracer().trace(module, concrete_args=defaults or None)
    except Exception as error:  # user code may fail on symbolic values in any way; the cause is kept
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = f"{type(module).__name__}.forward cannot be traced ({cause}): avoid control flow on values"
        raise Unsupported("capture", [reason]) from error

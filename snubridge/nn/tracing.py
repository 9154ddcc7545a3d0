"""``capture``: a torch module as a graph, by torch.fx, exact or refused with every reason."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from snubridge.errors import BadInput, Unsupported
from snubridge.ir import Graph, Input
from snubridge.nn.network import Network
from snubridge.nn.translation import Translation
from snubridge.nn.trial import check, evaluation
from snubridge.nn.units import Unit


class _Proxy(fx.Proxy):
    """Tells ``a += b``, which changes what other names of a see, from ``a + b``: torch.fx by itself does not."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Leaves: our units, and the layers of torch.nn; everything else is traced into."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Unit | Network) or super().is_leaf_module(m, module_qualified_name)


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
    ``nn.Unit``, ``nn.Sequential``, ``torch.nn.Linear``, Dropout (the identity), a network made by
    ``nn.to_module``, and any module whose ``forward`` passes one value through such layers (not
    through such a network), adding values where it likes. Parameters are float32 or float64, all
    the same.

    The graph is run beside the module on small random inputs before it is returned. Raises
    ``Unsupported`` naming by path everything that cannot be taken, and ``InvalidGraph``.
    """
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"capture takes a torch module, not a {type(module).__name__}")
    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    if not isinstance(shape, tuple | list):
        raise BadInput(f"input_shape={input_shape!r}: an integer or a tuple, without time and batch, is needed")
    shape = tuple(shape)
    tampered = list(_tampered(module))
    if tampered:
        raise Unsupported("capture", tampered)
    if type(module) is Network:
        graph = module.graph()
        if [node.shape for node in graph.of_kind(Input).values()] != [shape]:
            found = [node.shape for node in graph.of_kind(Input).values()]
            raise BadInput(f"input_shape {shape}: the network's inputs have the shapes {found}")
        return graph
    root = _Root(module) if _Tracer().is_leaf_module(module, "") else module
    captured = Translation(type(module).__name__, root, shape, _traced(root))
    graph = captured.graph()
    check(module, graph, batch_first=any(captured.time_axes.values()), where=captured.where)
    return graph


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


def _traced(module: torch.nn.Module) -> fx.Graph:
    parameters = list(inspect.signature(module.forward).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) != 1:
        raise Unsupported("capture", [f"forward takes {', '.join(needed) or 'nothing'}; one value is taken so far"])
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        with evaluation(module):
            return _Tracer().trace(module, concrete_args=defaults or None)
    except Exception as error:  # user code may fail on symbolic values in any way; the cause is kept
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = f"{type(module).__name__}.forward cannot be traced ({cause}): avoid control flow on values"
        raise Unsupported("capture", [reason]) from error

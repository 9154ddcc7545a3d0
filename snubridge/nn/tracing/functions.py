"""What each function and method becomes: a table, one small function per kind, with torch's argument names."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.fx._symbolic_trace import _assert_is_none

from snubridge.nn.tracing.draft import Draft
from snubridge.nn.tracing.layers import VIEWS
from snubridge.nn.tracing.refusals import NEAREST_FUNCTIONS
from snubridge.nn.tracing.shaping import flattened, parted, reshaped
from snubridge.nn.tracing.values import After, Pair, Refused, Signal, Size


@dataclass(frozen=True)
class Call:
    """Where an operation stands in the trace, and its name."""

    node: fx.Node
    root: torch.nn.Module

    @property
    def place(self) -> str:
        """The path of the module in whose ``forward`` a value is computed."""
        path = self._path()
        return f"forward of {path}" if path else "forward"

    def path(self, name: str) -> str:
        """What a node made here is called."""
        path = self._path()
        return f"{path}.{name}" if path else name

    def _path(self) -> str:
        stack = self.node.meta.get("nn_module_stack") or {}
        return next(reversed(stack), "") if stack else ""

    @property
    def name(self) -> str:
        """The operation as its writer knows it."""
        what = getattr(self.node.target, "__name__", self.node.target)
        return f"attribute {what}" if self.node.op == "get_attr" else str(what)

    def refused(self) -> Refused:
        """That it is none of those that can be captured, and the nearest that is."""
        name = self.name.rstrip("_") if self.node.op != "get_attr" else "attribute"
        remedy = NEAREST_FUNCTIONS.get(name, "use layers of snubridge.nn, Linear, and +")
        return Refused(f"{self.place}: {self.name} cannot be captured; {remedy}")


def value_of(draft: Draft, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The value of a call of a function or a method, or why there is none."""
    handler = _handler(call.node)
    if handler is None:
        raise call.refused()
    try:
        bound = inspect.signature(handler).bind(draft, call, *args, **kwargs)
    except TypeError as error:
        raise Refused(f"{call.place}: {call.name} cannot be captured with these arguments: {error}") from None
    return handler(*bound.args, **bound.kwargs)


def _handler(node: fx.Node) -> Callable[..., Any] | None:
    return FUNCTIONS.get(node.target) if node.op in ("call_function", "call_method") else None


def is_harmless(node: fx.Node) -> bool:
    """Whether a function changes no value, so that it may be left out where nothing depends on it."""
    handler = _handler(node)
    if handler is None:
        return node.op == "call_function" and node.target in FROM_FX
    return handler not in (_add_in_place, _dropout)


def _add(draft: Draft, call: Call, input: Any, other: Any, alpha: Any = 1) -> Any:
    added = [value for value in (input, other) if not (type(value) is int and value == 0)]  # sum() starts with 0
    if alpha != 1:
        raise Refused(f"{call.place}: a sum with alpha; scale the weights instead")
    if all(type(value) is int for value in (input, other)):
        return input + other
    if not all(isinstance(value, Signal) for value in added):
        raise Refused(f"{call.place}: a sum with a constant or a state; use a Linear with bias, or a threshold")
    shapes = list(dict.fromkeys(value.sizes for value in added))
    if len(shapes) > 1:
        shown = " and ".join(str(value.shape) + " (T, B merged)" * value.merged for value in added)
        raise Refused(f"{call.place}: adds values of shapes {shown}; a graph adds what has one shape")
    terms = tuple(draft.present(term) for value in added for term in value.terms)
    if len({(term.node, term.delay) for term in terms}) < len(terms):
        raise Refused(f"{call.place}: a value added to itself; double the weight instead")
    return Signal(terms, added[0].shape, merged=added[0].merged)


def _add_in_place(draft: Draft, call: Call, a: Any, b: Any) -> Any:
    if _is_used_elsewhere(call.node.all_input_nodes[0], call.root):
        raise Refused(f"{call.place}: += changes a value that is used elsewhere too; write a = a + b")
    return _add(draft, call, a, b)


def _is_used_elsewhere(node: fx.Node, root: torch.nn.Module) -> bool:
    """Whether a value has other users than the next, under this name or that of what it is a view of."""
    while len(node.users) == 1:
        if not _is_view(node, root):
            return False
        node = node.all_input_nodes[0]
    return True


def _is_view(node: fx.Node, root: torch.nn.Module) -> bool:
    if node.op == "call_module":
        return type(root.get_submodule(str(node.target))) in VIEWS
    return _handler(node) in (_dropout, _flatten, _unflatten, _reshape)


def _item(draft: Draft, call: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Pair):
        if b not in (0, 1):
            raise Refused(f"{call.place}: item {b} of (y, state)")
        return a.signal if b == 0 else After(a.path)
    if isinstance(a, tuple) and (type(b) is int or isinstance(b, slice)):
        try:
            return a[b]
        except (IndexError, TypeError):
            raise Refused(f"{call.place}: item {b} of a shape of {len(a)} axes") from None
    raise call.refused()


def _attribute(draft: Draft, call: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Signal) and b in ("shape", "ndim"):
        return a.sizes if b == "shape" else len(a.sizes)
    raise Refused(f"{call.place}: attribute {b} cannot be captured; {NEAREST_FUNCTIONS['attribute']}")


def _product(draft: Draft, call: Call, a: Any, b: Any) -> Any:
    if type(a) is int and type(b) is int:
        return a * b
    if isinstance(a, Size) and isinstance(b, Size) and not set(a.axes) & set(b.axes):
        return Size(tuple(sorted(a.axes + b.axes)))
    raise call.refused()


def _size(draft: Draft, call: Call, input: Any, dim: Any = None) -> Any:
    if not isinstance(input, Signal):
        raise call.refused()
    return input.sizes if dim is None else _item(draft, call, input.sizes, dim)


def _axes(draft: Draft, call: Call, input: Any) -> Any:
    if not isinstance(input, Signal):
        raise call.refused()
    return len(input.sizes)


def _flatten(draft: Draft, call: Call, input: Any, start_dim: Any = 0, end_dim: Any = -1) -> Any:
    if not isinstance(input, Signal) or type(start_dim) is not int or type(end_dim) is not int:
        raise call.refused()
    return flattened(draft, call.place, call.path("flatten"), input, start_dim, end_dim)


def _unflatten(draft: Draft, call: Call, input: Any, dim: Any, sizes: Any) -> Any:
    if not isinstance(input, Signal):
        raise call.refused()
    return parted(call.place, input, dim, sizes)


def _reshape(draft: Draft, call: Call, input: Any, *sizes: Any, shape: Any = None) -> Any:
    target = shape if shape is not None else sizes[0] if sizes and isinstance(sizes[0], tuple | list) else sizes
    if not isinstance(input, Signal) or not all(type(size) is int or isinstance(size, Size) for size in target):
        raise call.refused()
    return reshaped(draft, call.place, call.path("flatten"), input, tuple(target))


def _dropout(draft: Draft, call: Call, input: Any, p: Any = 0.5, training: Any = True, inplace: Any = False) -> Any:
    if training is not False or not isinstance(input, Signal):
        raise Refused(f"{call.place}: dropout cannot be captured, except with training=self.training; take nn.Dropout")
    return input


FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    operator.add: _add,
    torch.add: _add,
    "add": _add,
    operator.iadd: _add_in_place,
    operator.getitem: _item,
    getattr: _attribute,
    operator.mul: _product,
    "size": _size,
    "dim": _axes,
    "flatten": _flatten,
    torch.flatten: _flatten,
    "unflatten": _unflatten,
    torch.unflatten: _unflatten,
    "reshape": _reshape,
    torch.reshape: _reshape,
    "view": _reshape,
    torch.nn.functional.dropout: _dropout,
}
"""Functions, and names of methods, that can be captured."""
FROM_FX = (operator.eq, torch._assert, _assert_is_none)
"""Functions that torch.fx adds for arguments with defaults."""

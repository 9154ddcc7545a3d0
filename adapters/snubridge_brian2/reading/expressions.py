"""Constant expressions in Brian2's equations, computed operation by operation as Brian2's numpy target would.

No text is handed to Python: it is parsed, and what is not in the tables below is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from brian2 import Synapses
from brian2.core.functions import DEFAULT_FUNCTIONS, Function
from brian2.core.variables import ArrayVariable, Constant
from brian2.equations.equations import PARAMETER

from snubridge.errors import shown

Array = np.ndarray[Any, Any]
OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.Pow: np.power,
}
DEEPEST = 100
"""Levels of an expression."""
SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: np.negative, ast.UAdd: np.positive}


class Refused(Exception):
    """Something that the graph cannot say: the cause, and what helps."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")


@dataclass(frozen=True)
class Scope:
    """What names stand for in the equations of ``group``: its parameters, units, and constants of ``namespace``.

    ``known`` comes first: the state v for instance, where it is wanted as a number. Elsewhere it is no constant, and
    named by ``state``.
    """

    group: Any
    namespace: Mapping[str, Any]
    known: Mapping[str, Any] = field(default_factory=dict)
    state: str | None = None

    def with_known(self, **known: Any) -> Scope:
        """The same with more names known."""
        return replace(self, known={**self.known, **known})

    def with_state(self, state: str) -> Scope:
        """The same, now that the state is known by name."""
        return replace(self, state=state)

    def resolve(self, name: str) -> Any:
        """Brian2's own variable, constant or function of that name."""
        try:
            return self.group.resolve_all({name}, self.namespace, user_identifiers=set())[name]
        except KeyError:
            for names in (self.group.namespace or {}, self.namespace):
                if np.size(names.get(name, 0)) != 1 or isinstance(names.get(name), np.ndarray):
                    shape = np.shape(names[name])
                    raise Refused(
                        f"{name} is an array of shape {shape}, which Brian2 takes for no constant",
                        "make it one number, or a parameter of the group",
                    ) from None
            raise Refused(
                f"{name} is not in the namespace of {self.group.name}",
                f"pass what Network.run would find: namespace={{{name!r}: ...}}, or namespace=locals()",
            ) from None

    def __getitem__(self, name: str) -> Any:
        """The value of a constant or a parameter: without units (in SI), one number or one for each member."""
        if name in self.known:
            return self.known[name]
        variable = self.resolve(name)
        if isinstance(variable, Constant) or name == "dt":
            value = np.asarray(variable.get_value())
            if value.size == 1 and value.dtype.kind in "iuf":
                return value.astype(np.float64).reshape(())
            raise Refused(f"{name} is a {value.dtype} of shape {value.shape}", "make it one number, or a parameter")
        if name in ("i", "j") and isinstance(self.group, Synapses):  # within the subgroups, if they are of subgroups
            return np.asarray(getattr(self.group, name)[:], dtype=np.float64)
        if isinstance(variable, ArrayVariable) and (name in ("i", "N") or self._is_parameter(name)):
            if variable.dtype not in (np.float64, np.int32, np.int64):
                raise Refused(f"{name} is kept as {variable.dtype}", "take float64, Brian2's default")
            value = np.asarray(variable.get_value(), dtype=np.float64)
            return value if not variable.scalar else value.reshape(())
        what = "a function" if isinstance(variable, Function) else "nothing that stays as it is during a run"
        raise Refused(f"{name} is {what}", "only constants, and parameters of the group itself, can be carried over")

    def _is_parameter(self, name: str) -> bool:
        equation = self.group.equations.get(name)
        return (
            name != self.state
            and equation is not None
            and equation.type == PARAMETER
            and "linked" not in equation.flags
        )


def parsed(text: str, place: str) -> list[ast.stmt]:
    """The statements of a code string, none of them nested deeper than ``DEEPEST``."""
    try:
        statements = ast.parse("\n".join(line.strip() for line in text.splitlines())).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refused(f"{place} {shown(text)} does not parse", "write it as Brian2 would take it") from None
    level: list[ast.AST] = list(statements)
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise Refused(f"{place} {shown(text)} is nested too deeply", "write it shorter")
    return statements


def written(node: ast.AST) -> str:
    """An expression as text for a message."""
    return shown(ast.unparse(node), 80)[1:-1]


def evaluate(node: ast.expr, scope: Scope) -> Any:
    """The value of a constant expression, in float64: a number, or one for each member of the scope's group."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return np.float64(node.value)
    if isinstance(node, ast.Name):
        return scope[node.id]
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        if isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS:
            return SIGNS[type(node.op)](evaluate(node.operand, scope))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](evaluate(node.left, scope), evaluate(node.right, scope))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            if node.func.id == "exp" and scope.resolve("exp") is DEFAULT_FUNCTIONS["exp"] and not node.keywords:
                return np.exp(evaluate(node.args[0], scope))
            raise Refused(f"{node.func.id}() is called", "only exp, of a constant, can be carried over")
    raise Refused(f"{written(node)} is no constant expression", "write sums, products and powers of constants")

"""Constant expressions in Brian2's equations, computed operation by operation as Brian2's numpy target would.

No text is handed to Python: it is parsed, and what is not in the tables below is refused. What is left is rewritten as
Brian2 does before it makes code, which divides by 21 where somebody wrote /3/7. Integers stay integers, which Brian2
keeps in 32 bits; what does not fit there is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from brian2 import Synapses, prefs
from brian2.codegen.optimisation import ArithmeticSimplifier
from brian2.core.functions import DEFAULT_FUNCTIONS, Function
from brian2.core.variables import ArrayVariable, AuxiliaryVariable, Constant
from brian2.equations.equations import PARAMETER
from brian2.parsing.bast import brian_ast
from brian2.parsing.rendering import NodeRenderer

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
LARGEST = 2**31 - 1
"""Of Brian2's integers."""
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
                return _kept(value, name).reshape(())
            raise Refused(f"{name} is a {value.dtype} of shape {value.shape}", "make it one number, or a parameter")
        if name in ("i", "j") and isinstance(self.group, Synapses):  # within the subgroups, if they are of subgroups
            return np.asarray(getattr(self.group, name)[:], dtype=np.int64)
        if isinstance(variable, ArrayVariable) and (name in ("i", "N") or self._is_parameter(name)):
            if variable.dtype not in (np.float64, np.int32, np.int64):
                raise Refused(f"{name} is kept as {variable.dtype}", "take float64, Brian2's default")
            value = _kept(np.asarray(variable.get_value()), name)
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


def evaluate(node: ast.expr, scope: Scope) -> Array:
    """The value of a constant expression, in float64: a number, or one for each member of the scope's group."""
    compute(node, scope)  # refuses, so that what Brian2 rewrites is harmless
    return np.asarray(compute(rewritten(node, scope), scope), dtype=np.float64)


def rewritten(node: ast.expr, scope: Scope) -> ast.expr:
    """An expression as Brian2 computes it: its constants collected, and simplified."""
    if not prefs.codegen.loop_invariant_optimisations:
        return node
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    variables = {
        name: AuxiliaryVariable(name=name, dtype=np.float64) if name in scope.known else scope.resolve(name)
        for name in sorted(names)
    }
    tree = ArithmeticSimplifier(variables).render_node(brian_ast(ast.unparse(node), variables))
    (statement,) = parsed(NodeRenderer().render_node(tree), "the expression")
    assert isinstance(statement, ast.Expr)
    return statement.value


def _kept(value: Array, what: str) -> Array:
    """Integers as such, within 32 bits; other numbers in float64."""
    if value.dtype.kind not in "iu":
        return value.astype(np.float64)
    if (np.abs(value.astype(np.float64)) > LARGEST).any():
        raise Refused(f"{what} is an integer beyond 32 bits", "write it as a float")
    return value.astype(np.int64)


def _of_integers(operation: type[ast.operator], left: Array, right: Array, text: str) -> Any:
    """Sums, products and powers of integers, which Brian2 computes in 32 bits."""
    exact = OPERATIONS[operation](left.astype(np.float64), right.astype(np.float64))
    if not (np.abs(exact) <= LARGEST).all() or (operation is ast.Pow and (right < 0).any()):
        raise Refused(f"{text} leaves the integers of 32 bits", "write its numbers as floats, 2.0 instead of 2")
    return exact.astype(np.int64)


def compute(node: ast.expr, scope: Scope) -> Any:
    """The value of an expression as it is written, in int64 or float64."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _kept(np.asarray(node.value), written(node))
    if isinstance(node, ast.Name):
        return scope[node.id]
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        if isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS:
            return SIGNS[type(node.op)](compute(node.operand, scope))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            left, right = (np.asarray(compute(side, scope)) for side in (node.left, node.right))
            if left.dtype.kind == right.dtype.kind == "i" and not isinstance(node.op, ast.Div):
                return _of_integers(type(node.op), left, right, written(node))
            return OPERATIONS[type(node.op)](left, right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            if node.func.id == "exp" and scope.resolve("exp") is DEFAULT_FUNCTIONS["exp"] and not node.keywords:
                return np.exp(compute(node.args[0], scope))
            raise Refused(f"{node.func.id}() is called", "only exp, of a constant, can be carried over")
    raise Refused(f"{written(node)} is no constant expression", "write sums, products and powers of constants")

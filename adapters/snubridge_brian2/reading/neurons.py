"""Leaky integrate-and-fire groups, recognized in what Brian2 parsed of their equations."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import brian2
import numpy as np
import sympy  # type: ignore[import-untyped]  # it has no types
from brian2.core.variables import ArrayVariable
from brian2.equations.equations import PARAMETER
from brian2.parsing.sympytools import str_to_sympy, sympy_to_str
from brian2.stateupdaters.base import StateUpdateMethod, UnsupportedEquationsException

from snubridge.errors import shown
from snubridge_brian2.reading.expressions import Array, Refused, Scope, compute, evaluate, parsed, rewritten, written

SEARCHED = 10_000
"""Neighboring numbers among which the last state that does not fire is looked for."""


@dataclass(frozen=True)
class Dynamics:
    """v' = decay*v + (1 - decay)*rest, the update of one step; ``step`` computes it as Brian2 does.

    ``plain``: Brian2 computes decay*v and nothing else, so that no rounding is added.
    """

    decay: Array
    rest: Array
    step: Callable[[Array], Array]
    plain: bool


@dataclass(frozen=True)
class Neurons:
    """A group, its state s = v - origin relative to the reset value (to the rest where nothing is set).

        update      s = decay*s + drive
        threshold   s > threshold, or s >= threshold if ``inclusive``
        reset       "zero": s = 0; "subtract": s -= subtracted; "none"

    All values are one number or one for each neuron. ``fires_next``: whether a state after all that happened in one
    step fires in the next one, by Brian2's own arithmetic. ``exact``: s is v, and the update decay*v, bit for bit.
    """

    name: str
    size: int
    origin: Array
    decay: Array
    drive: Array
    threshold: Array
    inclusive: bool
    reset: str
    subtracted: Array
    initial: Array
    fires_next: Callable[[Array], Array]
    exact: bool

    def last_silent(self) -> Array:
        """The largest state, for each neuron, that will not fire in the next step."""
        with np.errstate(all="ignore"):
            s = np.broadcast_to((self.threshold - self.drive) / self.decay, (self.size,)).copy()
        for _ in range(SEARCHED):
            if not (fired := self.fires_next(s)).any():
                break
            s[fired] = np.nextafter(s[fired], -np.inf)
        for _ in range(SEARCHED):
            above = np.nextafter(s, np.inf)
            if (fired := self.fires_next(above)).all():
                return s
            s[~fired] = above[~fired]
        raise Refused("no number separates states that fire from those that do not", "take a decay not so close to 0")


def read_dynamics(group: Any, scope: Scope) -> tuple[str, Dynamics]:
    """The name of the state, and what one step does to it."""
    equations = group.equations
    if equations.is_stochastic:
        raise Refused("its equations hold noise, xi", "leave noise out, or give it as a stimulus of its own")
    names = sorted(equations.diff_eq_names)
    if len(names) > 1:
        raise Refused(
            f"{len(names)} state variables, {', '.join(names)}", "a unit has one; only dv/dt = (rest - v)/tau fits"
        )
    if not names:
        one = np.asarray(1.0)
        return _compared(group), Dynamics(one, 0 * one, lambda v: v, plain=True)
    (name,) = names
    ((_, rate),) = equations.get_substituted_expressions()
    parsed(rate.code, f"d{name}/dt =")
    method = group.state_updater.method_choice
    if callable(method) and not isinstance(method, StateUpdateMethod):
        raise Refused("its integration method is a function", "take method='exact' or 'euler'")
    wanted = equations.names | equations.identifiers | {"dt"}
    variables = {identifier: scope.resolve(identifier) for identifier in sorted(wanted)}
    try:
        code = StateUpdateMethod.apply_stateupdater(
            equations, variables, method, method_options=group.state_updater.method_options
        )
    except (UnsupportedEquationsException, ValueError, TypeError) as error:
        raise Refused(f"Brian2 does not integrate d{name}/dt = {shown(rate.code)}: {error}", "fix the method") from None
    if not isinstance(code, str):
        raise Refused(f"integrated by {method}", "take method='exact' or 'euler'")
    return name, _integrated(name, rate.code, code, scope)


def _integrated(name: str, rate: str, code: str, scope: Scope) -> Dynamics:
    """The dynamics of the statements that Brian2 made of an equation."""
    lines = [(line.targets[0].id, line.value) for line in parsed(code, "the update") if _assigns(line)]  # type: ignore[attr-defined]  # checked there
    state = sympy.Symbol(name, real=True)
    values: dict[Any, Any] = {}
    for target, value in lines:
        values[sympy.Symbol(target, real=True)] = str_to_sympy(ast.unparse(value)).subs(values)
    slope = sympy.simplify(sympy.diff(sympy.expand(values[state]), state))
    flow = str_to_sympy(rate)
    pull = sympy.diff(flow, state)
    if pull == 0 or pull.has(state) or slope.has(state):
        raise Refused(f"d{name}/dt = {rate} does not decay", f"only d{name}/dt = (rest - {name})/tau fits")
    resting = sympy.cancel(-flow.subs(state, 0) / pull)

    moving = scope.with_known(**dict.fromkeys((name, *(target for target, _ in lines))))
    lines = [(target, rewritten(value, moving)) for target, value in lines]

    def step(v: Array) -> Array:
        known: dict[str, Any] = {name: v}
        for target, value in lines:
            known[target] = compute(value, scope.with_known(**known))
        return np.asarray(known[name])

    first = lines[0][1]
    plain = len(lines) == 2 and resting == 0 and isinstance(first, ast.BinOp) and isinstance(first.op, ast.Mult)
    plain = plain and (_is(first.left, name) or _is(first.right, name))
    slopes = step(np.asarray(1.0)) if plain else evaluate(_expression(sympy_to_str(slope)), scope)
    decay = _number(slopes, "the decay in a step")
    rest = _number(evaluate(_expression(sympy_to_str(resting)), scope), "the resting value")
    if not ((decay > 0) & (decay <= 1)).all():
        raise Refused(
            f"in a step the state is multiplied by {decay.min():.3g} to {decay.max():.3g}",
            "a positive tau, and with method 'euler' a dt below tau, give a decay in (0, 1]",
        )
    return Dynamics(decay, rest, step, plain)


def _assigns(line: ast.stmt) -> bool:
    if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and len(line.targets) == 1:
        return True
    raise Refused(f"its update holds {written(line)}", "only a linear equation fits")


def _expression(text: str) -> ast.expr:
    (statement,) = parsed(text, "the expression")
    assert isinstance(statement, ast.Expr)
    return statement.value


def _number(value: Any, what: str) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise Refused(f"{what} is not finite", "give finite parameters")
    return array


def _compared(group: Any) -> str:
    """The state of a group without differential equations: the parameter that is reset, else the first one compared."""
    for text in (group.event_codes.get("spike", ""), group.events["spike"]):
        for statement in parsed(text, "the threshold or reset"):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and getattr(group.equations.get(node.id), "type", None) == PARAMETER:
                    return node.id
    raise Refused(f"its threshold {group.events['spike']} names no state", "compare the state with a constant")


def read_threshold(text: str, state: str, scope: Scope) -> tuple[Array, bool]:
    """What the state is compared with, and whether it fires there."""
    remedy = f"write {state} > a constant, or {state} >= a constant"
    statements = parsed(text, "the threshold")
    node = statements[0].value if len(statements) == 1 and isinstance(statements[0], ast.Expr) else None
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise Refused(f"its threshold is {shown(text)}", remedy)
    left, right, comparison = node.left, node.comparators[0], type(node.ops[0])
    if isinstance(right, ast.Name) and right.id == state:
        swapped: Mapping[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE}
        left, right, comparison = right, left, swapped.get(comparison, ast.Eq)
    if not isinstance(left, ast.Name) or left.id != state or comparison not in (ast.Gt, ast.GtE):
        raise Refused(f"its threshold is {shown(text)}", remedy)
    return _number(evaluate(right, scope), "the threshold"), comparison is ast.GtE


def read_reset(text: str, state: str, scope: Scope) -> tuple[str, Array]:
    """The kind of reset, and the value that is set or subtracted."""
    statements = parsed(text, "the reset")
    if not statements:
        return "none", np.asarray(0.0)
    if len(statements) == 1:
        (line,) = statements
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and _is(line.targets[0], state):
            return "zero", _number(evaluate(line.value, scope), "the reset")
        if isinstance(line, ast.AugAssign) and isinstance(line.op, ast.Sub) and _is(line.target, state):
            return "subtract", _number(evaluate(line.value, scope), "the reset")
    raise Refused(f"its reset is {shown(text)}", f"write {state} = a constant, or {state} -= a constant")


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def assemble(group: Any, state: str, dynamics: Dynamics, threshold: Any, reset: tuple[str, Array]) -> Neurons:
    """The neurons of a group, relative to where the reset puts them."""
    variable = group.variables[state]
    if not isinstance(variable, ArrayVariable) or variable.scalar or variable.dtype != np.float64:
        raise Refused(f"{state} is no float64 of each neuron", "leave out 'shared', and dtype")
    kind, value = reset
    at, inclusive = threshold
    origin = value if kind == "zero" else dynamics.rest
    drive = np.where(origin == dynamics.rest, 0.0, (1 - dynamics.decay) * (dynamics.rest - origin))
    initial = _number(variable.get_value(), f"the initial {state}") - origin
    return Neurons(
        name=group.name,
        size=len(group),
        origin=origin,
        decay=dynamics.decay,
        drive=drive,
        threshold=at - origin,
        inclusive=inclusive,
        reset=kind,
        subtracted=value,
        initial=initial,
        fires_next=lambda s: (np.greater_equal if inclusive else np.greater)(dynamics.step(s + origin), at),
        exact=dynamics.plain and not origin.any() and not drive.any(),
    )


def is_neurons(thing: Any) -> bool:
    """Whether an object is a group of neurons with equations."""
    return type(thing) is brian2.NeuronGroup

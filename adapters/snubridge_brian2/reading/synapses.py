"""Synapses that add a constant weight to the state of their target, as matrices by delay."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import brian2
import numpy as np
from brian2.equations.equations import PARAMETER
from brian2.synapses.synapses import SynapticPathway

from snubridge_brian2.reading.expressions import Array, Refused, Scope, evaluate, parsed

WHOLE = 1e-6
"""How far from a whole number of steps a delay may be, for the rounding of dt."""


@dataclass(frozen=True)
class Projection:
    """What one ``Synapses`` object carries with one delay: ``weight`` (targets, sources) of the whole groups.

    ``delay``  the steps from the one in which the source's spikes are picked up
    """

    name: str
    source: str
    target: str
    weight: Array
    delay: int
    pathway: Any


def whole(group: Any) -> tuple[Any, int]:
    """A group, or the one that a subgroup is part of, and the index of its first neuron."""
    return (group.source, int(group.start)) if isinstance(group, brian2.Subgroup) else (group, 0)


def oddities(synapses: Any) -> Iterator[Refused]:
    """Whatever else than ``on_pre`` a ``Synapses`` object does."""
    moving = dict.fromkeys(synapses.summed_updaters, " (summed)")
    for equations, kind in ((synapses.equations, "clock-driven"), (synapses.event_driven or {}, "event-driven")):
        moving |= {name: f" ({kind})" for name, equation in equations.items() if equation.type != PARAMETER}
    for name, kind in moving.items():
        yield Refused(f"its variable {name}{kind} follows an equation", "only parameters can be carried over")
    known = [synapses.state_updater, *synapses.summed_updaters.values()]
    for part in synapses.contained_objects:
        if isinstance(part, SynapticPathway):
            if part.prepost == "post":
                yield Refused(f"{part.name} acts on on_post, plasticity", "only on_pre can be carried over")
            elif part.event != "spike":
                yield Refused(f"{part.name} acts on the event {part.event}", "only spikes can be carried over")
        elif part not in known:
            yield Refused(f"{part.name} runs in every step", "leave it out")


def pathways(synapses: Any) -> list[Any]:
    """What acts at spikes of the source."""
    return [part for part in synapses.contained_objects if isinstance(part, SynapticPathway) and part.prepost == "pre"]


def read_pathway(synapses: Any, pathway: Any, state: str, namespace: Any, limit: int) -> list[Projection]:
    """The matrices of a pathway, one for each of its delays."""
    increment = _increment(pathway.code, state, Scope(synapses, namespace))
    (source, first), (target, offset) = whole(synapses.source), whole(synapses.target)
    shape = (len(target), len(source))
    if shape[0] * shape[1] > limit:
        raise Refused(
            f"a matrix of {shape[0]} x {shape[1]} weights is above the limit of {limit:,}",
            f"raise it with the option max_synapses={shape[0] * shape[1]}",
        )
    pre, post = np.asarray(synapses.i[:]) + first, np.asarray(synapses.j[:]) + offset
    values = np.broadcast_to(np.asarray(increment, dtype=np.float64), pre.shape)
    if not np.isfinite(values).all():
        raise Refused("its weights are not finite", "give finite weights")
    delays = np.broadcast_to(_steps(pathway), pre.shape)
    found = []
    distinct = np.unique(delays)
    for delay in distinct:
        chosen = delays == delay
        if len(np.unique(post[chosen] * shape[1] + pre[chosen])) < chosen.sum():
            raise Refused("two synapses of one delay join the same neurons", "make them one, with the sum of weights")
        weight = np.zeros(shape)
        weight[post[chosen], pre[chosen]] = values[chosen]
        single = len(distinct) == 1 and len(pathways(synapses)) == 1
        label = synapses.name if single else f"{pathway.name}.delay{delay}"
        found.append(Projection(label, source.name, target.name, weight, int(delay), pathway))
    return found


def _increment(code: str, state: str, scope: Scope) -> Any:
    statements = parsed(code, "on_pre")
    if len(statements) == 1 and isinstance(statements[0], ast.AugAssign):
        line = statements[0]
        post = isinstance(line.target, ast.Name) and line.target.id in (state, f"{state}_post")
        if post and line.target.id not in scope.group.equations and isinstance(line.op, ast.Add | ast.Sub):  # type: ignore[union-attr]  # a Name, checked before
            value = evaluate(line.value, scope)
            return value if isinstance(line.op, ast.Add) else -value
    raise Refused(
        f"on_pre is {' '.join(code.split())!r:.80}", f"write {state}_post += a parameter or constant, and nothing else"
    )


def _steps(pathway: Any) -> Array:
    """The delays in steps: as Brian2 rounds them, and refused where that would be another delay."""
    delays = np.asarray(pathway.variables["delay"].get_value(), dtype=np.float64)
    steps = delays / float(pathway.clock.dt_)
    rounded = np.rint(steps)
    if (np.abs(steps - rounded) > WHOLE).any() or (rounded < 0).any():
        raise Refused("its delays are no whole steps, and Brian2 would round them", "give multiples of dt")
    return rounded.astype(np.int64)

"""The step in FixedPoint: against an oracle of whole numbers, and by hand."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import order, shapes
from snubridge.bridge.conformance.fixed import random_fixed
from snubridge.ir.budget import beyond, budget

SEEDS = 150
E = sb.Edge


def rational(array):
    """The same numbers as exact fractions."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, float))


def windows(x, kernel, stride, padding, dilation=(1, 1)):
    """(out_h, out_w, C, kernel_h, kernel_w) of one sample (C, H, W), by loops."""
    high, wide = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    found = np.zeros((high, wide, len(x), *kernel), object)
    for i, j, a, b in itertools.product(range(high), range(wide), range(kernel[0]), range(kernel[1])):
        row, column = (
            at * s + tap * d - p for at, s, tap, d, p in zip((i, j), stride, (a, b), dilation, padding, strict=True)
        )
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            found[i, j, :, a, b] = x[:, row, column]
    return found


def operate(node, x):
    """A stateless node on one sample."""
    if isinstance(node, sb.Linear):
        y = np.tensordot(x, rational(node.weight), axes=([-1], [1]))
        return y if node.bias is None else y + rational(node.bias)
    if isinstance(node, sb.Conv2d):
        taken = windows(x, node.weight.shape[2:], node.stride, node.padding, node.dilation)
        outputs, depth = node.weight.shape[:2]
        y = np.zeros((outputs, *taken.shape[:2]), object)
        for o in range(outputs):
            first = o // (outputs // node.groups) * depth
            y[o] = (taken[:, :, first : first + depth] * rational(node.weight[o])).sum(axis=(2, 3, 4))
            y[o] = y[o] + (0 if node.bias is None else Fraction(float(node.bias[o])))
        return y
    if isinstance(node, sb.AvgPool2d | sb.SumPool2d):
        total = windows(x, node.kernel_size, node.stride, node.padding).sum(axis=(3, 4)).transpose(2, 0, 1)
        return total / Fraction(math.prod(node.kernel_size)) if isinstance(node, sb.AvgPool2d) else total
    return x.reshape(-1) if isinstance(node, sb.Flatten) else x


def carry(unit, s, y):
    decay, threshold = rational(unit.decay), rational(unit.threshold)
    return {
        sb.Reset.TO_ZERO: lambda: decay * s * (1 - y),
        sb.Reset.LATERAL: lambda: decay * s * (1 - y.max()),
        sb.Reset.SUBTRACT: lambda: decay * s - threshold * y,
        sb.Reset.SUBTRACT_DECAYED: lambda: decay * (s - threshold * y),
        sb.Reset.NONE: lambda: decay * s,
    }[unit.reset]()


def activate(g, x):
    slope = {sb.Identity: 1, sb.ReLU: 0}.get(type(g), getattr(g, "slope", None))
    return np.where(x > 0, x, Fraction(slope) * x)


def oracle(graph, inputs):
    """All values of one sample as fractions: (T, *shape) by node, the states by unit, and what was met."""
    numbers, sizes = graph.numbers, shapes(graph)
    grids = {name: grid.fraction_bits for name, grid in budget(graph).states.items()}
    most = 2 ** (numbers.state_bits - 1)
    zero = {name: np.full(size, Fraction(0)) for name, size in sizes.items()}
    s = {n: np.broadcast_to(rational(u.initial_state), sizes[n]) for n, u in graph.of_kind(sb.Unit).items()}
    y, states, met = {name: [] for name in sizes}, {name: [] for name in s}, set()
    for t in range(len(next(iter(inputs.values())))):
        for name in order(graph):
            node = graph.nodes[name]
            if name in inputs:
                y[name].append(rational(inputs[name][t]))
                continue
            terms = [y[e.source][t - e.delay] if t >= e.delay else zero[e.source] for e in graph.incoming[name]]
            x = sum(terms[1:], start=terms[0])
            if not isinstance(node, sb.Unit):
                y[name].append(operate(node, x))
                continue
            carried = carry(node, s[name], y[name][t - 1] if t else zero[name]) * 2 ** grids[name]
            whole = np.vectorize(math.floor if numbers.rounding == "floor" else math.trunc, otypes=[object])(carried)
            met |= {f"{numbers.rounding} of a negative"} if ((whole != carried) & (carried < 0)).any() else set()
            steps = activate(node.g, whole + x * 2 ** grids[name])
            met |= {"low"} if (steps < -most).any() else set()
            met |= {"high"} if (steps > most - 1).any() else set()
            s[name] = np.clip(steps, -most, most - 1) * Fraction(1, 2 ** grids[name])
            above = s[name] - rational(node.threshold)
            fires = above >= 0 if getattr(node.h, "at_threshold", False) else above > 0
            if node.spiking:
                met |= {"tie"} if (above == 0).any() else set()
                met |= {str(node.reset)} if fires.any() else set()
            y[name].append(np.where(fires, Fraction(1), Fraction(0)) if node.spiking else above)
            states[name].append(s[name])
    return y, states, met


def on_grid(values, bits):
    steps = np.ldexp(np.asarray(values, float), bits)
    return bool((steps == np.rint(steps)).all())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_value_is_that_of_exact_arithmetic_and_on_its_grid(precision):
    met, wide = set(), 0
    for seed in range(SEEDS):
        case = random_fixed(seed, precision=precision)
        graph, trace = case.graph, case.expected
        found = budget(graph)
        wide += bool(beyond(graph, "float32"))
        given = case.inputs if isinstance(case.inputs, dict) else {next(iter(graph.of_kind(sb.Input))): case.inputs}
        for sample in range(min(2, next(iter(given.values())).shape[1])):
            y, s, reached = oracle(graph, {name: array[:, sample] for name, array in given.items()})
            met |= reached
            for name in graph.of_kind(sb.Unit):
                assert (trace.states[name][:, sample] == np.stack(s[name])).all(), (case.name, name)
                assert (trace.spikes[name][:, sample] == np.stack(y[name])).all(), (case.name, name)
            for name, node in graph.of_kind(sb.Output).items():
                if node.over_time is None:
                    assert (trace.outputs[name][:, sample] == np.stack(y[name])).all(), (case.name, name)
            for name, values in y.items():
                steps = np.stack(values) * 2 ** found.grids[name]
                assert all(value.denominator == 1 for value in steps.ravel()), (case.name, name)
                assert (abs(steps) <= found.bounds[name]).all(), (case.name, name, "exceeds its bound")
        for name, values in trace.states.items():
            assert on_grid(values, found.states[name].fraction_bits), (case.name, name)
        for name, values in trace.outputs.items():
            assert on_grid(values, found.grids[name]), (case.name, name)
        met |= {type(node) for node in graph.nodes.values()} | {type(u.g) for u in graph.of_kind(sb.Unit).values()}
        met |= {type(u.h) for u in graph.of_kind(sb.Unit).values()} | {e.delay > 1 for e in graph.edges}
    assert met >= {
        *("low", "high", "tie", "floor of a negative", "zero of a negative", *map(str, sb.Reset), True, sb.Identity),
        *(sb.ReLU, sb.LeakyReLU, sb.Linear, sb.Conv2d, sb.AvgPool2d, sb.SumPool2d, sb.Flatten, sb.Step),
    }
    assert wide > 20 if precision == "float64" else not wide, wide


def test_a_float_graph_is_stepped_as_before():
    """No grid, no rounding: the same bits with and without the settings of FixedPoint at hand."""
    rng = np.random.default_rng(0)
    unit = sb.Unit(0.3, 0.5)
    s, y, x = rng.normal(size=(3, 4, 5))
    plain = sb.reference.interpreter.step_unit(unit, s, y, x)
    np.testing.assert_array_equal(plain[0], 0.3 * (s * (1 - y)) + x)


def test_reductions_over_time_are_computed():
    nodes = {"in": sb.Input((1,), -1, 1, 2), **{how: sb.Output(how) for how in ("mean", "sum", "max", "last")}}
    g = sb.Graph(nodes, [E("in", how) for how in ("mean", "sum", "max", "last")], numbers=sb.FixedPoint(0))
    trace = sb.simulate(g, np.array([0.25, 0.5, -0.25])[:, None, None])
    assert {how: float(value[0, 0]) for how, value in trace.outputs.items()} == {
        **{"mean": 0.5 / 3, "sum": 0.5, "max": 0.5, "last": -0.25}
    }


def test_a_run_goes_on_from_a_state():
    case = random_fixed(3)
    whole = sb.simulate(case.graph, case.inputs, record=("states",))
    first = sb.simulate(case.graph, case.part(5, 9), record=("states",))
    rest = {n: x[5:] for n, x in case.inputs.items()} if isinstance(case.inputs, dict) else case.inputs[5:]
    second = sb.simulate(case.graph, rest, record=("states",), state=first.state)
    for name, states in whole.states.items():
        np.testing.assert_array_equal(np.concatenate([first.states[name], second.states[name]]), states)

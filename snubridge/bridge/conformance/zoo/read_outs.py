"""Outputs reduced over time, each with samples that end early."""

from __future__ import annotations

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.zoo.rows import wired
from snubridge.ir.nodes import Input, Linear, Output, Unit

BELOW = [[[-1], [-2]], [[-4], [-3]], [[-2], [8]], [[-5], [9]]]
"""(T, B, 1): sample 1 ends after two steps; what follows would win every reduction."""


def _reduced(how: str, idea: str, expected: list[float]) -> Case:
    return wired(
        f"over_time_{how}",
        idea,
        {"in": Input((1,)), "out": Output(how)},
        [("in", "out")],
        BELOW,
        lengths=(4, 2),
        outputs={"out": expected},
    )


READ_OUTS: tuple[Case, ...] = (
    _reduced("mean", "The mean over the steps that count, by their number.", [-3, -2.5]),
    _reduced("sum", "The sum over the steps that count.", [-12, -5]),
    _reduced("max", "The largest value, which may lie below zero.", [-1, -2]),
    _reduced("last", "The value of each sample's own last step.", [-5, -3]),
    wired(
        "over_time_and_not",
        "Spikes are recorded to the end of the run, whatever the lengths; only reductions stop.",
        {"in": Input((1,)), "u": Unit(0.0, 0.5), "w": Linear([[2]]), "all": Output(), "rate": Output("mean")},
        [("in", "u"), ("u", "w"), ("w", "all"), ("w", "rate")],
        [[[1], [1]], [[0], [0]], [[1], [1]], [[0], [1]]],
        lengths=(4, 2),
        spikes={"u": [[1, 1], [0, 0], [1, 1], [0, 1]]},
        outputs={"all": [[2, 2], [0, 0], [2, 2], [0, 2]], "rate": [1, 1]},
    ),
    wired(
        "over_time_of_a_delayed_sum",
        "What arrives too late for a short sample does not count.",
        {"in": Input((1,)), "b": Linear([[0]], [0.5]), "out": Output("sum")},
        [("in", "out", 2), ("in", "b"), ("b", "out", 1)],
        [[[1], [1]], [[2], [2]], [[4], [4]]],
        lengths=(3, 2),
        outputs={"out": [2, 0.5]},
    ),
    wired(
        "over_time_of_one_step",
        "T = 1: every reduction is the value itself.",
        {"in": Input((2,)), "a": Output("mean"), "b": Output("max"), "c": Output("last")},
        [("in", "a"), ("in", "b"), ("in", "c")],
        [[-1, 2]],
        outputs={"a": [-1, 2], "b": [-1, 2], "c": [-1, 2]},
    ),
    wired(
        "an_input_called_lengths",
        "Names that a run has for itself are free for nodes.",
        {"lengths": Input((1,)), "inputs": Unit(0.0, 0.5), "outputs": Output("sum")},
        [("lengths", "inputs"), ("inputs", "outputs")],
        {"lengths": [[[1], [1]], [[0], [1]], [[1], [1]]]},
        lengths=(3, 1),
        outputs={"outputs": [2, 1]},
    ),
)

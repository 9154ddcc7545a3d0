"""Few nodes each: delays, biases, recurrence, fan-in and fan-out, several inputs and outputs, numbers and names."""

from __future__ import annotations

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.zoo.rows import recorded, wired
from snubridge.ir.nodes import Input, Linear, Node, Output, Unit
from snubridge.ir.numbers import Float64

RELAY = Unit(0.0, 0.5)
"""Fires where it is driven by 1, and forgets."""


def _in(size: int = 1) -> dict[str, Node]:
    return {"in": Input((size,))}


def _cell(weight: float, bias: float | None = None) -> Linear:
    return Linear([[weight]], None if bias is None else [bias])


DELAYS: tuple[Case, ...] = (
    wired(
        "delay_of_3",
        "What is sent arrives three steps later.",
        {**_in(), "u": RELAY},
        [("in", "u", 3)],
        [1, 0, 0, 0, 1, 0, 0, 0],
        spikes={"u": [0, 0, 0, 1, 0, 0, 0, 1]},
    ),
    wired(
        "delay_beyond_the_run",
        "What is sent does not arrive.",
        {**_in(), "u": RELAY},
        [("in", "u", 9)],
        [1, 1, 1],
        spikes={"u": [0, 0, 0]},
    ),
    wired(
        "two_delays_between_two_nodes",
        "An echo: two edges that differ in delay alone.",
        {**_in(), "u": Unit(0.0, 1.5)},
        [("in", "u"), ("in", "u", 2)],
        [1, 2, 1, 0, 1],
        spikes={"u": [0, 1, 1, 1, 1]},
        states={"u": [1, 2, 2, 2, 2]},
    ),
    wired(
        "no_latency",
        "Three layers fire in the same step.",
        {**_in(), "a": RELAY, "b": RELAY, "c": RELAY},
        [("in", "a"), ("a", "b"), ("b", "c")],
        [0, 1, 0],
        spikes={"a": [0, 1, 0], "b": [0, 1, 0], "c": [0, 1, 0]},
    ),
    wired(
        "delays_along_a_chain_add_up",
        "One into a Linear and two out of it make three.",
        {**_in(), "w": _cell(2.0), "u": RELAY},
        [("in", "w", 1), ("w", "u", 2)],
        [1, 0, 0, 0, 0],
        states={"u": [0, 0, 0, 2, 0]},
    ),
    wired(
        "one_source_two_delays",
        "Two units hear one Linear at different times.",
        {**_in(), "w": _cell(1.0), "now": RELAY, "late": RELAY},
        [("in", "w"), ("w", "now"), ("w", "late", 2)],
        [1, 0, 1, 0],
        spikes={"now": [1, 0, 1, 0], "late": [0, 0, 1, 0]},
    ),
)

BIASES: tuple[Case, ...] = (
    wired(
        "bias_at_step_0",
        "A Linear emits its bias from the first step on.",
        {**_in(), "w": _cell(0.0, 0.75), "u": RELAY},
        [("in", "w"), ("w", "u")],
        [0, 0, 0],
        spikes={"u": [1, 1, 1]},
    ),
    wired(
        "bias_waits_behind_a_delay",
        "Through an edge of delay 2 it arrives from step 2 on.",
        {**_in(), "w": _cell(0.0, 0.75), "u": RELAY},
        [("in", "w"), ("w", "u", 2)],
        [0, 0, 0, 0],
        spikes={"u": [0, 0, 1, 1]},
    ),
    wired(
        "bias_does_not_wait_for_its_input",
        "An edge of delay 2 into the Linear does not hold the bias back.",
        {**_in(), "w": _cell(1.0, 0.75), "u": RELAY},
        [("in", "w", 2), ("w", "u")],
        [1, 0, 0],
        states={"u": [0.75, 0.75, 1.75]},
    ),
    wired(
        "recurrent_bias_at_step_0",
        "With the delay before H, its bias drives step 0.",
        {**_in(), "u": RELAY, "h": _cell(-1.0, 0.75)},
        [("in", "u"), ("u", "h", 1), ("h", "u")],
        [0, 0, 0, 0],
        spikes={"u": [1, 0, 1, 0]},
    ),
    wired(
        "recurrent_bias_waits",
        "With the delay behind H, its bias waits one step.",
        {**_in(), "u": RELAY, "h": _cell(-1.0, 0.75)},
        [("in", "u"), ("u", "h"), ("h", "u", 1)],
        [0, 0, 0, 0],
        spikes={"u": [0, 1, 0, 1]},
    ),
)

RECURRENCE: tuple[Case, ...] = (
    wired(
        "recurrent_matrix",
        "H is (to, from): neuron 1 wakes neuron 0, not the reverse.",
        {**_in(2), "u": RELAY, "h": Linear([[0, 1], [0, 0]])},
        [("in", "u"), ("u", "h", 1), ("h", "u")],
        [[0, 1], [0, 0], [1, 0], [0, 0]],
        spikes={"u": [[0, 1], [1, 0], [1, 0], [0, 0]]},
    ),
    wired(
        "recurrence_with_delay_3",
        "A loop of three steps: the pulse comes back every third.",
        {**_in(), "u": RELAY, "h": _cell(1.0)},
        [("in", "u"), ("u", "h", 1), ("h", "u", 2)],
        [1, 0, 0, 0, 0, 0, 0],
        spikes={"u": [1, 0, 0, 1, 0, 0, 1]},
    ),
    wired(
        "self_loop",
        "An edge from a unit to itself: once it has fired, it fires on.",
        {**_in(), "u": RELAY},
        [("in", "u"), ("u", "u", 1)],
        [0, 1, 0, 0],
        spikes={"u": [0, 1, 1, 1]},
    ),
    wired(
        "feedback",
        "A later layer silences an earlier one, one step later.",
        {**_in(), "a": RELAY, "b": RELAY, "back": _cell(-1.0)},
        [("in", "a"), ("a", "b"), ("b", "back", 1), ("back", "a")],
        [1, 1, 1, 1],
        spikes={"a": [1, 0, 1, 0], "b": [1, 0, 1, 0]},
    ),
    wired(
        "two_units_in_one_loop",
        "Each hears the other: the order within a step is that of the edge without delay.",
        {**_in(), "b": RELAY, "a": RELAY},
        [("b", "a", 1), ("in", "a"), ("a", "b")],
        [1, 0, 0],
        spikes={"a": [1, 1, 1], "b": [1, 1, 1]},
    ),
    wired(
        "linear_cycle",
        "A cycle of Linear nodes alone remembers too.",
        {**_in(), "w": _cell(0.5), "out": Output()},
        [("in", "w"), ("w", "w", 1), ("w", "out")],
        [1, 1, 1, 1],
        outputs={"out": [0.5, 0.75, 0.875, 0.9375]},
    ),
)

FANS: tuple[Case, ...] = (
    wired(
        "skip",
        "The input reaches the second layer past the first.",
        {**_in(), "a": Unit(0.0, 1.0), "w": _cell(0.5), "b": RELAY},
        [("in", "a"), ("a", "b"), ("in", "w"), ("w", "b")],
        [0.75, 1.5, 1],
        spikes={"a": [0, 1, 0], "b": [0, 1, 0]},
        states={"b": [0.375, 1.75, 0.5]},
    ),
    wired(
        "delayed_skip",
        "It comes later than what went through the layer.",
        {**_in(), "a": RELAY, "b": Unit(0.0, 1.5)},
        [("in", "a"), ("a", "b"), ("in", "b", 1)],
        [1, 1, 0, 1],
        states={"b": [1, 2, 1, 1]},
    ),
    wired(
        "sum_of_three",
        "Large terms cancel and the small one decides.",
        {**_in(), "p": _cell(64.0), "q": _cell(0.25), "r": _cell(-64.0), "u": Unit(0.0, 0.125)},
        [("in", "p"), ("in", "q"), ("in", "r"), ("p", "u"), ("q", "u"), ("r", "u")],
        [1, 0, 1],
        spikes={"u": [1, 0, 1]},
        states={"u": [0.25, 0, 0.25]},
    ),
    wired(
        "sum_of_three_in_another_order",
        "The same, summed the other way round.",
        {**_in(), "p": _cell(64.0), "q": _cell(0.25), "r": _cell(-64.0), "u": Unit(0.0, 0.125)},
        [("in", "p"), ("in", "q"), ("in", "r"), ("q", "u"), ("r", "u"), ("p", "u")],
        [1, 0, 1],
        spikes={"u": [1, 0, 1]},
        states={"u": [0.25, 0, 0.25]},
    ),
    wired(
        "units_into_a_unit",
        "Two units meet in a third without weights.",
        {**_in(2), "a": RELAY, "b": Unit(0.0, 1.5), "c": Unit(0.0, 1.5)},
        [("in", "a"), ("in", "b"), ("a", "c"), ("b", "c")],
        [[1, 2], [2, 1]],
        spikes={"c": [[0, 1], [1, 0]]},
    ),
    wired(
        "two_linear_nodes_in_a_row",
        "Weights apply one after the other, each with its bias.",
        {**_in(2), "v": Linear([[1, 2], [0, 1], [1, 0]], [1, 0, 0]), "w": Linear([[1, -1, 2]], [0.5]), "u": RELAY},
        [("in", "v"), ("v", "w"), ("w", "u")],
        [[1, 1], [0, 1], [-1, 0]],
        states={"u": [5.5, 2.5, -1.5]},
    ),
    wired(
        "linear_into_linear_and_unit",
        "One Linear is heard raw and once more weighted.",
        {**_in(), "v": _cell(2.0), "w": _cell(-0.5), "u": RELAY, "x": RELAY},
        [("in", "v"), ("v", "w", 1), ("v", "u"), ("w", "x")],
        [1, -1, 0],
        states={"u": [2, -2, 0], "x": [0, -1, 1]},
    ),
    wired(
        "linear_on_the_last_axis",
        "Of (2, 3), every row is weighted alike.",
        {"in": Input((2, 3)), "w": Linear([[1, 0, -1], [0, 2, 0]], [0, 1]), "u": RELAY},
        [("in", "w"), ("w", "u")],
        [[[1, 2, 3], [4, 0, 1]], [[0, 0, 1], [0, 1, 0]]],
        states={"u": [[[-2, 5], [3, 1]], [[-1, 1], [0, 3]]]},
    ),
    wired(
        "wide_and_narrow",
        "Weights are (out, in): two inputs, three neurons, one read-out.",
        {
            **_in(2),
            "w": Linear([[1, 0], [0, 1], [1, 1]]),
            "u": Unit(0.0, 0.5),
            "r": Linear([[1, 2, 4]]),
            "out": Output(),
        },
        [("in", "w"), ("w", "u"), ("u", "r"), ("r", "out")],
        [[1, 0], [0, 1], [0, 0], [1, -1]],
        spikes={"u": [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]]},
        outputs={"out": [5, 6, 0, 1]},
    ),
)

PORTS: tuple[Case, ...] = (
    wired(
        "two_inputs",
        "Each has its own array.",
        {"left": Input((2,)), "right": Input((1,)), "w": Linear([[1], [-1]]), "u": RELAY},
        [("left", "u"), ("right", "w"), ("w", "u")],
        {"left": [[1, 1], [0, 0]], "right": [[1], [1]]},
        states={"u": [[2, 0], [1, -1]]},
    ),
    wired(
        "an_input_that_nothing_hears",
        "It has to be given, and changes nothing.",
        {**_in(), "idle": Input((3,)), "u": RELAY},
        [("in", "u")],
        {"in": [1, 0], "idle": [[9, 9, 9], [9, 9, 9]]},
        spikes={"u": [1, 0]},
    ),
    wired(
        "two_outputs",
        "Spikes and what drives them are both recorded.",
        {**_in(), "w": _cell(2.0), "u": RELAY, **recorded("w", "u")[0]},
        [("in", "w"), ("w", "u"), *recorded("w", "u")[1]],
        [1, 0.25, -1],
        outputs={"out.w": [2, 0.5, -2], "out.u": [1, 0, 0]},
    ),
    wired(
        "one_sample_of_one_neuron",
        "B = 1, and axes of length 1 stay.",
        {**_in(), "w": _cell(2.0), "u": RELAY, "out": Output()},
        [("in", "w"), ("w", "u"), ("u", "out")],
        [1, 0],
        spikes={"u": [1, 0]},
        outputs={"out": [1, 0]},
    ),
    wired(
        "output_straight_from_an_input",
        "A graph without units.",
        {**_in(2), "out": Output()},
        [("in", "out")],
        [[1, 2], [3, 4]],
        outputs={"out": [[1, 2], [3, 4]]},
    ),
    wired(
        "output_of_a_sum",
        "An Output sums what it receives, delays included.",
        {**_in(), "u": RELAY, "out": Output()},
        [("in", "out", 1), ("in", "u"), ("u", "out")],
        [1, 2, 0, 3],
        outputs={"out": [1, 2, 2, 1]},
    ),
    wired(
        "numbers_are_float64",
        "A weight that float32 cannot hold lifts the state over the threshold.",
        {**_in(), "w": _cell(1 + 2.0**-30), "u": Unit(0.0, 1.0)},
        [("in", "w"), ("w", "u")],
        [1, 0],
        numbers=Float64(),
        spikes={"u": [1, 0]},
    ),
    wired(
        "inputs_are_rounded",
        "An input is rounded to the graph's float32 on entry: a tie, where float64 would fire.",
        {**_in(), "u": Unit(0.0, 0.1)},
        [("in", "u")],
        [0.1 + 1e-12, 0.125],
        spikes={"u": [0, 1]},
    ),
    wired(
        "hostile_names",
        "Names are legal that no language takes for a variable, or that an engine has taken.",
        {
            "class": Input((1,)),
            "a.b": _cell(1.0),
            "a-b": RELAY,
            "a_b": _cell(-1.0),
            "0": Unit(1.0, 0.5),
            "t": _cell(1.0),
            "dt": RELAY,
            "i": _cell(1.0),
            "N": RELAY,
            "s": RELAY,
            "y": Output(),
            "input": RELAY,
            "lengths": Output(),
            "a.b.npy": Output(),
        },
        [
            ("class", "a.b"),
            ("a.b", "a-b"),
            ("a-b", "a_b", 1),
            ("a_b", "a-b"),
            ("a-b", "0"),
            ("0", "t"),
            ("t", "dt"),
            ("dt", "i"),
            ("i", "N", 1),
            ("N", "s"),
            ("s", "y"),
            ("N", "input"),
            ("input", "lengths"),
            ("a-b", "a.b.npy"),
        ],
        {"class": [1, 1, 1, 0]},
        spikes={"a-b": [1, 0, 1, 0], "0": [1, 0, 1, 0], "N": [0, 1, 0, 1]},
        outputs={"y": [0, 1, 0, 1], "lengths": [0, 1, 0, 1], "a.b.npy": [1, 0, 1, 0]},
    ),
    wired(
        "nodes_in_any_order",
        "The order in which nodes are listed is not that in which a step evaluates them.",
        {"out": Output(), "b": RELAY, "w": _cell(1.0), "a": RELAY, **_in()},
        [("b", "out"), ("w", "b"), ("a", "w"), ("in", "a")],
        [1, 0, 1],
        outputs={"out": [1, 0, 1]},
    ),
)

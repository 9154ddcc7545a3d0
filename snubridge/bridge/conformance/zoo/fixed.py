"""FixedPoint: what is rounded, to where, and when; all else is exact."""

from __future__ import annotations

from snubridge.bridge.conformance.cases import Case, Figures
from snubridge.bridge.conformance.zoo.rows import recorded, wired
from snubridge.ir.functions import Identity, LeakyReLU, ReLU, Reset, Step
from snubridge.ir.nodes import AvgPool2d, Input, Linear, Node, Unit
from snubridge.ir.numbers import FixedPoint


def _unit(
    name: str,
    idea: str,
    numbers: FixedPoint,
    unit: Unit,
    drive: Figures,
    spikes: Figures,
    states: Figures,
    bits: int = 0,
    size: int = 1,
) -> Case:
    """A unit that hears an Input of multiples of 2^-bits from -8 to 8."""
    nodes: dict[str, Node] = {"in": Input((size,), -8, 8, bits), "u": unit}
    return wired(
        f"fixed_{name}", idea, nodes, [("in", "u")], drive, numbers=numbers, spikes={"u": spikes}, states={"u": states}
    )


HALF = FixedPoint(0, 8, 1)
"""Whole numbers from -128 to 127, decays 0, 1/2 and 1."""
TINY = FixedPoint(0, 3, 1)
"""The same from -4 to 3."""

FIXED: tuple[Case, ...] = (
    _unit(
        "floor",
        "The carried state is rounded down: below zero it ends at -1 step, above at 0.",
        HALF,
        Unit(0.5, 9),
        [[-3, 3], [0, 0], [0, 0], [0, 0]],
        [[0, 0]] * 4,
        [[-3, 3], [-2, 1], [-1, 0], [-1, 0]],
        size=2,
    ),
    _unit(
        "zero",
        "Or towards zero, on either side.",
        FixedPoint(0, 8, 1, "zero"),
        Unit(0.5, 9),
        [[-3, 3], [0, 0], [0, 0], [0, 0]],
        [[0, 0]] * 4,
        [[-3, 3], [-1, 1], [0, 0], [0, 0]],
        size=2,
    ),
    _unit(
        "rounds_before_the_drive",
        "-1.5 is rounded to -1 before 4 is added: 3, not the 2 that comes of 2.5.",
        FixedPoint(0, 8, 1, "zero"),
        Unit(0.5, 9),
        [-3, 4, -4],
        [0, 0, 0],
        [-3, 3, -3],
    ),
    _unit(
        "saturates",
        "A state stays within its bits, which are not symmetric.",
        TINY,
        Unit(1.0, 7),
        [[-3, 3], [-3, 3], [2, -2]],
        [[0, 0]] * 3,
        [[-3, 3], [-4, 3], [-2, 1]],
        size=2,
    ),
    _unit(
        "saturates_after_g",
        "Once, and after g: -6 becomes 6, then 3; were it -4 before, it would be 4.",
        TINY,
        Unit(1.0, 2, g=LeakyReLU(-1), reset=Reset.NONE),
        [-6, 0, 5, -7],
        [1, 1, 1, 1],
        [3, 3, 3, 3],
    ),
    _unit(
        "relu_from_below",
        "With g ReLU only the upper end is met.",
        TINY,
        Unit(1.0, 2, g=ReLU()),
        [-6, 2, 2, 0],
        [0, 0, 1, 0],
        [0, 2, 3, 0],
    ),
    wired(
        "fixed_whole_drive",
        "The whole drive is added before anything saturates: 3 + 4 - 4 is 3.",
        {"in": Input((1,), -8, 8, 0), "w": Linear([[-1]]), "u": Unit(1.0, 7), "twice": Linear([[2]])},
        [("in", "twice"), ("twice", "u"), ("in", "w"), ("w", "u"), ("in", "u", 1)],
        [3, 1, -4],  # drives 3, 1 + 3 and -4 + 1
        numbers=TINY,
        states={"u": [3, 3, 0]},
        spikes={"u": [0, 0, 0]},
    ),
    _unit(
        "tie",
        "0.3 is 1/4 on a grid of quarters: a state of 1/4 is a tie, and does not fire.",
        FixedPoint(2, 8, 1),
        Unit(0.0, 0.3),
        [0.25, 0.5, 0.25],
        [0, 1, 0],
        [0.25, 0.5, 0.25],
        bits=2,
    ),
    _unit(
        "tie_fires_at_threshold",
        "With at_threshold it does.",
        FixedPoint(2, 8, 1),
        Unit(0.0, 0.3, h=Step(at_threshold=True)),
        [0.25, 0.0, 0.5],
        [1, 0, 1],
        [0.25, 0.0, 0.5],
        bits=2,
    ),
    _unit(
        "subtract",
        "What is rounded is the decayed state less the threshold: -1/2, towards zero.",
        FixedPoint(0, 8, 1, "zero"),
        Unit(0.5, 2, reset=Reset.SUBTRACT),
        [3, 0, 5, 0],
        [1, 0, 1, 0],
        [3, 0, 5, 0],
    ),
    _unit(
        "subtract_decayed",
        "Half of what is left above the threshold, rounded down.",
        HALF,
        Unit(0.5, 2, reset=Reset.SUBTRACT_DECAYED),
        [5, 0, -3, 0],
        [1, 0, 0, 0],
        [5, 1, -3, -2],
    ),
    _unit(
        "lateral",
        "A winner clears a neuron below zero too.",
        HALF,
        Unit(0.5, 2, reset=Reset.LATERAL),
        [[3, -3], [0, 0], [1, -1], [0, 0]],
        [[1, 0], [0, 0], [0, 0], [0, 0]],
        [[3, -3], [0, 0], [1, -1], [0, -1]],
        size=2,
    ),
    _unit(
        "finer_input",
        "A unit's grid is the finer one of its own and its drive's: eighths here.",
        FixedPoint(1, 8, 2),
        Unit(0.25, 0.5, initial_state=1.5),
        [0.125, 0, 0.5],
        [0, 0, 0],
        [0.5, 0.125, 0.5],
        bits=3,
    ),
    _unit(
        "wide_decay",
        "A decay is rounded to the nearest of its own grid: 0.7 is 3/4.",
        FixedPoint(2, 8, 2),
        Unit(0.7, 5),
        [2, 0, 0],
        [0, 0, 0],
        [2, 1.5, 1],
    ),
    wired(
        "fixed_weights",
        "Weights and biases are rounded: 0.3 to 1/4, 0.1 to 0, -0.4 to -1/2.",
        {"in": Input((1,), 0, 1, 0), "w": Linear([[0.3], [-0.4]], [0.1, 0.25]), "out": recorded("w")[0]["out.w"]},
        [("in", "w"), ("w", "out")],
        [1, 0],
        numbers=FixedPoint(2, 8, 1),
        outputs={"out": [[0.25, -0.25], [0, 0.25]]},
    ),
    wired(
        "fixed_average",
        "A mean over 2 x 2 lies on a grid of quarters, and so does the state that it drives.",
        {"in": Input((1, 2, 2), 0, 1, 0), "pool": AvgPool2d(2), "u": Unit(0.5, 0), "out": recorded("u")[0]["out.u"]},
        [("in", "pool"), ("pool", "u"), ("u", "out")],
        [[[[[1, 0], [0, 0]]]], [[[[0, 0], [0, 0]]]], [[[[1, 1], [0, 1]]]]],
        numbers=HALF,
        spikes={"u": [1, 0, 1]},
        states={"u": [0.25, 0, 0.75]},
    ),
    wired(
        "fixed_integrator",
        "A leaky integrator puts out its state less the threshold, on its grid.",
        {
            "in": Input((1,), -2, 2, 1),
            "u": Unit(0.5, 0.25, reset=Reset.NONE, h=Identity()),
            "out": recorded("u")[0]["out.u"],
        },
        [("in", "u"), ("u", "out")],
        [1.5, 0, 0, -0.5],
        numbers=FixedPoint(2, 8, 1),
        states={"u": [1.5, 0.75, 0.25, -0.5]},
        outputs={"out": [1.25, 0.5, 0, -0.75]},
    ),
    wired(
        "fixed_recurrence",
        "A recurrent weight of -1/2 refines the grid of the unit, and no more at each turn.",
        {"in": Input((1,), 0, 2, 0), "u": Unit(0.5, 1), "h": Linear([[-0.5]])},
        [("in", "u"), ("u", "h", 1), ("h", "u")],
        [2, 0, 1, 2],
        numbers=FixedPoint({"u": 0, "h": 1}, 8, 1),
        spikes={"u": [1, 0, 0, 1]},
        states={"u": [2, -0.5, 0.5, 2]},  # -1/4 is rounded down to -1/2, 1/4 to 0
    ),
)

"""One unit each: thresholds, resets, g, h, parameters and initial states."""

from __future__ import annotations

import numpy as np

from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.conformance.zoo.rows import driven
from snubridge.ir.functions import Identity, LeakyReLU, ReLU, Reset, Sigmoid, Step, Tanh
from snubridge.ir.nodes import Unit

LN3 = np.log(3)
RISING = [0.75, 0.75, 0.0, 1.0, -2.0, 0.5]

UNITS: tuple[Case, ...] = (
    driven("tie", "A state exactly at the threshold does not fire.", Unit(0.0, 1.0), [1, 1.5, 1], [0, 1, 0]),
    driven(
        "tie_fires_at_threshold",
        "With at_threshold it does.",
        Unit(0.0, 1.0, h=Step(at_threshold=True)),
        [1, 0.75, 1],
        [1, 0, 1],
    ),
    driven("decay_0", "Nothing is carried.", Unit(0.0, 1.0), [0.75, 0.75, 1.25], [0, 0, 1], [0.75, 0.75, 1.25]),
    driven("decay_1", "Everything is.", Unit(1.0, 1.0), [0.5, 0.5, 0.25, 0.5], [0, 0, 1, 0], [0.5, 1, 1.25, 0.5]),
    driven(
        "reset_to_zero",
        "A spike clears the state, one step later and wholly.",
        Unit(0.5, 1.0),
        RISING,
        [0, 1, 0, 0, 0, 0],
        [0.75, 1.125, 0, 1, -1.5, -0.25],
    ),
    driven(
        "reset_subtract",
        "A spike takes the threshold off the decayed state.",
        Unit(0.5, 1.0, reset=Reset.SUBTRACT),
        RISING,
        [0, 1, 0, 0, 0, 0],
        [0.75, 1.125, -0.4375, 0.78125, -1.609375, -0.3046875],
    ),
    driven(
        "reset_subtract_decayed",
        "A spike takes the threshold off before the decay.",
        Unit(0.5, 1.0, reset=Reset.SUBTRACT_DECAYED),
        RISING,
        [0, 1, 0, 1, 0, 0],
        [0.75, 1.125, 0.0625, 1.03125, -1.984375, -0.4921875],
    ),
    driven(
        "reset_none",
        "A spike changes nothing.",
        Unit(0.5, 1.0, reset=Reset.NONE),
        RISING,
        [0, 1, 0, 1, 0, 0],
        [0.75, 1.125, 0.5625, 1.28125, -1.359375, -0.1796875],
    ),
    driven(
        "reset_subtract_below_zero",
        "A threshold below zero, taken off, lifts the state.",
        Unit(1.0, -0.5, reset=Reset.SUBTRACT),
        [0, 0, -1, -1],
        [1, 1, 1, 0],
        [0, 0.5, 0, -0.5],
    ),
    driven(
        "reset_subtract_decayed_below_zero",
        "The same before the decay.",
        Unit(0.5, -0.5, reset=Reset.SUBTRACT_DECAYED),
        [0, 0, -1, -1],
        [1, 1, 0, 0],
        [0, 0.25, -0.625, -1.3125],
    ),
    driven(
        "lateral_one_winner",
        "One spike clears all neurons of the unit.",
        Unit(1.0, 1.0, reset=Reset.LATERAL),
        [[1.5, 0.5], [0.25, 0.25], [0.5, 1]],
        [[1, 0], [0, 0], [0, 1]],
        [[1.5, 0.5], [0.25, 0.25], [0.75, 1.25]],
    ),
    driven(
        "lateral_two_winners",
        "Two spikes clear them once, not twice.",
        Unit(1.0, 1.0, reset=Reset.LATERAL),
        [[2, 1.5, 0.5], [0.5, 0.5, 0.5], [0.75, 0.25, 0.75]],
        [[1, 1, 0], [0, 0, 0], [1, 0, 1]],
        [[2, 1.5, 0.5], [0.5, 0.5, 0.5], [1.25, 0.75, 1.25]],
    ),
    driven(
        "lateral_per_sample",
        "A spike in one sample clears nothing in another.",
        Unit(1.0, 1.0, reset=Reset.LATERAL),
        [[[2, 0.5], [0.5, 0.5]], [[0, 0.25], [0.25, 0.75]]],
        [[[1, 0], [0, 0]], [[0, 0], [0, 1]]],
        [[[2, 0.5], [0.5, 0.5]], [[0, 0.25], [0.75, 1.25]]],
    ),
    driven(
        "lateral_over_an_image",
        "The winner may be in another channel and row.",
        Unit(1.0, 1.0, reset=Reset.LATERAL),
        [[[[[2], [0]], [[0], [0.5]]]], [[[[0.5], [0.5]], [[0.5], [0.5]]]], [[[[0.5], [1]], [[0.5], [0]]]]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]],
        [[2, 0, 0, 0.5], [0.5] * 4, [1, 1.5, 1, 0.5]],
    ),
    driven(
        "leaky_integrator",
        "h is the identity: the output is the state less the threshold.",
        Unit(0.5, 0.25, reset=Reset.NONE, h=Identity()),
        [1, 1, 0],
        [0.75, 1.25, 0.5],
        [1, 1.5, 0.75],
    ),
    driven(
        "soft_sigmoid",
        "The soft SNU: half an output clears half the state.",
        Unit(0.5, 0.25, h=Sigmoid()),
        [[0.25, LN3 + 0.25], [0.1875, 0.875 * (LN3 + 0.25)], [0.0625, -0.125 * (LN3 + 0.25)]],
        [[0.5, 0.75], [0.5, 0.75], [1 / (1 + np.exp(0.125)), 1 / (1 + np.exp(0.25))]],
        [[0.25, LN3 + 0.25], [0.25, LN3 + 0.25], [0.125, 0]],
        exact=False,
    ),
    driven(
        "soft_tanh",
        "An output below zero makes the reset grow the state.",
        Unit(1.0, 0.0, h=Tanh()),
        [-0.5 * LN3, 0],  # tanh(-ln(3) / 2) = -1/2
        [-0.5, np.tanh(-0.75 * LN3)],
        [-0.5 * LN3, -0.75 * LN3],
        exact=False,
    ),
    driven(
        "soft_subtract",
        "Half an output takes half the threshold off.",
        Unit(0.5, 0.25, reset=Reset.SUBTRACT, h=Sigmoid()),
        [0.25, 0.25],
        [0.5, 0.5],
        [0.25, 0.25],  # 0.125 - 0.125 + 0.25
        exact=False,
    ),
    driven(
        "soft_lateral",
        "The largest output of the sample clears its share of all neurons.",
        Unit(1.0, 0.0, reset=Reset.LATERAL, h=Sigmoid()),
        [[[LN3, 0.5], [0, 0]], [[0, 0], [0, 0.5]]],  # outputs 3/4 and 1/2 win
        [
            [[0.75, 1 / (1 + np.exp(-0.5))], [0.5, 0.5]],
            [[1 / (1 + np.exp(-0.25 * LN3)), 1 / (1 + np.exp(-0.125))], [0.5, 1 / (1 + np.exp(-0.5))]],
        ],
        [[[LN3, 0.5], [0, 0]], [[0.25 * LN3, 0.125], [0, 0.5]]],
        exact=False,
    ),
    driven(
        "relu_floor",
        "With g ReLU no state falls below zero, whatever comes.",
        Unit(1.0, 1.25, g=ReLU()),
        [-1, 2, -1, -3, 1.5],
        [0, 1, 0, 0, 1],
        [0, 2, 0, 0, 1.5],
    ),
    driven(
        "leaky_relu",
        "g acts on the carried state and the drive together.",
        Unit(1.0, 2.0, g=LeakyReLU(0.5)),
        [-1, 2, -3, 3],
        [0, 0, 0, 1],
        [-0.5, 1.5, -0.75, 2.25],
    ),
    driven(
        "negative_slope",
        "A slope below zero makes a spike of inhibition.",
        Unit(1.0, 1.0, g=LeakyReLU(-0.5)),
        [-3, -1, -1.5],
        [1, 0, 0],
        [1.5, 0.5, 0.5],
    ),
    driven("threshold_0", "Rest is a tie: it does not fire.", Unit(0.5, 0.0), [0, 0.5, 0, -0.5], [0, 1, 0, 0]),
    driven(
        "fires_at_rest",
        "A threshold below zero fires without input.",
        Unit(0.5, -0.25),
        [0, -0.5, 0, 0],
        [1, 0, 0, 1],
        [0, -0.5, -0.25, -0.125],
    ),
    driven(
        "initial_state",
        "s_-1 is there before step 0: it decays, and has not fired.",
        Unit(0.5, 1.0, initial_state=2.5),
        [0, 0],
        [1, 0],
        [1.25, 0],
    ),
    driven(
        "initial_state_of_each_neuron",
        "y_-1 is 0, however large s_-1: nothing is subtracted at step 0.",
        Unit(0.5, 1.0, reset=Reset.SUBTRACT, initial_state=[4.0, -1.0]),
        [[0, 0], [0, 2]],
        [[1, 0], [0, 1]],
        [[2, -0.5], [0, 1.75]],
    ),
    driven(
        "parameters_of_each_neuron",
        "Decay and threshold differ from neuron to neuron.",
        Unit([0.0, 0.5, 1.0], [0.25, 0.75, 1.0]),
        [[0.5] * 3] * 3,
        [[1, 0, 0], [1, 0, 0], [1, 1, 1]],
        [[0.5, 0.5, 0.5], [0.5, 0.75, 1], [0.5, 0.875, 1.5]],
    ),
    driven(
        "parameters_over_two_axes",
        "They lie as the sample lies: (2, 2), row by row.",
        Unit([[0.0, 1.0], [0.5, 0.0]], [[0.25, 1.0], [0.5, 2.0]], initial_state=[[0.0, 1.0], [0.0, 8.0]]),
        [[[[0.5, 0.5], [0.5, 0.5]]], [[[0.25, 0.5], [0.5, 2.5]]]],
        [[1, 1, 0, 0], [0, 0, 1, 1]],
        [[0.5, 1.5, 0.5, 0.5], [0.25, 0.5, 0.75, 2.5]],
    ),
    driven("one_step", "T = 1.", Unit(0.5, 0.5), [[0.75, 0.5]], [1, 0], [0.75, 0.5]),
    driven(
        "three_samples",
        "Samples know nothing of one another.",
        Unit(1.0, 1.0),
        [[[0.75], [1.5], [0]], [[0.5], [0.5], [0]]],
        [[0, 1, 0], [1, 0, 0]],
        [[0.75, 1.5, 0], [1.25, 0.5, 0]],
    ),
    driven("silent", "No neuron ever fires.", Unit(0.5, 1.0), [-1, -1, 0], [0, 0, 0], [-1, -1.5, -0.75]),
    driven("always_on", "Every neuron fires at every step.", Unit(1.0, 1.0), [[2, 3]] * 3, [[1, 1]] * 3, [[2, 3]] * 3),
)

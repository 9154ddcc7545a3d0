"""Images: convolutions, pools, Flatten, and what stands before and behind them."""

from __future__ import annotations

import numpy as np

from snubridge.bridge.conformance.cases import Case, Figures
from snubridge.bridge.conformance.zoo.rows import wired
from snubridge.ir.functions import Reset
from snubridge.ir.nodes import AvgPool2d, Conv2d, Flatten, Input, Linear, Node, Output, SumPool2d, Unit
from snubridge.ir.numbers import Array

COUNTED = np.arange(1.0, 10).reshape(3, 3)
"""1 2 3 / 4 5 6 / 7 8 9"""


def _through(name: str, idea: str, node: Node, image: Array, expected: Figures) -> Case:
    """One image (C, H, W), T = 1, through one node to an Output."""
    return wired(
        name,
        idea,
        {"in": Input(image.shape), "n": node, "out": Output()},
        [("in", "n"), ("n", "out")],
        image[None, None],
        outputs={"out": expected},
    )


WINDOWS: tuple[Case, ...] = (
    _through(
        "conv_is_not_flipped",
        "A cross-correlation, as in PyTorch, over a kernel that is not square.",
        Conv2d([[[[1, 2, 4]]]], [0.5]),
        COUNTED[None],
        [17.5, 38.5, 59.5],  # 1*1 + 2*2 + 3*4 + 0.5, ...
    ),
    _through(
        "conv_stride",
        "Windows two rows and one column apart.",
        Conv2d([[[[1]]]], stride=(2, 1)),
        COUNTED[None],
        [1, 2, 3, 7, 8, 9],
    ),
    _through(
        "conv_leaves_a_remainder",
        "What no whole window covers is left out.",
        Conv2d([[[[1, 0], [0, 1]]]], stride=2),
        COUNTED[None],
        [6],
    ),
    _through(
        "conv_padding",
        "Zeros around, one column on each side and no row.",
        Conv2d([[[[1, 0, 0]]]], padding=(0, 1)),
        COUNTED[None],
        [0, 1, 2, 0, 4, 5, 0, 7, 8],
    ),
    _through(
        "conv_dilation",
        "The kernel's entries two apart.",
        Conv2d([[[[1, 0], [0, 1]]]], dilation=2),
        COUNTED[None],
        [10],
    ),
    _through(
        "conv_groups",
        "Each group of outputs sees its own channels: the second is not touched by the first.",
        Conv2d([[[[1]]], [[[2]]], [[[4]]], [[[8]]]], groups=2),
        np.array([[[1.0, 0]], [[0, 1]]]),
        [[1, 0], [2, 0], [0, 4], [0, 8]],
    ),
    _through(
        "conv_channels",
        "Channels are summed, and every output has its own bias.",
        Conv2d([[[[1]], [[2]]], [[[4]], [[8]]]], [0.25, 0.5]),
        np.array([[[1.0, 0]], [[1, 1]]]),
        [[3.25, 2.25], [12.5, 8.5]],
    ),
    _through(
        "avg_pool",
        "The mean of each window of a quarter.",
        AvgPool2d(2),
        np.array([[[1.0, 3, 0, 0], [0, 0, 8, 0]]]),
        [1, 2],
    ),
    _through(
        "avg_pool_counts_its_padding",
        "A window of one value and three zeros of padding divides by four.",
        AvgPool2d(2, stride=2, padding=1),
        np.array([[[4.0, 8], [12, 16]]]),
        [1, 2, 3, 4],
    ),
    _through(
        "avg_pool_overlaps",
        "Windows one step apart, wider than high.",
        AvgPool2d((1, 2), stride=1),
        COUNTED[None],
        [1.5, 2.5, 4.5, 5.5, 7.5, 8.5],
    ),
    _through(
        "sum_pool",
        "The sum of each window, of each channel alone.",
        SumPool2d(2, stride=1),
        np.array([[[1.0, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 1]]]),
        [[12, 16], [0, 1]],
    ),
    _through(
        "sum_pool_padding",
        "Padding adds nothing.",
        SumPool2d((2, 1), stride=(2, 1), padding=(1, 0)),
        np.array([[[1.0], [2]]]),
        [1, 2],
    ),
    _through(
        "flatten_is_row_major",
        "The last axis runs fastest, channels slowest.",
        Flatten(),
        np.arange(8.0).reshape(2, 2, 2),
        range(8),
    ),
    _through("flatten_of_a_vector", "Nothing happens.", Flatten(), np.array([1.0, 2]), [1, 2]),
    _through(
        "linear_on_the_last_axis_of_an_image",
        "Every row of every channel is weighted alike.",
        Linear([[1, -1]], [0.5]),
        np.array([[[1.0, 2], [4, 2]], [[0, 0], [1, 0]]]),
        [[[-0.5], [2.5]], [[0.5], [1.5]]],
    ),
)

IMAGE = {"in": Input((1, 2, 2))}
CORNERS = [[[[1, 0], [0, 0]]], [[[0, 0], [0, 1]]], [[[0, 0], [0, 0]]]]
"""(T, 1, 2, 2): a spike in the first corner, then in the last, then none."""

NETWORKS: tuple[Case, ...] = (
    wired(
        "conv_bias_waits_behind_a_delay",
        "The bias of a convolution has its onset as any other.",
        {**IMAGE, "c": Conv2d([[[[1]]]], [0.5]), "u": Unit(0.0, 1.0)},
        [("in", "c"), ("c", "u", 1)],
        CORNERS,
        states={"u": [[0] * 4, [1.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.5]]},
    ),
    wired(
        "conv_on_spikes",
        "A small network: convolution, units, pool, units, Flatten, read-out.",
        {
            **IMAGE,
            "c": Conv2d([[[[1]]], [[[-1]]]], [0, 1]),
            "u": Unit(0.5, 0.75),
            "p": SumPool2d(2),
            "v": Unit(0.5, 1.0),
            "f": Flatten(),
            "r": Linear([[1, 2]]),
            "out": Output(),
        },
        [("in", "c"), ("c", "u"), ("u", "p"), ("p", "v"), ("v", "f"), ("f", "r"), ("r", "out")],
        CORNERS,
        spikes={
            "u": [[1, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1, 1]],
            "v": [[0, 1], [1, 1], [0, 1]],
        },
        states={"v": [[1, 3], [1.5, 3], [0, 4]]},
        outputs={"out": [2, 3, 2]},
    ),
    wired(
        "flatten_of_a_sum",
        "Two images are summed and then flattened.",
        {**IMAGE, "c": Conv2d([[[[2]]]]), "f": Flatten(), "u": Unit(1.0, 2.5)},
        [("in", "f"), ("in", "c"), ("c", "f", 1), ("f", "u")],
        CORNERS,
        states={"u": [[1, 0, 0, 0], [3, 0, 0, 1], [0, 0, 0, 3]]},
        spikes={"u": [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]},
    ),
    wired(
        "recurrent_conv",
        "A spike spreads to its neighbors, a step at a time.",
        {
            "in": Input((1, 1, 3)),
            "u": Unit(0.0, 0.5),
            "h": Conv2d([[[[1, 0, 1]]]], padding=(0, 1)),
        },
        [("in", "u"), ("u", "h", 1), ("h", "u")],
        [[[[1, 0, 0]]], [[[0, 0, 0]]], [[[0, 0, 0]]]],
        spikes={"u": [[1, 0, 0], [0, 1, 0], [1, 0, 1]]},
    ),
    wired(
        "image_skip",
        "An image reaches a later layer past a convolution of the same size.",
        {**IMAGE, "c": Conv2d([[[[0, 0, 0], [0, 0, 1], [0, 0, 0]]]], padding=1), "u": Unit(0.0, 0.5)},
        [("in", "c"), ("c", "u"), ("in", "u", 1)],
        CORNERS,
        states={"u": [[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]},
    ),
    wired(
        "parameters_of_each_pixel",
        "Thresholds and initial states lie as the image lies, channel by channel.",
        {
            "in": Input((1, 1, 2)),
            "c": Conv2d([[[[1]]], [[[2]]]]),
            "u": Unit(1.0, [[[0.5, 1.5]], [[2.5, 0.5]]], initial_state=[[[0.0, 0.0]], [[0.25, 0.0]]]),
        },
        [("in", "c"), ("c", "u")],
        [[[[1, 0.75]]], [[[0.25, 1]]]],
        spikes={"u": [[1, 0, 0, 1], [0, 1, 1, 1]]},
        states={"u": [[1, 0.75, 2.25, 1.5], [0.25, 1.75, 2.75, 2]]},
    ),
    wired(
        "lateral_behind_a_conv",
        "One feature's spike clears all features of its sample, of both samples alone.",
        {"in": Input((1, 1, 2)), "c": Conv2d([[[[1]]], [[[2]]]]), "u": Unit(1.0, 1.5, reset=Reset.LATERAL)},
        [("in", "c"), ("c", "u")],
        [[[[[1, 0]]], [[[0.5, 0.5]]]], [[[[0.5, 0]]], [[[0.5, 0]]]]],
        spikes={"u": [[[0, 0, 1, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 1, 0]]]},
        states={"u": [[[1, 0, 2, 0], [0.5, 0.5, 1, 1]], [[0.5, 0, 1, 0], [1, 0.5, 2, 1]]]},
    ),
)

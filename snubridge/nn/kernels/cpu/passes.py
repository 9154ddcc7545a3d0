"""A sequence forward and back through the compiled loops that fit its unit: ``fused`` where it can, else ``loops``.

``fused`` knows the step before from its a alone, and no gradients but those of y. So ``loops`` takes the first step,
which follows any s and y; on the way back the last one if its state has a gradient, and all if a has.
"""

from __future__ import annotations

from collections.abc import Callable

from snubridge.nn.kernels.cpu.code import compiled_code
from snubridge.nn.kernels.cpu.plan import Array, Plan

Work = Callable[[int, int, int], None]
"""What ``Plan.spread`` spreads."""


def forward(plan: Plan, x: Array, s_0: Array, y_0: Array, a: Array, y: Array, last: Array) -> Work:
    """Fills a and y (T, M) and the last state (M,) from the drive x (T, M) and s_0 and y_0 (M,) before it."""
    loops, nothing, parameters = compiled_code("loops"), x[:0], (plan.decay, plan.threshold)
    if not plan.fused or len(x) == 1:
        return lambda _part, lo, hi: loops.forward(
            plan.unit, plan.numbers, x, nothing, *parameters, s_0, y_0, a, y, last, lo, hi
        )
    follow = plan.fused_forward()
    first, rest = (x[:1], nothing, *parameters, s_0, y_0, a[:1], y[:1]), (x[1:], x[1:], *parameters, a[1:], y[1:])

    def work(_part: int, lo: int, hi: int) -> None:
        loops.forward(plan.unit, plan.numbers, *first, last, lo, hi)
        follow(a[0], *rest, last, lo, hi)

    return work


def backward(
    plan: Plan, a: Array, from_y: Array, from_a: Array, minus_from_last: Array, x: Array, decay_sums: Array,
    threshold_sums: Array,
) -> Work:  # fmt: skip
    """Fills dL/dx (T, M), and adds to the sums of each part; ``from_a`` (T, M) and -dL/ds (M,) may be empty."""
    loops, nothing, parameters = compiled_code("loops"), a[:0], (plan.decay, plan.threshold)
    after = plan.zeros()
    if not plan.fused or len(from_a):
        return lambda part, lo, hi: loops.backward(
            plan.unit, plan.numbers, *parameters, a, from_y, nothing, from_a, minus_from_last, after, x, nothing,
            decay_sums[part], threshold_sums[part], lo, hi,
        )  # fmt: skip
    follow = plan.fused_backward(decay_sums.size > 0, threshold_sums.size > 0)
    count = len(a) - (1 if len(minus_from_last) else 0)  # steps that receive from their own y alone
    last = (a[count:], from_y[count:], nothing, nothing, minus_from_last, after, x[count:], nothing)
    rest = (a[:count], from_y[:count], a, x[count] if count < len(a) else after, x[:count], a)

    def work(part: int, lo: int, hi: int) -> None:
        sums = decay_sums[part], threshold_sums[part]
        if count < len(a):
            loops.backward(plan.unit, plan.numbers, *parameters, *last, *sums, lo, hi)
        follow(plan.numbers, *parameters, *rest, *sums, lo, hi)

    return work

"""float32 evaluations of one dense unit, each legitimate in its own way: orders of summation, fused, directed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
F = np.float32


def rounded(exact: Array, direction: Array) -> Array:
    """float64 values to float32, to nearest (0), up (1) or down (-1)."""
    near = exact.astype(F)
    up = np.where(near.astype(np.float64) < exact, np.nextafter(near, F(np.inf)), near)
    down = np.where(near.astype(np.float64) > exact, np.nextafter(near, F(-np.inf)), near)
    return np.where(direction > 0, up, np.where(direction < 0, down, near)).astype(F)


def sequential(terms: Array, direction: Array) -> Array:
    """(N, n) float32 terms to their sum, one after the other."""
    total = terms[:, 0]
    for k in range(1, terms.shape[1]):
        total = rounded(total.astype(np.float64) + terms[:, k], direction)
    return total


def pairwise(terms: Array, direction: Array) -> Array:
    """By halves."""
    if terms.shape[1] == 1:
        return terms[:, 0]
    half = terms.shape[1] // 2
    one, other = pairwise(terms[:, :half], direction), pairwise(terms[:, half:], direction)
    return rounded(one.astype(np.float64) + other, direction)


def products(factors: Array, others: Array, direction: Array) -> Array:
    return rounded(factors.astype(np.float64) * others, direction[:, None])


def fused(factors: Array, others: Array, direction: Array) -> Array:
    """Every product goes unrounded into the sum; float64 holds it, and rounds the sum a second time by 2^-53."""
    total = np.zeros(len(factors), F)
    for k in range(factors.shape[1]):
        total = rounded(factors[:, k].astype(np.float64) * others[:, k] + total, direction)
    return total


def permuted(rng: np.random.Generator) -> Callable[[Array, Array, Array], Array]:
    def total(factors: Array, others: Array, direction: Array) -> Array:
        terms = rng.permuted(products(factors, others, direction), axis=1)
        return sequential(terms, direction)

    return total


def in_order(rank: Callable[[Array], Array]) -> Callable[[Array, Array, Array], Array]:
    def total(factors: Array, others: Array, direction: Array) -> Array:
        terms = products(factors, others, direction)
        return sequential(np.take_along_axis(terms, np.argsort(rank(terms), axis=1), axis=1), direction)

    return total


def evaluations(rng: np.random.Generator) -> dict[str, tuple[Callable[[Array, Array, Array], Array], int]]:
    """Sums of products by name, and the direction of rounding: 0 nearest, 1 up, -1 down, 2 at random."""

    def halves(factors: Array, others: Array, direction: Array) -> Array:
        return pairwise(products(factors, others, direction), direction)

    return {
        "as written": (in_order(lambda terms: np.zeros(terms.shape)), 0),
        "permuted": (permuted(rng), 0),
        "pairwise": (halves, 0),
        "smallest first": (in_order(np.abs), 0),
        "largest first": (in_order(lambda terms: -np.abs(terms)), 0),
        "by value": (in_order(lambda terms: terms), 0),
        "fused": (fused, 0),
        "fused, upward": (fused, 1),
        "upward": (permuted(rng), 1),
        "downward": (halves, -1),
        "in random directions": (permuted(rng), 2),
    }

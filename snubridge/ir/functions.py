"""The functions g and h of a unit, and its resets, as values: never code, never text to evaluate."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """g(x) = x; as h, a leaky integrator (only with ``Reset.NONE``)."""


@dataclass(frozen=True)
class ReLU:
    """g(x) = max(x, 0): a state that cannot fall below rest."""


@dataclass(frozen=True)
class LeakyReLU:
    """g(x) = x where x > 0, else slope * x."""

    slope: float = 0.1


@dataclass(frozen=True)
class Step:
    """h(v) = 1 if v > 0, strictly, else 0; with ``at_threshold`` a tie (v = 0) fires too."""

    at_threshold: bool = False


@dataclass(frozen=True)
class Sigmoid:
    """h(v) = 1 / (1 + exp(-v)): the soft SNU."""


@dataclass(frozen=True)
class Tanh:
    """h(v) = tanh(v)."""


class Reset(enum.Enum):
    """What a unit carries from step t-1 to step t (c is the carried state, y its last output).

    TO_ZERO           c = decay * (s * (1 - y))             the SNU (Wozniak et al. 2020)
    LATERAL           c = decay * (s * (1 - max(y)))        the maximum over one sample's neurons
    SUBTRACT          c = decay * s - threshold * y
    SUBTRACT_DECAYED  c = decay * (s - threshold * y)
    NONE              c = decay * s
    """

    TO_ZERO = "to_zero"
    LATERAL = "lateral"
    SUBTRACT = "subtract"
    SUBTRACT_DECAYED = "subtract_decayed"
    NONE = "none"


StateFunction = Identity | ReLU | LeakyReLU
OutputFunction = Step | Sigmoid | Tanh | Identity
STATE_FUNCTIONS: dict[str, type[StateFunction]] = {
    "identity": Identity,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
}
OUTPUT_FUNCTIONS: dict[str, type[OutputFunction]] = {
    "step": Step,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "identity": Identity,
}

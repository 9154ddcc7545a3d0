"""How an engine rounds, as far as a program states it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorModel:
    """The model under which a program's states may deviate from the exact ones.

    ``precision``: the floating-point format that the engine computes in, "float32" or "float64".
    Units: none (a format, not a bound).
    """

    precision: str

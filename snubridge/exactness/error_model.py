"""How an engine rounds: the assumptions under which a certificate holds.

    fl(a o b) = (a o b)(1 + d) + n      |d| <= u, and |n| bounds what is lost below the format's range
                                        (for sums n = 0, unless the engine flushes)

for every sum and product, in any order of summation, rounded in any direction, with or without fused multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from snubridge.errors import BadInput


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    ``significand``  bits of a sum, the hidden one included
    ``factors``      bits to which the factors of Linears and convolutions are rounded before they are multiplied
    ``lowest``       the smallest subnormal is 2^lowest
    ``normal``       the smallest normal is 2^normal
    ``range``        finite numbers stay below 2^range
    """

    significand: int
    factors: int
    lowest: int
    normal: int
    range: int

    @property
    def unit(self) -> float:
        """u: the distance from 1 to the next number, so that every direction of rounding is covered."""
        return math.ldexp(1.0, 1 - self.significand)

    @property
    def lowest_factor(self) -> int:
        """The smallest subnormal of what is multiplied is 2^lowest_factor."""
        return self.normal - (self.factors - 1)

    @property
    def largest(self) -> float:
        """The largest finite number that can be multiplied."""
        return (2 - math.ldexp(1.0, 1 - self.factors)) * math.ldexp(1.0, self.range - 1)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "float64": Format(53, 53, -1074, -1022, 1024),
        "float32": Format(24, 24, -149, -126, 128),
        "tf32": Format(24, 11, -149, -126, 128),  # products of 11 bits, summed in float32
        "bf16": Format(8, 8, -133, -126, 128),
    }
)


@dataclass(frozen=True)
class ErrorModel:
    """The model under which a program's states may deviate from the exact ones.

    ``precision``        the format that the engine computes in: a key of ``FORMATS``
    ``flush``            whether results below the normal range may become 0
    ``weight_error``     by how much, relative to it, the engine may change a weight or bias
    ``decay_error``      the same of a decay
    ``threshold_error``  the same of a threshold
    ``ulps``             how many units its sigmoid (of 1) and its tanh (of the value) may be off in the last place

    All without unit; the errors are at least 0.
    """

    precision: str
    flush: bool = False
    weight_error: float = 0.0
    decay_error: float = 0.0
    threshold_error: float = 0.0
    ulps: float = 8.0

    def __post_init__(self) -> None:
        if not isinstance(self.precision, str) or self.precision not in FORMATS:
            raise BadInput(f"precision={self.precision!r:.40}: one of {', '.join(FORMATS)} is needed")
        for name in ("weight_error", "decay_error", "threshold_error", "ulps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise BadInput(f"{name}={value!r:.40}: a finite number, at least 0, is needed")

    @property
    def format(self) -> Format:
        """The format of ``precision``."""
        return FORMATS[self.precision]

    @property
    def least(self) -> int:
        """Multiples of 2^least are not lost below the format's range."""
        return self.format.normal if self.flush else self.format.lowest

    @property
    def lost(self) -> float:
        """What one product or division loses at most below the format's range; and in float64 the reference's, and
        the bound's own."""
        return math.ldexp(1.0, self.least) + math.ldexp(1.0, FORMATS["float64"].lowest + 2)

    @property
    def keeps_parameters(self) -> bool:
        """Whether the engine computes with exactly the parameters of the graph."""
        return not (self.weight_error or self.decay_error or self.threshold_error)

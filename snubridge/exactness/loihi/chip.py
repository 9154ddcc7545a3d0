"""What a Loihi core holds, in its own integers: the grids and limits that nengo-loihi 1.1.0 builds with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from snubridge.errors import BadInput, shown

STEP_BITS = 6
"""Weights and thresholds are multiples of 2^6 = 64 steps of a voltage."""
DECAY_BITS = 12
CURRENT_DECAY = 1
"""Of 4096: what a current keeps for the next step; the chip cannot keep nothing."""
MOST_WEIGHT, MOST_ODD_WEIGHT = 254, 127
"""In units of 64. A weight is 7 bits and a sign; synapses that reach beyond 127 units count in pairs of them."""
MOST_THRESHOLD = 2**17 - 2
"""In units of 64; the register holds one more, which the emulator's float32 scales may round over."""
MOST_INPUT = 2**21
"""What the weights of all spikes of one step sum up to before the accumulator of a neuron wraps around."""
VOLTAGE_BITS = (24, 32)
"""Bits of a voltage with its sign: those of the register, and those that nengo-loihi lets an unbounded one have."""


COMPARTMENTS, IN_AXONS, OUT_AXONS, SYNAPSE_BITS = 1024, 4096, 4096, 16384 * 64
"""Limits of one core: neurons, axons that enter and leave it, bits for synapses."""


@dataclass(frozen=True)
class Loihi:
    """The integers of a Loihi core, for ``sb.quantize`` to bring a graph to.

    ``weight_bits``   2 to 8, sign included: weights up to 2 (2^(weight_bits-1) - 1) units of 64 are chosen; fewer than
                      8 leave room for a fine-tuning to grow
    ``decays``        how many decays a unit keeps at most, each of which takes cores of its own: a core has one

    Decays are m / 4096, thresholds m * 64, weights n * 64 with n up to 127, or even and up to 254. A current keeps
    1/4096 of itself and is rounded toward zero as the voltage is; a voltage has 24 bits. A core holds 1024 neurons,
    4096 axons each way and 2^20 bits of synapses: a unit takes as many as it needs, what no number of them holds is
    refused.
    """

    weight_bits: int = 8
    decays: int = 4
    name: ClassVar[str] = "loihi"

    def __post_init__(self) -> None:
        for field, least, most in (("weight_bits", 2, 8), ("decays", 1, 4095)):
            value: Any = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise BadInput(f"Loihi: {field}={shown(value)}; a whole number from {least} to {most} is needed")

    @property
    def most_weight(self) -> int:
        """The largest magnitude of a weight that is chosen, in units of 64."""
        return 2 * int(2 ** (self.weight_bits - 1) - 1)


def synapse_memory(weights: int) -> int:
    """Bits that the weights of one axon take: 8 for each, in entries of up to 64 weights, each with a head of 10 bits
    and rounded up to whole words of 64."""
    full, rest = divmod(weights, 64)
    return full * _entry(64) + (_entry(rest) if rest else 0)


def _entry(weights: int) -> int:
    return -(-(weights * 8 + 10) // 64) * 64

"""When spikes must be equal: the precision that a program states, margins, and fixed point by ``quantize``."""

from snubridge.exactness.error_model import ErrorModel as ErrorModel
from snubridge.exactness.margins import smallest_margin as smallest_margin
from snubridge.exactness.quantization import quantize as quantize

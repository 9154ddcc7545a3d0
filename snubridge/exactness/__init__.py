"""When spikes must be equal: error models, certificates, margins, and fixed point by ``quantize``."""

from snubridge.exactness.certificate import Certificate as Certificate
from snubridge.exactness.certificate import Open as Open
from snubridge.exactness.certificate import certify as certify
from snubridge.exactness.dependence import reached as reached
from snubridge.exactness.error_model import ErrorModel as ErrorModel
from snubridge.exactness.margins import smallest_margin as smallest_margin
from snubridge.exactness.quantization import quantize as quantize

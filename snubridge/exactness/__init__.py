"""When spikes must be equal: so far, the precision that a program states, and margins."""

from snubridge.exactness.error_model import ErrorModel as ErrorModel
from snubridge.exactness.margins import smallest_margin as smallest_margin

"""When spikes must be equal: so far, the precision that a program states."""

from snubridge.exactness.error_model import ErrorModel as ErrorModel

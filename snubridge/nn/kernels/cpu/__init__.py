"""The kernel "cpu": the dynamics over the whole sequence in compiled loops, forward and backward.

``limits`` says what it cannot compute; ``operators``, ``recurrence`` and ``projection`` are what torch
sees; ``loops`` and ``events`` are what numba compiles, when it is first used.
"""

from snubridge.nn.kernels.cpu.limits import elsewhere as elsewhere
from snubridge.nn.kernels.cpu.limits import missing as missing
from snubridge.nn.kernels.cpu.limits import obstacle as obstacle
from snubridge.nn.kernels.cpu.sequence import projected as projected
from snubridge.nn.kernels.cpu.sequence import scan as scan
from snubridge.nn.kernels.cpu.sequence import states as states

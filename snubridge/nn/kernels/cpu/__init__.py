"""The kernel "cpu": the dynamics over the whole sequence in compiled loops, forward and backward.

``codes`` says what it computes and what it cannot; ``operators``, ``recurrence`` and ``projection`` are what torch
sees; ``loops`` and ``events`` are what numba compiles, when it is first used.
"""

from snubridge.nn.kernels.cpu.codes import elsewhere as elsewhere
from snubridge.nn.kernels.cpu.codes import missing as missing
from snubridge.nn.kernels.cpu.codes import obstacle as obstacle
from snubridge.nn.kernels.cpu.sequence import projected as projected
from snubridge.nn.kernels.cpu.sequence import scan as scan
from snubridge.nn.kernels.cpu.sequence import states as states

"""The kernel "cpu": the dynamics over the whole sequence in compiled loops, forward and backward.

``codes`` says what it computes and what it cannot; ``operators`` and ``recurrence`` are what torch sees; ``loops`` is
what numba compiles, when it is first used.
"""

from snubridge.nn.kernels.cpu.codes import missing as missing
from snubridge.nn.kernels.cpu.codes import obstacle as obstacle
from snubridge.nn.kernels.cpu.sequence import scan as scan
from snubridge.nn.kernels.cpu.sequence import states as states

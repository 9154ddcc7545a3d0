"""The kernel "triton": the dynamics over the whole sequence on a GPU, forward and backward.

``limits`` says what it cannot compute; ``operators`` and ``recurrence`` are what torch sees, the latter ``stepwise``,
through ``graphs``, or all steps at once; ``launch`` cuts the work into programs; ``kernels``, ``persistent`` and their
``stages`` are what Triton compiles, imported when they are first used. ``import triton`` means Triton itself, in this
folder too.
"""

from snubridge.nn.kernels.triton.limits import interpreted as interpreted
from snubridge.nn.kernels.triton.limits import missing as missing
from snubridge.nn.kernels.triton.limits import obstacle as obstacle
from snubridge.nn.kernels.triton.recurrence import way as way
from snubridge.nn.kernels.triton.sequence import packed as packed
from snubridge.nn.kernels.triton.sequence import scan as scan
from snubridge.nn.kernels.triton.sequence import states as states
from snubridge.nn.kernels.triton.sequence import unpacked as unpacked

"""The kernels that run a unit's dynamics; so far the eager one.

``KERNELS`` names those that ``kernel=`` may ask for. A kernel that cannot run is an error,
never a silent switch to another.
"""

from snubridge.errors import BadInput
from snubridge.nn.kernels.eager import Dynamics as Dynamics
from snubridge.nn.kernels.eager import State as State
from snubridge.nn.kernels.eager import clamped as clamped
from snubridge.nn.kernels.eager import scan as scan
from snubridge.nn.kernels.eager import step as step
from snubridge.nn.kernels.grid import on_grid as on_grid

KERNELS = ("eager",)


def choose(kernel: str) -> str:
    """The kernel that runs: the one asked for, or for "auto" the best there is."""
    if kernel != "auto" and kernel not in KERNELS:
        raise BadInput(f"kernel={kernel!r}: choose from 'auto', {', '.join(map(repr, KERNELS))}")
    return "eager" if kernel == "auto" else kernel

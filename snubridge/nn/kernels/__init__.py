"""The kernels that run a unit's dynamics: "eager", step by step; "cpu", compiled loops; "triton", on a GPU.

``KERNELS`` names those that ``kernel=`` may ask for. A kernel that cannot run is an error with its reason, never a
silent switch to another; "auto" takes the fastest that can, and the layer's ``repr`` says which.
"""

from snubridge.nn.kernels.choice import KERNELS as KERNELS
from snubridge.nn.kernels.choice import Choice as Choice
from snubridge.nn.kernels.choice import choose as choose
from snubridge.nn.kernels.eager import Dynamics as Dynamics
from snubridge.nn.kernels.eager import State as State
from snubridge.nn.kernels.eager import clamped as clamped
from snubridge.nn.kernels.eager import step as step
from snubridge.nn.kernels.grid import on_grid as on_grid
from snubridge.nn.kernels.projection import PROJECTIONS as PROJECTIONS
from snubridge.nn.kernels.projection import RATE as RATE
from snubridge.nn.kernels.projection import choose_projection as choose_projection
from snubridge.nn.kernels.projection import project as project
from snubridge.nn.kernels.run import Run as Run
from snubridge.nn.kernels.run import examined as examined
from snubridge.nn.kernels.run import run as run

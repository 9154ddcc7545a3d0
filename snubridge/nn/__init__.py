"""Networks of spiking neural units in PyTorch: train them, capture them as graphs, and back.

The only room of snubridge that imports torch.
"""

from snubridge.nn.containers import Sequential as Sequential
from snubridge.nn.delays import Delay as Delay
from snubridge.nn.images import AvgPool2d as AvgPool2d
from snubridge.nn.images import BatchNorm1d as BatchNorm1d
from snubridge.nn.images import BatchNorm2d as BatchNorm2d
from snubridge.nn.images import Conv2d as Conv2d
from snubridge.nn.images import Flatten as Flatten
from snubridge.nn.images import SumPool2d as SumPool2d
from snubridge.nn.kernels import State as State
from snubridge.nn.network import Network as Network
from snubridge.nn.network import NetworkState as NetworkState
from snubridge.nn.network import to_module as to_module
from snubridge.nn.online import Trainer as Trainer
from snubridge.nn.reductions import OverTime as OverTime
from snubridge.nn.reductions import mean_over_steps as mean_over_steps
from snubridge.nn.surrogates import ArctanDerivative as ArctanDerivative
from snubridge.nn.surrogates import PiecewiseLinear as PiecewiseLinear
from snubridge.nn.surrogates import SigmoidDerivative as SigmoidDerivative
from snubridge.nn.surrogates import SuperSpike as SuperSpike
from snubridge.nn.surrogates import Surrogate as Surrogate
from snubridge.nn.surrogates import TanhDerivative as TanhDerivative
from snubridge.nn.tracing import capture as capture
from snubridge.nn.units import SNU as SNU
from snubridge.nn.units import Unit as Unit

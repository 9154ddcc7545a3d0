"""snubridge: trained networks of Spiking Neural Units, with the same spikes on every engine.

The map of the public API; each block names the room where the code lives. ``from snubridge
import nn`` (which needs torch) is apart.
"""

from snubridge.bridge.adapter import Adapter as Adapter
from snubridge.bridge.adapter import Program as Program
from snubridge.bridge.adapter import Support as Support
from snubridge.bridge.lowering import export as export
from snubridge.bridge.lowering import import_graph as import_graph
from snubridge.bridge.plugins import backends as backends
from snubridge.errors import BadFile as BadFile
from snubridge.errors import BadInput as BadInput
from snubridge.errors import Breach as Breach
from snubridge.errors import InvalidGraph as InvalidGraph
from snubridge.errors import MissingEngine as MissingEngine
from snubridge.errors import SnubridgeError as SnubridgeError
from snubridge.errors import SpikesDiffer as SpikesDiffer
from snubridge.errors import Unsupported as Unsupported
from snubridge.exactness.certificate import Certificate as Certificate
from snubridge.exactness.certificate import certify as certify
from snubridge.exactness.error_model import ErrorModel as ErrorModel
from snubridge.exactness.loihi import Loihi as Loihi
from snubridge.exactness.quantization import quantize as quantize
from snubridge.ir import AvgPool2d as AvgPool2d
from snubridge.ir import Conv2d as Conv2d
from snubridge.ir import Edge as Edge
from snubridge.ir import FixedPoint as FixedPoint
from snubridge.ir import Flatten as Flatten
from snubridge.ir import Float32 as Float32
from snubridge.ir import Float64 as Float64
from snubridge.ir import Graph as Graph
from snubridge.ir import Identity as Identity
from snubridge.ir import Input as Input
from snubridge.ir import LeakyReLU as LeakyReLU
from snubridge.ir import Linear as Linear
from snubridge.ir import Output as Output
from snubridge.ir import ReLU as ReLU
from snubridge.ir import Reset as Reset
from snubridge.ir import Sigmoid as Sigmoid
from snubridge.ir import Step as Step
from snubridge.ir import SumPool2d as SumPool2d
from snubridge.ir import Tanh as Tanh
from snubridge.ir import Unit as Unit
from snubridge.ir import load as load
from snubridge.ir import save as save
from snubridge.ir import validate as validate
from snubridge.reference.interpreter import simulate as simulate
from snubridge.reference.trace import Trace as Trace
from snubridge.verification.comparison import Comparison as Comparison
from snubridge.verification.comparison import compare as compare
from snubridge.verification.report import Report as Report
from snubridge.verification.verifier import verify as verify
from snubridge.version import __version__ as __version__

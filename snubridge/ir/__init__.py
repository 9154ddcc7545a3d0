"""What a graph is: its nodes, numbers, rules and file format."""

from snubridge.ir.file import load as load
from snubridge.ir.file import save as save
from snubridge.ir.functions import Identity as Identity
from snubridge.ir.functions import LeakyReLU as LeakyReLU
from snubridge.ir.functions import ReLU as ReLU
from snubridge.ir.functions import Reset as Reset
from snubridge.ir.functions import Sigmoid as Sigmoid
from snubridge.ir.functions import Step as Step
from snubridge.ir.functions import Tanh as Tanh
from snubridge.ir.graph import Edge as Edge
from snubridge.ir.graph import Graph as Graph
from snubridge.ir.nodes import AvgPool2d as AvgPool2d
from snubridge.ir.nodes import Conv2d as Conv2d
from snubridge.ir.nodes import Flatten as Flatten
from snubridge.ir.nodes import Input as Input
from snubridge.ir.nodes import Linear as Linear
from snubridge.ir.nodes import Node as Node
from snubridge.ir.nodes import Output as Output
from snubridge.ir.nodes import SumPool2d as SumPool2d
from snubridge.ir.nodes import Unit as Unit
from snubridge.ir.numbers import FixedPoint as FixedPoint
from snubridge.ir.numbers import Float32 as Float32
from snubridge.ir.numbers import Float64 as Float64
from snubridge.ir.numbers import Numbers as Numbers
from snubridge.ir.rules import validate as validate

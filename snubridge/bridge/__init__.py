"""The way to the engines: the contract of an adapter, and what every lowering needs, once."""

from snubridge.bridge.adapter import ALWAYS as ALWAYS
from snubridge.bridge.adapter import Adapter as Adapter
from snubridge.bridge.adapter import Program as Program
from snubridge.bridge.adapter import Requirement as Requirement
from snubridge.bridge.adapter import Support as Support
from snubridge.bridge.lowering import export as export
from snubridge.bridge.lowering import import_graph as import_graph
from snubridge.bridge.lowering import lower as lower
from snubridge.bridge.options import time_step as time_step
from snubridge.bridge.options import wide_enough as wide_enough
from snubridge.bridge.planning import Plan as Plan
from snubridge.bridge.planning import draw_plan as draw_plan
from snubridge.bridge.plugins import backends as backends
from snubridge.bridge.script import EngineModule as EngineModule
from snubridge.bridge.script import ScriptProgram as ScriptProgram
from snubridge.bridge.wiring import Bias as Bias
from snubridge.bridge.wiring import Path as Path
from snubridge.bridge.wiring import Wiring as Wiring
from snubridge.bridge.wiring import wire as wire
from snubridge.exactness import ErrorModel as ErrorModel
from snubridge.ir.structure import order as order
from snubridge.ir.structure import shapes as shapes
from snubridge.ir.structure import strongly_connected as strongly_connected
from snubridge.reference.inputs import Run as Run
from snubridge.reference.inputs import prepare as prepare
from snubridge.reference.trace import Trace as Trace

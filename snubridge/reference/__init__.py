"""What a graph means: the interpreter that defines it, and what a run records."""

from snubridge.reference.inputs import Run as Run
from snubridge.reference.inputs import prepare as prepare
from snubridge.reference.interpreter import simulate as simulate
from snubridge.reference.trace import State as State
from snubridge.reference.trace import Trace as Trace

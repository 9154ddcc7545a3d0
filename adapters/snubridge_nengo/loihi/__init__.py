"""Graphs in Loihi's integers as Nengo networks that nengo-loihi takes."""

from snubridge_nengo.loihi.program import LoihiProgram as LoihiProgram
from snubridge_nengo.loihi.program import lower_loihi as lower_loihi

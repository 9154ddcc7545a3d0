"""Exported scripts: programs of engines that build a network from a plan, their files, and reading these back."""

from snubridge.bridge.script.program import EngineModule as EngineModule
from snubridge.bridge.script.program import ScriptProgram as ScriptProgram
from snubridge.bridge.script.reading import read_exported as read_exported
from snubridge.bridge.script.reading import read_script as read_script

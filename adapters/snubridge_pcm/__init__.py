"""PCM crossbars: a hardware description from which one could program them, and a simulator that reads it."""

from snubridge_pcm.adapter import PcmAdapter as PcmAdapter
from snubridge_pcm.adapter import PcmProgram as PcmProgram

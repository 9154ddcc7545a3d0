"""What times a call: the CPU time of this process, or events in the stream of a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

LEAD = 2**30
"""Bytes written before a call on a GPU: more than its caches hold, and the host launches the call meanwhile."""


class Clock(Protocol):
    """A policy: what a call takes."""

    def milliseconds(self, call: Callable[[], None]) -> float:
        """Of one call."""


class CpuTime:
    """Of all threads of this process."""

    def milliseconds(self, call: Callable[[], None]) -> float:
        """CPU time of one call."""
        started = time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)
        call()
        return (time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID) - started) / 1e6


class CudaEvents:
    """Of the current stream of a GPU: from the end of what was launched before a call to the end of the call.

    What the host takes to launch counts where the GPU waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._lead = torch.empty(LEAD, dtype=torch.uint8, device=device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def milliseconds(self, call: Callable[[], None]) -> float:
        """GPU time of one call."""
        self._lead.zero_()
        self._start.record()
        call()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end))

"""The rows of a sequence cut into tiles and spread over threads.

The threads are ours and as many as ``torch.get_num_threads()`` says; the compiled loops release the interpreter's lock.
numba's own parallel loops are not used: its portable pool ends the process when two Python threads enter it at once,
and its OpenMP pool does so after a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import ceil

import torch

TILE = 4096  # neurons whose share of a few arrays fits the caches next to a core
FUSED_TILE = 512  # neurons whose parameters, and sums of their gradients, fit the innermost one
WORTH_A_THREAD = 2**18  # neuron-steps: below, handing over costs more than it saves


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="snubridge")


def parts(steps: int, size: int, tile: int) -> int:
    """Into how many parts the work is cut: it depends on its size and on torch's number of threads alone."""
    tiles = ceil(size / tile)
    number = min(torch.get_num_threads(), tiles, max(1, steps * size // WORTH_A_THREAD))
    return ceil(tiles / ceil(tiles / number))


def spread(work: Callable[[int, int, int], None], number: int, size: int, tile: int) -> None:
    """``work(part, lo, hi)`` for all ``parts`` of a row of ``size`` neurons at once; each is whole tiles."""
    if number == 1:
        work(0, 0, size)
        return
    share = ceil(ceil(size / tile) / number) * tile
    futures = [
        _pool(os.getpid()).submit(work, part, part * share, min((part + 1) * share, size)) for part in range(number)
    ]  # threads do not survive a fork: a process has a pool of its own
    for future in futures:
        future.result()

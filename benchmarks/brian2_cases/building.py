"""Builds a dense layer on Brian2, prints what it took as JSON: building.py KIND SIZE TARGET PRECISION."""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).parent.parent)  # this folder is a package, found there

from networks.layers import drawn  # noqa: E402  # likewise

from brian2_cases.candidates import Exported, Handwritten  # noqa: E402  # only now that the path is there


def resident() -> int:
    """Bytes of this process in memory, after what is free went back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    kind, size, target, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    build = {"exported": Exported, "handwritten": Handwritten}[kind]
    build(*drawn(10, 0.1, 2), target).run(1)  # what is imported and compiled once
    weights, stimulus = drawn(size, 0.02, 10)
    weights = weights.astype(precision)
    before, started = resident(), time.process_time()
    network = build(weights, stimulus, target)
    built = time.process_time() - started
    network.run(1)
    first = time.process_time() - started - built
    kept, peak = resident() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert np.isfinite(weights).all()  # still there: not counted
    figures = {"seconds": built, "seconds of the first run": first}
    print(json.dumps(figures | {"bytes kept each": kept / weights.size, "bytes at the peak": peak / weights.size}))


if __name__ == "__main__":
    main()

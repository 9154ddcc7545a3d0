"""Where a figure was measured: the processor and the versions; no name of a host, no path."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import snubridge


def machine() -> dict[str, Any]:
    """Processor, cores, threads, system, load before the run."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, of what always runs and of the opponents."""
    found = {"python": platform.python_version(), "snubridge": snubridge.__version__}
    return found | {name: version(name) for name in ("torch", "numba", "numpy", *packages)}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    family = ", ".join(f"{key} {names[key]}" for key in ("cpu family", "model") if key in names)
    return f"{names.get('model name', platform.machine())}{f' ({family})' if family else ''}"

"""Where a figure was measured: the processor and the versions; no name of a host, no path."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import snubridge
from snubridge.errors import MissingEngine
from snubridge.nn.kernels.triton import missing

DRIVERS: Mapping[Path, str] = {
    Path("/proc/driver/nvidia/version"): r"Kernel Module.*?\s(\d+\.[\d.]+)",
    Path("/sys/module/amdgpu/version"): r"(\S+)",
}
"""Where the drivers of GPUs tell their version, and how it is found there."""


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


def card(device: torch.device) -> dict[str, Any]:
    """The GPU, its driver and its libraries; system and processor beside it."""
    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "memory_gib": round(found.total_memory / 2**30, 1),
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "driver": _driver(),
        "runtime": f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}",
        "cudnn": torch.backends.cudnn.version(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def compiler() -> dict[str, str]:
    """The version of Triton, whatever its package is called; ``MissingEngine`` where it is not installed."""
    if reason := missing():
        raise MissingEngine(reason)
    return {"triton": str(import_module("triton").__version__)}


def _driver() -> str:
    """The version of the driver for GPUs, as it says itself; "unknown" where it does not."""
    for path, pattern in DRIVERS.items():
        if path.exists() and (found := re.search(pattern, path.read_text())):
            return found[1]
    if tool := shutil.which("nvidia-smi"):  # a container may have this and not the files
        asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    return "unknown"

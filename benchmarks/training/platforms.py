"""Where a run takes place: the device, what times calls on it, and what the report says of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from training import machine
from training.clocks import Clock, CpuTime, CudaEvents


class NoGPU(Exception):
    """A GPU was asked for, and there is none; the message has the remedy."""


@dataclass(frozen=True)
class Platform:
    """``about`` is of the machine, ``packages`` the versions that matter here alone.

    ``measured`` says what is timed, and how, ``memory`` what becomes of memory that a call frees.
    """

    device: torch.device
    clock: Clock
    about: Mapping[str, Any]
    headline: str
    measured: str
    memory: str
    packages: Mapping[str, str]


def cpu(kept: bool) -> Platform:
    """One thread; ``kept``: glibc keeps what is freed."""
    about = machine.machine()
    return Platform(
        torch.device("cpu"),
        CpuTime(),
        about,
        f"{about['cpu']}, {about['cores']} cores, one thread, {about['system']}, torch's vectors {about['vectors']}, "
        f"load {about['load_before']} before the run",
        "CPU time of the process (CLOCK_PROCESS_CPUTIME_ID) in one thread, float32",
        "is kept for the next call" if kept else "goes back to the system as glibc sees fit",
        {},
    )


def cuda(kept: bool) -> Platform:
    """The current GPU, with products of float32 in float32 for everybody; ``NoGPU`` where torch sees none."""
    if not torch.cuda.is_available():
        raise NoGPU(
            f"--device cuda: torch {torch.__version__} sees no GPU (torch.cuda.is_available() is false); "
            "run it on a machine with one, with a torch built for it, or leave --device out for the CPU"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda", torch.cuda.current_device())
    about = machine.card(device)
    return Platform(
        device,
        CudaEvents(device),
        about,
        f"{about['gpu']}, {about['memory_gib']} GiB, {about['multiprocessors']} multiprocessors, compute capability "
        f"{about['capability']}, driver {about['driver']}, {about['runtime']}, cuDNN {about['cudnn']}, "
        f"{about['system']}",
        "Time of the GPU between two events around a call, float32 where nothing else is said and never TF32, each "
        "call after a gigabyte has been written, which empties the caches and lets the host go ahead",
        "stays with torch's allocator",
        machine.compiler(),
    )


PLATFORMS: Mapping[str, Callable[[bool], Platform]] = {"cpu": cpu, "cuda": cuda}
"""By the name that ``--device`` takes."""

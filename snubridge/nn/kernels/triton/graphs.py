"""Many launches recorded as a CUDA graph, once, and replayed: what a recurrent layer does step by step.

A recording works on tensors of its own: what a call gives is copied in, what it gets is copied out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor

KEPT = 16  # recordings, and the memory in each; the oldest goes
ONE_AT_A_TIME = Lock()  # torch records one graph of a process at a time
Work = Callable[..., tuple[Tensor, ...]]
Like = tuple[tuple[int, ...], torch.dtype] | None


def replayed(work: Work, tensors: Sequence[Tensor | None], *rest: Any) -> tuple[Tensor, ...]:
    """``work(*tensors, *rest)``: on a GPU from a recording, but called as it is where the caller records himself."""
    (device,) = {tensor.device for tensor in tensors if tensor is not None}
    if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return work(*tensors, *rest)
    like = tuple(None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors)
    products = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    stream = torch.cuda.current_stream(device).cuda_stream
    return recording(work, device, stream, like, rest, products)(tensors)


@lru_cache(maxsize=KEPT)
def recording(
    work: Work, device: torch.device, stream: int, like: tuple[Like, ...], rest: tuple[Any, ...], products: Any
) -> Recording:
    """The recording for tensors like these, and products formed like this; each stream has its own."""
    return Recording(work, device, like, rest)


class Recording:
    """The launches of ``work``, which must not wait for the GPU, and the tensors that they read and write.

    They are recorded at the second call: a length that comes once is not worth it.
    """

    def __init__(self, work: Work, device: torch.device, like: Sequence[Like], rest: Sequence[Any]) -> None:
        self._work, self._device, self._like, self._rest = work, device, like, rest
        self._lock, self._calls = Lock(), 0

    def __call__(self, tensors: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        with self._lock, torch.inference_mode(False), torch.no_grad():
            self._calls += 1
            if self._calls == 1:
                return self._work(*tensors, *self._rest)
            if self._calls == 2:
                self._record()
            for mine, given in zip(self._given, tensors, strict=True):
                if mine is not None and given is not None:
                    mine.copy_(given)
            self._graph.replay()
            return tuple(made.clone() for made in self._made)

    def _record(self) -> None:
        device = self._device
        with torch.cuda.device(device):
            self._given = [kind and torch.zeros(kind[0], dtype=kind[1], device=device) for kind in self._like]
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no annotation here
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                self._work(*self._given, *self._rest)  # compiles what an address aligned otherwise asks for
            torch.cuda.current_stream(device).wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            with ONE_AT_A_TIME, torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
                self._made = self._work(*self._given, *self._rest)

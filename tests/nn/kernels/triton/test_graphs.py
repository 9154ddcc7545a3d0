"""What stands around a CUDA graph, with one that runs the work again: no GPU is needed. ``test_gpu`` has real ones."""

from __future__ import annotations

import contextlib

import pytest
import torch

from snubridge.nn.kernels.triton import graphs


class Graph:
    """A graph that knows what was recorded, and does it again."""

    recording = None

    def replay(self):
        for made, again in zip(self.made, self.work(), strict=True):
            made.copy_(again)


@pytest.fixture
def recorded(monkeypatch):
    """CUDA as this module uses it, on the CPU; the calls of ``work``."""
    calls = []

    @contextlib.contextmanager
    def record(graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"  # what other threads do on the GPU meanwhile is no fault
        Graph.recording = graph
        yield
        Graph.recording = None

    def work(x, nothing, *rest):
        calls.append(rest)
        assert nothing is None
        made = (x * 2, x + rest[0])
        if Graph.recording is not None:
            Graph.recording.made, Graph.recording.work = made, lambda: (x * 2, x + rest[0])
        return made

    stream = type("Stream", (), {"cuda_stream": 7, "wait_stream": lambda self, other: None})()
    fakes = {
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph": record,
        "is_current_stream_capturing": lambda: False,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    graphs.recording.cache_clear()
    yield work, calls
    graphs.recording.cache_clear()


def replayed(work, x, *rest):
    """As on a GPU."""
    like = ((tuple(x.shape), x.dtype), None)
    return graphs.recording(work, x.device, 7, like, rest, "highest")((x, None))


def test_the_work_is_recorded_once_and_replayed(recorded):
    work, calls = recorded
    results = [replayed(work, torch.full((3,), float(k)), 1.0) for k in range(4)]
    assert len(calls) == 3  # the first call itself; to compile, and to record
    for k, (double, more) in enumerate(results):  # and no later call has written to what an earlier one got
        assert torch.equal(double, torch.full((3,), 2.0 * k))
        assert torch.equal(more, torch.full((3,), 1.0 + k))


def test_other_sizes_and_numbers_are_other_recordings(recorded):
    work, calls = recorded
    for _ in range(2):
        replayed(work, torch.ones(3), 1.0), replayed(work, torch.ones(4), 1.0), replayed(work, torch.ones(3), 2.0)
    assert len(calls) == 9
    assert torch.equal(replayed(work, torch.ones(3), 2.0)[1], torch.full((3,), 3.0))
    assert len(calls) == 9


def test_a_length_that_comes_once_is_not_recorded(recorded, monkeypatch):
    work, calls = recorded
    monkeypatch.setattr(torch.cuda, "graph", None)
    for steps in range(1, 2 * graphs.KEPT):
        assert torch.equal(replayed(work, torch.ones(steps), 1.0)[1], torch.full((steps,), 2.0))
    assert len(calls) == 2 * graphs.KEPT - 1


def test_a_recording_made_without_gradients_serves_with_them(recorded):
    work, _ = recorded
    with torch.inference_mode():
        replayed(work, torch.ones(3), 1.0), replayed(work, torch.ones(3), 1.0)
    double, _ = replayed(work, torch.ones(3), 1.0)
    assert not double.is_inference()
    assert not double.requires_grad


def test_on_the_cpu_and_while_somebody_records_the_work_is_done_at_once(recorded, monkeypatch):
    work, calls = recorded
    assert torch.equal(graphs.replayed(work, (torch.ones(3), None), 1.0)[1], torch.full((3,), 2.0))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    graphs.replayed(work, (torch.ones(3, device="meta"), None), 1.0)
    assert len(calls) == 2
    assert graphs.recording.cache_info().currsize == 0

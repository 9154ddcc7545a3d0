"""What the tests of the interpreted kernels share."""

from __future__ import annotations

import pytest

from snubridge.nn.kernels.triton import launch


@pytest.fixture
def short_chunks(monkeypatch):
    """4 steps to every checkpoint: the interpreter takes a chunk's steps one by one, those after the end too."""
    monkeypatch.setitem(launch.FAR, launch.PLATFORM, launch.CLOSE)

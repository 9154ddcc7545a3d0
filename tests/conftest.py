"""What tests of several rooms share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def quick_brian2() -> Iterator[None]:
    """Keep Brian2 from logging all generated code, and from searching all modules for garbage in each run."""
    network = pytest.importorskip("brian2.core.network")
    logger, collector = logging.getLogger("brian2"), network.gc
    level = logger.level
    logger.setLevel(logging.INFO)
    network.gc = SimpleNamespace(collect=lambda: 0)  # Python's own collection goes on
    yield
    network.gc = collector
    logger.setLevel(level)

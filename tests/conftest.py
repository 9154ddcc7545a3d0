"""What tests of several rooms share."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def quick_brian2() -> Iterator[None]:
    """Keep Brian2 from logging all generated code, and from searching all modules for garbage in each run."""
    logger = logging.getLogger("brian2")
    level = logger.level
    logger.setLevel(logging.INFO)
    gc.freeze()
    yield
    gc.unfreeze()
    logger.setLevel(level)

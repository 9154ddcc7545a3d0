"""What the tests of networks written by hand share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.handwritten.networks import DT, brian2


@pytest.fixture(autouse=True)
def target(quick_brian2: None) -> Iterator[None]:
    """No compiler, and a time step of our own."""
    before = brian2.prefs.codegen.target
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = DT * brian2.second
    yield
    brian2.prefs.codegen.target = before
    brian2.defaultclock.dt = 0.1 * brian2.ms
    for name in ("timestep", "t"):
        brian2.defaultclock.variables[name].set_value(0)

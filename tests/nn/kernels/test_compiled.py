"""How the loops are compiled, and what the doctor finds."""

from __future__ import annotations

import numpy as np

from snubridge.nn import kernels
from snubridge.nn.kernels.cpu import codes
from snubridge.nn.kernels.cpu.compiled import compiled

SOURCE = """
def double(x):
    for i in range(len(x)):
        x[i] *= 2
"""


def test_a_function_that_cannot_be_kept_on_disk_is_compiled_all_the_same():
    scope = {}
    exec(SOURCE, scope)
    x = np.ones(3)
    compiled(scope["double"])(x)
    assert x.tolist() == [2, 2, 2]


def test_every_kernel_is_tried(monkeypatch):
    assert kernels.examined() == {"eager": "ready", "cpu": 'ready, what kernel="auto" runs'}
    monkeypatch.setattr(codes, "find_spec", lambda name: None)
    found = kernels.examined()
    assert found["eager"] == 'ready, what kernel="auto" runs'
    assert found["cpu"].startswith("MissingEngine: kernel='cpu': numba is not installed; pip install")

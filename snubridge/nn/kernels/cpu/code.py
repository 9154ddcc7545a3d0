"""The compiled code, imported when it is first used: numba takes half a second to import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from snubridge.errors import MissingEngine


def compiled_code(name: str) -> Any:
    """The module "loops", "fused" or "events"; ``MissingEngine`` where numba is there and does not import."""
    try:
        return import_module(f"snubridge.nn.kernels.cpu.{name}")
    except ImportError as error:
        raise MissingEngine(f"kernel='cpu': numba cannot be imported ({error}); kernel='eager' needs none") from error

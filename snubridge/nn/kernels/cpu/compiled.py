"""How the loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast
from zlib import crc32

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function compiled when it is first called, without the interpreter's lock; kept on disk where that can be.

    numba keeps it beside the source, else in the user's cache folder or in NUMBA_CACHE_DIR.
    """
    try:
        return cast(Function, njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # no place: every process compiles anew
        return cast(Function, njit(nogil=True, error_model="numpy")(function))


@lru_cache(maxsize=1)
def version() -> int:
    """A number that changes with the compiled sources here.

    numba looks for changes in a function's own file alone, and keeps a closure by what it encloses: one that encloses
    this number is compiled anew when a file changes from which it takes a function.
    """
    folder = Path(__file__).parent
    try:
        return crc32(b"".join((folder / f"{name}.py").read_bytes() for name in ("compiled", "loops", "fused")))
    except OSError:  # installed without sources, or in an archive, where numba keeps nothing either
        return 0

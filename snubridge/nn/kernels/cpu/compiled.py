"""How the loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

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

"""The reference, made to raise: whoever still asks it, by whatever name, is found out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import snubridge.reference.interpreter as interpreter
import snubridge.reference.operators as operators
from snubridge.reference.trace import State


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("an adapter asked the reference for its result")


def _functions() -> Iterator[Callable[..., Any]]:
    """Every function that the reference computes with: of its modules, in their tables, and of its memory."""
    for module in (interpreter, operators):
        for _, value in inspect.getmembers(module):
            for function in value.values() if isinstance(value, Mapping) else (value,):
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    yield function
    yield from (State.past, State.push, State.reduce, State.reduced)


@contextmanager
def reference_sealed() -> Iterator[None]:
    """While this holds, every function of the reference raises ``AssertionError``.

    The functions themselves are changed, not the names that lead to them: an adapter that imported
    one of them before is found out as well.
    """
    with pytest.MonkeyPatch.context() as patch:
        for function in _functions():
            patch.setattr(function, "__code__", _forbidden.__code__)
        yield

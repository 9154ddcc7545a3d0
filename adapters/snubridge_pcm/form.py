"""The form of ``hardware.json``, as a table: which keys, and which type each value has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from snubridge.errors import BadFile

LARGEST = 2**53  # of integers, so that every reader of JSON reads the same one


@dataclass(frozen=True)
class Each:
    """An object with any keys, whose values all have one form."""

    form: Any


FUNCTION = Each(str | float | bool)  # {"kind": ..., and its parameters}
HARDWARE = {
    "format": {"name": str, "version": int},
    "sha256": str,  # of the canonical JSON without this key
    "mode": str,
    "numbers": str,
    "technology": {"device": str},
    "device": {"g_min_uS": float, "g_max_uS": float},
    "unit_cell": {"devices_per_weight": int, "encoding": str},
    "devices": int,
    "inputs": [
        {
            "node": str,
            "shape": [int],
            "low": float | None,
            "high": float | None,
            "fraction_bits": int | None,
        }
    ],
    "crossbars": [
        {
            "id": str,
            "node": str,
            "shape": [int],
            "rows": int,
            "columns": int,
            "devices": int,
            "G_plus_uS": str,
            "G_minus_uS": str,
            "column_scale_per_uS": str,
            "bias": str | None,
        }
    ],
    "reshapes": [{"node": str, "shape": [int]}],
    "neurons": [
        {
            "node": str,
            "shape": [int],
            "size": int,
            "decay": str,
            "threshold": str,
            "initial_state": str,
            "reset": str,
            "g": FUNCTION,
            "h": FUNCTION,
        }
    ],
    "outputs": [{"node": str, "shape": [int], "over_time": str | None}],
    "routing": [{"from": str, "to": str, "delay_steps": int}],
    "schedule": [str],  # the order in which one step evaluates the nodes
    "source": {"nodes": [str], "metadata": Each(object)},
    "archive": {"file": str, "bytes": int, "sha256": str},
    "arrays": Each({"dtype": str, "shape": [int], "sha256": str}),
}


def demand(value: Any, form: Any, place: str) -> None:
    """``BadFile`` naming the place where ``value`` does not have ``form``."""
    if isinstance(form, dict):
        if not isinstance(value, dict) or value.keys() != form.keys():
            found = ", ".join(map(repr, value)) if isinstance(value, dict) else type(value).__name__
            raise BadFile(f"{place}: found {found[:200]}; needed an object with the keys {', '.join(form)}")
        for key, part in form.items():
            demand(value[key], part, f"{place}.{key}")
    elif isinstance(form, Each):
        if not isinstance(value, dict):
            raise BadFile(f"{place}: found a {type(value).__name__}; needed an object")
        for key, part in value.items():
            demand(part, form.form, f"{place}.{key:.80}")
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise BadFile(f"{place}: found a {type(value).__name__}; needed a list")
        for index, part in enumerate(value):
            demand(part, form[0], f"{place}[{index}]")
    elif form is not object:
        kinds = get_args(form) or (form,)
        if type(value) not in kinds:  # not isinstance: True is no integer here
            raise BadFile(f"{place}: found {value!r:.60}; needed {' or '.join(kind.__name__ for kind in kinds)}")
        if type(value) is int and not 0 <= value <= LARGEST:
            raise BadFile(f"{place}: found {value!r:.60}; needed an integer from 0 to 2^53")

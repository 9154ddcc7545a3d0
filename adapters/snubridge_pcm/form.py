"""The form of ``hardware.json``, as a table: which keys, and which type each value has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from snubridge.errors import BadFile

LARGEST = 2**53  # of integers, so that every reader of JSON reads the same one
MOST_AXES = 62  # of a sample: with time and batch, as many as numpy has


@dataclass(frozen=True)
class Each:
    """An object with any keys, whose values all have one form."""

    form: Any


@dataclass(frozen=True)
class Axes:
    """The sizes of some axes: a short list of integers, whose product is no work."""

    most: int


@dataclass(frozen=True)
class OrNone:
    """None, or a value of a form."""

    form: Any


SHAPE = Axes(MOST_AXES + 2)
WINDOW = {"kernel": Axes(2), "stride": Axes(2), "padding": Axes(2)}
FUNCTION = Each(str | float | bool)  # {"kind": ..., and its parameters}
HARDWARE: dict[str, Any] = {
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
            "shape": SHAPE,
            "low": float | None,
            "high": float | None,
            "fraction_bits": int | None,
        }
    ],
    "crossbars": [
        {
            "id": str,
            "node": str,
            "shape": SHAPE,
            "crossbars": int,
            "rows": int,
            "columns": int,
            "devices": int,
            "uses_per_step": int,
            "window": OrNone(WINDOW | {"dilation": Axes(2)}),
            "G_plus_uS": str,
            "G_minus_uS": str,
            "column_scale_per_uS": str,
            "bias": str | None,
        }
    ],
    "pools": [{"node": str, "shape": SHAPE, "operation": str, "window": WINDOW}],
    "reshapes": [{"node": str, "shape": SHAPE}],
    "neurons": [
        {
            "node": str,
            "shape": SHAPE,
            "size": int,
            "decay": str,
            "threshold": str,
            "initial_state": str,
            "reset": str,
            "g": FUNCTION,
            "h": FUNCTION,
        }
    ],
    "outputs": [{"node": str, "shape": SHAPE, "over_time": str | None}],
    "routing": [{"from": str, "to": str, "delay_steps": int}],
    "schedule": [str],  # the order in which one step evaluates the nodes
    "source": {"nodes": [str], "metadata": Each(object)},
    "archive": {"file": str, "bytes": int, "sha256": str},
    "arrays": Each({"dtype": str, "shape": SHAPE, "sha256": str}),
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
    elif isinstance(form, Axes):
        if isinstance(value, list) and len(value) > form.most:
            raise BadFile(f"{place}: found {len(value)} sizes; needed at most {form.most}")
        demand(value, [int], place)
    elif isinstance(form, OrNone):
        if value is not None:
            demand(value, form.form, place)
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


STATE = {"fraction_bits": int, "rounding": str, "low": float, "high": float}
FIXED_POINT: dict[str, Any] = HARDWARE | {
    "numbers": object,  # an object of settings, which ``restore_numbers`` reads
    "neurons": [HARDWARE["neurons"][0] | {"state": STATE}],
}
"""Of a graph in FixedPoint: what its neurons round and saturate their states to."""

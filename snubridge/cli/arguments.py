"""Arguments that several verbs share, and how they are read."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from snubridge.errors import BadFile, BadInput
from snubridge.ir.disk import checked_path
from snubridge.ir.document import from_json
from snubridge.ir.numbers import Array
from snubridge.reference.archive import read, read_array


def add_graph(parser: argparse.ArgumentParser) -> None:
    """The graph's file."""
    parser.add_argument("graph", metavar="NET.safetensors", help="a graph written by snubridge")


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Inputs and lengths."""
    parser.add_argument(
        "--inputs", required=True, metavar="X.npy", help="(T, B, *shape), or an .npz with one array per input"
    )
    parser.add_argument("--lengths", metavar="L.npy", help="(B,): how many steps of each sample count")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of an adapter."""
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the adapter; may be repeated"
    )


def inputs(args: argparse.Namespace) -> Array | dict[str, Array]:
    """The inputs that ``--inputs`` names."""
    return read(args.inputs)


def lengths(args: argparse.Namespace) -> Array | None:
    """The lengths that ``--lengths`` names, if it is given."""
    return None if args.lengths is None else read_array(args.lengths)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """``--option`` pairs; values are JSON where they can be read as such, else text."""
    found: dict[str, Any] = {}
    for pair in args.option:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise BadInput(f"--option {pair!r}: KEY=VALUE is needed, say dt=1e-3")
        if key in found:
            raise BadInput(f"--option {key} is given twice")
        found[key] = _value(value)
    return found


def options_by_backend(args: argparse.Namespace, backends: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """``--option BACKEND.KEY=VALUE`` pairs, for ``verify``: each backend with its own."""
    chosen: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in backends}
    for pair in args.option:
        backend, dot, rest = pair.partition(".")
        if not dot or backend not in chosen:
            raise BadInput(
                f"--option {pair!r}: BACKEND.KEY=VALUE is needed, of {', '.join(chosen) or 'a backend in --on'}"
            )
        chosen[backend][1].update(options(argparse.Namespace(option=[rest])))
    return chosen


def _value(text: str) -> Any:
    try:
        return from_json(text)
    except BadFile:
        return text


def names(text: str) -> list[str]:
    """A comma-separated list."""
    return [name for name in text.split(",") if name]


def described(arrays: dict[str, Array]) -> dict[str, str]:
    """What arrays are, for people: dtype and shape."""
    return {key: f"{array.dtype} {tuple(array.shape)}" for key, array in arrays.items()}


def output(path: str, *sources: str | None) -> Path:
    """The path to write to, if its folder exists and it is none of ``sources``: said before long work, not after."""
    target = checked_path(path)
    try:
        target.lstat()
    except FileNotFoundError:
        pass  # so much the better
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None
    if not target.absolute().parent.is_dir():
        raise BadInput(f"{path}: the folder {target.parent} does not exist; make it first")
    for source in sources:
        if source is not None and os.path.realpath(target) == os.path.realpath(checked_path(source)):
            raise BadInput(f"{path}: is what is read here, and would be overwritten; write to another file")
    return target

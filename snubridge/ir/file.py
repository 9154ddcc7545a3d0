"""The one-file format: a ``.safetensors`` file with the graph as JSON in its metadata.

Nothing in it is ever evaluated. Writing is atomic and deterministic (same graph, same bytes);
reading checks everything before anything is used.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from snubridge.errors import BadFile, InvalidGraph, InvalidGraphFile
from snubridge.ir.document import describe, from_json, restore, to_json
from snubridge.ir.graph import Graph
from snubridge.ir.rules import validate

KEY = "snubridge"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
StrPath = str | os.PathLike[str]


def save(graph: Graph, path: StrPath) -> None:
    """Write a valid graph to one file; the file is the old one or the new one, never half of one."""
    write_atomically(path, encode(graph))


def load(path: StrPath) -> Graph:
    """Read a graph; ``BadFile`` says what is wrong, with all breaches where the graph is invalid."""
    return decode(read_bytes(path), path)


def encode(graph: Graph) -> bytes:
    """The bytes of a valid graph's file; the same graph and metadata give the same bytes."""
    validate(graph)
    document, arrays = describe(graph)
    tensors = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}
    data: bytes = save_tensors(tensors, metadata={KEY: to_json(document)})
    return data


def decode(data: bytes, path: StrPath) -> Graph:
    """The graph of a file's bytes; ``path`` is the place that errors name."""
    try:
        document = from_json(_description(data))
        arrays = load_tensors(data)
        graph = restore(document, arrays)
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None
    except InvalidGraph as error:
        raise InvalidGraphFile(str(path), error.breaches) from None
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadFile(f"{path}: not a readable safetensors file: {error}") from None
    try:
        validate(graph)
    except InvalidGraph as error:
        raise InvalidGraphFile(str(path), error.breaches) from None
    return graph


def _description(data: bytes) -> str:
    """The text under our key in the header, read by ourselves: the library lets a duplicate key pass."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, MAX_HEADER_BYTES):
        raise BadFile("not a safetensors file, or cut short: save it anew with snubridge.save")
    header: Any = from_json(data[8 : 8 + size])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise BadFile("a safetensors file without a snubridge graph: export one with nn.capture and snubridge.save")
    text: str = metadata[KEY]
    return text


def read_bytes(path: StrPath) -> bytes:
    """The whole file, or ``BadFile`` with the place and the cause."""
    source = _path(path)
    if source.exists() and not source.is_file() and not source.is_dir():
        raise BadFile(f"{path}: is no regular file")  # a pipe would be waited for without end
    try:
        return source.read_bytes()
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror or error}") from None


def _path(path: StrPath) -> Path:
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise BadFile(f"{path!r:.60}: is no path")
    return Path(path)


def write_atomically(path: StrPath, data: bytes) -> None:
    """Write beside the target and rename: whoever reads finds the old file or the new one, whole."""
    target = Path(os.path.realpath(_path(path)))
    if not target.name or (target.exists() and not target.is_file()):
        raise BadFile(f"{path}: is no regular file, and is not replaced by one")
    beside = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}.partial")
    try:
        try:
            with beside.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None

"""The one-file format: a ``.safetensors`` file with the graph as JSON in its metadata.

Nothing in it is ever evaluated. Writing is atomic and deterministic (same graph, same bytes);
reading checks everything before anything is used.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from snubridge.errors import BadFile, InvalidGraph, InvalidGraphFile, shown
from snubridge.ir.disk import StrPath as StrPath
from snubridge.ir.disk import opened
from snubridge.ir.disk import read_bytes as read_bytes
from snubridge.ir.disk import write_atomically as write_atomically
from snubridge.ir.document import describe, from_json, restore, to_json
from snubridge.ir.graph import Graph
from snubridge.ir.rules import validate

KEY = "snubridge"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself


def save(graph: Graph, path: StrPath) -> None:
    """Write a valid graph to one file; the file is the old one or the new one, never half of one."""
    write_atomically(path, encode(graph))


def load(path: StrPath) -> Graph:
    """Read a graph; ``BadFile`` says what is wrong, with all breaches where the graph is invalid."""
    with opened(path) as (stream, size):
        return _read(stream, size, path)


def encode(graph: Graph) -> bytes:
    """The bytes of a valid graph's file; the same graph and metadata give the same bytes."""
    validate(graph)
    document, arrays = describe(graph)
    tensors = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}
    data: bytes = save_tensors(tensors, metadata={KEY: to_json(document)})
    return data


def decode(data: bytes, path: StrPath) -> Graph:
    """``load`` of a file's bytes at hand; ``path`` is the place that errors name."""
    return _read(io.BytesIO(data), len(data), path)


def _read(stream: BinaryIO, size: int, path: StrPath) -> Graph:
    try:
        header = _header(stream, size)
        content = from_json(header)
        document = from_json(_description(content))
        listed, found = _listed_bytes(content), size - 8 - len(header)
        if listed != found:
            raise BadFile(f"{found} bytes of arrays, where its header lists {shown(listed)}")
        arrays = load_tensors(len(header).to_bytes(8, "little") + header + stream.read(size))
        graph = restore(document, arrays)
        validate(graph)
    except InvalidGraph as error:
        raise InvalidGraphFile(str(path), error.breaches) from None
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None
    except (SafetensorError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise BadFile(f"{path}: not a readable safetensors file: {error}") from None
    return graph


def _header(stream: BinaryIO, size: int) -> bytes:
    prefix = stream.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise BadFile("not a safetensors file, or cut short: save it anew with snubridge.save")
    return stream.read(length)


def _listed_bytes(content: dict[str, Any]) -> Any:
    """Where the last array of a header ends; nothing is read before this is known to be the end of the file."""
    return max((entry["data_offsets"][1] for key, entry in content.items() if key != "__metadata__"), default=0)


def _description(content: Any) -> str:
    """The text under our key in a header, read by ourselves: the library lets a duplicate key pass."""
    metadata = content.get("__metadata__") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise BadFile("a safetensors file without a snubridge graph: export one with nn.capture and snubridge.save")
    text: str = metadata[KEY]
    return text

"""The folder ``NAME.pcm``: ``hardware.json`` and ``arrays.npz``, nothing else, every byte of it hashed.

``hardware.json`` is canonical JSON and holds the SHA-256 of the archive, of each array, and of
itself without that one key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snubridge.errors import BadFile
from snubridge.ir.document import from_json, to_json
from snubridge.ir.file import StrPath
from snubridge.ir.numbers import Array
from snubridge_pcm.archive import OVERHEAD, pack, unpack
from snubridge_pcm.description import FORMAT, Arrays, Document
from snubridge_pcm.form import HARDWARE, demand

HARDWARE_JSON, ARRAYS_NPZ = "hardware.json", "arrays.npz"
MAX_JSON_BYTES = 2**26
Files = Mapping[str, bytes]


def seal(document: Document, arrays: Arrays) -> Files:
    """The contents of both files, hashed."""
    archive = pack(arrays)
    listed = {"file": ARRAYS_NPZ, "bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
    sealed = {**document, "archive": listed}
    hardware = to_json({**sealed, "sha256": _digest(sealed)}).encode()
    if len(hardware) > MAX_JSON_BYTES:
        raise BadFile(f"{HARDWARE_JSON} would have {len(hardware)} bytes, above {MAX_JSON_BYTES}: shorten the metadata")
    return {HARDWARE_JSON: hardware, ARRAYS_NPZ: archive}


def read(path: StrPath) -> tuple[Document, dict[str, Array]]:
    """Description and arrays as they were sealed; the values themselves are for ``restore`` to check."""
    folder = Path(path)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror or error}") from None
    if names != [ARRAYS_NPZ, HARDWARE_JSON]:
        raise BadFile(f"{path}: holds {', '.join(names)[:200]}; a .pcm folder holds {ARRAYS_NPZ} and {HARDWARE_JSON}")
    try:
        place = folder / HARDWARE_JSON
        document = _opened(_contents(place, MAX_JSON_BYTES))
        place = folder / ARRAYS_NPZ
        archive = document["archive"]
        data = _contents(place, archive["bytes"])
        if len(data) != archive["bytes"] or hashlib.sha256(data).hexdigest() != archive["sha256"]:
            raise BadFile("not the file of the SHA-256 that hardware.json states")
        return document, unpack(data, document["arrays"])
    except BadFile as error:
        raise BadFile(f"{place}: {error}") from None


def _opened(data: bytes) -> Document:
    document = from_json(data)
    if not isinstance(document, dict) or not isinstance(document.get("format"), dict):
        raise BadFile("no hardware description")
    if document["format"] != FORMAT:
        raise BadFile(f"format {document['format']!r:.100}; this snubridge reads {FORMAT}: install a newer one")
    try:
        canonical = to_json(document).encode()
    except (ValueError, RecursionError):  # a number beyond float64, or nesting that only reading endures
        raise BadFile("not in canonical form") from None
    if data != canonical:
        at = next((i for i, (a, b) in enumerate(zip(data, canonical, strict=False)) if a != b), len(canonical))
        raise BadFile(f"not in canonical form from byte {at} on")
    demand(document, HARDWARE, "$")
    if _digest({key: value for key, value in document.items() if key != "sha256"}) != document["sha256"]:
        raise BadFile("its contents have another SHA-256 than it states")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def _contents(file: Path, most: int) -> bytes:
    """The bytes of a regular file, not through a link, of at most ``most`` bytes."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(file, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadFile("not a regular file")
            if status.st_size > most:
                raise BadFile(f"{status.st_size} bytes, more than {most}")
            return stream.read(most + 1)
    except (OSError, MemoryError) as error:
        raise BadFile(f"cannot be read: {error}") from None

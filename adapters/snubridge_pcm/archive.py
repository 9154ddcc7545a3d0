"""Named arrays as the bytes of an ``.npz`` file, and back: nothing is evaluated, nothing is unpacked.

``numpy.load`` reads the file as well. Ours is stricter: plain entries, exactly those of the
inventory, exactly as long as dtype and shape say, so that no file claims more memory than it has.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from snubridge.errors import BadFile
from snubridge.ir.numbers import Array

DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}
MAGIC = b"\x93NUMPY\x01\x00"
OVERHEAD = 1024  # bytes for each entry's headers and names, at most
# What zipfile raises for one archive or another that is broken or wants what is not done.
UNREADABLE = (zipfile.BadZipFile, struct.error, ValueError, OverflowError, OSError, EOFError, RuntimeError)
Inventory = Mapping[str, Mapping[str, Any]]


def inventory(arrays: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """{key: {"dtype", "shape", "sha256" of the little-endian values in C order}}."""
    return {
        key: {"dtype": array.dtype.name, "shape": list(array.shape), "sha256": hashlib.sha256(_data(array)).hexdigest()}
        for key, array in arrays.items()
    }


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of the file; the same arrays give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            entry = io.BytesIO()
            array = np.asarray(arrays[key], dtype=DTYPES[arrays[key].dtype.name], order="C")
            # numpy leaves write_array without types
            np.lib.format.write_array(entry, array, (1, 0), allow_pickle=False)  # type: ignore[no-untyped-call]
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), entry.getvalue())
    return stream.getvalue()


def unpack(data: bytes, listed: Inventory) -> dict[str, Array]:
    """The arrays of an inventory, read-only; ``BadFile`` names the entry that is not as listed."""
    for key, entry in listed.items():
        if entry["dtype"] not in DTYPES:
            raise BadFile(f"array {key!r:.80}: dtype {entry['dtype']!r:.40}; needed {' or '.join(DTYPES)}")
    least = sum(map(_nbytes, listed.values()))
    if not least <= len(data) <= least + OVERHEAD * (len(listed) + 1):
        raise BadFile(f"{len(data)} bytes for arrays of {least} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
            if sorted(info.filename for info in found) != sorted(f"{key}.npy" for key in listed):
                raise BadFile("the entries are not those that are listed")
            return {key: _unpack_one(archive, key, entry) for key, entry in listed.items()}
    except UNREADABLE as error:
        raise BadFile(f"not a readable .npz file: {error}") from None


def _unpack_one(archive: zipfile.ZipFile, key: str, listed: Mapping[str, Any]) -> Array:
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size > _nbytes(listed) + OVERHEAD:
        raise BadFile(f"array {key!r:.80}: compressed, encrypted or too long")
    entry = archive.read(info)
    dtype, shape = DTYPES[listed["dtype"]], tuple(listed["shape"])
    start = len(MAGIC) + 2 + int.from_bytes(entry[len(MAGIC) : len(MAGIC) + 2], "little")
    header = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    if entry[: len(MAGIC)] != MAGIC or entry[len(MAGIC) + 2 : start].rstrip(b" \n") != header.encode():
        raise BadFile(f"array {key!r:.80}: its header does not say {header}")
    if len(entry) != start + _nbytes(listed):
        raise BadFile(f"array {key!r:.80}: {len(entry) - start} bytes; needed {_nbytes(listed)}")
    if hashlib.sha256(memoryview(entry)[start:]).hexdigest() != listed["sha256"]:
        raise BadFile(f"array {key!r:.80}: its values have another SHA-256 than listed")
    array = np.frombuffer(entry, dtype=dtype, offset=start).reshape(shape).astype(listed["dtype"])
    array.setflags(write=False)
    return array


def _nbytes(listed: Mapping[str, Any]) -> int:
    return int(DTYPES[listed["dtype"]].itemsize * math.prod(listed["shape"]))


def _data(array: Array) -> bytes:
    return array.astype(DTYPES[array.dtype.name]).tobytes()

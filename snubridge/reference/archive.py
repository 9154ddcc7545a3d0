"""Arrays from files of outside: nothing is evaluated, no pickle is opened, no size is believed.

numpy's own reader parses a header as Python and reserves what the header claims before it reads.
This one takes a header apart by a pattern, and reserves nothing that the file does not hold.
"""

from __future__ import annotations

import io
import math
import re
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO, Literal

import numpy as np

from snubridge.errors import BadFile, shown
from snubridge.ir.disk import StrPath, opened, write_atomically
from snubridge.ir.numbers import Array

MAGIC, ZIPS = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
WIDTHS = {b"\x01\x00": 2, b"\x02\x00": 4}  # by the version of an .npy file, the size of its header's length
ENDS, MAX_END = b"PK\x05\x06", 22 + 65_535  # the record that ends an archive, and what it may take
MAX_HEADER, MAX_AXES = 10_000, 32
EXPANSION, FREE = 100, 2**25
"""A compressed archive may unfold to 100 times its size, and to 32 MiB in any case."""
_HEADER = re.compile(
    r"\s*\{\s*'descr'\s*:\s*'(?P<descr>[^']{1,40})'\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>(?:[0-9]{1,20}(?:\s*,\s*[0-9]{1,20})*)?)\s*,?\s*\)\s*,?\s*\}\s*"
)
_Header = tuple[int, np.dtype[Any], tuple[int, ...], Literal["C", "F"]]
_NUMBERS = re.compile(r"[<>=|]?[biufU][0-9]{1,9}")
# What zipfile raises for one archive or another that is broken or wants what is not done.
UNREADABLE = (
    zipfile.BadZipFile,
    struct.error,
    zlib.error,
    ValueError,
    OverflowError,
    EOFError,
    KeyError,
    RuntimeError,
    OSError,
)


def read(path: StrPath) -> Array | dict[str, Array]:
    """The array of an ``.npy`` file, or the named arrays of an ``.npz`` file; read-only, in native byte order."""
    with opened(path) as (stream, size):
        return _read(stream, size, path)


def parse(data: bytes, path: StrPath) -> Array | dict[str, Array]:
    """``read`` of bytes at hand; ``path`` is the place that errors name."""
    return _read(io.BytesIO(data), len(data), path)


def _read(stream: BinaryIO, size: int, path: StrPath) -> Array | dict[str, Array]:
    start = stream.read(MAX_HEADER)
    try:
        if start[:4] in ZIPS:
            stream.seek(max(0, size - MAX_END))
            if ENDS not in stream.read(MAX_END):  # before more is read
                raise BadFile("the archive is cut short")
            stream.seek(0)
            return _members(stream.read(size))
        if not start.startswith(MAGIC):
            raise BadFile("neither begins as numpy.save nor as numpy.savez begin a file")
        header = _header(start, size)  # before more is read
        return _array(start + stream.read(size), header)
    except BadFile as error:
        raise BadFile(f"{path}: not a readable .npy or .npz file: {error}") from None


def _header(data: bytes, size: int) -> _Header:
    """What the first bytes of an ``.npy`` file of ``size`` bytes say, if the rest of the file is as they say."""
    width = WIDTHS.get(data[6:8])
    if data[:6] != MAGIC or width is None:
        raise BadFile("no .npy file of version 1 or 2")
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > min(len(data), MAX_HEADER):
        raise BadFile("its header is cut short, or longer than any")
    dtype, shape, order = _parsed(data[8 + width : start].decode("latin1"))
    needed = math.prod(shape) * dtype.itemsize
    if needed != size - start:
        raise BadFile(f"{size - start} bytes, where {dtype} of shape {shown(shape)} takes {needed}")
    return start, dtype, shape, order


def _array(data: bytes, header: _Header) -> Array:
    """The array that the bytes of an ``.npy`` file hold."""
    start, dtype, shape, order = header
    size = len(data) - start
    values = np.frombuffer(data, dtype, offset=start) if size else np.empty(0, dtype)
    values = values.astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "b" and values.view(np.uint8).max(initial=0) > 1:
        raise BadFile("it holds bytes that are no bool")
    if dtype.kind == "U" and values.view(np.uint32).max(initial=0) > sys.maxunicode:
        raise BadFile("it holds codes that are no text")
    try:
        array = np.asarray(values.reshape(shape, order=order), order="C")
    except ValueError as error:  # an axis beyond what numpy counts, beside one of no length
        raise BadFile(f"its shape {shown(shape)} cannot be: {error}") from None
    array.setflags(write=False)
    return array


def _parsed(header: str) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]:
    """Type, shape and order of the values, as an ``.npy`` header states them."""
    found = _HEADER.fullmatch(header)
    if found is None:
        raise BadFile(f"it holds no plain array: its header is {shown(header.strip(), 150)}")
    if not _NUMBERS.fullmatch(found["descr"]):
        what = "objects" if "O" in found["descr"] else f"values of type {shown(found['descr'])}"
        raise BadFile(f"it holds {what}; real numbers are read, nothing else")
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as error:
        raise BadFile(f"it holds no numbers: {error}") from None
    shape = tuple(map(int, re.findall("[0-9]+", found["shape"])))
    if not dtype.itemsize or len(shape) > MAX_AXES:
        raise BadFile(f"it holds no plain array: {dtype} of {len(shape)} axes")
    return dtype, shape, "F" if found["fortran"] == "True" else "C"


def _members(data: bytes) -> dict[str, Array]:
    """The arrays that the bytes of an ``.npz`` file hold, by the members' own names."""
    # NpzFile would drop any trailing .npy, and then take "a" and "a.npy" for each other.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _demand_plain(members, len(data))
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except UNREADABLE as error:
        raise BadFile(f"the archive is damaged: {error}") from None


def _demand_plain(members: list[zipfile.ZipInfo], size: int) -> None:
    """``BadFile`` where an archive is none of numpy's, before anything of it is unfolded."""
    names = [member.filename for member in members]
    strange = next((name for name in names if not name.endswith(".npy")), None)
    if strange is not None:
        raise BadFile(f"it holds {shown(strange)}, which is no array")
    if len(set(names)) < len(names):
        raise BadFile("it holds two arrays of one name")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise BadFile(f"{shown(member.filename)} is encrypted, or packed in another way than numpy's")
    stored = sum(member.file_size for member in members if member.compress_type == zipfile.ZIP_STORED)
    if stored > size or sum(member.file_size for member in members) > max(EXPANSION * size, FREE):
        raise BadFile(f"{size} bytes that unfold to too many: save it with numpy.savez, uncompressed")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    try:
        data = archive.read(member)
        return _array(data, _header(data, len(data)))
    except BadFile as error:
        raise BadFile(f"{shown(member.filename, 120)}: {error}") from None


def read_arrays(path: StrPath) -> dict[str, Array]:
    """The named arrays of an ``.npz`` file."""
    arrays = read(path)
    if not isinstance(arrays, dict):
        raise BadFile(f"{path}: one array; an .npz archive of named ones is needed")
    return arrays


def read_array(path: StrPath) -> Array:
    """The one array of an ``.npy`` file."""
    array = read(path)
    if isinstance(array, dict):
        raise BadFile(f"{path}: an archive of arrays; an .npy file with one is needed")
    return array


def write_array(path: StrPath, array: Array) -> None:
    """Write one array as an ``.npy`` file; atomic."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())

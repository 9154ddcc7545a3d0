"""Arrays from files of outside: no pickles, clear errors."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib

import numpy as np

from snubridge.errors import BadFile
from snubridge.ir.file import StrPath, read_bytes, write_atomically
from snubridge.ir.numbers import Array


def read(path: StrPath) -> Array | dict[str, Array]:
    """The array of an ``.npy`` file, or the named arrays of an ``.npz`` file."""
    return parse(read_bytes(path), path)


def parse(data: bytes, path: StrPath) -> Array | dict[str, Array]:
    """``read`` of bytes at hand; ``path`` is the place that errors name."""
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            # By the members' own names: NpzFile drops a trailing .npy, and then takes "a" and "a.npy" for each other.
            return {member.removesuffix(".npy"): _member(archive.zip, member) for member in archive.zip.namelist()}
    except (
        ValueError,
        TypeError,
        KeyError,
        OSError,
        EOFError,
        MemoryError,
        SyntaxError,  # numpy parses an .npy header as a Python literal
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,  # zipfile on a compression it does not know
        RuntimeError,  # zipfile on an encrypted member
    ) as error:
        cause = "it holds objects, or is no array file" if "allow_pickle" in str(error) else str(error)
        raise BadFile(f"{path}: not a readable .npy or .npz file: {cause}") from None


def _member(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as stream:
        # numpy leaves read_array without types
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)  # type: ignore[no-untyped-call]
        return array


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

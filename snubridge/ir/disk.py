"""Files on disk: read within bounds, replaced as a whole.

Whoever reads a path that is written here finds the old file or the new one, also after a crash. What a
killed writer leaves beside it is hidden, ends in ``.partial``, and is removed by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from snubridge.errors import BadFile, shown

try:
    import fcntl as fcntl
except ImportError:  # not a Unix: what a killed writer leaves there stays until somebody removes it
    fcntl = None  # type: ignore[assignment]  # looked at before each use

StrPath = str | os.PathLike[str]
_EXCHANGE, _AT_FDCWD = 2, -100  # of Linux's renameat2


def checked_path(path: object) -> Path:
    """``path`` as a Path, or ``BadFile`` where no file can have such a name."""
    try:
        text = os.fspath(path)  # type: ignore[call-overload]  # what is no path raises TypeError
        if isinstance(text, str) and "\0" not in text:
            os.fsencode(text)
            return Path(text)
    except (TypeError, UnicodeEncodeError):
        pass
    raise BadFile(f"{shown(path)}: is no path")


def exists(path: StrPath) -> bool:
    """Whether something is at ``path``; ``BadFile`` where that cannot be told, as of a name that is too long."""
    try:
        return checked_path(path).exists()
    except OSError as error:
        raise BadFile(f"{path}: cannot be looked at: {error.strerror or error}") from None


@contextlib.contextmanager
def opened(path: StrPath) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file to read, and its size; whatever fails while it is read is ``BadFile`` with the cause."""
    source = checked_path(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe does not block
    try:
        with open(os.open(source, flags), "rb") as stream:  # noqa: PTH123  # a descriptor
            status = os.fstat(stream.fileno())
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(status.st_mode):
                raise BadFile(f"{path}: is no regular file")
            yield stream, status.st_size
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise BadFile(f"{path}: does not fit into memory") from None


def read_bytes(path: StrPath, most: float = math.inf) -> bytes:
    """The whole file, or ``BadFile`` with the place and the cause; of more than ``most`` bytes, nothing is read."""
    with opened(path) as (stream, size):
        if size > most:
            raise BadFile(f"{path}: {size:,} bytes, above the {most:,} that are read")
        return stream.read(size)


def write_atomically(path: StrPath, data: bytes) -> None:
    """Write beside the target and rename: whoever reads finds the old file or the new one, whole.

    A file that is replaced keeps its permissions; a symbolic link is written through.
    """
    given = checked_path(path)
    try:
        target = Path(os.path.realpath(given))
        former = target.stat() if target.exists() else None
        if not target.name or (former is not None and not stat.S_ISREG(former.st_mode)):
            raise BadFile(f"{path}: is no regular file, and is not replaced by one")
        sweep(target, Path.unlink)
        with beside(target, _make_file) as place:
            try:
                with place.open("wb") as stream:
                    stream.write(data)
                    if former is not None:
                        place.chmod(former.st_mode & 0o777)
                    stream.flush()
                    os.fsync(stream.fileno())
                place.replace(target)
            finally:
                place.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None


def _make_file(place: Path) -> None:
    place.open("xb").close()


@contextlib.contextmanager
def beside(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new, hidden neighbor of ``target``, made by ``make``; while the block lasts, no ``sweep`` removes it."""
    while True:
        place = target.with_name(f".{stem(target)}.{secrets.token_hex(6)}.partial")
        make(place)
        with _held(place):
            if os.path.lexists(place):  # not swept away before it was held
                yield place
                return


@contextlib.contextmanager
def _held(place: Path) -> Iterator[None]:
    """Lock a file or folder; the lock ends with this process, however that ends."""
    descriptor = None
    try:
        with contextlib.suppress(OSError):  # gone already, or a file system without locks: none sweeps there
            descriptor = None if fcntl is None else os.open(place, os.O_RDONLY)
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sweep(target: Path, remove: Callable[[Path], None]) -> None:
    """Remove what killed writers of ``target`` left beside it; what is held, or resists, stays."""
    if fcntl is None:
        return
    left = re.compile(rf"\.{re.escape(stem(target))}\.[0-9a-f]{{12}}\.partial")
    with os.scandir(target.parent) as entries:
        found = [Path(entry.path) for entry in entries if left.fullmatch(entry.name)]
    for place in found:
        with contextlib.suppress(OSError):
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(place)
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` outlast a loss of power, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; False, and nothing done, where the system cannot (Linux can)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # another C library, or an old one
        return False
    if not rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # the file system cannot
        return False
    raise OSError(code, os.strerror(code))


def stem(target: Path) -> str:
    """As much of a name as leaves room for what is added to it: 255 bytes are the limit."""
    return os.fsencode(target.name)[:80].decode("utf-8", "ignore")

"""The folder ``NAME.pcm``: ``hardware.json`` and ``arrays.npz``, nothing else, every byte of it hashed.

``hardware.json`` is canonical JSON and holds the SHA-256 of the archive, of each array, and of
itself without that one key.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from snubridge.errors import BadFile
from snubridge.ir.disk import StrPath, beside, checked_path, exchange, stem, sweep, sync_folder
from snubridge.ir.document import from_json, to_json
from snubridge.ir.numbers import Array
from snubridge_pcm.archive import pack, unpack
from snubridge_pcm.description import NAME, Arrays, Document
from snubridge_pcm.versions import demand_form, demand_version, upgrade

HARDWARE_JSON, ARRAYS_NPZ = "hardware.json", "arrays.npz"
MAX_JSON_BYTES = 2**26
FORMER = ".former"
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
    folder = checked_path(path)
    try:
        names = _names(folder)
    except OSError as error:
        formers = _formers(folder) if isinstance(error, FileNotFoundError) else []
        aside = f"; a save was cut short, and the former folder is {formers[0]}" if formers else ""
        raise BadFile(f"{path}: cannot be read: {error.strerror or error}{aside}") from None
    if names != [ARRAYS_NPZ, HARDWARE_JSON]:
        raise BadFile(f"{path}: holds {', '.join(names)[:200]}; a .pcm folder holds {ARRAYS_NPZ} and {HARDWARE_JSON}")
    try:
        place = folder / HARDWARE_JSON
        document = _opened(_contents(place, MAX_JSON_BYTES))
        place = folder / ARRAYS_NPZ
        archive = document["archive"]
        if archive["file"] != ARRAYS_NPZ:
            raise BadFile(f"hardware.json states the archive {archive['file']!r:.60}")
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
    version = demand_version(document["format"])
    try:
        canonical = to_json(document).encode()
    except (ValueError, RecursionError):  # a number beyond float64, or nesting that only reading endures
        raise BadFile("not in canonical form") from None
    if data != canonical:
        at = next((i for i, (a, b) in enumerate(zip(data, canonical, strict=False)) if a != b), len(canonical))
        raise BadFile(f"not in canonical form from byte {at} on")
    demand_form(document, version)
    if _digest({key: value for key, value in document.items() if key != "sha256"}) != document["sha256"]:
        raise BadFile("its contents have another SHA-256 than it states")
    return upgrade(document, version)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _digest(document: Document) -> str:
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def _contents(file: Path, most: int) -> bytes:
    """The bytes of a regular file, not through a link, of at most ``most`` bytes."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file, flags)  # a pipe does not block
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadFile("not a regular file")
            if status.st_size > most:
                raise BadFile(f"{status.st_size} bytes; at most {most} are read")
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(status.st_size)
        finally:
            os.close(descriptor)
    except (OSError, MemoryError) as error:
        raise BadFile(f"cannot be read: {getattr(error, 'strerror', None) or error!r}") from None


def write(files: Files, path: StrPath) -> None:
    """Write the folder beside its place, and let it change places with one of ours that is there, in one step.

    Where the system cannot exchange two names (only Linux can), the former folder steps aside first: killed in
    between, the writer leaves it under a hidden name, from which the next one brings it back.
    """
    target = checked_path(path)
    if target.suffix != ".pcm":
        raise BadFile(f"{path}: a folder of a hardware description ends in .pcm")
    try:
        _settle(target)
        replaces = os.path.lexists(target)
        if replaces and not _is_ours(target):
            raise BadFile(
                f"{path}: exists and is no folder of a hardware description: remove it, or choose another name"
            )
        sweep(target, _remove)
        with beside(target, Path.mkdir) as place:
            try:
                for name, data in files.items():
                    with (place / name).open("xb") as stream:
                        stream.write(data)
                        stream.flush()
                        os.fsync(stream.fileno())
                sync_folder(place)
                if replaces:
                    place.chmod(stat.S_IMODE(target.stat().st_mode))
                if not (replaces and exchange(place, target)):
                    _step_in(place, target)
            finally:
                _remove(place)
        sync_folder(target.parent)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror or error}") from None


def _step_in(place: Path, target: Path) -> None:
    """Move a folder to its place in two steps, with the former one kept until both are done."""
    former = place.with_suffix(FORMER)
    if os.path.lexists(target):
        target.rename(former)
    try:
        place.rename(target)
    except BaseException:
        if former.exists():
            former.rename(target)
        raise
    _remove(former)


def _settle(target: Path) -> None:
    """Finish what a writer that was killed between or after two steps left undone."""
    for former in _formers(target):
        if os.path.lexists(target):
            with contextlib.suppress(OSError):  # something that is not ours lies in it
                _remove(former)
        elif _is_ours(former):
            former.rename(target)


def _formers(target: Path) -> list[Path]:
    """Folders that stepped aside for a new one at ``target``; none that only a link leads to."""
    found = target.parent.glob(f".{glob.escape(stem(target))}.{'[0-9a-f]' * 12}{FORMER}")
    return sorted(folder for folder in found if not folder.is_symlink())


def _is_ours(folder: Path) -> bool:
    """Whether a folder, intact or not, holds our two files and nothing else."""
    if folder.is_symlink() or not folder.is_dir() or _names(folder) != [ARRAYS_NPZ, HARDWARE_JSON]:
        return False
    if not stat.S_ISREG((folder / ARRAYS_NPZ).lstat().st_mode):
        return False
    try:
        document = from_json(_contents(folder / HARDWARE_JSON, MAX_JSON_BYTES))
    except BadFile:
        return False
    form = document.get("format") if isinstance(document, dict) else None
    return isinstance(form, dict) and form.get("name") == NAME


def _remove(folder: Path) -> None:
    """Remove a folder with our files in it; with any other file in it, it stays."""
    if folder.exists():
        for name in (HARDWARE_JSON, ARRAYS_NPZ):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # somebody else was as far
            folder.rmdir()

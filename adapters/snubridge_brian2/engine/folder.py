"""The folder of a C++ project: nothing in it is overwritten or deleted but what was made here, and as it was made."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MARKER = "snubridge_project.json"
"""{"token": of the project that lies there or "", "files": {path: [size, time of its last change]}}."""


class ProjectFolder:
    """A folder that is empty or holds our marker, else ``FileExistsError``."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.marker = path / MARKER
        path.mkdir(parents=True, exist_ok=True)
        if not self.marker.is_file() or self.marker.is_symlink():
            found = sorted(other.name for other in path.iterdir())
            if found and (MARKER not in found or self.marker.is_symlink()):
                raise FileExistsError(
                    f"{path}: holds {found[0]!r:.80} and no {MARKER} of ours, and nothing in it is overwritten; "
                    "name an empty or a new folder as directory"
                )
            self.marker.touch()

    @contextmanager
    def held(self, exclusive: bool = False) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The open marker and what it says, while no other process changes the folder (or none uses it either)."""
        import fcntl

        with self.marker.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield stream, self._said(stream.read())

    def _said(self, text: str) -> dict[str, Any]:
        try:
            said = json.loads(text or '{"token": "", "files": {}}')
            files = {str(name): [int(number) for number in stamp] for name, stamp in said["files"].items()}
            token = str(said["token"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileExistsError(f"{self.marker}: is no marker of ours; name an empty or a new folder") from error
        for name in files:
            if (self.path / name).parent.resolve().is_relative_to(self.path.resolve()) and ".." not in name:
                continue
            raise FileExistsError(
                f"{self.marker}: names {name!r:.80} outside of its folder; name an empty or a new one"
            )
        return {"token": token, "files": files}

    def holds(self, token: str, said: Mapping[str, Any]) -> bool:
        """Whether the project of this token is there, with every file as it was made."""
        files = said["files"].items()
        return said["token"] == token and all(_stamp(self.path / name) == stamp for name, stamp in files)

    def take(self, made: pathlib.Path, token: str) -> None:
        """Put the files below ``made`` in the place of those of the project before.

        ``FileExistsError`` where somebody else's file is in the way, or one of ours was changed since.
        """
        new = {path.relative_to(made).as_posix(): _stamp(path) for path in sorted(made.rglob("*")) if not path.is_dir()}
        with self.held(exclusive=True) as (stream, said):
            for name, stamp in said["files"].items():
                if _stamp(self.path / name) not in (None, stamp):
                    raise FileExistsError(f"{self.path / name}: was changed since it was made; keep it elsewhere")
            for name in new.keys() - said["files"].keys():
                if os.path.lexists(self.path / name):
                    raise FileExistsError(f"{self.path / name}: is not ours, and not overwritten; keep it elsewhere")
            for name in said["files"]:
                (self.path / name).unlink(missing_ok=True)
            _write(stream, "", new)  # from here on they may lie there
            for name in new:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).rename(self.path / name)
            _write(stream, token, new)


def _write(stream: Any, token: str, files: Mapping[str, Any]) -> None:
    stream.seek(0)
    stream.truncate()
    json.dump({"token": token, "files": files}, stream)
    stream.flush()
    os.fsync(stream.fileno())


def _stamp(path: pathlib.Path) -> list[int] | None:
    if not os.path.lexists(path):
        return None
    found = path.lstat()
    return [found.st_size, found.st_mtime_ns]

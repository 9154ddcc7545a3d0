"""Bach's chorales as piano rolls, parsed at run time from the corpus inside music21.

The notes are never shipped with snubridge, because the licenses of their encodings forbid it for some uses; nothing
is downloaded. This is not the JSB benchmark of the literature: other pieces, another split, not comparable numbers.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from snubridge.errors import BadFile, BadInput, MissingEngine
from snubridge.ir.file import write_atomically
from snubridge.reference.archive import read_arrays

LOWEST, HIGHEST = 21, 108  # MIDI numbers of A0 and C8
KEYS = HIGHEST - LOWEST + 1
GRID = 1.0  # quarter notes per time step
FORMAT = 1  # of the cache; raise it whenever the same corpus would give other rolls

# By position modulo 20: 75 % train, 10 % validation, 15 % test, spread out so that the first six hold all three.
CYCLE = 20
VALIDATION = frozenset({5, 15})
TEST = frozenset({3, 10, 17})

SUFFIXES = (".mxl", ".xml", ".musicxml")
CHUNK = 4  # works that a process takes at a time
INSTALL = "pip install 'snubridge[music]'"

Roll = NDArray[np.uint8]
Time = float | Fraction
Note = tuple[Time, Time, Sequence[int]]  # start and duration in quarter notes, MIDI numbers


@dataclass(frozen=True, eq=False)
class Split(Sequence[Roll]):
    """Piano rolls ``rolls[i]``, uint8 (T_i, 88) of 0 and 1, of the works ``names[i]``; a sequence of its rolls."""

    names: tuple[str, ...]
    rolls: tuple[Roll, ...]

    def __len__(self) -> int:
        return len(self.rolls)

    @overload
    def __getitem__(self, index: int) -> Roll: ...
    @overload
    def __getitem__(self, index: slice) -> Split: ...
    def __getitem__(self, index: int | slice) -> Roll | Split:
        if isinstance(index, slice):
            return Split(self.names[index], self.rolls[index])
        return self.rolls[index]


@dataclass(frozen=True, eq=False)
class Chorales(Split):
    """All chorales in the fixed order of Riemenschneider's edition, and their split by position."""

    @property
    def train(self) -> Split:
        return self._where(lambda turn: turn not in VALIDATION | TEST)

    @property
    def validation(self) -> Split:
        return self._where(VALIDATION.__contains__)

    @property
    def test(self) -> Split:
        return self._where(TEST.__contains__)

    def _where(self, chosen: Callable[[int], bool]) -> Split:
        places = [place for place in range(len(self)) if chosen(place % CYCLE)]
        return Split(tuple(self.names[place] for place in places), tuple(self.rolls[place] for place in places))


def load_chorales(
    *, cache: Path | None = None, limit: int | None = None, workers: int | None = None, progress: bool = True
) -> Chorales:
    """The chorales as piano rolls of keys 21 to 108 (A0 to C8), one step per quarter note.

    A key is 1 at step t if any part holds it t quarter notes after the beginning; repeats are not played. A work that
    Riemenschneider numbers twice counts once, and so does a work whose roll equals an earlier one (it would leak from
    train to test). The first call parses in ``workers`` processes (default: the cores at hand); later calls read the
    arrays from the folder ``cache`` (default: ``snubridge`` in the user's cache folder). ``limit`` takes only the
    first works. Progress is shown on standard error, only on a terminal.

    ``MissingEngine``: music21 is not installed. ``BadFile``: a work that music21 lacks or cannot parse.
    """
    for name, count in (("limit", limit), ("workers", workers)):
        if count is not None and count < 1:
            raise BadInput(f"{name}: {count}; it must be at least 1, or None")
    key = _key(limit)
    place = _place(cache, key)
    found = _read_cache(place, key)
    if found is None:
        found = _parse_all(limit, workers or _cores(), progress)
        _write_cache(place, key, found)
    return found


def batch(rolls: Sequence[Roll]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs (T, B, 88), zero after the end of each roll, and lengths (B,); T is the longest roll's."""
    if not len(rolls) or any(roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll) for roll in rolls):
        raise BadInput(f"rolls: needed at least one, each of shape (T, {KEYS}) with T >= 1")
    lengths = np.array([len(roll) for roll in rolls], dtype=np.int64)
    inputs = np.zeros((lengths.max(), len(rolls), KEYS), dtype=np.float32)
    for sample, roll in enumerate(rolls):
        inputs[: len(roll), sample] = roll
    return inputs, lengths


def draw_roll(notes: Iterable[Note]) -> Roll:
    """The roll (T, 88) of notes; a note sounds at the grid points in [start, start + duration)."""
    spans = [(math.ceil(start / GRID), math.ceil((start + held) / GRID), keys) for start, held, keys in notes]
    roll = np.zeros((max((end for _, end, _ in spans), default=0), KEYS), dtype=np.uint8)
    for begin, end, keys in spans:
        for key in keys:
            if not LOWEST <= key <= HIGHEST:
                raise BadInput(f"note {key} is not on the keyboard ({LOWEST} to {HIGHEST})")
            roll[begin:end, key - LOWEST] = 1
    if not roll.any():
        raise BadInput("not one note sounds on the grid")
    return roll


def _parse_all(limit: int | None, workers: int, progress: bool) -> Chorales:
    works = _works()[:limit]
    workers = min(workers, math.ceil(len(works) / CHUNK))
    try:
        rolls = _watched(_parsed(works, workers), len(works), progress)
    except (BrokenProcessPool, OSError) as error:  # a script without a main guard, or a system without semaphores
        _say(f"parsing in {workers} processes failed ({type(error).__name__}); going on in one, which takes longer")
        rolls = _watched(_parsed(works, 1), len(works), progress)
    distinct: dict[bytes, tuple[str, Roll]] = {}
    for (name, _), roll in zip(works, rolls, strict=True):
        distinct.setdefault(roll.tobytes(), (name, roll))
    names, kept = zip(*distinct.values(), strict=True)
    return _frozen(names, kept)


def _works() -> list[tuple[str, Path]]:
    """Name and file of every chorale; only music21's own corpus is searched, not the user's local ones."""
    corpus = _music21("music21.corpus")
    names = corpus.chorales.Iterator(returnType="filename", numberingSystem="riemenschneider")
    core = corpus.corpora.CoreCorpus()
    return [(name, _file(core, name)) for name in dict.fromkeys(names)]


def _file(core: Any, name: str) -> Path:
    """The work's own file; music21 matches by prefix and so also finds variants of it, and longer numbers."""
    paths = [Path(path) for path in core.getWorkList(name, fileExtensions=SUFFIXES)]
    exact = [path for path in paths if path.stem == Path(name).name or path.name == Path(name).name]
    if not paths:
        raise BadFile(f"{name}: not in music21's corpus; install music21 with its corpus: {INSTALL}")
    return (exact or paths)[0]


def _parsed(works: Sequence[tuple[str, Path]], workers: int) -> Generator[Roll, None, None]:
    if workers == 1:
        yield from map(_parse, works)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_parse, works, chunksize=CHUNK)


def _parse(work: tuple[str, Path]) -> Roll:
    """Parse one file, past music21's cache of pickles in the temporary folder."""
    name, path = work
    converter = _music21("music21.converter").Converter()
    try:
        converter.parseFileNoPickle(path, format="musicxml")
        notes = converter.stream.flatten().notes
        return draw_roll((note.offset, note.quarterLength, [pitch.midi for pitch in note.pitches]) for note in notes)
    except Exception as error:  # noqa: BLE001  # whatever music21 raises, the work must be named
        raise BadFile(f"{name}: music21 cannot parse it: {type(error).__name__}: {error}") from None


def _watched(rolls: Generator[Roll, None, None], total: int, progress: bool) -> list[Roll]:
    """All rolls; closed on the way out, so that an error or Ctrl-C leaves no process at work."""
    with closing(rolls):
        if progress and sys.stderr is not None and sys.stderr.isatty():
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return list(rolls)
            return list(tqdm(rolls, desc="parsing chorales", total=total, unit="", file=sys.stderr, leave=False))
        return list(rolls)


def _music21(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingEngine(f"music21, which holds the chorales, does not load ({error}): {INSTALL}") from None


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _key(limit: int | None) -> str:
    """What the rolls depend on; music21 is not imported for it, so a cached call is quick."""
    try:
        release = version("music21")
    except PackageNotFoundError:
        raise MissingEngine(f"music21, which holds the chorales, is not installed: {INSTALL}") from None
    size = "all" if limit is None else f"first{limit}"
    return f"chorales-format{FORMAT}-music21_{release}-grid{GRID:g}-{size}"


def _place(cache: Path | None, key: str) -> Path | None:
    """The cache file, or None where a user has no home."""
    try:
        return Path(_user_cache() / "snubridge" if cache is None else cache) / f"{key}.npz"
    except RuntimeError:
        _say("no home folder: the chorales are parsed anew each time; pass cache=")
        return None


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return chosen if chosen.is_absolute() else Path.home() / ".cache"  # the standard says to ignore relative ones


def _read_cache(place: Path | None, key: str) -> Chorales | None:
    try:
        if place is None or not place.exists():
            return None
        return _checked(read_arrays(place), key)
    except Exception as error:  # noqa: BLE001  # a damaged archive raises nearly anything; none of it may stop the demo
        cause = str(error).removeprefix(f"{place}: ") or type(error).__name__
        _say(f"{place}: not used, the chorales are parsed anew: {cause}")
        return None


def _checked(arrays: dict[str, NDArray[Any]], key: str) -> Chorales:
    """The chorales in a cache file; ``BadFile`` unless it is in every respect one that we write."""
    if set(arrays) != {"about", "rolls", "lengths"}:
        raise BadFile("not a cache of chorales")
    about, rolls, lengths = arrays["about"], arrays["rolls"], arrays["lengths"]
    if about.dtype != np.uint8 or about.ndim != 1:
        raise BadFile("its description is damaged")
    description = json.loads(about.tobytes())
    if not isinstance(description, dict) or description.get("key") != key:
        raise BadFile("it was made for another version")
    names = description.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise BadFile("its names are damaged")
    if lengths.dtype != np.int64 or lengths.shape != (len(names),) or not len(names) or lengths.min() < 1:
        raise BadFile("its lengths are damaged")
    if rolls.dtype != np.uint8 or rolls.shape != (sum(lengths.tolist()), KEYS) or rolls.max() > 1:
        raise BadFile("its rolls are damaged")
    return _frozen(tuple(names), tuple(np.split(rolls, np.cumsum(lengths)[:-1])))


def _write_cache(place: Path | None, key: str, chorales: Chorales) -> None:
    if place is None:
        return
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        about=np.frombuffer(json.dumps({"key": key, "names": chorales.names}).encode(), dtype=np.uint8),
        rolls=np.concatenate(chorales.rolls),
        lengths=np.array([len(roll) for roll in chorales.rolls], dtype=np.int64),
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, buffer.getvalue())
    except (OSError, BadFile) as error:
        _say(f"the chorales could not be kept for the next time: {error}")


def _frozen(names: tuple[str, ...], rolls: tuple[Roll, ...]) -> Chorales:
    for roll in rolls:
        roll.setflags(write=False)
    return Chorales(names, rolls)


def _say(note: str) -> None:
    print("snubridge: " + " ".join(note.split()), file=sys.stderr)

"""The chorales: rolls, their split, and a cache that is never trusted."""

import io
import pickle
import sys
import tempfile
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from snubridge.demo import chorales
from snubridge.demo.chorales import Chorales, batch, draw_roll, load_chorales
from snubridge.errors import BadFile, BadInput, MissingEngine

LIMIT = 6


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A folder that holds the cache of the first six chorales, and what was loaded."""
    pytest.importorskip("music21", reason="the chorales come inside music21: pip install 'snubridge[music]'")
    folder = tmp_path_factory.mktemp("cache")
    return folder, load_chorales(cache=folder, limit=LIMIT, workers=1)


@pytest.fixture
def rebuilt(cached, monkeypatch):
    """Parsing is replaced by what it gave before; the list counts how often it was asked for."""
    calls = []
    monkeypatch.setattr(chorales, "_parse_all", lambda *options: calls.append(options) or cached[1])
    return calls


class Terminal(io.StringIO):
    def isatty(self):
        return True


def cache_file(folder):
    (file,) = Path(folder).iterdir()
    return file


def assert_equal(one, two):
    assert one.names == two.names
    for a, b in zip(one.rolls, two.rolls, strict=True):
        np.testing.assert_array_equal(a, b)


# -- rolls ------------------------------------------------------------------------------------------------------------


def test_a_note_sounds_from_its_start_to_its_end():
    roll = draw_roll([(0.0, 2.0, [21]), (1.0, 3.0, [60, 64]), (3.0, 1.0, [108])])
    assert roll.shape == (4, 88)
    assert roll.dtype == np.uint8
    assert [np.flatnonzero(step).tolist() for step in roll] == [[0], [0, 39, 43], [39, 43], [39, 43, 87]]


def test_only_what_is_held_at_a_grid_point_sounds():
    roll = draw_roll([(0.5, 0.5, [60]), (0.5, 1.0, [62]), (Fraction(4, 3), Fraction(2, 3), [64]), (2.0, 0.0, [65])])
    assert np.argwhere(roll).tolist() == [[1, 62 - 21]]


@pytest.mark.parametrize("notes", [[(0.0, 1.0, [20])], [(0.0, 1.0, [109])], [(0.25, 0.5, [60])], []])
def test_notes_off_the_keyboard_and_silence_are_refused(notes):
    with pytest.raises(BadInput, match=r"keyboard|not one note"):
        draw_roll(notes)


def test_batch_pads_with_silence():
    rolls = [np.ones((3, 88), np.uint8), np.ones((5, 88), np.uint8)]
    inputs, lengths = batch(rolls)
    assert inputs.shape == (5, 2, 88)
    assert inputs.dtype == np.float32
    assert lengths.tolist() == [3, 5]
    assert inputs[:3].all()
    assert inputs[3:, 1].all()
    assert not inputs[3:, 0].any()


@pytest.mark.parametrize("rolls", [[], [np.ones((3, 87))], [np.ones((0, 88))], [np.ones(88)]])
def test_batch_refuses_what_is_no_roll(rolls):
    with pytest.raises(BadInput, match="88"):
        batch(rolls)


# -- loading ----------------------------------------------------------------------------------------------------------


def test_rolls_are_binary_read_only_and_in_a_fixed_order(cached):
    loaded = cached[1]
    assert loaded.names[:4] == ("bach/bwv269", "bach/bwv347", "bach/bwv153.1", "bach/bwv86.6")
    assert len(loaded) == len(set(loaded.names)) == LIMIT
    for roll in loaded:
        assert roll.dtype == np.uint8
        assert roll.shape[1] == 88
        assert roll.shape[0] > 20
        assert set(np.unique(roll)) == {0, 1}
        assert 3 < roll.sum() / len(roll) <= 4  # four voices
        with pytest.raises(ValueError, match="read-only"):
            roll[0, 0] = 1


def test_the_split_covers_everything_once(cached):
    loaded = cached[1]
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [len(part) for part in parts] == [4, 1, 1]
    assert sorted(name for part in parts for name in part.names) == sorted(loaded.names)
    assert loaded.test.names == (loaded.names[3],)
    np.testing.assert_array_equal(loaded.test[0], loaded[3])
    assert loaded.train[1:].names == loaded.train.names[1:]
    assert batch(loaded.train)[0].shape[1] == 4


def test_the_split_has_its_proportions():
    many = Chorales(tuple(map(str, range(100))), (np.ones((1, 88), np.uint8),) * 100)
    assert [len(part) for part in (many.train, many.validation, many.test)] == [75, 10, 15]


def test_many_processes_give_the_same_and_leave_nothing_behind(cached, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    assert_equal(load_chorales(cache=tmp_path / "new" / "cache", limit=LIMIT, workers=2), cached[1])
    assert not list(scratch.glob("music21*"))


def test_without_processes_parsing_goes_on_in_one(cached, tmp_path, monkeypatch, capsys):
    def parsed(works, workers):
        if workers > 1:
            raise BrokenProcessPool
        yield from cached[1].rolls

    monkeypatch.setattr(chorales, "_parsed", parsed)
    assert_equal(load_chorales(cache=tmp_path, limit=LIMIT, workers=2), cached[1])
    assert "BrokenProcessPool" in capsys.readouterr().err


def test_a_roll_that_equals_an_earlier_one_is_left_out(monkeypatch, tmp_path):
    one, two = np.ones((2, 88), np.uint8), np.ones((3, 88), np.uint8)
    monkeypatch.setattr(chorales, "version", lambda name: "0")
    monkeypatch.setattr(chorales, "_works", lambda: [(name, Path(name)) for name in "abc"])
    monkeypatch.setattr(chorales, "_parsed", lambda works, workers: (roll.copy() for roll in (one, two, one)))
    assert load_chorales(cache=tmp_path).names == ("a", "b")


@pytest.mark.parametrize("options", [{"limit": 0}, {"workers": 0}, {"limit": -1}])
def test_nonsense_is_refused(options):
    with pytest.raises(BadInput, match="at least 1"):
        load_chorales(**options)


def test_progress_only_on_a_terminal(cached, monkeypatch):
    pytest.importorskip("tqdm")

    def shown(stream, progress=True):
        monkeypatch.setattr(sys, "stderr", stream)
        list(chorales._watched(iter_rolls(), LIMIT, progress))
        return stream.getvalue()

    def iter_rolls():
        yield from cached[1].rolls

    assert "parsing chorales" in shown(Terminal())
    assert shown(Terminal(), progress=False) == ""
    assert shown(io.StringIO()) == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert shown(Terminal()) == ""


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_work_that_cannot_be_parsed_is_named(cached, tmp_path, workers):
    broken = tmp_path / "bwv0.xml"
    broken.write_text("<score-partwise><part>")
    works = [("bach/bwv0", broken)] * 5
    with pytest.raises(BadFile, match=r"bach/bwv0: music21 cannot parse it"):
        list(chorales._parsed(works, workers))


def test_a_corpus_without_the_work_is_named(cached):
    class Empty:
        def getWorkList(self, name, fileExtensions):
            return []

    with pytest.raises(BadFile, match=r"bach/bwv269: not in music21's corpus"):
        chorales._file(Empty(), "bach/bwv269")


def test_missing_music21_names_the_extra(monkeypatch, tmp_path):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(chorales, "version", lambda name: "0")
    monkeypatch.setitem(sys.modules, "music21", None)
    monkeypatch.setitem(sys.modules, "music21.corpus", None)
    with pytest.raises(MissingEngine, match=r"pip install 'snubridge\[music\]'"):
        load_chorales(cache=tmp_path)
    monkeypatch.setattr(chorales, "version", absent)
    with pytest.raises(MissingEngine, match=r"pip install 'snubridge\[music\]'"):
        load_chorales(cache=tmp_path)


# -- the cache --------------------------------------------------------------------------------------------------------


def test_the_second_call_reads_the_cache(cached, rebuilt, capsys):
    folder, loaded = cached
    again = load_chorales(cache=folder, limit=LIMIT)
    assert_equal(again, loaded)
    assert rebuilt == []
    assert capsys.readouterr().err == ""
    assert not again[0].flags.writeable


def test_another_version_or_limit_is_another_file(cached, rebuilt, tmp_path, monkeypatch):
    load_chorales(cache=tmp_path, limit=LIMIT)
    load_chorales(cache=tmp_path, limit=LIMIT - 1)
    load_chorales(cache=tmp_path)
    monkeypatch.setattr(chorales, "version", lambda name: "99.0")
    load_chorales(cache=tmp_path)
    monkeypatch.setattr(chorales, "FORMAT", 99)
    load_chorales(cache=tmp_path)
    assert len(rebuilt) == len(list(tmp_path.iterdir())) == 5


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the cache was unpickled",))


def arrays_of(data):
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


def archive(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def changed(**new):
    return lambda data: archive({**arrays_of(data), **new})


DAMAGE = {
    "empty": lambda data: b"",
    "garbage": lambda data: b"\x93NUMPY garbage",
    "cut": lambda data: data[: len(data) // 2],
    "pickle": lambda data: pickle.dumps(Bomb()),
    "pickled rolls": changed(rolls=np.array([Bomb()], dtype=object)),
    "one array": lambda data: npy(np.zeros(3)),
    "another key": lambda data: archive({"foreign": np.zeros(3)}),
    "no description": changed(about=np.zeros(3)),
    "not JSON": changed(about=np.frombuffer(b"[" * 100_000, np.uint8)),
    "JSON of another kind": changed(about=np.frombuffer(b"[]", np.uint8)),
    "of another version": changed(about=np.frombuffer(b'{"key": "chorales-format0"}', np.uint8)),
    "a two in it": lambda data: archive({**(a := arrays_of(data)), "rolls": a["rolls"] * 2}),
    "floats": lambda data: archive({**(a := arrays_of(data)), "rolls": a["rolls"] / 1}),
    "87 keys": lambda data: archive({**(a := arrays_of(data)), "rolls": a["rolls"][:, 1:]}),
    "a step lost": lambda data: archive({**(a := arrays_of(data)), "rolls": a["rolls"][1:]}),
    "lengths that overflow": changed(lengths=np.full(LIMIT, 2**62)),
    "negative lengths": changed(lengths=np.array([-1, 400, 1, 1, 1, 1])),
    "no lengths": changed(lengths=np.zeros(0, np.int64)),
}


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_said_and_rebuilt(cached, rebuilt, tmp_path, capsys, kind):
    good = cache_file(cached[0])
    bad = tmp_path / good.name
    bad.write_bytes(DAMAGE[kind](good.read_bytes()))
    assert_equal(load_chorales(cache=tmp_path, limit=LIMIT), cached[1])
    assert len(rebuilt) == 1
    note = capsys.readouterr().err
    assert note.startswith("snubridge: ")
    assert "not used" in note
    assert note.count("\n") == 1
    assert bad.read_bytes() == good.read_bytes()


def test_no_flipped_byte_passes_unseen(cached, rebuilt, tmp_path):
    good = cache_file(cached[0])
    whole = good.read_bytes()
    for place in range(0, len(whole), 23):
        (tmp_path / good.name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        assert_equal(load_chorales(cache=tmp_path, limit=LIMIT), cached[1])
    assert rebuilt


def test_an_unwritable_folder_is_a_note(cached, rebuilt, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert_equal(load_chorales(cache=tmp_path / "file" / "below", limit=LIMIT), cached[1])
    note = capsys.readouterr().err
    assert "could not be kept" in note
    assert note.count("\n") == 1


def test_a_user_without_a_home_gets_a_note(cached, rebuilt, monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert_equal(load_chorales(limit=LIMIT), cached[1])
    assert "no home" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, ".cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, ".cache"),
        ("linux", {"XDG_CACHE_HOME": "{home}/elsewhere"}, "elsewhere"),
        ("darwin", {}, "Library/Caches"),
        ("win32", {}, "AppData/Local"),
        ("win32", {"LOCALAPPDATA": "{home}/local"}, "local"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(monkeypatch, tmp_path, platform, variables, place):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    assert chorales._place(None, "key") == tmp_path / place / "snubridge" / "key.npz"

"""The demo's picture: what agrees looks alike, what differs is loud, and what is not counted is not shown."""

import io
import subprocess
import sys
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from snubridge.errors import BadFile, BadInput, MissingEngine
from snubridge.reference.trace import Trace
from snubridge.verification.pictures import rolls as pictures
from snubridge.verification.pictures.rolls import BANDS, SHOUT, draw_rasters

pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'snubridge[plot]'")

STEPS, SAMPLES, NEURONS, SAMPLE = 24, 3, 30, 1
LENGTH = 20
NAMES = ("brian2", "nengo", "onnx")


def trace_of(spikes, lengths=(STEPS, LENGTH, STEPS)):
    return Trace(spikes={"hidden": spikes}, states={}, outputs={}, lengths=np.array(lengths))


def random_trace(share=0.1, seed=0, shape=(NEURONS,)):
    return trace_of((np.random.default_rng(seed).random((STEPS, SAMPLES, *shape)) < share).astype(np.uint8))


def random_roll(keys=88):
    return (np.random.default_rng(1).random((STEPS, keys)) < 0.05).astype(np.uint8)


def flipped(trace, *bins, sample=SAMPLE):
    spikes = trace.spikes["hidden"].copy()
    for step, neuron in bins:
        spikes[step, sample, neuron] ^= 1
    return replace(trace, spikes=MappingProxyType({"hidden": spikes}))


def draw(path, expected=None, traces=None, **options):
    expected = random_trace() if expected is None else expected
    traces = dict.fromkeys(NAMES, expected) if traces is None else traces
    options = {"roll": random_roll(), "unit": "hidden", "sample": SAMPLE, **options}
    draw_rasters(path, expected=expected, traces=traces, **options)
    return path.read_bytes()


def pixels(data):
    from matplotlib.image import imread

    return np.rint(imread(io.BytesIO(data), format="png")[..., :3] * 255).astype(np.uint8)


def amount(data, color):
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return int((pixels(data) == wanted).all(axis=-1).sum())


def test_all_runs_agree(tmp_path):
    data = draw(tmp_path / "equal.png", title="A chorale")
    height, width, _ = pixels(data).shape
    assert 1550 < width < 1660
    assert 600 < height < 1700
    assert amount(data, SHOUT) == 0
    assert amount(data, pictures.NOTE) > 1000


def test_every_spike_has_the_band_of_every_backend(tmp_path):
    """Twice the spikes are twice the marks: each of the same number of pixels in each backend's color."""
    sparse = flipped(trace_of(np.zeros((STEPS, SAMPLES, NEURONS), np.uint8)), *[(t, t) for t in range(5)])
    dense = flipped(sparse, *[(t, t + 3) for t in range(5, 15)])
    fewer, more = draw(tmp_path / "fewer.png", sparse), draw(tmp_path / "more.png", dense)
    cell = pictures._cell(LENGTH, NEURONS, 1 + len(NAMES))
    assert cell.whole
    for depth in range(len(NAMES)):
        band = cell.widths[depth + 1] - cell.widths[depth]
        assert amount(more, BANDS[depth]) - amount(fewer, BANDS[depth]) == 10 * band * cell.tall


@pytest.mark.parametrize("seen", [0, 1])
def test_one_flipped_bin_stands_out(tmp_path, seen):
    expected = random_trace()
    step, neuron = np.argwhere(expected.spikes["hidden"][:LENGTH, SAMPLE] == seen)[7].tolist()
    wrong = flipped(expected, (step, neuron))
    data = draw(tmp_path / "wrong.png", expected, {"brian2": expected, "nengo": wrong, "onnx": expected})
    assert amount(data, SHOUT) > 5000
    layers = pictures._layers(expected, {"brian2": expected, "nengo": wrong}, "hidden", SAMPLE)
    what = "missing" if seen else "extra"
    assert pictures._difference(layers, step, neuron) == f"nengo: {what} spike, step {step}, neuron {neuron}"
    assert pictures._verdict(layers) == ("1 bin differs", SHOUT)
    spikes = int(expected.spikes["hidden"][:LENGTH, SAMPLE].sum())
    labels = [pictures._label(layer, reference=index == 0) for index, layer in enumerate(layers)]
    changed = spikes + (-1 if seen else 1)
    assert labels == [
        f"reference: {spikes} spikes",
        f"brian2: {spikes} spikes, 0 differ",
        f"nengo: {changed} spikes, 1 differs",
    ]


def test_the_rings_are_around_the_bins(tmp_path):
    """Two far corners: red in each, and as far from one another as the bins."""
    expected, corners = random_trace(), [(0, 0), (LENGTH - 1, NEURONS - 1)]
    shown = pixels(draw(tmp_path / "wrong.png", expected, {"nengo": flipped(expected, *corners)}))
    cell = pictures._cell(LENGTH, NEURONS, 2)
    red = (shown == [0xD7, 0x26, 0x1E]).all(axis=-1)
    for step in (0, LENGTH - 1):
        middle = pictures.LEFT + (step + 0.5) * cell.step
        columns = red[:, round(middle) - 12 : round(middle) + 12]
        assert columns.sum() > 100


def test_many_differences_are_all_ringed(tmp_path):
    expected, other = random_trace(), random_trace(seed=5)
    data = draw(tmp_path / "many.png", expected, {"nengo": other})
    differing = (expected.spikes["hidden"] != other.spikes["hidden"])[:LENGTH, SAMPLE].sum()
    assert amount(data, SHOUT) > 100 * differing > 5000


def test_only_the_samples_length_is_shown_and_the_same_is_the_same_bytes(tmp_path):
    expected, roll = random_trace(), random_roll()
    data = draw(tmp_path / "one.png", expected, roll=roll)
    elsewhere = flipped(flipped(expected, (LENGTH, 0), (STEPS - 1, 5)), (0, 0), sample=0)
    longer = np.concatenate([roll[:LENGTH], 1 - roll])
    assert draw(tmp_path / "two.png", expected, dict.fromkeys(NAMES, elsewhere), roll=longer) == data


def test_silence_and_loneliness_are_said():
    silent = trace_of(np.zeros((STEPS, SAMPLES, NEURONS), np.uint8))
    assert "shows nothing" in pictures._verdict(pictures._layers(silent, {"onnx": silent}, "hidden", SAMPLE))[0]
    assert "alone" in pictures._verdict(pictures._layers(random_trace(), {}, "hidden", SAMPLE))[0]
    agreed = random_trace()
    text = pictures._verdict(pictures._layers(agreed, dict.fromkeys(NAMES, agreed), "hidden", SAMPLE))[0]
    assert text == "reference and 3 backends: the same spikes, every step"


@pytest.mark.parametrize(
    ("steps", "shape", "backends", "keys"),
    [(1, (1,), 1, 88), (5, (3, 4, 2), 2, 3), (60, (150,), 11, 88), (900, (40,), 3, 88), (12, (1200,), 0, 1)],
)
def test_any_size_can_be_drawn(tmp_path, steps, shape, backends, keys):
    spikes = np.zeros((steps, 1, *shape), np.uint8)
    spikes.reshape(-1)[::17] = 1
    trace = trace_of(spikes, lengths=(steps,))
    named = {f"_$back{index} ends_": trace for index in range(backends)}
    roll = np.zeros((steps, keys), bool)
    data = draw(tmp_path / "any.png", trace, named, roll=roll, sample=0, title="$\\undefined_{ $")
    assert pixels(data).any()


def test_no_mark_is_thinner_than_a_pixel():
    for steps, neurons, layers in [(60, 150, 6), (700, 1000, 4), (3000, 3000, 2), (1, 1, 12)]:
        cell = pictures._cell(steps, neurons, layers)
        assert cell.tall >= 1
        assert cell.widths[-1] >= 1
        assert list(cell.widths) == sorted(set(cell.widths))


def test_bars_span_held_notes():
    held = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    bars = np.rint(pictures._held_bars(held)).tolist()
    assert [(left, right) for left, right, *_ in bars] == [(0, 1), (3, 3), (1, 1)]


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(b"old")
    before = draw(path)
    assert before.startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]
    with pytest.raises(BadInput):
        draw(path, sample=99)
    assert path.read_bytes() == before
    with pytest.raises(BadFile, match="cannot be written"):
        draw(tmp_path / "absent" / "one.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "other"}, r"the reference: recorded no unit 'other', only hidden"),
        ({"sample": SAMPLES}, r"samples 0 to 2"),
        ({"sample": -1}, r"samples 0 to 2"),
        ({"roll": np.zeros((LENGTH - 1, 88))}, r"roll: shape \(19, 88\)"),
        ({"roll": np.zeros(88)}, r"roll: shape \(88,\)"),
        ({"roll": np.zeros((STEPS, 0))}, r"roll"),
        ({"traces": {"onnx": random_trace(shape=(7,))}}, r"onnx: shape"),
        ({"traces": {"onnx": trace_of(random_trace().spikes["hidden"], (1, 2, 3))}}, r"onnx: .*lengths"),
        ({"traces": {"onnx": trace_of(np.zeros((STEPS, SAMPLES, NEURONS)))}}, r"onnx: unit hidden is no Step unit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options, message):
    with pytest.raises(BadInput, match=message):
        draw(tmp_path / "no.png", **options)
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_imported_late_and_its_state_left_alone(tmp_path):
    script = """
import sys
import numpy as np
from snubridge.verification.pictures import draw_rasters
from snubridge.reference.trace import Trace
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # comparing copies: to read the original's backend would load pyplot
spikes = np.ones((3, 1, 2), np.uint8)
trace = Trace(spikes={"u": spikes}, states={}, outputs={}, lengths=np.array([3]))
draw_rasters(sys.argv[1], roll=np.ones((3, 88)), expected=trace, traces={"a": trace}, unit="u", sample=0)
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script, tmp_path / "one.png"], check=True)


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingEngine, match=r"pip install 'snubridge\[plot\]'"):
        draw(tmp_path / "no.png")

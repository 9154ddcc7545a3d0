"""The examples that train against the clock: what they feed and count, that they learn, and repeat themselves."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))  # as Python does for a script in that folder

import language  # noqa: E402  # only now that the path is there
import race  # noqa: E402


@pytest.fixture
def digits():
    pytest.importorskip("sklearn", reason="the example takes its images from scikit-learn")
    import digits

    return digits


@pytest.fixture(scope="module")
def text():
    return language.load("topics")


def test_the_clock_counts_what_is_inside():
    clock = race.Clock()
    with clock:
        sum(range(300_000))
    first = clock.seconds
    sum(range(3_000_000))
    assert 0 < clock.seconds == first
    with clock:
        sum(range(300_000))
    assert first < clock.seconds


def test_a_loss_is_reached_at_the_first_point_not_above_it():
    curve = [(1.0, 3.0), (2.0, 2.0), (3.0, 2.5), (4.0, 1.0)]
    assert [race.reached(curve, loss) for loss in (3.5, 2.0, 1.9, 0.5)] == [1.0, 2.0, 4.0, None]


def test_digits_are_split_without_overlap_or_loss(digits):
    images = digits.load()
    assert {split: len(x) for split, (x, _) in images.items()} == digits.SIZES
    whole = torch.cat([torch.cat([x * 16, y[:, None].float()], 1) for x, y in images.values()])
    found = digits.load_digits()
    assert Counter(map(tuple, whole.int().tolist())) == Counter(
        (*image, label) for image, label in zip(found.data.astype(int).tolist(), found.target.tolist(), strict=True)
    )


def test_a_pixel_fires_at_a_quarter_of_its_brightness(digits):
    brightness = torch.tensor([0.0, 0.5, 1.0]).expand(1000, 3)
    trains = digits.spikes(brightness, 0, 1)
    assert trains.shape == (digits.STEPS, 1000, 3)
    assert set(trains.unique().tolist()) == {0.0, 1.0}
    assert trains.mean((0, 1)).tolist() == pytest.approx([0, 0.125, 0.25], abs=0.01)
    assert torch.equal(trains, digits.spikes(brightness, 0, 1))
    assert not torch.equal(trains, digits.spikes(brightness, 0, 2))
    assert not torch.equal(trains, digits.spikes(brightness, 1, 1))


def test_digits_are_learned_and_all_is_written(digits, tmp_path, capsys):
    assert digits.main(["--seeds", "1", "--epochs", "5", "--out", str(tmp_path / "digits.json")]) == 0
    results = json.loads((tmp_path / "digits.json").read_text())
    assert list(results["models"]) == ["snu", "lstm"]
    for found in results["models"].values():
        (run,) = found["runs"]
        assert len(run["curve"]) == 5
        assert run["validation"]["nll"] == pytest.approx(min(nll for _, nll in run["curve"]), abs=1e-5)
        assert run["test"]["accuracy"] > 0.7
        assert run["test"]["nll"] < math.log(10) / 2
        assert [seconds for seconds, _ in run["curve"]] == sorted(seconds for seconds, _ in run["curve"])
    assert "projection=events" in results["models"]["snu"]["core"]
    rows = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in rows[2:]] == ["| snu", "| lstm"]


def test_a_run_of_digits_repeats_itself(digits):
    images, settings = digits.load(), digits.MODELS["snu"][1]
    first, second = (digits.train("snu", settings, images, 3, 2) for _ in range(2))
    assert [nll for _, nll in first["curve"]] == [nll for _, nll in second["curve"]]
    assert first["test"] == second["test"]


def test_the_text_is_split_by_position(text):
    whole = torch.cat([text.train, text.valid, text.test])
    joined = "".join(text.alphabet[code] for code in whole.tolist())
    assert len(joined) == sum(map(len, language.topics.values())) + 2 * (len(language.topics) - 1)
    assert all(piece in joined for piece in language.topics.values())
    assert len(text.train) == len(whole) * 90 // 100
    assert abs(len(text.valid) - len(text.test)) <= 1


def test_the_docstrings_of_the_standard_library_are_part_of_it():
    found = language.docstrings()
    assert inspect.getdoc(json.dumps) in found


@pytest.mark.parametrize("name", list(language.MODELS))
@pytest.mark.parametrize("window", [1, 4])
def test_a_language_model_sees_the_past_only_and_all_of_it(name, window, text):
    torch.manual_seed(0)
    network = language.Language(name, len(text.alphabet), language.Settings(0.01, window, 0.1)).eval()
    x = text.train[:60].view(3, 20).t()
    with torch.no_grad():
        whole, _ = network(x)
        first, state = network(x[:9])
        second, _ = network(x[9:], state)
        changed = x.clone()
        changed[12] = (changed[12] + 1) % len(text.alphabet)
        other, _ = network(changed)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-4, atol=1e-5)
    assert torch.allclose(other[:12], whole[:12], atol=1e-6)
    assert ((other[12:] - whole[12:]).abs().amax((1, 2)) > 0).all()


@pytest.fixture
def short(text, monkeypatch):
    """The text with less to hold the network to, so that it takes a second."""
    cut = dataclasses.replace(text, valid=text.valid[:4000], test=text.test[:4000])
    monkeypatch.setattr(language, "load", lambda name: cut)
    return cut


def test_language_is_learned_and_all_is_written(short, tmp_path, capsys):
    text = short
    assert language.main(["--seeds", "1", "--steps", "24", "--out", str(tmp_path / "language.json")]) == 0
    results = json.loads((tmp_path / "language.json").read_text())
    counts = torch.bincount(text.train, minlength=len(text.alphabet)) / len(text.train)
    alone = -float((counts[text.valid] + 1e-9).log2().mean())  # each character by its own frequency
    (budget,) = results["budgets"].values()
    assert list(budget) == ["ssnu", "lstm"]
    for found in budget.values():
        (run,) = found["runs"]
        assert run["steps"] == 24
        assert len(run["curve"]) == language.POINTS
        assert run["validation"] == pytest.approx(min(bits for _, bits in run["curve"]), abs=1e-4)
        assert run["validation"] < alone
    assert results["data"]["characters"]["train"] == len(text.train)
    rows = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in rows[2:]] == [["| ssnu", "24 steps"], ["| lstm", "24 steps"]]


def test_a_run_of_language_repeats_itself_where_steps_are_given(short):
    settings = language.MODELS["ssnu"][1]
    first, second = (language.train("ssnu", settings, short, 3, math.inf, 4) for _ in range(2))
    assert [bits for _, bits in first["curve"]] == [bits for _, bits in second["curve"]]
    assert first["test"] == second["test"]


WRONG = [
    (["--seeds", "0"], "--seeds 0: at least 1"),
    (["--threads", "0"], "--threads 0: at least 1"),
    (["--out", "nowhere/at.json"], "there is no folder nowhere"),
]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [*WRONG, (["--seconds", "0"], "--seconds 0.0"), (["--seconds", "inf"], "--seconds"), (["--steps", "0"], "--steps")],
)
def test_wrong_options_of_language_are_named(arguments, said, capsys):
    assert language.main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [*WRONG, (["--epochs", "0"], "--epochs 0: at least 1")])
def test_wrong_options_of_digits_are_named(digits, arguments, said, capsys):
    assert digits.main(arguments) == 2
    assert said in capsys.readouterr().err

"""The music example: what its loader refuses, what it counts, and that it learns on the real split, if it is there."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import snubridge as sb

savemat = pytest.importorskip("scipy.io", reason="the example reads MATLAB files with scipy").savemat

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))  # as Python does for a script in that folder

import jsb  # noqa: E402  # only now that the path is there

REAL = Path(os.environ.get("SNUBRIDGE_JSB") or ROOT.parent / "shared/data/JSB_Chorales.mat")


def cells(*rolls):
    """A cell array (1, n), as MATLAB writes it."""
    array = np.empty((1, len(rolls)), dtype=object)
    for index, roll in enumerate(rolls):
        array[0, index] = roll
    return array


def drawn(rng, *lengths):
    return [(rng.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]


@pytest.fixture
def content():
    rng = np.random.default_rng(0)
    lengths = {"train": (9, 5, 12, 2), "valid": (7, 4), "test": (3, 8, 5)}
    return {f"{split}data": cells(*drawn(rng, *found)) for split, found in lengths.items()}


@pytest.fixture
def written(tmp_path):
    def write(content):
        savemat(tmp_path / "music.mat", content)
        return tmp_path / "music.mat"

    return write


def test_a_file_is_read_as_it_was_written(content, written):
    data, digest = jsb.load(written(content))
    assert list(data) == ["train", "valid", "test"]
    for split, rolls in data.items():
        assert len(rolls) == content[f"{split}data"].size
        for roll, expected in zip(rolls, content[f"{split}data"].ravel(), strict=True):
            assert roll.dtype == np.uint8
            assert np.array_equal(roll, expected)
    assert len(digest) == 64


def test_real_numbers_and_truth_values_serve_as_well(content, written):
    expected = content["traindata"][0, 0]
    for kind in (np.float64, np.bool_, np.int32):
        content["traindata"][0, 0] = expected.astype(kind)
        data, _ = jsb.load(written(content))
        assert np.array_equal(data["train"][0], expected)


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (np.full((4, 88), 2), r"traindata\[1\]: values other than 0 and 1"),
        (np.full((4, 88), 0.5), r"traindata\[1\]: values other than 0 and 1"),
        (np.full((4, 88), np.nan), r"traindata\[1\]: values other than 0 and 1"),
        (np.zeros((4, 87)), r"traindata\[1\]: shape \(4, 87\); needed \(T, 88\)"),
        (np.zeros((88, 4)), r"traindata\[1\]: shape \(88, 4\); needed \(T, 88\)"),
        (np.zeros((1, 88)), r"traindata\[1\]: shape \(1, 88\); needed \(T, 88\) with T >= 2"),
        (np.zeros((0, 88)), r"traindata\[1\]: shape \(0, \d+\); needed \(T, 88\)"),
        (np.zeros((2, 3, 88)), r"traindata\[1\]: shape \(2, 3, 88\); needed \(T, 88\)"),
        (np.ones((4, 88)) * 1j, r"traindata\[1\]: not an array of numbers, but dtype\('complex128'\)"),
        (cells(np.zeros((4, 88))), r"traindata\[1\]: not an array of numbers, but dtype\('O'\)"),
        ("four", r"traindata\[1\]: not an array of numbers, but dtype\('<U4'\)"),
        ({"roll": 1}, r"traindata\[1\]: not an array of numbers, but dtype\("),
    ],
)
def test_a_damaged_roll_is_refused_by_its_place(content, written, damaged, said):
    content["traindata"][0, 1] = damaged
    with pytest.raises(sb.errors.BadFile, match=said):
        jsb.load(written(content))


def test_a_split_that_is_missing_empty_or_no_cells_is_refused(content, written):
    for split in (np.zeros((1, 0), dtype=object), np.zeros((4, 88)), "text"):
        with pytest.raises(sb.errors.BadFile, match=r"validdata is not a cell array of piano rolls, or it is empty"):
            jsb.load(written({**content, "validdata": split}))
    del content["testdata"]
    content["music"] = content.pop("traindata")
    with pytest.raises(sb.errors.BadFile, match="no traindata and no testdata; needed traindata, validdata, testdata"):
        jsb.load(written(content))


def test_what_is_no_matlab_file_is_refused(content, written, tmp_path):
    whole = written(content).read_bytes()
    for index, damaged in enumerate([b"", b"\x80\x04K\x01.", whole[: len(whole) // 2], whole[:140], b"\xff" * 5000]):
        (tmp_path / f"{index}.mat").write_bytes(damaged)
        with pytest.raises(sb.errors.BadFile, match=rf"{index}\.mat: (not a MATLAB file|no )"):
            jsb.load(tmp_path / f"{index}.mat")
    (tmp_path / "large.mat").write_bytes(whole + bytes(jsb.LARGEST))
    with pytest.raises(sb.errors.BadFile, match="more than 1,048,576 bytes"):
        jsb.load(tmp_path / "large.mat")
    with pytest.raises(sb.errors.BadFile, match="No such file"):
        jsb.load(tmp_path / "nothing.mat")


def test_the_nll_is_that_of_numpy_over_the_steps_that_count():
    rng = np.random.default_rng(1)
    rolls, weight = drawn(rng, 6, 2, 11), rng.normal(size=(88, 88))

    def each(roll):
        z, y = roll[:-1] @ weight, roll[1:]
        p = 1 / (1 + np.exp(-z))
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(-1)

    steps = [each(roll.astype(np.float64)) for roll in rolls]
    found = jsb.evaluate(lambda x: x @ torch.from_numpy(weight).float(), rolls)
    assert found.steps == pytest.approx(np.concatenate(steps).mean(), rel=1e-5)
    assert found.chorales == pytest.approx(np.mean([values.mean() for values in steps]), rel=1e-5)
    assert abs(found.steps - found.chorales) > 1e-3  # the conventions differ on these rolls


def test_padding_gives_no_gradient():
    rng = np.random.default_rng(2)
    short, long = drawn(rng, 3, 9)
    gradients = []
    for rolls in ([short], [short, long]):
        logits = torch.zeros(len(rolls[-1]) - 1, len(rolls), 88, requires_grad=True)
        loss, counted = jsb.losses(lambda x, logits=logits: logits, rolls)
        (sb.nn.mean_over_steps(loss, counted) * counted.sum()).backward()
        gradients.append(logits.grad[:, 0])
    assert torch.allclose(gradients[0], gradients[1][:2])
    assert gradients[1][:2].abs().min() > 0.4
    assert not gradients[1][2:].any()


def test_the_odds_are_those_of_what_is_predicted():
    rolls = [np.zeros((5, 88), np.uint8) for _ in range(2)]
    rolls[0][0] = 1  # the first step is never predicted
    rolls[1][3:, 7] = 1
    odds = jsb.log_odds(rolls)
    assert float(torch.sigmoid(odds[7])) == pytest.approx(2 / 8)
    assert torch.sigmoid(odds[:7]).numpy() == pytest.approx(1e-4, rel=1e-3)


def test_every_roll_is_in_one_batch_among_its_like():
    rolls = [np.zeros((2 + index % 7, 88), np.uint8) for index in range(23)]
    found = jsb.batches(rolls, 5)
    assert sorted(len(batch) for batch in found) == [3, 5, 5, 5, 5]
    assert {id(roll) for batch in found for roll in batch} == {id(roll) for roll in rolls}
    assert max(len(batch[-1]) - len(batch[0]) for batch in found) <= 2


def test_every_model_has_the_width_of_the_paper_and_runs(content, written, tmp_path, capsys):
    """All six on a made file: the table and the JSON say the same, and no path is in it."""
    path, out = written(content), tmp_path / "results.json"
    arguments = ["--data", str(path), "--seeds", "2", "--set", "epochs=2", "--set", "dropout=0.25", "--out", str(out)]
    assert jsb.main(arguments) == 0
    table, results = capsys.readouterr().out.splitlines(), json.loads(out.read_text())
    assert set(results["models"]) == set(jsb.MODELS)
    assert str(tmp_path) not in out.read_text()
    for name, found in results["models"].items():
        assert found["settings"]["epochs"] == 2
        assert found["settings"]["dropout"] == 0.25
        assert [run["seed"] for run in found["runs"]] == [0, 1]
        values = [run["test"]["steps"] for run in found["runs"]]
        assert values[0] != values[1]
        assert found["test"]["steps"]["mean"] == pytest.approx(np.mean(values))
        assert found["test"]["steps"]["std"] == pytest.approx(np.std(values, ddof=1))
        (line,) = [line for line in table if line.startswith(f"| {name} |")]
        assert f"| {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} |" in line
        recurrent, layer = "recurrent" in name, 88 * 150 + 150 * 88 + 88
        gates = {"lstm": 4, "gru": 3}.get(name)
        core = gates * (150 * 150 + 2 * 150) + (gates - 1) * 88 * 150 if gates else 300 + recurrent * 150 * 150
        assert found["parameters"] == layer + core


def test_one_run_has_no_deviation():
    figures = {"steps": 8.5, "chorales": 8.25}
    run = {"seed": 0, "best_epoch": 3, "validation": figures, "test": figures, "seconds": 1.0}
    found = jsb.summary("gru", jsb.MODELS["gru"], [run])
    assert found["test"]["steps"] == {"mean": 8.5, "std": None}
    assert "| 8.54 | 8.500 | 8.250 | 8.500 | 3 to 3 of" in jsb.row("gru", found)


def test_a_seed_gives_the_same_figures_again(content, written):
    data, _ = jsb.load(written(content))
    model = jsb.changed(jsb.MODELS["ssnu"], ["epochs=3"])
    one, two, other = (jsb.train(model, data, seed, lambda epoch, nll: None) for seed in (4, 4, 5))
    assert (one["validation"], one["test"]) == (two["validation"], two["test"])
    assert one["test"] != other["test"]


def test_the_best_epoch_is_the_one_of_the_smallest_validation_nll(content, written):
    data, _ = jsb.load(written(content))
    seen = []
    model = jsb.changed(jsb.MODELS["snu"], ["epochs=30", "learning_rate=0.05", "averaging=0"])
    run = jsb.train(model, data, 0, lambda epoch, nll: seen.append((nll, epoch)))
    assert min(seen) == (run["validation"]["steps"], run["best_epoch"])
    assert run["best_epoch"] < 30  # on three chorales it overfits soon


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "0"], "--seeds 0: at least 1"),
        (["--set", "epochs=many"], "--set epochs=many: needed NAME=NUMBER"),
        (["--set", "momentum=1"], "NAME one of learning_rate, dropout"),
        (["--set", "epochs=0"], "epochs=0, batch=16; each must be at least 1"),
        (["--out", "nowhere/results.json"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_trained(content, written, capsys, arguments, said):
    assert jsb.main(["--data", str(written(content)), *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out


@pytest.mark.skipif(not REAL.is_file(), reason="JSB_Chorales.mat is not at hand: set SNUBRIDGE_JSB to its path")
@pytest.mark.parametrize("name", ["snu", "ssnu", "gru"])
def test_four_epochs_on_the_real_split_beat_the_notes_frequencies(name):
    data, _ = jsb.load(REAL)
    assert [len(data[split]) for split in jsb.SPLITS] == [229, 76, 77]
    odds = jsb.log_odds(data["train"])
    alone = jsb.evaluate(lambda x: odds.expand_as(x), data["test"])
    run = jsb.train(jsb.changed(jsb.MODELS[name], ["epochs=4"]), data, 0, lambda epoch, nll: None)
    assert 10.9 < alone.steps < 11.3
    assert run["test"]["steps"] < alone.steps - 0.5


def test_the_documented_figures_are_those_of_the_committed_run_with_todays_settings():
    results = json.loads((ROOT / "benchmarks/results/jsb.json").read_text())
    documented = (ROOT / "docs/results.md").read_text().splitlines()
    assert jsb.HEADER.splitlines()[0] in documented
    assert list(results["models"]) == list(jsb.MODELS)
    for name, found in results["models"].items():
        assert jsb.row(name, found) in documented
        assert len(found["runs"]) == 5
        anew, told = (
            jsb.summary(name, jsb.MODELS[name], found["runs"]),
            r"\b(?:reset|g|h|surrogate|learn_decay|recurrent)=\S+",
        )
        assert re.findall(told, anew.pop("core")) == re.findall(told, found["core"])
        assert anew == {part: value for part, value in found.items() if part != "core"}
    for name in ("snu", "ssnu"):
        assert results["models"][name]["test"]["steps"]["mean"] < jsb.PAPER[name]

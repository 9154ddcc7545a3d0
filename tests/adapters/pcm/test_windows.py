"""PCM: a convolution is one crossbar for each group, a pool is digital; one description, and hostile ones refused."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.pcm.chips import READ, Tamper, rehash, reseal, saved


def convolutional(numbers: Any = sb.Float32()) -> sb.Graph:  # a frozen value
    """Two groups, every setting of a window, both pools, and a Linear over the last axis behind them."""
    rng = np.random.default_rng(31)
    nodes = {
        "in": sb.Input((4, 7, 8)),
        "conv": sb.Conv2d(rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6), (2, 1), (1, 2), (1, 3), groups=2),
        "spiking": sb.Unit(0.75, 0.5, reset=sb.Reset.SUBTRACT),
        "mean": sb.AvgPool2d((2, 3), (1, 2), (1, 1)),
        "sum": sb.SumPool2d(2, 1, 1),
        "rows": sb.Linear(rng.normal(size=(3, 10))),
        "pooled": sb.Output(),
        "summed": sb.Output("mean"),
    }
    chain = [("in", "conv"), ("conv", "spiking"), ("spiking", "mean"), ("mean", "pooled"), ("spiking", "sum")]
    edges = [sb.Edge(*ends) for ends in [*chain, ("sum", "rows"), ("rows", "summed")]]
    return sb.Graph(nodes, edges, numbers=numbers)


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
def test_windows_mean_what_the_reference_says_and_read_back(numbers: Any, tmp_path: Path) -> None:
    graph, x = convolutional(numbers), np.random.default_rng(32).normal(size=(12, 3, 4, 7, 8))
    expected = sb.simulate(graph, x, record=("spikes", "states"))
    actual = sb.export(graph, "pcm").run(x, record=("spikes", "states"))
    assert 500 < expected.spikes["spiking"].sum() < 0.9 * expected.spikes["spiking"].size
    np.testing.assert_array_equal(actual.spikes["spiking"], expected.spikes["spiking"])
    for key, values in expected.arrays().items():
        if key != "reduced":
            np.testing.assert_allclose(actual.arrays()[key], values, rtol=0, atol=1e-12, err_msg=key)
    assert sb.import_graph(saved(graph, tmp_path), "pcm") == graph


def test_one_crossbar_for_each_group_and_how_often_it_is_used() -> None:
    program = sb.export(convolutional(), "pcm")
    conv, rows = program.native["crossbars"]
    sizes = {"crossbars": 2, "rows": 2 * 3 * 2, "columns": 3, "devices": 2 * 2 * 12 * 3, "uses_per_step": 4 * 9}
    window = {"kernel": [3, 2], "stride": [2, 1], "padding": [1, 2], "dilation": [1, 3]}
    assert {key: conv[key] for key in (*sizes, "window")} == {**sizes, "window": window}
    assert rows["crossbars"] == 1
    assert rows["uses_per_step"] == 6 * 5  # the rows of a sample of (6, 5, 10)
    assert rows["window"] is None
    assert program.facts == {"devices": 144 + 60, "crossbars": 3}
    mean, total = program.native["pools"]
    assert mean["operation"] == "mean"
    assert mean["window"] == {"kernel": [2, 3], "stride": [1, 2], "padding": [1, 1]}
    assert total["operation"] == "sum"
    assert program.native["format"] == {"name": "snubridge.pcm", "version": 2}


def test_a_stranger_convolves_with_the_conductances(tmp_path: Path) -> None:
    """With json and numpy alone, position by position, by the words of the description."""
    graph = convolutional()
    x = np.random.default_rng(33).normal(size=(1, 1, 4, 7, 8)).astype(np.float32)
    path = saved(graph, tmp_path)
    hardware = json.loads((path / "hardware.json").read_text())
    entry = hardware["crossbars"][0]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (entry["window"][k] for k in ("kernel", "stride", "padding", "dilation"))
    with np.load(path / "arrays.npz", allow_pickle=False) as arrays:
        net, scale = arrays[entry["G_plus_uS"]] - arrays[entry["G_minus_uS"]], arrays[entry["column_scale_per_uS"]]
        bias = arrays[entry["bias"]]
    padded = np.pad(x[0, 0].astype(np.float64), ((0, 0), (ph, ph), (pw, pw)))
    y = np.zeros(entry["shape"])
    for crossbar in range(entry["crossbars"]):
        depth = entry["rows"] // (kh * kw)
        columns = slice(crossbar * entry["columns"], (crossbar + 1) * entry["columns"])
        for i, j in np.ndindex(*entry["shape"][1:]):
            patch = padded[crossbar * depth : (crossbar + 1) * depth, i * sh :: dh, j * sw :: dw][:, :kh, :kw]
            y[columns, i, j] = patch.ravel() @ net[:, columns] * scale[columns] + bias[columns]
    probed = sb.Graph({**graph.nodes, "y": sb.Output()}, [*graph.edges, sb.Edge("conv", "y")])
    np.testing.assert_allclose(y, sb.simulate(probed, x).outputs["y"][0, 0], rtol=0, atol=1e-12)


def test_every_weight_that_no_device_carries_is_named_by_its_place() -> None:
    weight = np.ones((2, 1, 2, 2))
    weight[0, 0, 1, 0], weight[1, 0, 0, 1] = 1e-310, 1e300
    weight[0] *= 1e60 * (weight[0] == 1) + (weight[0] != 1)
    nodes = {"in": sb.Input((1, 4, 4)), "conv": sb.Conv2d(weight), "w": sb.Linear([[1e300] * 3]), "out": sb.Output()}
    edges = [sb.Edge("in", "conv"), sb.Edge("conv", "w"), sb.Edge("w", "out")]
    with pytest.raises(sb.Unsupported) as refused:
        sb.export(sb.Graph(nodes, edges, numbers=sb.Float64()), "pcm")
    assert [reason.split(" does not")[0] for reason in refused.value.reasons] == [
        "node conv: weight[0, 0, 1, 0] = 1e-310",
        "node conv: weight[1, 0, 0, 1] = 1e+300",
        "node w: weight[0, 0] = 1e+300",
    ]


def put(group: str, index: int, *keys: Any, to: Any) -> Tamper:
    def tamper(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        at = document[group][index]
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to

    return tamper


ATTACKS: dict[str, tuple[Tamper, str]] = {
    "another number of crossbars": (put("crossbars", 0, "crossbars", to=3), "arrays of shapes"),
    "no crossbars": (put("crossbars", 0, "crossbars", to=0), "arrays of shapes"),
    "crossbars for columns": (
        lambda document, arrays: document["crossbars"][0].update(crossbars=3, columns=2),
        r"node conv: found an input of shape \(4, 7, 8\)",
    ),
    "a window of nothing": (put("crossbars", 0, "window", "kernel", to=[0, 2]), r"12 rows of 2 crossbars for windows"),
    "a window that rows do not fill": (put("crossbars", 0, "window", "kernel", to=[5, 1]), "12 rows of 2 crossbars"),
    "a window turned": (
        put("crossbars", 0, "window", "kernel", to=[2, 3]),
        r"node rows: found an input of shape",
    ),
    "a huge window": (put("crossbars", 0, "window", "kernel", to=[2**53, 2**53]), "12 rows of 2 crossbars"),
    "a window in three directions": (put("crossbars", 0, "window", "kernel", to=[3, 2, 1]), "at most 2"),
    "a window in one direction": (put("crossbars", 0, "window", "stride", to=[1]), "stride: found .1.; needed height"),
    "a window without dilation": (put("crossbars", 0, "window", to={"kernel": [3, 2]}), r"window: found 'kernel'"),
    "a stride of nothing": (put("crossbars", 0, "window", "stride", to=[0, 1]), r"node conv, stride: found \(0, 1\)"),
    "no window": (put("crossbars", 0, "window", to=None), r"node conv: found an input of shape|a last axis"),
    "a window for a Linear": (
        put("crossbars", 1, "window", to={"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}),
        r"node rows: found an input of shape",
    ),
    "other uses": (
        put("crossbars", 0, "uses_per_step", to=1),
        r"\$\.crossbars\[0\]\.uses_per_step: found 1;.*needs 36",
    ),
    "more devices": (put("crossbars", 0, "devices", to=145), r"\$\.crossbars\[0\]\.devices: found 145"),
    "huge padding": (put("pools", 0, "window", "padding", to=[2**30, 2**30]), "at most half of the kernel"),
    "a pool of another kind": (put("pools", 0, "operation", to="max"), r"operation: found 'max'; needed sum or mean"),
    "a shape of endless axes": (put("inputs", 0, "shape", to=[2**53] * 400_000), "400000 sizes; needed at most"),
    "an array of endless axes": (
        lambda document, arrays: document["arrays"]["conv/bias"].update(shape=[2**53] * 400_000),
        "400000 sizes; needed at most 64",
    ),
    "a huge convolution": (put("inputs", 0, "shape", to=[4, 2**52, 2**52]), r"node|\$\."),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_windows_are_refused_quickly(attack: str, tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path)
    tamper, message = ATTACKS[attack]
    if "endless" in attack:  # numpy has no such array
        rehash(path, lambda document: tamper(document, {}))
    else:
        reseal(path, tamper)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(sb.BadFile, match=message) as refused:
        READ(path)
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()
    assert str(path) in str(refused.value)


def test_another_pool_is_another_network(tmp_path: Path) -> None:
    """A sound one, read as it stands; a window far larger than its sample is no work to read."""
    path = saved(convolutional(), tmp_path)
    reseal(path, put("pools", 0, "operation", to="sum"))
    reseal(path, put("pools", 0, "window", "kernel", to=[2**30, 2**30 + 1]))
    reseal(path, put("pools", 0, "window", "padding", to=[2**29, 2**29]))
    pool = READ(path).nodes["mean"]
    assert pool == sb.SumPool2d((2**30, 2**30 + 1), (1, 2), 2**29)


def test_a_huge_chip_of_few_devices_is_small_work_to_read(tmp_path: Path) -> None:
    """Sizes are counted, not laid out: positions times patch values of this would be 2^44."""
    nodes = {"in": sb.Input((1, 2**18, 2**18)), "conv": sb.Conv2d(np.ones((1, 1, 16, 16)), padding=7)}
    graph = sb.Graph({**nodes, "out": sb.Output()}, [sb.Edge("in", "conv"), sb.Edge("conv", "out")])
    program = sb.export(graph, "pcm")
    program.save(tmp_path / "chip.pcm")
    tracemalloc.start()
    assert READ(tmp_path / "chip.pcm") == graph
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert program.native["crossbars"][0]["uses_per_step"] == (2**18 - 1) ** 2


def test_a_delay_of_a_million_steps_costs_what_the_run_costs() -> None:
    edges = [sb.Edge("in", "u"), sb.Edge("u", "u", 2**20), sb.Edge("in", "u", 2**20)]
    graph = sb.Graph({"in": sb.Input((50,)), "u": sb.Unit(0.5, 0.5)}, edges)
    x = np.random.default_rng(34).random((6, 2, 50))
    program = sb.export(graph, "pcm")
    tracemalloc.start()
    spikes = program.run(x).spikes["u"]
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    np.testing.assert_array_equal(spikes, sb.simulate(graph, x).spikes["u"])

"""PCM: weights to conductances and back, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snubridge_pcm.conductances import decode, encode, losses

import snubridge as sb
from tests.adapters.pcm.chips import graph_of_everything, one_crossbar, saved


def weights(dtype: type, seed: int) -> Iterator[np.ndarray]:
    """Random and adversarial weights (out, in) that pairs can carry."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    info = np.finfo(dtype)
    signs = rng.choice([-1.0, 1.0], shape)
    yield rng.normal(size=shape).astype(dtype)
    yield (signs * 0.0).astype(dtype)
    yield rng.choice([0.0, -0.0, info.smallest_subnormal, -info.tiny, info.eps], shape).astype(dtype)
    largest = min(float(info.max), 2.0**240)
    yield (signs * rng.choice([largest, largest / 2, 1.5, 25.0, 0.78125], (shape[0], 1))).astype(dtype)
    spread = 240 if dtype is np.float32 else 450
    exponents = rng.integers(-spread // 2, spread // 2, shape)
    yield (signs * np.ldexp(rng.random(shape) + 0.5, exponents)).astype(dtype)
    yield np.nextafter(signs.astype(dtype) * np.exp2(rng.integers(-8, 9, shape)).astype(dtype), dtype(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g_max_uS", [25.0, 16.0, 7.3, 1e-3, 1e4])
def test_weights_come_back_bit_for_bit(dtype: type, g_max_uS: float) -> None:
    for seed in range(40):
        for weight in weights(dtype, seed):
            pairs = encode(weight, g_max_uS)
            assert decode(pairs, weight.dtype).tobytes() == np.ascontiguousarray(weight).tobytes()
            assert not list(losses(weight, pairs, g_max_uS))
            both = np.stack([pairs.G_plus_uS, pairs.G_minus_uS])
            assert both.min() == 0
            assert both.max() <= g_max_uS
            largest = both.max(axis=(0, 1))
            assert ((largest == 0) | (largest > g_max_uS / 2) | (pairs.column_scale_per_uS == 2.0**-1022)).all()
            assert (both.min(axis=0) == 0).all()  # one device of each pair is idle


def test_every_float32_range_fits_one_column() -> None:
    info = np.finfo(np.float32)
    weight = np.array([[info.max, info.smallest_subnormal, -info.smallest_subnormal, -0.0, 0.0]], np.float32)
    graph = one_crossbar(weight)
    assert sb.export(graph, "pcm").facts["devices"] == 10


@pytest.mark.parametrize(
    ("weight", "places"),
    [
        ([[1.0, 1.0], [1e300, 1.0]], [r"weight\[1, 0\] = 1e\+300 does not come back from .* 25\.0 uS, 1e\+300 being"]),
        ([[1e60, 0.0, -1e-310, 1e-300]], [r"weight\[0, 2\] = -1e-310 does .* \(2 such weights in the column\)"]),
        ([[1.0, -1e80], [0.3, 1e80]], [r"weight\[0, 1\] = -1e\+80", r"weight\[1, 1\] = 1e\+80"]),
    ],
)
def test_a_column_beyond_any_device_is_refused(weight: Any, places: list[str]) -> None:
    with pytest.raises(sb.Unsupported, match="node w: " + "(?s:.*)node w: ".join(places)) as refused:
        sb.export(one_crossbar(weight, sb.Float64()), "pcm")
    assert len(refused.value.reasons) == len(places)


def test_a_full_scale_too_small_is_refused() -> None:
    with pytest.raises(sb.Unsupported, match=r"node w: weight\[0, 0\] = 1\.0 does not come back from a .* 1e-300 uS"):
        sb.export(one_crossbar([[1.0]]), "pcm", g_max_uS=1e-300)


@pytest.mark.parametrize("g_max_uS", [0, -1.0, float("nan"), float("inf"), 10**400, True, "25"])
def test_a_full_scale_that_is_none_is_refused(g_max_uS: Any) -> None:
    with pytest.raises(sb.BadInput, match="needed a positive number of microsiemens"):
        sb.export(one_crossbar([[1.0]]), "pcm", g_max_uS=g_max_uS)


def test_a_stranger_decodes_the_weights(tmp_path: Path) -> None:
    """With json and numpy alone, by the formula of the description."""
    graph = graph_of_everything()
    path = saved(graph, tmp_path, g_max_uS=20)
    hardware = json.loads((path / "hardware.json").read_text())
    assert hardware["device"] == {"g_min_uS": 0.0, "g_max_uS": 20.0}
    with np.load(path / "arrays.npz", allow_pickle=False) as arrays:
        for crossbar in hardware["crossbars"]:
            net = arrays[crossbar["G_plus_uS"]] - arrays[crossbar["G_minus_uS"]]
            weight = (net * arrays[crossbar["column_scale_per_uS"]]).T.astype(np.float32)
            assert weight.tobytes() == graph.nodes[crossbar["node"]].weight.tobytes()
        keys = {f"{name}/weight" for name in graph.nodes}
        assert not keys & set(arrays.files)


def test_the_chorale_network_takes_as_many_devices_as_the_paper() -> None:
    rng = np.random.default_rng(0)
    nodes = {
        "in": sb.Input((88,)),
        "w1": sb.Linear(rng.normal(size=(150, 88)), rng.normal(size=150)),
        "hidden": sb.Unit(0.8, 1.0),
        "w2": sb.Linear(rng.normal(size=(88, 150))),
        "notes": sb.Unit(0.0, 0.5, h=sb.Sigmoid()),
        "out": sb.Output(),
    }
    names = list(nodes)
    program = sb.export(sb.Graph(nodes, map(sb.Edge, names[:-1], names[1:])), "pcm")
    assert program.facts == {"devices": 52_800, "crossbars": 2}
    assert program.native["devices"] == sum(crossbar["devices"] for crossbar in program.native["crossbars"])

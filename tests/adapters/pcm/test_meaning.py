"""PCM: what the twin computes is what the reference defines."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snubridge_pcm.folder as folder
import snubridge_pcm.twin as twin
from snubridge_pcm import PcmAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance
from tests.adapters.pcm.chips import graph_of_everything, halve, one_crossbar, reseal


class TestPcm(AdapterConformance):
    adapter = PcmAdapter()
    suffix = ".pcm"


@pytest.mark.parametrize("numbers", [sb.Float32(), sb.Float64()])
@pytest.mark.parametrize("real", [False, True])
def test_every_node_means_what_the_reference_says(numbers: Any, real: bool) -> None:
    graph = graph_of_everything(numbers)
    rng = np.random.default_rng(1)
    x = rng.integers(-8, 9, (30, 4, 3, 4)) / 8 if real else rng.integers(0, 2, (30, 4, 3, 4))
    lengths = [30, 1, 17, 2]
    expected = sb.simulate(graph, x, record=("spikes", "states"), lengths=lengths)
    actual = sb.export(graph, "pcm").run(x, record=("spikes", "states"), lengths=lengths)
    assert expected.spikes["class"].sum() > 100
    assert expected.spikes["1st-unit"].sum() > 100
    assert actual.arrays().keys() == expected.arrays().keys()
    for key, values in expected.arrays().items():
        if key == "reduced":
            assert actual.reduced == expected.reduced
            continue
        assert actual.arrays()[key].dtype == values.dtype
        np.testing.assert_allclose(actual.arrays()[key], values, rtol=1e-12, atol=1e-12, err_msg=key)
    for unit in ("class", "1st-unit"):
        np.testing.assert_array_equal(actual.spikes[unit], expected.spikes[unit])


DYNAMICS = [(reset, h) for reset in sb.Reset for h in (sb.Step(), sb.Step(True), sb.Sigmoid(), sb.Tanh())]


@pytest.mark.parametrize("g", [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3)])
@pytest.mark.parametrize(("reset", "h"), [*DYNAMICS, (sb.Reset.NONE, sb.Identity())])
def test_every_unit_means_what_the_reference_says(reset: sb.Reset, g: Any, h: Any) -> None:
    rng = np.random.default_rng(2)
    unit = sb.Unit([0.0, 0.5, 1.0], [0.5, -0.25, 1.0], reset=reset, g=g, h=h, initial_state=[1.0, 0.0, -1.0])
    nodes = {"in": sb.Input((3,)), "w": sb.Linear(rng.integers(-6, 9, (3, 3)) / 8), "unit": unit, "out": sb.Output()}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "unit"), sb.Edge("unit", "out")])
    x = rng.integers(0, 2, (60, 5, 3))
    expected = sb.simulate(graph, x, record=("spikes", "states"))
    actual = sb.export(graph, "pcm").run(x, record=("spikes", "states"))
    assert 0 < expected.spikes["unit"].mean() < 1 or not unit.spiking
    for key, values in expected.arrays().items():
        compare = np.testing.assert_array_equal if unit.spiking else np.testing.assert_allclose
        compare(actual.arrays()[key], values)


@pytest.mark.parametrize("over_time", ["mean", "sum", "max", "last"])
def test_reductions_end_with_each_sample(over_time: str) -> None:
    graph = sb.Graph({"in": sb.Input((2,)), "out": sb.Output(over_time)}, [sb.Edge("in", "out", 1)])
    x, lengths = np.random.default_rng(3).integers(-9, 10, (12, 3, 2)), [12, 1, 5]
    expected = sb.simulate(graph, x, lengths=lengths).outputs["out"]
    np.testing.assert_array_equal(sb.export(graph, "pcm").run(x, lengths=lengths).outputs["out"], expected)
    assert not np.array_equal(expected, sb.simulate(graph, x).outputs["out"])


def test_overflow_is_an_error_not_infinity() -> None:
    graph = one_crossbar([[1e70, 1e70]], sb.Float64())
    with pytest.raises(sb.BadInput, match="node w overflows float64 at step 1"):
        sb.export(graph, "pcm").run([[[0.0, 1.0]], [[1e250, 1e250]]])


def test_the_twin_knows_the_description_only() -> None:
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(Path(twin.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    ours = {"snubridge.errors", "snubridge.ir.numbers"}
    assert imported == {"__future__", "collections", "collections.abc", "math", "typing", "numpy", *ours}


def test_run_reads_the_folder_that_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    write = folder.write

    def tampering(files: folder.Files, path: Path) -> None:
        write(files, path)
        reseal(path, lambda document, arrays: halve(arrays["w/G_plus_uS"], 0, 0))

    monkeypatch.setattr(folder, "write", tampering)
    program = sb.export(one_crossbar([[0.5, 1.0]]), "pcm")
    with pytest.raises(sb.BadFile, match="does not hold the graph that was lowered"):
        program.run(np.ones((2, 1, 2)))

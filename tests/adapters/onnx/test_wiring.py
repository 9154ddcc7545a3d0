"""ONNX: delays, sums, names, and outputs that are reduced over time."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.onnx.models import (
    BOTH,
    check_alike,
    dyadic,
    read,
    small,
)

# Wiring


@BOTH
def test_delays_of_1_to_5_skips_and_a_self_loop(precision: str) -> None:
    unit = sb.Unit([1.0, 0.0, 1.0], 0.5)
    nodes = {"in": sb.Input((3,)), "u": unit, "w": sb.Linear(dyadic((3, 3), 1), [0.5, 0, 0]), "out": sb.Output()}
    edges = [sb.Edge("in", "u", delay) for delay in (0, 1, 2, 3, 4, 5)]
    edges += [
        sb.Edge("u", "u", 4),
        sb.Edge("u", "w", 3),
        sb.Edge("w", "u", 2),
        sb.Edge("w", "out"),
        sb.Edge("u", "out"),
    ]
    trace = check_alike(sb.Graph(nodes, edges), dyadic((30, 2, 3), 9) / 4, precision)
    assert 10 < trace.spikes["u"].sum() < 170
    assert trace.outputs["out"][0, 0, 0] in (0.5, 1.5)  # the bias at t = 0


@BOTH
def test_a_bias_does_not_pass_a_delay_at_the_start(precision: str) -> None:
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[0.0]], [1.0]), "u": sb.Unit(0.0, 0.5)}
    graph = sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u", 1)])
    trace = sb.export(graph, "onnx", precision=precision).run(np.zeros((3, 1, 1)))
    assert trace.spikes["u"].ravel().tolist() == [0, 1, 1]


@BOTH
def test_names_that_look_like_our_own(precision: str) -> None:
    """Names with dots, dashes and leading digits, and all the words that the model itself uses."""
    nodes = {
        "spikes": sb.Input((3,)),
        "lengths": sb.Input((3,)),
        "shape": sb.Input((3,)),
        "outputs": sb.Linear(dyadic((3, 3), 1)),
        "decay": sb.Unit(0.5, 0.25),
        "0.a-b": sb.Unit(0.5, 0.5),
        "state": sb.Unit(1.0, 0.5),
        "weight": sb.Output(),
        "run": sb.Output("max"),
    }
    edges = [
        sb.Edge("spikes", "outputs"),
        sb.Edge("outputs", "decay"),
        sb.Edge("lengths", "0.a-b"),
        sb.Edge("decay", "0.a-b", 2),
        sb.Edge("shape", "state"),
        sb.Edge("0.a-b", "state"),
        sb.Edge("state", "decay", 5),
        sb.Edge("0.a-b", "weight"),
        sb.Edge("outputs", "run"),
    ]
    graph = sb.Graph(nodes, edges)
    inputs = {name: dyadic((12, 2, 3), seed) for seed, name in enumerate(("spikes", "lengths", "shape"))}
    check_alike(graph, inputs, precision, lengths=[12, 5])
    model = sb.export(graph, "onnx", precision=precision).native
    assert [value.name for value in model.graph.input] == ["spikes", "lengths", "shape", "run/lengths"]
    assert [value.name for value in model.graph.output] == [
        *("spikes/decay", "spikes/0.a-b", "spikes/state"),
        *("outputs/weight", "outputs/run"),
    ]


def test_spikes_come_in_the_order_of_the_graph() -> None:
    """The graph's order, though a step evaluates the nodes in another."""
    nodes = {"late": sb.Unit(1.0, 0.5), "early": sb.Unit(1.0, 0.25), "in": sb.Input((1,))}
    graph = sb.Graph(nodes, [sb.Edge("in", "early"), sb.Edge("early", "late")])
    model = sb.export(graph, "onnx").native
    assert [value.name for value in model.graph.output] == ["spikes/late", "spikes/early"]


@BOTH
@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (1, 3), (4, 1), (5, 2)])
def test_any_number_of_steps_and_samples(steps: int, samples: int, precision: str) -> None:
    check_alike(small(), dyadic((steps, samples, 2, 3), 11), precision)


@BOTH
def test_graphs_without_memory_and_with_loose_ends(precision: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An input straight to outputs, an unused input, a Linear that leads nowhere; nothing to warn of."""
    nodes = {
        "in": sb.Input((3,)),
        "unused": sb.Input((2,)),
        "loose": sb.Linear(dyadic((3, 3), 1), dyadic((3,), 2)),
        "out": sb.Output(),
        "again": sb.Output(),
    }
    edges = [sb.Edge("in", "loose"), sb.Edge("in", "out"), sb.Edge("in", "again")]
    check_alike(sb.Graph(nodes, edges), {"in": dyadic((4, 2, 3), 3), "unused": np.zeros((4, 2, 2))}, precision)
    check_alike(small(), dyadic((4, 2, 2, 3), 3), precision)
    assert capfd.readouterr() == ("", "")


@BOTH
@pytest.mark.parametrize("how", ["mean", "sum", "max", "last"])
def test_reductions_over_time(how: str, precision: str) -> None:
    """Over all steps, and over the first ones of each sample; of values of either sign, and of negative ones."""
    graph = small()
    nodes = {**graph.nodes, **{name: sb.Output(how) for name in ("of-values", "of-spikes", "of-inputs")}}
    edges = [*graph.edges, sb.Edge("v", "of-values"), sb.Edge("hidden", "of-spikes"), sb.Edge("in", "of-inputs")]
    for lengths in (None, [9, 1, 4]):
        check_alike(sb.Graph(nodes, edges), dyadic((9, 3, 2, 3), 12) - 2, precision, lengths)


# Delays beyond the run


def remembering(delay: int) -> sb.Graph:
    """A unit that hears itself and its input of long ago, and an output that hears it."""
    edges = [sb.Edge("in", "u"), sb.Edge("in", "u", delay), sb.Edge("u", "u", delay), sb.Edge("u", "out", delay - 1)]
    return sb.Graph({"in": sb.Input((3,)), "u": sb.Unit(0.5, 0.5), "out": sb.Output()}, edges)


@BOTH
@pytest.mark.parametrize("steps", [1, 2, 63, 64, 65, 66, 70])
@pytest.mark.parametrize("delay", [64, 65, 66, 2**20])
def test_a_delay_is_heard_if_the_run_is_long_enough(delay: int, steps: int, precision: str) -> None:
    trace = check_alike(remembering(delay), dyadic((steps, 2, 3), 15), precision)
    assert (np.abs(trace.outputs["out"]).sum() > 0) == (steps >= delay)


def test_a_run_keeps_no_more_than_its_steps() -> None:
    """2^20 steps of this would be 10 GB; the model is as small as any."""
    edges = [sb.Edge("in", "u"), sb.Edge("u", "u", 2**20)]
    graph = sb.Graph({"in": sb.Input((40, 32)), "u": sb.Unit(0.5, 0.5)}, edges)
    program = sb.export(graph, "onnx")
    assert len(program.native.SerializeToString()) < 10_000
    inputs = dyadic((6, 1, 40, 32), 16)
    np.testing.assert_array_equal(program.run(inputs).spikes["u"], sb.simulate(graph, inputs).spikes["u"])


@pytest.mark.parametrize(("delay", "layout", "other"), [(64, "1", "2"), (65, "2", "1")])
def test_delays_above_64_steps_have_a_layout_of_their_own(delay: int, layout: str, other: str) -> None:
    """Models of shorter delays are those that earlier versions wrote."""
    model = sb.export(remembering(delay), "onnx").native
    assert model.metadata_props[2].key == "snubridge.layout"
    assert model.metadata_props[2].value == layout
    model.metadata_props[2].value = other
    with pytest.raises(sb.BadFile, match=f"written in layout '{other}'; .* such a graph in layout {layout}"):
        read(model)

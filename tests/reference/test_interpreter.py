"""The definition, against figures worked out by hand and against PyTorch's operators."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.families import random_case

E = sb.Edge


def run(unit, drive, **options):
    """A unit driven directly: its spikes and states as lists."""
    drive = np.asarray(drive, dtype=float)
    drive = drive.reshape(len(drive), 1, -1)
    graph = sb.Graph({"in": sb.Input(drive.shape[2:]), "u": unit}, [E("in", "u")], numbers=sb.Float64())
    trace = sb.simulate(graph, drive, record=("spikes", "states"), **options)
    return trace.spikes["u"][:, 0].squeeze().tolist(), trace.states["u"][:, 0].squeeze().tolist()


DRIVE = [0.75, 0.75, 0.0, 1.0, -2.0, 0.5]
BY_HAND = {
    # s = 0.5 (s (1-y)) + x, y = s > 1
    sb.Reset.TO_ZERO: ([0, 1, 0, 0, 0, 0], [0.75, 1.125, 0.0, 1.0, -1.5, -0.25]),
    sb.Reset.SUBTRACT: ([0, 1, 0, 0, 0, 0], [0.75, 1.125, -0.4375, 0.78125, -1.609375, -0.3046875]),
    sb.Reset.SUBTRACT_DECAYED: ([0, 1, 0, 1, 0, 0], [0.75, 1.125, 0.0625, 1.03125, -1.984375, -0.4921875]),
    sb.Reset.NONE: ([0, 1, 0, 1, 0, 0], [0.75, 1.125, 0.5625, 1.28125, -1.359375, -0.1796875]),
}


@pytest.mark.parametrize("reset", BY_HAND)
def test_each_reset_by_hand(reset):
    assert run(sb.Unit(0.5, 1.0, reset=reset), DRIVE) == BY_HAND[reset]


def test_lateral_reset_takes_the_winner_of_each_sample_alone():
    unit = sb.Unit(1.0, 1.0, reset=sb.Reset.LATERAL)
    graph = sb.Graph({"in": sb.Input((2,)), "u": unit}, [E("in", "u")])
    drive = np.array([[[2.0, 0.5], [0.5, 0.5]], [[0.0, 0.25], [0.25, 0.75]]])  # (T, B, 2): sample 0 has a winner at 0
    trace = sb.simulate(graph, drive, record=("spikes", "states"))
    np.testing.assert_array_equal(trace.states["u"][1], [[0.0, 0.25], [0.75, 1.25]])


def test_a_tie_fires_only_at_threshold():
    assert run(sb.Unit(0.0, 1.0), [1.0, 1.0 + 1e-15])[0] == [0, 1]
    assert run(sb.Unit(0.0, 1.0, h=sb.Step(at_threshold=True)), [1.0, 1 - 1e-15])[0] == [1, 0]


def test_g_acts_on_carried_plus_drive():
    assert run(sb.Unit(1.0, 9.0, g=sb.ReLU()), [-1.0, 2.0, -1.0])[1] == [0.0, 2.0, 1.0]
    assert run(sb.Unit(1.0, 9.0, g=sb.LeakyReLU(0.5)), [-1.0, 2.0, -3.0])[1] == [-0.5, 1.5, -0.75]


def test_soft_outputs():
    y, s = run(sb.Unit(0.5, 0.25, h=sb.Sigmoid()), [1.0, 1.0])
    first = 1 / (1 + np.exp(-0.75))
    second = 0.5 * (1 - first) + 1
    np.testing.assert_allclose(s, [1.0, second], rtol=1e-15)
    np.testing.assert_allclose(y, [first, 1 / (1 + np.exp(-(second - 0.25)))], rtol=1e-15)
    y, _ = run(sb.Unit(0.5, 0.25, h=sb.Tanh()), [1.0])
    np.testing.assert_allclose(y, np.tanh(0.75), rtol=1e-15)
    y, _ = run(sb.Unit(0.5, 0.25, reset=sb.Reset.NONE, h=sb.Identity()), [1.0, 1.0])
    assert y == [0.75, 1.25]


def test_initial_state_is_that_of_step_minus_one():
    assert run(sb.Unit(0.5, 1.0, initial_state=2.5), [0.0, 0.0]) == ([1, 0], [1.25, 0.0])


def test_a_stack_has_no_latency_and_a_delay_counts_steps():
    nodes = {"in": sb.Input((1,)), "a": sb.Unit(0, 0.5), "b": sb.Unit(0, 0.5), "c": sb.Unit(0, 0.5)}
    graph = sb.Graph(nodes, [E("in", "a"), E("a", "b"), E("b", "c", 3)])
    x = np.zeros((6, 1, 1))
    x[1] = 1
    trace = sb.simulate(graph, x)
    assert [trace.spikes[name][:, 0, 0].tolist().index(1) for name in "abc"] == [1, 1, 4]


def test_a_bias_is_there_at_step_0_but_not_through_a_delay():
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[0.0]], [2.0]), "now": sb.Output(), "late": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "w"), E("w", "now"), E("w", "late", 2)])
    trace = sb.simulate(graph, np.zeros((4, 1, 1)))
    assert trace.outputs["now"].ravel().tolist() == [2, 2, 2, 2]
    assert trace.outputs["late"].ravel().tolist() == [0, 0, 2, 2]


def test_recurrence_over_linear_nodes_alone():
    nodes = {"in": sb.Input((1,)), "w": sb.Linear([[0.5]]), "out": sb.Output()}
    graph = sb.Graph(nodes, [E("in", "w"), E("w", "w", 1), E("w", "out")])
    trace = sb.simulate(graph, np.ones((4, 1, 1)))
    assert trace.outputs["out"].ravel().tolist() == [0.5, 0.75, 0.875, 0.9375]


@pytest.mark.parametrize(("how", "expected"), [("sum", [6, 3]), ("mean", [2, 1.5]), ("max", [3, 2]), ("last", [3, 2])])
def test_reductions_over_time_respect_lengths(how, expected):
    graph = sb.Graph({"in": sb.Input((1,)), "out": sb.Output(how)}, [E("in", "out")])
    x = np.array([1.0, 2, 3])[:, None, None] * np.ones((1, 2, 1))
    trace = sb.simulate(graph, x, lengths=[3, 2])
    assert trace.outputs["out"][:, 0].tolist() == expected
    whole = sb.simulate(graph, x, lengths=None)
    first = sb.simulate(graph, x[:2])
    rest = sb.simulate(graph, x[2:], state=first.state)
    np.testing.assert_array_equal(rest.outputs["out"], whole.outputs["out"])


@pytest.mark.parametrize("seed", range(8))
def test_a_run_in_pieces_is_the_whole_run(seed):
    case = random_case(seed, "dyadic")
    whole = sb.simulate(case.graph, case.inputs)
    parts, state = [], None
    for piece in np.split(case.inputs, [1, 7, 30]):
        trace = sb.simulate(case.graph, piece, state=state)
        parts.append(trace)
        state = trace.state
    for name, spikes in whole.spikes.items():
        np.testing.assert_array_equal(np.concatenate([part.spikes[name] for part in parts]), spikes)


def test_a_state_is_not_changed_by_going_on_from_it():
    case = random_case(3, "generic")
    first = sb.simulate(case.graph, case.inputs[:9])
    one, two = (sb.simulate(case.graph, case.inputs[9:], state=first.state) for _ in range(2))
    for name in one.spikes:
        np.testing.assert_array_equal(one.spikes[name], two.spikes[name])


def test_samples_of_a_batch_never_influence_one_another():
    for seed in range(5):
        case = random_case(seed, "dyadic", samples=3)
        whole = sb.simulate(case.graph, case.inputs)
        for sample in range(3):
            alone = sb.simulate(case.graph, case.inputs[:, sample : sample + 1])
            for name in alone.spikes:
                np.testing.assert_array_equal(alone.spikes[name][:, 0], whole.spikes[name][:, sample])


def test_inputs_are_rounded_to_the_graphs_numbers():
    nodes, edges = {"in": sb.Input((1,)), "u": sb.Unit(0, 0.1)}, [E("in", "u")]
    x = np.full((1, 1, 1), 0.1 + 1e-12)
    assert sb.simulate(sb.Graph(nodes, edges), x).spikes["u"].sum() == 0  # a tie in float32
    assert sb.simulate(sb.Graph(nodes, edges, numbers=sb.Float64()), x).spikes["u"].sum() == 1


BAD = {
    "rank": (np.zeros((3, 2)), "needed \\(T, B, 2\\)"),
    "features": (np.zeros((3, 1, 3)), "needed \\(T, B, 2\\)"),
    "T = 0": (np.zeros((0, 1, 2)), "at least one step"),
    "B = 0": (np.zeros((3, 0, 2)), "at least one step and one sample"),
    "NaN": (np.full((3, 1, 2), np.nan), "nan at .* = \\(0, 0, 0\\)"),
    "infinite in float32": (np.full((3, 1, 2), 1e39), "not finite in float32"),
    "complex": (np.zeros((3, 1, 2), complex), "values of type complex128"),
    "objects": (np.full((3, 1, 2), None), "values of type object"),
    "ragged": ([[[1, 2]], [[1]]], "not an array"),
    "other name": ({"x": np.zeros((3, 1, 2))}, "inputs are given for \\['x'\\]"),
    "range": (np.full((3, 1, 2), 2.0), "outside of \\[0.0, 1.0\\]"),
    "grid": (np.full((3, 1, 2), 0.3), "no multiple of 2\\^-2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_refused(case):
    x, expected = BAD[case]
    limits = {"range": {"low": 0.0, "high": 1.0}, "grid": {"fraction_bits": 2}}.get(case, {})
    graph = sb.Graph({"in": sb.Input((2,), **limits), "u": sb.Unit(0.5, 1.0)}, [E("in", "u")])
    with pytest.raises(sb.BadInput, match=expected):
        sb.simulate(graph, x)


@pytest.mark.parametrize("lengths", [[0], [4], [1.5], [1, 1], 3])
def test_bad_lengths_are_refused(lengths):
    graph = sb.Graph({"in": sb.Input((2,)), "u": sb.Unit(0.5, 1.0)}, [E("in", "u")])
    with pytest.raises(sb.BadInput, match="lengths"):
        sb.simulate(graph, np.zeros((3, 1, 2)), lengths=lengths)


def test_bad_records_and_states_are_refused():
    graph = sb.Graph({"in": sb.Input((2,)), "u": sb.Unit(0.5, 1.0)}, [E("in", "u")])
    for record in ("spikes", ["voltage"]):
        with pytest.raises(sb.BadInput, match="record"):
            sb.simulate(graph, np.zeros((3, 1, 2)), record=record)
    other = random_case(0, "dyadic")
    state = sb.simulate(other.graph, other.inputs).state
    with pytest.raises(sb.BadInput, match="another graph"):
        sb.simulate(graph, np.zeros((3, 1, 2)), state=state)
    state = sb.simulate(graph, np.zeros((3, 1, 2))).state
    with pytest.raises(sb.BadInput, match="another batch size"):
        sb.simulate(graph, np.zeros((3, 2, 2)), state=state)


def test_an_overflow_is_an_error_not_a_silent_infinity():
    graph = sb.Graph(
        {"in": sb.Input((1,)), "w": sb.Linear([[1e70]]), "v": sb.Linear([[1.0]]), "out": sb.Output()},
        [E("in", "w"), E("w", "v"), E("v", "out")],
        numbers=sb.Float64(),
    )
    for backend in (None, "brian2", "nengo", "pcm", "onnx", "torch"):
        run = sb.simulate if backend is None else lambda g, x, b=backend: sb.export(g, b).run(x)
        with pytest.raises(sb.BadInput, match="overflow"):
            run(graph, np.full((1, 1, 1), 1e300))


def test_a_trace_is_read_only_and_comes_back_from_its_file(tmp_path):
    case = random_case(1, "dyadic")
    trace = sb.simulate(case.graph, case.inputs, record=("spikes", "states"))
    with pytest.raises(ValueError, match="read-only"):
        trace.spikes["layer0"][:] = 0
    trace.save(tmp_path / "t.npz")
    back = sb.Trace.load(tmp_path / "t.npz")
    assert back.arrays().keys() == trace.arrays().keys()
    for key, array in trace.arrays().items():
        np.testing.assert_array_equal(back.arrays()[key], array)
    assert sb.compare(trace, back).equal
    np.savez(tmp_path / "bad.npz", other=np.zeros(3))
    with pytest.raises(sb.BadFile, match="unknown key"):
        sb.Trace.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **{"spikes/u": np.array([{}], dtype=object)})
    with pytest.raises(sb.BadFile, match="not a readable"):
        sb.Trace.load(tmp_path / "bad.npz")


def test_names_that_end_in_npy_are_not_taken_for_one_another(tmp_path):
    nodes = {"in": sb.Input((1,)), "u": sb.Unit(0, 0.5), "u.npy": sb.Unit(0, 1.5)}
    graph = sb.Graph(nodes, [E("in", "u"), E("in", "u.npy")])
    trace = sb.simulate(graph, np.array([1.0, 2.0])[:, None, None])
    trace.save(tmp_path / "t.npz")
    back = sb.Trace.load(tmp_path / "t.npz")
    assert back.spikes["u"].ravel().tolist() == [1, 1]
    assert back.spikes["u.npy"].ravel().tolist() == [0, 1]


MALFORMED = {
    "lengths 2-D": {"lengths": np.ones((2, 2), int)},
    "lengths text": {"lengths": np.array(["a", "b"])},
    "lengths zero": {"lengths": np.array([0, 0])},
    "lengths of others": {"lengths": np.array([1, 1, 1])},
    "lengths too long": {"lengths": np.array([9, 9])},
    "text": {"spikes/u": np.full((3, 2, 1), "x")},
    "complex": {"spikes/u": np.ones((3, 2, 1), complex)},
    "other steps": {"spikes/v": np.ones((4, 2, 1), np.uint8)},
    "flat": {"spikes/u": np.ones(3, np.uint8)},
    "reduced": {"reduced": np.array(["none"])},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_trace_file_is_refused(case, tmp_path):
    sound = {"spikes/u": np.ones((3, 2, 1), np.uint8), "lengths": np.array([3, 2])}
    np.savez(tmp_path / "t.npz", **sound)
    assert sb.Trace.load(tmp_path / "t.npz").lengths.tolist() == [3, 2]
    np.savez(tmp_path / "t.npz", **{**sound, **MALFORMED[case]})
    with pytest.raises(sb.BadFile, match=r"t\.npz"):
        sb.Trace.load(tmp_path / "t.npz")


def test_a_trace_can_be_copied_and_pickled():
    case = random_case(1, "dyadic")
    trace = sb.simulate(case.graph, case.inputs)
    for twin in (copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))):
        assert sb.compare(trace, twin).equal
        with pytest.raises(ValueError, match="read-only"):
            twin.spikes["layer0"][:] = 0


def test_a_generator_of_what_to_record_is_taken():
    case = random_case(1, "dyadic")
    trace = sb.simulate(case.graph, case.inputs, record=(name for name in ("spikes", "states")))
    assert trace.spikes.keys() == trace.states.keys() != set()


def test_other_things_in_place_of_arguments_are_refused():
    case = random_case(1, "dyadic")
    for wrong in ({"record": None}, {"record": 5}, {"state": 5}, {"lengths": [[1], [1, 2]]}):
        with pytest.raises(sb.BadInput):
            sb.simulate(case.graph, case.inputs, **wrong)
    with pytest.raises(sb.BadInput, match="masked"):
        sb.simulate(case.graph, np.ma.masked_array(case.inputs, mask=case.inputs > 0))


def test_numpy_settings_of_the_caller_change_nothing():
    case = random_case(3, "generic")
    expected = sb.simulate(case.graph, case.inputs)
    with np.errstate(all="raise"):
        for backend in ("brian2", "nengo", "pcm", "onnx", "torch"):
            options = {"precision": "float64"} if backend in ("onnx", "torch") else {}
            assert sb.compare(expected, sb.export(case.graph, backend, **options).run(case.inputs)).equal
        assert sb.compare(expected, sb.simulate(case.graph, case.inputs)).equal


def test_a_signaling_nan_is_refused_as_any_other():
    """Converting one warns: that is not how a caller should learn of it."""
    x = np.array([0x7FF4000000000000], dtype=np.uint64).view(np.float64).reshape(1, 1, 1)
    graph = sb.Graph({"in": sb.Input((1,)), "out": sb.Output()}, [sb.Edge("in", "out")])
    with pytest.raises(sb.BadInput, match="not finite in float32"):
        sb.simulate(graph, x)

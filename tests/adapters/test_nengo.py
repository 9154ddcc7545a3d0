"""The Nengo adapter: the contract, and everything particular to Nengo."""

import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nengo
import numpy as np
import pytest
import snubridge_nengo.engine as engine
from nengo.exceptions import BuildError, ValidationError
from snubridge_nengo import NengoAdapter

import snubridge as sb
from snubridge.bridge.conformance import AdapterConformance, random_case

H = (sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh())
WITHOUT_SCIPY = "ignore:Skipping some optimization steps because SciPy is not installed"


class TestNengo(AdapterConformance):
    """All that every adapter promises."""

    adapter = NengoAdapter()
    suffix = ".py"


def spikes(seed: int, steps: int, samples: int, size: int) -> Any:
    return (np.random.default_rng(seed).random((steps, samples, size)) < 0.4).astype(np.float32)


def layer(unit: sb.Unit, size: int = 6, inputs: int = 5, *, seed: int = 1, **edges: Any) -> sb.Graph:
    """Input, dense layer with bias and a recurrent matrix, output."""
    rng = np.random.default_rng(seed)
    return sb.Graph(
        {
            "in": sb.Input((inputs,)),
            "w": sb.Linear(rng.normal(0.3, 0.6, (size, inputs)), rng.normal(0, 0.2, size)),
            "unit": unit,
            "h": sb.Linear(rng.normal(0, 0.3, (size, size))),
            "out": sb.Output(),
        },
        [
            sb.Edge("in", "w"),
            sb.Edge("w", "unit"),
            sb.Edge("unit", "h", 1),
            sb.Edge("h", "unit"),
            sb.Edge("unit", "out"),
        ],
        **edges,
    )


def assert_equal(graph: sb.Graph, inputs: Any, *, actual: sb.Trace | None = None, **options: Any) -> sb.Trace:
    """Nengo spikes as the definition says; soft outputs and states to 1e-12 of their scale."""
    expected = sb.simulate(graph, inputs, record=("spikes", "states"))
    actual = actual or sb.export(graph, "nengo", **options).run(inputs, record=("spikes", "states"))
    for name, values in expected.spikes.items():
        if graph.of_kind(sb.Unit)[name].spiking:
            assert 0 < values.sum() < values.size, "a silent or saturated unit proves nothing"
            np.testing.assert_array_equal(actual.spikes[name], values)
        np.testing.assert_allclose(actual.spikes[name], values, rtol=0, atol=1e-12 * np.abs(values).max())
        scale = np.abs(expected.states[name]).max()
        np.testing.assert_allclose(actual.states[name], expected.states[name], rtol=0, atol=1e-12 * scale)
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(actual.outputs[name], values, rtol=0, atol=1e-12 * max(np.abs(values).max(), 1))
    return actual


def simulated(net: nengo.Network, values: Any, optimize: bool = False) -> nengo.Simulator:
    """``net`` as its user runs it; a model of its own keeps the cache of decoders off the disk."""
    net.input.output.values = values
    with nengo.Simulator(net, model=nengo.builder.Model(dt=1e-3), progress_bar=False, optimize=optimize) as sim:
        sim.run_steps(len(values))
    return sim


# What a graph can say


@pytest.mark.parametrize(("reset", "h"), [*itertools.product(sb.Reset, H), (sb.Reset.NONE, sb.Identity())], ids=str)
@pytest.mark.parametrize("g", [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.2)], ids=str)
def test_every_reset_g_and_h(reset: sb.Reset, g: Any, h: Any) -> None:
    unit = sb.Unit(0.8, [0.2, 0.5, 0.7, 1.0, 1.5, 0.3], reset=reset, g=g, h=h, initial_state=[0.4, 0, 2, -1, 0, 0.1])
    assert_equal(layer(unit), spikes(2, 30, 2, 5))
    assert_equal(layer(unit, numbers=sb.Float64()), np.random.default_rng(3).normal(0.2, 1, (30, 2, 5)))


@pytest.mark.parametrize("at_threshold", [False, True])
def test_ties(at_threshold: bool) -> None:
    """Four quarters make a threshold of 1: exactly there, spikes hang on the strictness of h."""
    graph = sb.Graph(
        {"in": sb.Input((3,)), "unit": sb.Unit(1.0, [1.0, 0.0, -0.25], h=sb.Step(at_threshold)), "out": sb.Output()},
        [sb.Edge("in", "unit"), sb.Edge("unit", "out")],
    )
    inputs = np.tile([0.25, 0.0, -0.25], (9, 1, 1))
    fired = sb.export(graph, "nengo").run(inputs).spikes["unit"][:, 0].T.tolist()
    every = [[0, 0, 0, 1, 0, 0, 0, 1, 0], [1] * 9, [1] * 9]
    strictly = [[0, 0, 0, 0, 1, 0, 0, 0, 0], [0] * 9, [0] * 9]
    assert fired == (every if at_threshold else strictly)


def test_one_neuron() -> None:
    unit = sb.Unit([0.5], [0.75], initial_state=[3.0])
    assert_equal(layer(unit, size=1), spikes(4, 20, 2, 5))


def test_a_shape_of_two_axes() -> None:
    rng = np.random.default_rng(5)
    graph = sb.Graph(
        {
            "in": sb.Input((2, 3)),
            "w": sb.Linear(rng.normal(0.3, 0.6, (4, 3)), rng.normal(0, 0.1, 4)),
            "unit": sb.Unit(rng.uniform(0, 1, (2, 4)), 0.5, reset=sb.Reset.LATERAL),
            "out": sb.Output(),
        },
        [sb.Edge("in", "w"), sb.Edge("w", "unit"), sb.Edge("unit", "out")],
    )
    assert_equal(graph, spikes(6, 20, 2, 6).reshape(20, 2, 2, 3))


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 4, 5, 19, 20, 1000])
def test_delays(delay: int) -> None:
    """On edges into and out of a Linear with bias, between units, around a loop, and beyond the run."""
    rng = np.random.default_rng(7)
    graph = sb.Graph(
        {
            "in": sb.Input((4,)),
            "w": sb.Linear(rng.normal(0.3, 0.6, (4, 4)), rng.normal(0.2, 0.2, 4)),
            "a": sb.Unit(0.7, 0.5),
            "b": sb.Unit(0.9, 0.75),
            "late": sb.Output(),
        },
        [
            sb.Edge("in", "w", delay),
            sb.Edge("in", "a"),
            sb.Edge("w", "a", delay),
            sb.Edge("a", "b", delay),
            sb.Edge("a", "b", delay + 2),
            sb.Edge("b", "a", delay + 1),
            sb.Edge("in", "b"),
            sb.Edge("w", "late", delay),
        ],
    )
    assert_equal(graph, spikes(8, 20, 3, 4))


def test_biases_start_with_their_edges() -> None:
    """A bias arrives at t = 0, and ``delay`` steps later through an edge, whatever lies between."""
    graph = sb.Graph(
        {
            "in": sb.Input((1,)),
            "first": sb.Linear([[1.0]], [1.0]),
            "second": sb.Linear([[2.0]], [10.0]),
            "out": sb.Output(),
        },
        [sb.Edge("in", "first"), sb.Edge("first", "second", 1), sb.Edge("second", "out", 2), sb.Edge("first", "out")],
    )
    trace = sb.export(graph, "nengo").run(np.zeros((6, 2, 1)))
    for sample in range(2):
        assert trace.outputs["out"][:, sample, 0].tolist() == [1, 1, 11, 13, 13, 13]


def test_several_inputs_and_outputs() -> None:
    rng = np.random.default_rng(9)
    graph = sb.Graph(
        {
            "left": sb.Input((3,)),
            "right": sb.Input((2,)),
            "u": sb.Linear(rng.normal(0.4, 0.5, (4, 3))),
            "v": sb.Linear(rng.normal(0.4, 0.5, (4, 2))),
            "class": sb.Unit(0.8, 0.6),
            "spikes.out": sb.Output(),
            "passed": sb.Output(),
        },
        [
            sb.Edge("left", "u"),
            sb.Edge("right", "v"),
            sb.Edge("u", "class"),
            sb.Edge("v", "class"),
            sb.Edge("class", "spikes.out"),
            sb.Edge("right", "passed", 3),
        ],
    )
    inputs = {"left": spikes(1, 20, 2, 3), "right": rng.normal(0, 1, (20, 2, 2))}
    assert_equal(graph, inputs)
    net = sb.export(graph, "nengo").native
    assert list(net.input) == ["left", "right"]
    assert set(net.output) == {"spikes.out", "passed"}


def test_nothing_needs_to_be_recorded() -> None:
    case = random_case(1, "dyadic")
    assert not sb.export(case.graph, "nengo").run(case.inputs, record=()).spikes


def test_what_would_take_too_many_couplings_is_refused() -> None:
    nodes = {"in": sb.Input((1, 4, 4)), "conv": sb.Conv2d(np.ones((1, 1, 3, 3))), "out": sb.Output("mean")}
    image = sb.Graph(nodes, [sb.Edge(*pair) for pair in itertools.pairwise(nodes)])
    with pytest.raises(sb.Unsupported, match=r"node conv: unrolls to 36 couplings, .* the option max_synapses=36"):
        sb.export(image, "nengo", max_synapses=35)
    assert sb.export(image, "nengo", max_synapses=36).facts["synapses"] == 36


def test_a_convolution_is_a_sparse_transform_and_nothing_is_silently_dense() -> None:
    weight = np.zeros((1, 1, 3, 3))
    nodes = {"in": sb.Input((1, 4, 4)), "conv": sb.Conv2d(weight), "out": sb.Output()}
    edges = [sb.Edge(*pair) for pair in itertools.pairwise(nodes)]
    silent = sb.export(sb.Graph(nodes, edges), "nengo")  # no entry at all: Nengo has no empty sparse transform
    assert not silent.run(np.ones((3, 2, 1, 4, 4))).outputs["out"].any()
    weight[0, 0, 1, 1] = 2.0
    net = sb.export(sb.Graph({**nodes, "conv": sb.Conv2d(weight)}, edges), "nengo").native
    (connection,) = net.connections
    assert isinstance(connection.transform, nengo.Sparse)
    assert connection.transform.init.indices.tolist() == [[0, 5], [1, 6], [2, 9], [3, 10]]


# Seconds, seeds and settings


def test_dt_changes_no_spike() -> None:
    graph, inputs = layer(sb.Unit(0.8, 1.0)), spikes(11, 500, 1, 5)
    graph = sb.Graph(graph.nodes, [*graph.edges, sb.Edge("h", "unit", 4)])
    for dt in (1, 1e-3, 1 / 3, 7e-4, 1e-9):
        assert_equal(graph, inputs, dt=dt)


@pytest.mark.parametrize("dt", [0, -1e-3, float("nan"), float("inf"), True, "1"])
def test_a_dt_that_is_none(dt: Any) -> None:
    with pytest.raises(sb.BadInput, match=r"dt=.*positive number of seconds"):
        sb.export(random_case(1, "dyadic").graph, "nengo", dt=dt)


@pytest.fixture
def half_precision() -> Iterator[None]:
    """A user's nengorc that asks for 32 bits."""
    nengo.rc["precision"]["bits"] = "32"
    yield
    nengo.rc["precision"]["bits"] = "64"


@pytest.mark.usefixtures("half_precision")
def test_a_setting_of_32_bits_changes_no_spike_and_survives() -> None:
    case = random_case(12, "generic", steps=200)
    program = sb.export(case.graph, "nengo")
    assert_equal(case.graph, case.inputs, actual=program.run(case.inputs, record=("spikes", "states")))
    assert nengo.rc["precision"]["bits"] == "32"
    with pytest.raises(BuildError, match="SNU computes in float64"):
        simulated(program.native, case.inputs[:, 0])


def test_no_setting_survives_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), engine.globals_kept():
        raise ZeroDivisionError
    assert nengo.rc["precision"]["bits"] == "64"


def test_a_surrounding_network_changes_nothing_and_is_not_changed() -> None:
    case = random_case(13, "dyadic")
    with nengo.Network() as surrounding:
        surrounding.config[nengo.Node].size_out = 2
        surrounding.config[nengo.Connection].synapse = 0.1
        surrounding.config[nengo.Connection].transform = 2.0
        surrounding.config[nengo.Ensemble].gain = nengo.dists.Choice([3.0])
        surrounding.config[nengo.Ensemble].bias = nengo.dists.Choice([1.0])
        surrounding.config[nengo.Ensemble].noise = nengo.processes.WhiteNoise(seed=1)
        surrounding.config[nengo.Probe].synapse = 0.1
        surrounding.config[nengo.Probe].sample_every = 0.01
        assert_equal(case.graph, case.inputs)
    assert not surrounding.all_objects


def test_no_trace_of_a_run_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No files, no progress bar, and the user's random numbers go on as if nothing had run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(nengo.rc["decoder_cache"], "path", str(tmp_path / "cache"))
    monkeypatch.setattr("nengo.cache.DecoderCache.__init__", None)
    monkeypatch.setitem(nengo.rc["progress"], "progress_bar", "nengo.utils.progress.TerminalProgressBar")
    case = random_case(14, "dyadic")
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    sb.export(case.graph, "nengo").run(case.inputs)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


# The network in the hands of a Nengo user


def test_native_runs_as_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(15, "generic")
    monkeypatch.setitem(nengo.rc["decoder_cache"], "enabled", "False")
    net = sb.export(case.graph, "nengo", dt=0.5).native
    expected = sb.simulate(case.graph, case.inputs, record=("spikes", "states"))
    net.input.output.values = case.inputs[:, 1]
    with nengo.Simulator(net, dt=0.01, seed=99, progress_bar=False, optimize=False) as sim:
        for _ in range(2):
            sim.run(0.01 * len(case.inputs))
            for name, unit in case.graph.of_kind(sb.Unit).items():
                np.testing.assert_array_equal(sim.data[net.spikes[name]], expected.spikes[name][:, 1])
                np.testing.assert_allclose(sim.data[net.states[name]], expected.states[name][:, 1], atol=1e-12)
                assert net.units[name] in net.ensembles
                assert net.units[name].label == name
                assert net.units[name].neuron_type.spiking == unit.spiking
            for name, probe in net.outputs.items():
                np.testing.assert_allclose(sim.data[probe], expected.outputs[name][:, 1], atol=1e-12)
            sim.reset()


def test_native_is_silent_before_its_input_and_after() -> None:
    graph = sb.Graph({"in": sb.Input((2,)), "out": sb.Output()}, [sb.Edge("in", "out")])
    net = sb.export(graph, "nengo").native
    assert net.input.label == "in"
    assert net.output.label == "out"
    with nengo.Simulator(net, model=nengo.builder.Model(dt=0.1), progress_bar=False, optimize=False) as sim:
        sim.run_steps(2)
        net.input.output.values = [[1, 1], [1, 1], [3, 1 / 3]]
        sim.run_steps(2)
    assert sim.data[net.outputs["out"]].tolist() == [[0, 0], [0, 0], [3, np.float32(1 / 3)], [0, 0]]


@pytest.mark.parametrize("values", [np.zeros((3, 1)), np.zeros(2), [[1.0, np.nan]], [[1e39, 0]]], ids=str)
def test_input_values_are_checked(values: Any) -> None:
    with pytest.raises(ValidationError, match=r"needed \(steps, 2\), finite in float32"):
        engine.Frames(2, "float32").values = values


@pytest.mark.filterwarnings(WITHOUT_SCIPY)
@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("decay", [0.75, [0.25, 0.5, 0.75, 1.0]], ids=["shared", "each"])
def test_equal_populations_stay_apart(optimize: bool, decay: Any) -> None:
    """The optimizer joins equal neuron types; with the lateral reset one would silence the other."""
    unit = sb.Unit(decay, 0.5, reset=sb.Reset.LATERAL)
    shift = np.roll(np.eye(4), 1, axis=0)
    graph = sb.Graph(
        {"in": sb.Input((4,)), "w": sb.Linear(shift), "a": unit, "b": unit, "out": sb.Output()},
        [sb.Edge("in", "a"), sb.Edge("in", "w", 2), sb.Edge("w", "b"), sb.Edge("b", "out")],
    )
    inputs = np.random.default_rng(16).normal(0.1, 0.6, (40, 1, 4))
    expected = sb.simulate(graph, inputs).spikes
    first, second = sb.export(graph, "nengo").native, sb.export(graph, "nengo").native
    first.input.output.values = second.input.output.values = inputs[:, 0]
    with nengo.Network(seed=3) as both:
        both.add(first)
        both.add(second)
    with nengo.Simulator(both, model=nengo.builder.Model(dt=1e-3), progress_bar=False, optimize=optimize) as sim:
        sim.run_steps(40)
    for net in (first, second):
        for name in ("a", "b"):
            np.testing.assert_array_equal(sim.data[net.spikes[name]], expected[name][:, 0])


@pytest.mark.filterwarnings(WITHOUT_SCIPY)
def test_the_optimizer_changes_no_spike() -> None:
    for seed in range(8):
        case = random_case(seed, "generic")
        net = sb.export(case.graph, "nengo").native
        expected = sb.simulate(case.graph, case.inputs).spikes
        sim = simulated(net, case.inputs[:, 0], optimize=True)
        for name, probe in net.spikes.items():
            np.testing.assert_array_equal(sim.data[probe], expected[name][:, 0])


@pytest.mark.filterwarnings("ignore:'Node.size_out' is being overwritten")  # Nengo, of any passthrough Node it copies
def test_a_network_can_be_copied_and_pickled() -> None:
    case = random_case(17, "dyadic")
    net = sb.export(case.graph, "nengo").native
    expected = sb.simulate(case.graph, case.inputs).spikes
    net.input.output.values = case.inputs[:, 0]
    for twin in (net.copy(), pickle.loads(pickle.dumps(net))):
        sim = simulated(twin, case.inputs[:, 0])
        for ensemble in twin.ensembles:
            probe = next(p for p in twin.probes if p.obj == ensemble.neurons and p.attr == "output")
            np.testing.assert_array_equal(sim.data[probe], expected[ensemble.label][:, 0])


def test_decoders_are_refused() -> None:
    """A decoded connection would rest on tuning curves that a unit with memory does not have."""
    net = sb.export(random_case(18, "dyadic").graph, "nengo").native
    with net:
        nengo.Connection(net.ensembles[0], nengo.Node(size_in=1))
    with pytest.raises(NotImplementedError, match="rates to solve decoders with"):
        simulated(net, np.zeros((1, net.input.size_out)))


def test_an_ensemble_of_another_size_is_refused() -> None:
    with nengo.Network() as net:
        settings = {"reset": "to_zero", "g": {"kind": "identity"}, "h": {"kind": "step", "at_threshold": False}}
        neurons = engine.SNU(np.ones(2), np.ones(2), **settings, initial_state={"s": np.zeros(2)})
        nengo.Ensemble(3, 1, neuron_type=neurons)
        net.input = nengo.Node(engine.Frames(1))
    with pytest.raises(BuildError, match="parameters for 2 neurons, an ensemble of 3"):
        simulated(net, np.zeros((1, 1)))


def test_the_delay_is_a_synapse_that_resets() -> None:
    with nengo.Network() as net:
        net.input = nengo.Node(engine.Frames(1))
        late = nengo.Node(size_in=1)
        nengo.Connection(net.input, late, synapse=engine.Delay(3))
        probe = nengo.Probe(late)
    net.input.output.values = np.arange(1.0, 8.0)[:, None]
    with nengo.Simulator(net, model=nengo.builder.Model(dt=1 / 3), progress_bar=False, optimize=False) as sim:
        for _ in range(2):
            sim.run_steps(7)
            assert sim.data[probe][:, 0].tolist() == [0, 0, 0, 1, 2, 3, 4]
            sim.reset()
    # As an offline filter a synapse of Nengo lacks the one step that a simulator adds.
    assert engine.Delay(3).filt(np.arange(1.0, 5.0)[:, None]).ravel().tolist() == [0, 0, 1, 2]


# Without snubridge, without Nengo


def python(code: str, *arguments: Any) -> str:
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_script_runs_alone(tmp_path: Path) -> None:
    """The exported script, in a Python where snubridge cannot be imported, spikes alike."""
    case = random_case(19, "generic")
    script, trace = tmp_path / "net_nengo.py", tmp_path / "trace.npz"
    sb.export(case.graph, "nengo", dt=7e-4).save(script)
    np.save(tmp_path / "inputs.npy", case.inputs)
    python(
        "import sys; sys.modules['snubridge'] = sys.modules['snubridge_nengo'] = None; import runpy;"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
        *(script, tmp_path / "inputs.npy", trace),
    )
    expected = sb.simulate(case.graph, case.inputs)
    loaded = sb.Trace.load(trace)
    assert loaded.spikes.keys() == expected.spikes.keys()
    assert loaded.outputs.keys() == expected.outputs.keys()
    for name, values in expected.spikes.items():
        np.testing.assert_array_equal(loaded.spikes[name], values)
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(loaded.outputs[name], values, rtol=0, atol=1e-9 * max(np.abs(values).max(), 1))
    assert "dt=0.0007" in script.read_text()


def test_nengo_is_loaded_when_it_is_needed() -> None:
    code = "import sys, snubridge as sb, snubridge_nengo; sb.backends(); print('nengo' in sys.modules)"
    assert python(code).strip() == "False"


def test_a_missing_engine_names_the_extra() -> None:
    code = """
import sys
sys.modules["nengo"] = None
import snubridge as sb
graph = sb.Graph({"in": sb.Input((1,)), "out": sb.Output()}, [sb.Edge("in", "out")])
try:
    sb.export(graph, "nengo")
except sb.MissingEngine as error:
    print(error)
"""
    assert "pip install 'snubridge[nengo]'" in python(code)

"""What is no graph of networks written by hand: refused, with every reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.nengo.handwritten.networks import nengo, unwarned

dists = nengo.dists


def network(
    neuron_type: Any = None, synapse: Any = None, seed: int | None = None, transform: Any = None, **options: Any
) -> Any:
    """Three neurons behind a Node of two values."""
    kind = nengo.LIF(tau_ref=0, initial_state={"voltage": dists.Choice([0.0])}) if neuron_type is None else neuron_type
    with unwarned(), nengo.Network(seed=seed) as net:
        source = nengo.Node(lambda t: [t, 1 - t], label="source")
        settings = {"gain": np.ones(3), "bias": np.zeros(3), "neuron_type": kind, "label": "ensemble", **options}
        ensemble = nengo.Ensemble(3, 1, **settings)
        weight = np.ones((3, 2)) if transform is None else transform
        nengo.Connection(source, ensemble.neurons, transform=weight, synapse=synapse, label="weights")
    return net


def refusals(net: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(sb.Unsupported) as refusal:
        sb.import_graph(net, "nengo", **options)
    assert refusal.value.engine == "nengo"
    return refusal.value.reasons


def assert_refused(net: Any, *reasons: str, **options: Any) -> None:
    """These are all the reasons."""
    found = refusals(net, **options)
    assert len(found) == len(reasons), found
    for text, reason in zip(found, reasons, strict=True):
        assert re.match(reason, text), text


class Own(nengo.LIF):  # type: ignore[misc]  # nengo has no types
    """What a user might have written."""


class Evaluated(dists.Distribution):  # type: ignore[misc]  # as above
    """Code that reading must not run."""

    def sample(self, n: int, d: int | None = None, rng: Any = None) -> Any:
        raise AssertionError("evaluated")


def altered() -> Any:
    kind = nengo.LIF(tau_ref=0)
    kind.step = lambda *args, **states: None
    return kind


def lif(**options: Any) -> Any:
    return nengo.LIF(**{"tau_ref": 0, "initial_state": {"voltage": dists.Choice([0.0])}, **options})


def voltage(value: Any) -> Any:
    return lif(initial_state={"voltage": value})


ONLY = "only nengo.LIF.tau_ref=0. itself fits"
ENSEMBLES: dict[str, tuple[dict[str, Any], str]] = {
    "integrate and fire": ({"neuron_type": nengo.SpikingRectifiedLinear()}, f"its neuron type .* rectifies .*{ONLY}"),
    "adaptive": ({"neuron_type": nengo.AdaptiveLIF(tau_ref=0)}, f"AdaptiveLIF has an adaptation .*; {ONLY}"),
    "rates": ({"neuron_type": nengo.LIFRate()}, f"its neuron type LIFRate puts out rates; {ONLY}"),
    "rectified": ({"neuron_type": nengo.RectifiedLinear()}, f"RectifiedLinear puts out rates; {ONLY}"),
    "regular": ({"neuron_type": nengo.RegularSpiking(nengo.LIFRate())}, f"RegularSpiking fires at a rate .*; {ONLY}"),
    "poisson": ({"neuron_type": nengo.PoissonSpiking(nengo.LIFRate())}, f"PoissonSpiking fires at random; {ONLY}"),
    "a subclass": ({"neuron_type": Own(tau_ref=0)}, f"its neuron type Own is a LIF with code of its own; {ONLY}"),
    "a step": ({"neuron_type": altered()}, "attributes of its neuron type were set by hand; take a plain nengo.LIF"),
    "refractory": ({"neuron_type": lif(tau_ref=0.002)}, "it is refractory for 0.002 s, to an instant within a step"),
    "a whole step": (
        {"neuron_type": lif(tau_ref=0.001)},
        "it is refractory for 0.001 s, to an instant .*; set tau_ref",
    ),
    "a floor": ({"neuron_type": lif(min_voltage=-1)}, "its voltage is clipped at -1; set min_voltage to 0 or -np.inf"),
    "noise": ({"noise": nengo.processes.WhiteNoise()}, "noise is injected into it; set noise=None"),
    "a gain alone": ({"bias": None}, "only one of gain and bias is given, which Nengo does not build; give both"),
    "large": ({"n_eval_points": 10**9}, "it has 1,000,000,000 encoders or evaluation points, above the limit of 10,0"),
    "drawn": ({"gain": dists.Uniform(1, 2)}, "Nengo draws its gain anew at every build; set a seed, or give gain as"),
    "drawn both": (
        {"gain": None, "bias": None},
        "Nengo draws its max_rates and intercepts anew at every build; set a seed",
    ),
    "drawn voltage": ({"neuron_type": nengo.LIF(tau_ref=0)}, "Nengo draws its initial voltage anew at every build"),
    "drawn by code": ({"bias": Evaluated(), "seed": 3}, "its bias is drawn by a Evaluated, code of its own; give an"),
    "points by code": ({"eval_points": Evaluated(), "seed": 3}, "its evaluation points is drawn by a Evaluated, code"),
    "no memory": (
        {"neuron_type": lif(tau_rc=1e-5)},
        "with tau_rc=1e-05 a step of 0.001 s leaves nothing of the voltage",
    ),
    "above": (
        {"neuron_type": voltage(np.array([0, 1.5, 0]))},
        "it starts above its threshold, where Nengo's refractory time",
    ),
    "no number": ({"neuron_type": voltage(np.array([0, np.nan, 0]))}, "Nengo does not build it: .*contains NaNs"),
    "no end": ({"neuron_type": voltage(np.array([0, -np.inf, 0]))}, "its initial voltage is not finite; give finite"),
    "starts refractory": (
        {"neuron_type": lif(initial_state={"voltage": np.zeros(3), "refractory_time": np.ones(3)})},
        "it starts refractory; leave the initial refractory_time at 0",
    ),
    "wrong state": (
        {"neuron_type": voltage(dists.Samples([0.0, 0.1])), "seed": 1},
        "Nengo does not build it: .*Wrong number of ",
    ),
    "a list": ({"neuron_type": voltage([0, 0.5, 0])}, "Nengo does not build it: .unhashable type"),
    "infinite": ({"gain": np.array([1, np.inf, 1])}, "its gain is not finite; give finite values"),
    "tiny gains": ({"gain": np.array([1, 1e-200, 1])}, "gains from 1e-200 to 1 leave the range of a state; scale the"),
    "rates too high": (
        {"gain": None, "bias": None, "max_rates": dists.Choice([-1.0]), "intercepts": dists.Choice([0.5])},
        "Nengo does not build it: ",
    ),
}


@pytest.mark.parametrize("case", ENSEMBLES)
def test_ensembles_that_are_no_units(case: str) -> None:
    options, reason = ENSEMBLES[case]
    assert_refused(network(**options), f"Ensemble ensemble: .*{reason}")


def sparse(indices: Any, init: Any = 1.0) -> Any:
    return nengo.Sparse((3, 2), indices=indices, init=init)


def hidden() -> Any:
    synapse = nengo.Lowpass(0)
    synapse.make_step = lambda *args: None
    return synapse


FILTER = "is a filter; take synapse=None for no delay, 0 for one step"
CONNECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "nengo's default": ({"synapse": nengo.Lowpass(0.005)}, f"its synapse Lowpass.tau=0.005. {FILTER}"),
    "alpha": ({"synapse": nengo.Alpha(0.1)}, f"its synapse Alpha.tau=0.1. {FILTER}"),
    "triangle": ({"synapse": nengo.synapses.Triangle(0)}, f"its synapse Triangle.t=0. {FILTER}"),
    "half": ({"synapse": nengo.LinearFilter([0.5], [1, 0], analog=False)}, FILTER),
    "an echo": ({"synapse": nengo.LinearFilter([1], [1, 0.5], analog=False)}, FILTER),
    "analog": ({"synapse": nengo.LinearFilter([1], [1, 0], analog=True)}, FILTER),
    "a synapse altered": ({"synapse": hidden()}, "attributes of its synapse were set by hand; take synapse=None"),
    "drawn": ({"transform": dists.Uniform(0, 1)}, "Nengo draws its transform anew at every build; set a seed, or give"),
    "drawn by code": ({"transform": Evaluated(), "seed": 1}, "its transform is drawn by a Evaluated, code of its own"),
    "sparse, drawn": ({"transform": sparse([[0, 0]], dists.Uniform(0, 1))}, "Nengo draws its transform anew at every"),
    "sparse, twice": ({"transform": sparse([[0, 0], [0, 0]])}, "its sparse transform has several values at one place"),
    "sparse, outside": ({"transform": sparse([[0, 2]])}, "its sparse transform has indices outside of it; fix the"),
    "sparse, below": ({"transform": sparse([[-1, 0]])}, "its sparse transform has indices outside of it; fix the"),
    "infinite": (
        {"transform": np.full((3, 2), np.inf)},
        "its weights are not finite real numbers; give finite weights",
    ),
}


@pytest.mark.parametrize("case", CONNECTIONS)
def test_connections_that_are_no_matrices(case: str) -> None:
    options, reason = CONNECTIONS[case]
    assert_refused(network(**options), f"Connection weights: .*{reason}")


def connect(net: Any, make: Callable[[Any, Any], tuple[Any, Any, dict[str, Any]]]) -> Any:
    with net:
        source, target, options = make(net.nodes[0], net.ensembles[0])
        nengo.Connection(source, target, label="odd", **{"synapse": None, **options})
    return net


def test_connections_of_other_kinds() -> None:
    pairs: tuple[tuple[Callable[[Any, Any], Any], str], ...] = (
        (
            lambda node, ens: (ens, ens.neurons, {"transform": np.ones((3, 1)), "synapse": 0}),
            "it leaves an ensemble by",
        ),
        (
            lambda node, ens: (node, ens.neurons, {"function": np.cumsum, "transform": np.ones((3, 2))}),
            "it computes a function; give function=None, or the values as an input",
        ),
        (
            lambda node, ens: (ens.neurons, ens.neurons, {"learning_rule_type": nengo.BCM(), "transform": np.eye(3)}),
            "its weights are learned; set learning_rule_type=None",
        ),
    )
    backwards = connect(network(), lambda node, ens: (ens.neurons, ens.neurons[::-1], {"synapse": 0}))
    assert_refused(backwards, "Connection odd: its slice None:None:-1 runs backwards; give a list of indices")
    for make, reason in pairs:
        assert_refused(connect(network(), make), f"Connection odd: {reason}")
    learning = network()
    with learning:
        ensemble = learning.ensembles[0]
        rule = nengo.Connection(ensemble, nengo.Node(size_in=1), learning_rule_type=nengo.PES(), synapse=0, label="pes")
        nengo.Connection(learning.nodes[0][:1], rule.learning_rule, synapse=None, label="error")
    assert_refused(
        learning,
        "Connection pes: its weights are learned; set learning_rule_type=None",
        "Connection pes: it leaves an ensemble by decoders; connect from",
        "Connection error: it leads to a learning rule; leave learning out",
    )
    net = network()
    with net:
        image = nengo.Node(lambda t: np.ones(4), size_out=4, label="image")
        kernel = nengo.Convolution(1, (2, 2, 1), kernel_size=(2, 1), init=np.ones((2, 1, 1, 1)))
        pooled = nengo.Node(size_in=kernel.size_out, label="pooled")
        nengo.Connection(image, pooled, transform=kernel, synapse=None, label="odd")
    assert_refused(net, "Connection odd: its transform is a Convolution; give a matrix, dense or sparse")


def test_every_reason_is_told_at_once() -> None:
    net = network(neuron_type=lif(tau_ref=0.001, min_voltage=-1), synapse=0.005, noise=nengo.processes.WhiteNoise())
    with net:
        ensemble = net.ensembles[0]
        loop = nengo.Node(lambda t, x: x, size_in=3, size_out=3, label="loop")
        nengo.Connection(ensemble.neurons, loop, synapse=0.1, label="there")
        nengo.Connection(loop, ensemble.neurons, synapse=None, label="back")
        nengo.Connection(ensemble, loop[0], label="decoded")
    assert_refused(
        net,
        "inputs: no Node or Ensemble is 'x'; name those of the network",
        "Ensemble ensemble: it is refractory for 0.001 s",
        "Ensemble ensemble: its voltage is clipped at -1",
        "Ensemble ensemble: noise is injected into it",
        "Node loop: computes its output from what it receives, by a function; leave it out, or name it in inputs=",
        "Connection weights: its synapse Lowpass",
        "Connection there: its synapse Lowpass",
        "Connection decoded: it leaves an ensemble by decoders",
        "Connection decoded: its synapse Lowpass",
        inputs=["x"],
    )


class Separate(nengo.Network):  # type: ignore[misc]  # nengo has no types
    """A network that Nengo would build otherwise."""


def test_networks_that_are_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(nengo.Network(), "network: holds no ensembles that are not given; a graph of neurons needs one")
    assert_refused(network(), "network: holds no ensembles that are not given", inputs=["ensemble"])
    with nengo.Network() as autonomous:
        level = nengo.Node([1.0])
        ensemble = nengo.Ensemble(2, 1, gain=np.ones(2), bias=np.ones(2), neuron_type=lif())
        nengo.Connection(level, ensemble.neurons, transform=[[1], [1]], synapse=None)
    assert_refused(autonomous, "network: nothing is given to it, and a graph has an input; add a Node that is a func")
    assert "node0" in sb.import_graph(autonomous, "nengo", inputs=[level]).nodes
    two = network()
    with two:
        for _ in range(2):
            nengo.Node([1.0], label="level")
    assert_refused(two, "inputs: 2 are labeled 'level'; give the object itself", inputs=["level"])
    assert_refused(two, "inputs: no Node or Ensemble is <Node 'elsewhere' at ", inputs=[elsewhere()])
    outside, other = network(), elsewhere()
    with outside:
        nengo.Connection(other, outside.ensembles[0].neurons[:1], synapse=None, label="odd")
    assert_refused(outside, "Connection odd: <Node 'elsewhere' at .*> is not in the network; add it")
    twice = network()
    twice.nodes.append(twice.nodes[0])
    assert_refused(twice, "Node source.*: 2 networks hold it; leave it in one")
    circle = connect(network(), lambda node, ens: (ens.neurons, ens.neurons, {"transform": np.eye(3)}))
    assert_refused(circle, "network: a cycle without delay, which Nengo does not build; set synapse=0 on the way back")
    with pytest.raises(nengo.exceptions.BuildError, match="cycles"), unwarned():
        nengo.Simulator(circle, model=nengo.builder.Model(), progress_bar=False)
    matrix = r"Connection weights: a matrix of 3 x 2 weights is above the limit of 5; raise it with the option max_syn"
    assert_refused(network(), matrix, max_synapses=5)
    with nengo.Network() as built:
        Separate().add(network())
    monkeypatch.setitem(nengo.builder.Builder.builders, Separate, lambda *args: None)
    assert refusals(built)[0].startswith("network: a Separate has a builder of its own; take nengo.Network")


def elsewhere() -> Any:
    with nengo.Network():
        return nengo.Node([1.0], label="elsewhere")


class Derived(nengo.Ensemble):  # type: ignore[misc]  # nengo has no types
    """An Ensemble that Nengo might build otherwise."""


@nengo.builder.Builder.register(Derived)
def build_otherwise(model: Any, ensemble: Any) -> None:
    raise AssertionError("evaluated")


def test_objects_of_other_kinds_are_refused() -> None:
    net = network()
    with net:
        derived = Derived(2, 1, gain=np.ones(2), bias=np.ones(2), neuron_type=lif(), label="derived")
        nengo.Connection(derived.neurons, net.ensembles[0].neurons[:2], synapse=None)
    assert_refused(net, "Ensemble derived: is a Derived, which may be built otherwise than a nengo.Ensemble; take that")


def test_32_bits_are_refused() -> None:
    net = network()
    bits = nengo.rc["precision"]["bits"]
    nengo.rc["precision"]["bits"] = "32"
    try:
        assert_refused(net, "network: Nengo's precision is set to 32 bits; set nengo.rc")
    finally:
        nengo.rc["precision"]["bits"] = bits


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"dt": 0}, "dt=0; needed a positive number of seconds"),
        ({"dt": "1"}, "dt='1'; needed a positive number of seconds"),
        ({"inputs": "source"}, "inputs='source'; give a list of Nodes and Ensembles, or of their names"),
        ({"inputs": [3]}, "inputs=.3.; give a list of Nodes and Ensembles, or of their names"),
        ({"inputs": 3}, "inputs=3; give a list of Nodes and Ensembles, or of their names"),
        ({"max_synapses": 0}, "max_synapses=0; needed a whole number"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(sb.BadInput, match=problem):
        sb.import_graph(network(), "nengo", **options)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    for source in (3, [network()], nengo.Network):
        with pytest.raises(sb.BadInput, match=r"give the path of an exported script or a nengo\.Network"):
            sb.import_graph(source, "nengo")
    unit = sb.Graph({"in": sb.Input((1,)), "unit": sb.Unit([0.5], 1.0)}, [sb.Edge("in", "unit")])
    native = sb.export(unit, "nengo").native
    assert sb.import_graph(native, "nengo") == unit
    for options in ({"dt": 1e-3}, {"inputs": ["in"]}):
        for source in (native, tmp_path / "net.py"):
            with pytest.raises(sb.BadInput, match="dt and inputs are for networks written by hand; leave them out"):
                sb.import_graph(source, "nengo", **options)


def test_a_network_within_itself_is_refused() -> None:
    net = network()
    net.networks.append(net)
    with pytest.raises(sb.BadInput, match="source: its networks hold each other"):
        sb.import_graph(net, "nengo")


def test_an_exported_network_within_another_is_refused() -> None:
    unit = sb.Graph({"in": sb.Input((1,)), "unit": sb.Unit([0.5], 1.0)}, [sb.Edge("in", "unit")])
    outer = network()
    outer.networks.append(sb.export(unit, "nengo").native)
    with pytest.raises(sb.BadFile, match="carries no snubridge graph"):
        sb.import_graph(outer, "nengo")

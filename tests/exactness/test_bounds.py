"""The bound is attacked: no legitimate float32 evaluation leaves it, and no spike turns that was not open."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.space import random_graph
from snubridge.exactness import reached
from tests.exactness.arithmetic import F, evaluations, rounded

E = sb.Edge
STEPS, UNITS = 4, 128
FAMILIES = ("generic", "tiny", "huge", "subnormal", "lattice", "mixed")
RESETS = list(sb.Reset)


def layer(family: str, seed: int) -> tuple[sb.Graph, np.ndarray]:
    """128 units of one reset on a few inputs, and inputs for a few steps of one sample."""
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    inputs = int(rng.integers(1, 24))
    scale = {"tiny": 1e-36, "huge": 1e35, "subnormal": 1e-42}.get(family, 1.0)
    weight = rng.normal(size=(UNITS, inputs)) * scale
    decay, threshold = rng.uniform(0, 1, UNITS), rng.normal(size=UNITS) * scale
    x = rng.normal(size=(STEPS, 1, inputs))
    if family == "lattice":
        weight, threshold = rng.integers(-4, 6, (UNITS, inputs)) / 4, rng.integers(0, 9, UNITS) / 4
        x, decay = (rng.random((12, 1, inputs)) < 0.3).astype(float), rng.choice([0.8, 0.75], UNITS)
    if family == "mixed":
        weight *= 10.0 ** rng.integers(-30, 5, weight.shape)
    g = (sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.3))[seed % 3]
    unit = sb.Unit(decay, threshold, reset=RESETS[seed % 5], g=g, initial_state=rng.normal(size=UNITS) * scale)
    graph = sb.Graph({"in": sb.Input((inputs,)), "w": sb.Linear(weight), "u": unit}, [E("in", "w"), E("w", "u")])
    return graph, x.astype(F)


def evaluated(graph: sb.Graph, x: np.ndarray, how: str, seed: int, spikes: np.ndarray):
    """States (T, N) of a float32 engine of our own, and where it still spiked as the reference did before."""
    rng = np.random.default_rng(seed)
    total, direction = evaluations(rng)[how]
    unit, weight = graph.nodes["u"], graph.nodes["w"].weight
    decay, threshold = (np.broadcast_to(a, UNITS).astype(F) for a in (unit.decay, unit.threshold))
    s, y = unit.initial_state.astype(F), np.zeros(UNITS, F)
    same, states, alive = np.ones(UNITS, bool), [], []
    for t in range(len(x)):
        to = rng.integers(-1, 2, UNITS) if direction == 2 else np.full(UNITS, direction)
        factors, others = weight, np.broadcast_to(x[t, 0], weight.shape)
        m = np.full(UNITS, y.max()) if unit.reset is sb.Reset.LATERAL else y
        if unit.reset in (sb.Reset.TO_ZERO, sb.Reset.LATERAL):
            more = [(decay, s * (1 - m))]
        elif unit.reset is sb.Reset.SUBTRACT:
            more = [(decay, s), (-threshold, y)]
        elif unit.reset is sb.Reset.SUBTRACT_DECAYED:
            more = [(decay, rounded(s.astype(np.float64) - threshold.astype(np.float64) * y, to))]
        else:
            more = [(decay, s)]
        factors = np.concatenate([factors, *(a[:, None] for a, _ in more)], axis=1)
        others = np.concatenate([others, *(b[:, None] for _, b in more)], axis=1)
        s = total(factors, others, to)
        if isinstance(unit.g, sb.ReLU):
            s = np.maximum(s, F(0))
        if isinstance(unit.g, sb.LeakyReLU):
            s = np.where(s > 0, s, rounded(F(unit.g.slope).astype(np.float64) * s, to))
        y = (s > threshold).astype(F)
        states.append(s)
        alive.append(same.copy())
        agrees = y == spikes[t, 0]
        same &= agrees.all() if unit.reset is sb.Reset.LATERAL else agrees
    return np.stack(states), np.stack(alive)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_evaluation_in_float32_leaves_the_bound(family):
    """11 evaluations of 15 layers of 128 units: 11,520 different units over the families, 4 steps each."""
    touched = flipped = 0
    tightest = 0.0
    for seed in range(15):
        graph, x = layer(family, seed)
        reference = sb.simulate(graph, x, record=("spikes", "states"))
        certificate = sb.certify(graph, x, "float32", record=True)
        bound, s = certificate.bounds["u"][:, 0], reference.states["u"][:, 0]
        opened = np.zeros(bound.shape, bool)
        for place in certificate.open:
            opened[place.step, place.neuron] = True
        for number, how in enumerate(evaluations(np.random.default_rng(0))):
            states, alive = evaluated(graph, x, how, 100 * seed + number, reference.spikes["u"])
            gap = np.abs(states.astype(np.float64) - s)
            outside = alive & (gap > bound)
            assert not outside.any(), (
                family,
                seed,
                how,
                np.argwhere(outside)[:3],
                gap[outside][:3],
                bound[outside][:3],
            )
            turned = alive & ((states > graph.nodes["u"].threshold) != reference.spikes["u"][:, 0].astype(bool))
            assert not (turned & ~opened).any(), (family, seed, how)
            touched += int((gap[alive] > 0).sum())
            flipped += int(turned.sum())
            with np.errstate(invalid="ignore", divide="ignore"):
                tightest = max(tightest, float(np.nanmax(np.where(alive & (bound > 0), gap / bound, 0))))
    assert touched > 1000, "hardly a rounding happened: nothing was attacked"
    assert tightest > 0.05, f"the bound is {1 / tightest:.0f} times the worst that was found"
    assert family != "lattice" or flipped > 10, "no spike turned: no open decision was met"


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_engines_in_float32_stay_within_their_certificate(backend):
    """Over the whole space: every first difference was open, and what depends on none keeps to the bound."""
    pytest.importorskip({"onnx": "onnxruntime", "torch": "torch"}[backend])
    looked = differing = 0
    for seed in range(120):
        case = random_graph(seed, precision="float32")
        if case.graph.numbers != sb.Float32():
            continue
        program = sb.export(case.graph, backend)
        actual = program.run(case.inputs, record=("spikes", "states"), lengths=case.lengths)
        expected = sb.simulate(case.graph, case.inputs, record=("spikes", "states"), lengths=case.lengths)
        certificate = sb.certify(case.graph, case.inputs, model=program.rounding, record=True)
        units = [name for name, unit in case.graph.of_kind(sb.Unit).items() if unit.spiking]
        differs = {name: actual.spikes[name] != expected.spikes[name] for name in units}
        consequences = reached(case.graph, differs)
        opened = {(place.unit, place.step, place.sample, place.neuron) for place in certificate.open}
        for name in units:
            gap = np.abs(actual.states[name].astype(np.float64) - expected.states[name])
            own = ~consequences[name]
            assert not (own & (gap > certificate.bounds[name])).any(), (backend, seed, name)
            for step, sample, *neuron in np.argwhere(differs[name] & own).tolist():
                place = (name, step, sample, neuron[0] if len(neuron) == 1 else tuple(neuron))
                assert place in opened, (backend, seed, place)
            looked += int(own.sum())
            differing += int(differs[name].sum())
    assert looked > 20_000


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("at_threshold", [False, True])
def test_near_ties_are_decided_just_outside_of_the_bound_and_open_just_inside(precision, at_threshold):
    """The threshold is moved to both sides of s, by a little more and a little less than the bound."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(1, 40))
    x = rng.normal(size=(1, 1, 40))
    numbers = sb.Float64()

    def graph(threshold):
        unit = sb.Unit(0.0, threshold, h=sb.Step(at_threshold=at_threshold))
        nodes = {"in": sb.Input((40,)), "w": sb.Linear(weight), "u": unit}
        return sb.Graph(nodes, [E("in", "w"), E("w", "u")], numbers=numbers)

    model = sb.ErrorModel(precision)
    s = float(sb.simulate(graph(0.0), x, record=("states",)).states["u"].item())
    bound = float(sb.certify(graph(np.float32(s)), x, model=model, record=True).bounds["u"].item())
    assert 0 < bound < (1e-3 if precision == "float32" else 1e-12)
    for side, share in itertools.product((-1, 1), (0.9, 1.1)):
        threshold = s + side * share * bound
        certificate = sb.certify(graph(threshold), x, model=model, record=True)
        found = float(certificate.bounds["u"].item())
        assert bool(certificate.open) == (abs(s - threshold) <= found), (side, share)
        assert bool(certificate.open) == (share < 1), (side, share, found, bound)
        assert certificate.decisions == 1
        assert certificate.certified == certificate.conditional == float(not certificate.open)


def test_an_exact_tie_is_decided_whatever_the_order():
    """0.5 + 0.25 + 0.25 against 1: on a grid there is nothing to round, in bf16 as little as in float64."""
    nodes = {"in": sb.Input((3,)), "w": sb.Linear([[0.5, 0.25, 0.25]]), "u": sb.Unit(0.5, 1.0)}
    graph = sb.Graph(nodes, [E("in", "w"), E("w", "u")])
    for precision in ("float64", "float32", "tf32", "bf16"):
        certificate = sb.certify(graph, np.ones((5, 1, 3)), precision)
        assert certificate.smallest_margin == 0.0
        assert certificate.complete
        assert (certificate.certified, certificate.conditional) == (1.0, 1.0)


def test_a_grid_that_leaves_the_format_is_no_grid():
    """2^-149 is a number of float32, half of it is not; an engine that flushes loses both."""

    def graph(weight):
        nodes = {"in": sb.Input((1,)), "w": sb.Linear([[weight]]), "u": sb.Unit(0.0, 0.0)}
        return sb.Graph(nodes, [E("in", "w"), E("w", "u")], numbers=sb.Float64())

    x = np.ones((1, 1, 1))
    assert sb.certify(graph(2.0**-149), x, "float32").complete
    assert not sb.certify(graph(2.0**-150), x, "float32").complete
    assert not sb.certify(graph(2.0**-149), x, model=sb.ErrorModel("float32", flush=True)).complete
    assert sb.certify(graph(2.0**-126), x, model=sb.ErrorModel("float32", flush=True)).complete


def test_in_fixed_point_every_bound_is_zero():
    nodes = {"in": sb.Input((3,), 0, 1, 0), "w": sb.Linear([[0.5, 1.0, 1.5]]), "u": sb.Unit(0.7, 1.0)}
    edges = [E("in", "w"), E("w", "u")]
    x = np.random.default_rng(0).integers(0, 2, (40, 2, 3))
    graph = sb.Graph(nodes, edges, numbers=sb.FixedPoint(2, state_bits=10))
    for precision in ("float32", "float64"):
        certificate = sb.certify(graph, x, precision, record=True)
        assert certificate.complete
        assert not certificate.bounds["u"].any()
        s = sb.simulate(graph, x, record=("states",)).states["u"]
        np.testing.assert_array_equal(certificate.margins["u"], s - 1)
    with pytest.raises(sb.Unsupported, match="above the 16,777,216 up to which float32 is exact"):
        sb.certify(sb.Graph(nodes, edges, numbers=sb.FixedPoint(2, state_bits=30)), x, "float32")
    with pytest.raises(sb.BadInput, match="the budget of FixedPoint is known for"):
        sb.certify(graph, x, "bf16")

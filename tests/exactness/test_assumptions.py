"""What a certificate assumes of an engine, one assumption at a time."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

import snubridge as sb
from snubridge.exactness import block, certificate

E = sb.Edge
F64 = sb.Float64()


def chain(*nodes: sb.Node, shape: tuple[int, ...] = (1,), numbers: sb.Float32 | sb.Float64 = F64) -> sb.Graph:
    names = ["in", *(f"n{number}" for number in range(len(nodes)))]
    named = dict(zip(names, (sb.Input(shape), *nodes), strict=True))
    return sb.Graph(named, [E(a, b) for a, b in itertools.pairwise(names)], numbers=numbers)


def steps(*values: float) -> np.ndarray:
    return np.reshape(np.array(values, dtype=np.float64), (-1, 1, 1))


@pytest.mark.parametrize(
    ("graph", "inputs"),
    [
        (chain(sb.AvgPool2d(2), sb.Unit(0.0, 3e38), shape=(1, 2, 2)), np.full((2, 1, 1, 2, 2), 2e38)),
        (chain(sb.Unit(0.1, 1.0, g=sb.LeakyReLU(-10.0))), steps(-1e38, 5, 5, -5)),
        (chain(sb.Unit(0.1, -1.7e38, reset=sb.Reset.SUBTRACT_DECAYED)), steps(1.8e38, -2.5e38, 0)),
        (
            chain(sb.Unit(0.0, -2e38, reset=sb.Reset.NONE, h=sb.Identity()), sb.Linear([[0.1]]), sb.Unit(0.0, 1e38)),
            steps(2e38),
        ),
        (chain(sb.Unit(0.01, 0.0, h=sb.Tanh()), sb.Unit(0.5, 0.5)), steps(-2e38, 0)),
    ],
    ids=["the sum of an average", "a steep slope", "a difference inside", "s - threshold", "s * (1 - y)"],
)
def test_what_overflows_on_the_way_is_no_certificate(graph: sb.Graph, inputs: np.ndarray) -> None:
    """The state itself stays in float32's range; what leads to it does not."""
    assert np.isfinite(np.asarray(sb.simulate(graph, inputs).spikes[list(graph.nodes)[-1]])).all()
    with pytest.raises(sb.BadInput, match="may overflow float32"):
        sb.certify(graph, inputs, "float32")
    assert sb.certify(graph, inputs, "float64").decisions


@pytest.mark.parametrize(
    ("graph", "inputs", "precision", "named"),
    [
        (chain(sb.Linear([[3.4e38]]), sb.Unit(0.5, -1.0), numbers=sb.Float32()), steps(0), "bf16", "node n0.*weight"),
        (chain(sb.Linear([[1e300]]), sb.Unit(0.5, -1.0)), steps(0), "float32", "node n0.*weight"),
        (chain(sb.Unit(0.0, -1.0, initial_state=1e300)), steps(0), "float32", "node n0.*initial_state"),
        (chain(sb.Linear([[0.0]]), sb.Unit(0.0, -1.0)), steps(1e300), "float32", "inputs beyond the range of float32"),
    ],
)
def test_numbers_beyond_the_range_are_refused(graph: sb.Graph, inputs: np.ndarray, precision: str, named: str) -> None:
    """Infinity times 0 is no number, and never spikes."""
    with pytest.raises(sb.BadInput, match=named):
        sb.certify(graph, inputs, precision)


def test_sums_of_many_terms_have_a_bound_in_bf16() -> None:
    rng = np.random.default_rng(0)
    graph = chain(sb.Linear(rng.normal(size=(4, 300))), sb.Unit(0.5, 1e5), shape=(300,))
    certificate = sb.certify(graph, rng.random((3, 2, 300)), "bf16", record=True)
    assert np.isfinite(certificate.bounds["n1"]).all()
    assert certificate.complete  # the thresholds are far away


def test_decay_and_threshold_may_change_together() -> None:
    """The product of both changes is part of the bound."""
    graph = chain(sb.Unit(0.9, -1.0, reset=sb.Reset.SUBTRACT_DECAYED))
    model = sb.ErrorModel("float64", decay_error=0.01, threshold_error=0.01)
    certificate = sb.certify(graph, steps(1.5, -3.29155), model=model)
    worst = 0.9 * 1.01 * (1.5 + 1.01) - 3.29155 + 1.01
    assert worst > 0 > 0.9 * (1.5 + 1.0) - 3.29155 + 1.0
    assert [place.step for place in certificate.open] == [1]


def test_a_flushing_engine_loses_its_sums_too() -> None:
    """1.5 * 2^-126 - 2^-126 is below the normal range, and 0 on such an engine."""
    nodes: dict[str, sb.Node] = {f"in{number}": sb.Input((1,)) for number in range(12)} | {"u": sb.Unit(0.0, 0.0)}
    graph = sb.Graph(nodes, [E(name, "u") for name in nodes if name != "u"], numbers=F64)
    given = {name: steps(1.5 * 2.0**-126 if number % 2 == 0 else -(2.0**-126)) for number, name in enumerate(nodes)}
    given.pop("u")
    s = sb.simulate(graph, given, record=("states",)).states["u"].item()
    flushed = 0.0
    for x in given.values():
        flushed += x.item()
        flushed = flushed if abs(flushed) >= 2.0**-126 else 0.0
    certificate = sb.certify(graph, given, model=sb.ErrorModel("float32", flush=True), record=True)
    assert abs(s - flushed) <= certificate.bounds["u"].item()
    assert not certificate.complete


def test_a_product_below_float64_is_not_nothing() -> None:
    """2^-1200 rounds to 0 in the reference, and up to 2^-1074 on an engine that rounds upward."""
    graph = chain(sb.Linear([[2.0**-600]]), sb.Linear([[1.0]]), sb.Unit(0.0, 0.0))
    assert not sb.certify(graph, steps(2.0**-600), "float64").complete
    assert sb.certify(graph, steps(0.0), "float64").complete


def test_a_decayed_state_below_float64_is_not_nothing() -> None:
    graph = chain(sb.Unit(0.25, 0.0, initial_state=2.0**-1074, reset=sb.Reset.NONE))
    assert not sb.certify(graph, steps(0.0), "float64").complete


def test_tf32_rounds_what_linears_multiply() -> None:
    """11 bits of factors, and none below 2^-136."""
    graph = chain(sb.Linear([[2.0**127]]), sb.Unit(0.0, 2.0**-11))
    assert not sb.certify(graph, steps(2.0**-137), "tf32").complete
    fine = 1 + 2.0**-20
    assert sb.certify(chain(sb.Linear([[1.0]]), sb.Unit(0.0, 1.0)), steps(fine), "float32").complete
    assert not sb.certify(chain(sb.Linear([[1.0]]), sb.Unit(0.0, 1.0)), steps(fine), "tf32").complete
    assert sb.certify(chain(sb.Unit(0.5, 0.5, reset=sb.Reset.NONE)), steps(fine, 0.0), "tf32").complete


def test_a_precision_is_a_name() -> None:
    for wrong in ([1], None, 32, "float16"):
        with pytest.raises(sb.BadInput, match="one of float64, float32, tf32, bf16 is needed"):
            sb.certify(chain(sb.Unit(0.5, 1.0)), steps(1.0), wrong)  # type: ignore[arg-type]


def narrow(values: np.ndarray, precision: str, flush: bool, direction: np.ndarray) -> np.ndarray:
    """float64 values in a narrower format: to nearest (0), up (1) or down (-1); ``flush``: nothing below normal."""
    bits, lowest = {"float32": (24, -149), "bf16": (8, -133)}[precision]
    _, exponent = np.frexp(values)
    step = np.ldexp(1.0, np.maximum(exponent - bits, lowest))
    scaled = values / step
    whole = np.where(direction > 0, np.ceil(scaled), np.where(direction < 0, np.floor(scaled), np.rint(scaled)))
    result: np.ndarray = whole * step
    return np.where(np.abs(result) < 2.0**-126, 0.0, result) if flush else result


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0**-64])
def test_other_engines_of_our_own_stay_within_their_bound(precision: str, flush: bool, scale: float) -> None:
    """Two layers with biases and a delayed loop, by engines that change parameters, round in any direction, and flush.

    Products of about ``scale``^2: at 2^-64 they lie at the end of the normal range.
    """
    touched, tightest = 0, 0.0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        model = sb.ErrorModel(precision, flush, weight_error=1e-3, decay_error=2e-3, threshold_error=1e-3)
        weight, bias = rng.normal(size=(48, 10)) * scale, rng.normal(size=48) * scale**2
        loop = rng.normal(size=(48, 48)) * scale**2
        reset = list(sb.Reset)[seed % 5]
        unit = sb.Unit(rng.uniform(0, 1, 48), rng.normal(size=48) * scale**2, reset=reset)
        nodes = {"in": sb.Input((10,)), "w": sb.Linear(weight, bias), "l": sb.Linear(loop), "u": unit}
        edges = [E("in", "w"), E("w", "u"), E("u", "l", 2), E("l", "u")]
        graph = sb.Graph(nodes, edges, numbers=F64)
        x = narrow(rng.normal(size=(6, 1, 10)) * scale, precision, flush, np.zeros(()))
        expected = sb.simulate(graph, x, record=("spikes", "states"))
        bounds = sb.certify(graph, x, model=model, record=True).bounds["u"][:, 0]

        def rounded(values: np.ndarray, rng: np.random.Generator = rng) -> np.ndarray:
            return narrow(values, precision, flush, rng.integers(-1, 2, np.shape(values)))

        def changed(array: np.ndarray, error: float, rng: np.random.Generator = rng) -> np.ndarray:
            return rounded(array * (1 + rng.uniform(-error, error, array.shape)))

        w, b, h = (changed(array, 1e-3) for array in (weight, bias, loop))
        decay, threshold = changed(unit.decay, 2e-3), changed(unit.threshold, 1e-3)
        s, y, ys = np.zeros(48), np.zeros(48), [np.zeros(48)] * 2
        for t in range(6):
            m = np.full(48, y.max()) if reset is sb.Reset.LATERAL else y
            if reset in (sb.Reset.TO_ZERO, sb.Reset.LATERAL):
                carried = [rounded(decay * (s * (1 - m)))]
            elif reset is sb.Reset.SUBTRACT:
                carried = [rounded(decay * s), -threshold * y]
            elif reset is sb.Reset.SUBTRACT_DECAYED:
                carried = [rounded(decay * rounded(s - threshold * y))]
            else:
                carried = [rounded(decay * s)]
            terms = [*(rounded(w[:, k] * x[t, 0, k]) for k in range(10)), b]
            terms += [*(rounded(h[:, k] * ys[1][k]) for k in range(48)), *carried]
            total = np.zeros(48)
            for k in rng.permutation(len(terms)):
                total = rounded(total + terms[k])
            s, reference = total, expected.states["u"][t, 0]
            gap, bound = np.abs(s - reference), bounds[t]
            assert not (gap > bound).any(), (seed, t, gap.max())
            touched += int((gap > 0).sum())
            tightest = max(tightest, float((gap / bound)[bound > 0].max(initial=0.0)))
            y = expected.spikes["u"][t, 0].astype(float)  # the bound is for equal spikes
            ys = [y, ys[0]]
    assert touched > 1000
    assert tightest > 0.05


def test_blocks_of_any_size_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recurrent net with a delay, in one block, and in blocks of single samples and stretches of a few steps."""
    rng = np.random.default_rng(3)
    nodes = {"in": sb.Input((6,)), "w": sb.Linear(rng.normal(size=(8, 6))), "l": sb.Linear(rng.normal(size=(8, 8)))}
    edges = [E("in", "w"), E("w", "u"), E("u", "l", 3), E("l", "u")]
    graph = sb.Graph(nodes | {"u": sb.Unit(0.7, 0.5, reset=sb.Reset.SUBTRACT)}, edges)
    x = rng.normal(size=(40, 7, 6))
    whole = sb.certify(graph, x, "bf16", record=True)
    assert 0 < whole.opened < whole.decisions
    for module, name, size in ((certificate, "BLOCK", 40 * 30), (block, "SPAN", 90), (block, "STRETCH", 60)):
        monkeypatch.setattr(module, name, size)
        parts = sb.certify(graph, x, "bf16", record=True)
        assert [place[:4] for place in sorted(parts.open)] == [place[:4] for place in sorted(whole.open)]
        assert (parts.certified, parts.conditional) == (whole.certified, whole.conditional)
        np.testing.assert_allclose(parts.bounds["u"], whole.bounds["u"], rtol=1e-6)


def test_open_decisions_are_kept_as_arrays() -> None:
    """Where every decision is open, what is kept of each is some tens of bytes."""
    graph = chain(sb.Linear(np.full((64, 300), 0.01)), sb.Unit(0.9, 1.0), shape=(300,))
    x = np.random.default_rng(0).random((40, 8, 300))
    tracemalloc.start()
    found = sb.certify(graph, x, "bf16")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.opened > 0.9 * found.decisions == 0.9 * 64 * 40 * 8
    assert kept < 64 * found.opened
    assert len(found.open) == found.opened


@pytest.mark.parametrize("precision", ["float64", "float32", "bf16"])
def test_near_ties_of_carried_bounds_are_open_inside_and_decided_outside(precision: str) -> None:
    """What a soft unit and a decaying state inherit is in the bound: a threshold is moved to both of its sides."""
    rng = np.random.default_rng(5)
    first, second = sb.Linear(rng.normal(size=(9, 5))), sb.Linear(rng.normal(size=(1, 9)))
    soft = sb.Unit(0.5, 0.1, reset=sb.Reset.NONE, h=sb.Sigmoid())
    x = rng.normal(size=(4, 1, 5)).astype(np.float32)

    def certified(threshold: float) -> sb.Certificate:
        graph = chain(first, soft, second, sb.Unit(0.7, threshold, reset=sb.Reset.NONE), shape=(5,))
        return sb.certify(graph, x, model=sb.ErrorModel(precision), record=True)

    nothing = certified(0.0)
    s, bound = nothing.margins["n3"][3].item(), nothing.bounds["n3"][3].item()
    assert bound > nothing.bounds["n3"][0].item() > 0  # it has grown
    for side, share in itertools.product((-1, 1), (0.5, 2.0)):  # a threshold that does not fit the format adds to it
        found = certified(s + side * share * bound)
        assert (3 in {place.step for place in found.open}) == (share < 1), (side, share)

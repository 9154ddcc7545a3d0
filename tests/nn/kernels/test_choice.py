"""Which kernel runs, that the repr says so, and that one that cannot run is refused with its reason."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels import KERNELS, Choice, choose, cpu, eager
from snubridge.nn.kernels.cpu import limits
from snubridge.nn.kernels.triton import limits as of_triton
from tests.nn.kernels.cases import RESETS, SURROGATES, G


class Own:
    """A surrogate of somebody else's."""

    def gradient(self, v):
        return torch.ones_like(v)

    def __repr__(self):
        return "Own()"


class Wider(nn.SuperSpike):
    """One that may have changed what it inherits."""


def test_the_names():
    assert KERNELS == ("eager", "cpu", "triton")
    for name in ("cuda", "", "CPU", None):
        with pytest.raises(sb.BadInput, match=r"kernel=.*: choose from 'auto', 'eager', 'cpu', 'triton'"):
            nn.Unit(3, kernel=name)


def test_what_is_asked_for_runs_and_stands_in_the_repr():
    for name, runs in (("auto", "cpu"), ("cpu", "cpu"), ("eager", "eager")):
        layer = nn.SNU(2, 3, kernel=name)
        assert layer.running_kernel == Choice(runs)
        assert repr(layer).count("kernel=") == 1
        assert f"kernel={runs}, " in repr(layer) or f"kernel={runs})" in repr(layer)


def kernels_called(monkeypatch, call):
    """The kernels that really ran."""
    ran = []
    for kernel in (cpu, eager):
        name, scan = kernel.__name__.rsplit(".", 1)[1], kernel.scan

        def spy(*given, name=name, scan=scan):
            ran.append(name)
            return scan(*given)

        monkeypatch.setattr(kernel, "scan", spy)
    call()
    return ran


@pytest.mark.parametrize("kernel", ["auto", "cpu", "eager"])
def test_what_the_repr_says_is_what_runs(kernel, monkeypatch):
    layer = nn.SNU(2, 3, kernel=kernel)
    network = nn.to_module(nn.capture(layer, 2), kernel=kernel)
    x = torch.rand(4, 1, 2)
    expected = [layer.running_kernel.kernel] * 2
    assert kernels_called(monkeypatch, lambda: (layer(x), network(x))) == expected
    assert list(network.running_kernels().values()) == [layer.running_kernel]
    assert f"parameters, kernel={expected[0]}\n" in repr(network)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_every_option_of_ours_runs_on_the_cpu(surrogate):
    for reset in RESETS:
        for g in G:
            nn.Unit(2, reset=reset, g=g, surrogate=surrogate, kernel="cpu")
    for dtype in (torch.float32, torch.float64):
        assert nn.Unit(2).to(dtype).running_kernel == Choice("cpu")


@pytest.mark.parametrize("surrogate", [Own(), Wider()], ids=["own", "subclass"])
def test_a_surrogate_that_is_not_ours(surrogate):
    with pytest.raises(sb.Unsupported, match=r"kernel='cpu'.*the surrogate .* is not one of .*kernel='eager' runs it"):
        nn.Unit(3, kernel="cpu", surrogate=surrogate)
    layer = nn.Unit(3, surrogate=surrogate)
    assert layer.running_kernel.kernel == "eager"
    assert f"kernel=eager (the surrogate {surrogate!r} is not one of Tanh" in repr(layer)
    x = torch.rand(4, 2, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    assert bool(x.grad.any())
    soft = nn.Unit(3, kernel="cpu", surrogate=surrogate, h=sb.Sigmoid())  # nothing asks for it
    assert soft.running_kernel == Choice("cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_of_other_types(dtype):
    name = str(dtype).removeprefix("torch.")
    layer = nn.SNU(2, 3, kernel="cpu").to(dtype)
    x = torch.rand(4, 2, 2).to(dtype)
    with pytest.raises(sb.Unsupported, match=f"kernel='cpu'.*float32 and float64, the parameters are {name}"):
        layer(x)
    assert "kernel=none: " in repr(layer)
    assert f"the parameters are {name}" in repr(layer)
    with pytest.raises(sb.Unsupported, match=name):
        _ = layer.running_kernel
    layer.float()
    assert layer.running_kernel == Choice("cpu")

    free = nn.SNU(2, 3).to(dtype)
    assert free.running_kernel.kernel == "eager"
    assert f"kernel=eager (it computes in float32 and float64, the parameters are {name})" in repr(free)
    assert free(x)[0].dtype == dtype


def test_a_default_type_that_it_does_not_compute_in():
    torch.set_default_dtype(torch.bfloat16)
    try:
        with pytest.raises(sb.Unsupported, match="the parameters are bfloat16"):
            nn.Unit(3, kernel="cpu")
        assert nn.Unit(3).running_kernel.kernel == "eager"
    finally:
        torch.set_default_dtype(torch.float32)


def test_parameters_without_values():
    layer = nn.Unit(3).to("meta")
    assert layer.running_kernel == Choice("cpu")  # shapes alone
    y, state = layer(torch.rand(4, 2, 3, device="meta"))
    assert y.shape == (4, 2, 3)
    assert state.s.shape == (2, 3)


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(limits, "INSTALLED", False)


def test_without_numba(without_numba):
    for make in (nn.Unit, lambda n, **options: nn.SNU(n, n, **options)):
        with pytest.raises(sb.MissingEngine, match=r"kernel='cpu': numba is not installed; pip install"):
            make(3, kernel="cpu")
        layer = make(3)
        assert layer.running_kernel.kernel == "eager"
        assert "kernel=eager (numba is not installed; pip install 'snubridge[torch]')" in repr(layer)
        assert layer(torch.rand(4, 2, 3))[0].shape == (4, 2, 3)
        assert "kernel=eager" in repr(make(3, kernel="eager"))
    graph = nn.capture(nn.SNU(2, 3), 2)
    with pytest.raises(sb.MissingEngine, match="numba"):
        nn.to_module(graph, kernel="cpu")
    assert "numba is not installed" in repr(nn.to_module(graph))


def test_numba_that_went_missing_is_no_silent_switch(monkeypatch):
    layer = nn.Unit(3, kernel="cpu")
    monkeypatch.setattr(limits, "INSTALLED", False)
    with pytest.raises(sb.MissingEngine, match="numba"):
        layer(torch.rand(4, 2, 3))
    assert "kernel=none: kernel='cpu': numba is not installed" in repr(layer)


@pytest.fixture
def with_triton(monkeypatch):
    """Installed, and no interpreter asked for."""
    monkeypatch.setattr(of_triton, "INSTALLED", True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_without_triton(monkeypatch):
    monkeypatch.setattr(of_triton, "INSTALLED", False)
    for make in (nn.Unit, lambda n, **options: nn.SNU(n, n, **options)):
        with pytest.raises(
            sb.MissingEngine, match=r"kernel='triton': triton is not installed; pip install 'snubridge\[tri"
        ):
            make(3, kernel="triton")
    assert nn.Unit(3).running_kernel == Choice("cpu")


def test_triton_needs_a_gpu(with_triton, monkeypatch):
    reason = r"kernel='triton'.*CUDA and ROCm devices, the parameters are on the CPU \(TRITON_INTERPRET=1, set before"
    with pytest.raises(sb.Unsupported, match=rf"{reason}.*kernel='eager' runs it"):
        nn.Unit(3, kernel="triton")(torch.ones(2, 1, 3))  # made it can be: it may yet be moved
    monkeypatch.setenv("TRITON_INTERPRET", "true")
    assert nn.Unit(3, kernel="triton").running_kernel == Choice("triton")
    assert nn.Unit(3).running_kernel == Choice("cpu")  # "auto" never interprets


class Elsewhere:
    """What is asked of a parameter."""

    def __init__(self, kind, dtype=torch.float32, size=3):
        self.device, self.dtype, self.numel = torch.device(kind), dtype, lambda: size


def test_auto_takes_triton_on_a_gpu(with_triton, monkeypatch):
    unit, lateral = nn.Unit(3).dynamics, nn.Unit(3, reset=sb.Reset.LATERAL).dynamics
    assert choose("auto", unit, Elsewhere("cuda")) == Choice("triton")
    assert choose("auto", unit, Elsewhere("xpu")).kernel == "eager"
    assert choose("auto", unit, Elsewhere("cuda", torch.float64)) == Choice(
        "eager", "its state is float32, the parameters are float64"
    )
    found = choose("auto", lateral, Elsewhere("cuda", size=of_triton.WIDEST + 1))
    assert found.kernel == "eager"
    assert "LATERAL in one program" in found.reason
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert (
        choose("auto", unit, Elsewhere("cuda")).reason
        == "TRITON_INTERPRET=1 is set, under which Triton compiles nothing"
    )
    monkeypatch.setattr(of_triton, "INSTALLED", False)
    assert choose("auto", unit, Elsewhere("cuda")) == Choice(
        "eager", "triton is not installed; pip install 'snubridge[triton]'"
    )


def test_auto_leaves_wide_inputs_to_the_eager_kernel(with_triton):
    wide = [torch.ones(1, dtype=torch.float64)]
    found = choose("auto", nn.Unit(3).dynamics, Elsewhere("cuda"), given=wide)
    assert found == Choice("eager", "its state is float32, the input or the state is float64")
    with pytest.raises(sb.Unsupported, match="the input or the state is float64; kernel='eager' runs it"):
        choose("triton", nn.Unit(3).dynamics, Elsewhere("cuda"), given=wide)


@pytest.mark.parametrize("kernel", ["eager", "cpu"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_spikes_are_narrow_where_it_is_asked_for(kernel, kind):
    x = torch.randn(9, 2, 5)
    for recurrent in (False, True):
        layers = [
            nn.SNU(5, 4, threshold=0.2, recurrent=recurrent, kernel=kernel, narrow_spikes=n) for n in (False, True)
        ]
        layers[1].load_state_dict(layers[0].state_dict())
        with torch.autocast("cpu", dtype=kind):
            (wide, last), (narrow, also) = (layer(x) for layer in layers)
        assert (wide.dtype, narrow.dtype) == (torch.float32, kind)
        assert torch.equal(narrow.float(), wide)
        assert bool(wide.any())
        assert also.y.dtype == last.y.dtype == torch.float32
    assert nn.Unit(3, h=sb.Tanh(), narrow_spikes=True)(torch.ones(2, 1, 3, dtype=kind))[0].dtype == torch.float32
    assert nn.Unit(3, narrow_spikes=True)(torch.ones(2, 1, 3))[0].dtype == torch.float32
    with pytest.raises(sb.BadInput, match="narrow_spikes='yes': True or False"):
        nn.Unit(3, narrow_spikes="yes")


def test_triton_refuses_what_is_not_coded(with_triton, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    graph = sb.quantize(graph_of(), sb.FixedPoint(8, state_bits=20), np.ones((3, 1, 2)))
    with pytest.raises(sb.Unsupported, match=r"kernel='triton'.*FixedPoint is computed by the eager kernel"):
        nn.to_module(graph, kernel="triton")
    with pytest.raises(sb.Unsupported, match=r"kernel='triton'.*Own\(\) is not one of"):
        nn.Unit(3, kernel="triton", surrogate=Own())
    with pytest.raises(
        sb.Unsupported, match=r"kernel='triton'.*u is part of a cycle.* step by step; kernel='auto' runs"
    ):
        nn.to_module(graph_of(cyclic=True), kernel="triton")


def graph_of(numbers=None, cyclic=False):
    """in -> w -> u -> out, with a way back from u to itself if cyclic."""
    nodes = {
        "in": sb.Input((2,)),
        "w": sb.Linear([[1.0, 0.5], [0.25, 1.0]]),
        "u": sb.Unit([0.5, 0.5], [1.0, 1.0]),
        "out": sb.Output(),
    }
    edges = [sb.Edge("in", "w"), sb.Edge("w", "u"), sb.Edge("u", "out")]
    if cyclic:
        nodes["back"] = sb.Linear([[0.0, 1.0], [-1.0, 0.0]])
        edges += [sb.Edge("u", "back", delay=1), sb.Edge("back", "u")]
        nodes["alone"] = sb.Unit([0.5, 0.5], [1.0, 1.0])
        edges[2:3] = [sb.Edge("u", "alone"), sb.Edge("alone", "out")]
    return sb.Graph(nodes, edges, **({} if numbers is None else {"numbers": numbers}))


def test_modules_of_graphs():
    for kernel, runs in (("auto", "cpu"), ("cpu", "cpu"), ("eager", "eager")):
        module = nn.to_module(graph_of(), kernel=kernel)
        assert module.running_kernels() == {"u": Choice(runs)}
        assert f"parameters, kernel={runs}\n" in repr(module)
    with pytest.raises(sb.BadInput, match="choose from"):
        nn.to_module(graph_of(), kernel="gpu")


def test_modules_of_graphs_give_the_same_spikes():
    x = torch.randn(30, 5, 2).double() * 2
    for cyclic in (False, True):
        recordings = [
            nn.to_module(graph_of(cyclic=cyclic), kernel=kernel).double().evaluate(x) for kernel in ("eager", "auto")
        ]
        (expected, _), (found, _) = recordings
        for name in ("u", *(["alone"] if cyclic else [])):
            assert torch.equal(found.values[name], expected.values[name])
            assert torch.equal(found.states[name], expected.states[name])
            assert bool(found.values[name].any())


def test_fixed_point_is_computed_by_the_eager_kernel():
    graph = sb.quantize(graph_of(), sb.FixedPoint(8, state_bits=20), np.ones((3, 1, 2)))
    assert isinstance(graph.numbers, sb.FixedPoint)
    module = nn.to_module(graph)
    assert module.running_kernels() == {"u": Choice("eager", "FixedPoint is computed by the eager kernel")}
    assert "parameters, kernel=eager (FixedPoint is computed by the eager kernel)\n" in repr(module)
    with pytest.raises(sb.Unsupported, match=r"kernel='cpu'.*FixedPoint is computed by the eager kernel"):
        nn.to_module(graph, kernel="cpu")
    assert nn.to_module(graph, kernel="eager").running_kernels() == {"u": Choice("eager")}


def test_units_on_a_cycle_run_step_by_step():
    module = nn.to_module(graph_of(cyclic=True))
    assert module.running_kernels() == {
        "u": Choice("eager", "is part of a cycle, which runs step by step"),
        "alone": Choice("cpu"),
    }
    assert "kernel=eager (is part of a cycle, which runs step by step), cpu\n" in repr(module)
    with pytest.raises(sb.Unsupported, match=r"u is part of a cycle, .* step by step; kernel='auto' runs the rest"):
        nn.to_module(graph_of(cyclic=True), kernel="cpu")


def test_a_module_of_a_graph_converted_to_another_type():
    module = nn.to_module(graph_of(), kernel="cpu").bfloat16()
    with pytest.raises(sb.Unsupported, match="the parameters are bfloat16"):
        module(torch.rand(4, 2, 2).bfloat16())
    assert "bfloat16" in repr(module)  # and it does not raise


def test_choose_says_what_it_says():
    assert str(Choice("cpu")) == "cpu"
    assert str(Choice("eager", "for a reason")) == "eager (for a reason)"
    assert choose("eager", nn.Unit(1).dynamics, torch.zeros(1, dtype=torch.int32)) == Choice("eager")


def test_numba_is_loaded_by_the_first_run_and_not_before_and_triton_not_at_all():
    script = """
import sys, torch
from snubridge import nn
layers = [nn.SNU(2, 3), nn.SNU(2, 3, kernel="eager")]
repr(layers[0]), layers[1](torch.rand(4, 1, 2))
print("numba" in sys.modules, "snubridge.nn.kernels.cpu.loops" in sys.modules)
print("triton" in sys.modules, "snubridge.nn.kernels.triton.kernels" in sys.modules)
layers[0](torch.rand(4, 1, 2))
print("numba" in sys.modules, "snubridge.nn.kernels.cpu.loops" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False False", "False False", "True True"]


@pytest.mark.parametrize("kernel", ["eager", "cpu"])
def test_tensors_on_several_devices_are_refused(kernel):
    x, elsewhere = torch.ones(4, 2, 5), torch.zeros(2, 5, device="meta")
    with pytest.raises(sb.errors.BadInput, match="are on cpu and meta; all must be on one device"):
        nn.Unit(5, kernel=kernel).to("meta")(x)
    with pytest.raises(sb.errors.BadInput, match="on one device"):
        nn.Unit(5, kernel=kernel)(x, nn.State(elsewhere, elsewhere))
    assert nn.Unit(5, kernel=kernel).to("meta")(x.to("meta"))[0].device.type == "meta"


@pytest.mark.parametrize("kernel", ["eager", "cpu"])
def test_complex_states_are_refused(kernel):
    state = torch.zeros(2, 5, dtype=torch.complex64)
    with pytest.raises(sb.errors.BadInput, match="real numbers are needed"):
        nn.Unit(5, kernel=kernel)(torch.ones(4, 2, 5), nn.State(state, state))

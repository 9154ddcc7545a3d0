"""How the loops are compiled, and what the doctor finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn import kernels
from snubridge.nn.kernels import codes
from snubridge.nn.kernels.cpu import fused, limits, loops
from snubridge.nn.kernels.cpu.compiled import compiled, version

SOURCE = """
def double(x):
    for i in range(len(x)):
        x[i] *= 2
"""


def test_a_function_that_cannot_be_kept_on_disk_is_compiled_all_the_same():
    scope = {}
    exec(SOURCE, scope)
    x = np.ones(3)
    compiled(scope["double"])(x)
    assert x.tolist() == [2, 2, 2]


def test_a_fused_loop_is_kept_on_disk_for_the_present_sources_alone():
    """By what it encloses numba finds it again, so that it must enclose what stands for the other files."""
    for loop in (fused.forward(loops.RELU), fused.backward(loops.RELU, loops.ARCTAN, True, False)):
        assert version() in [cell.cell_contents for cell in loop.py_func.__closure__]


def test_without_sources_there_is_one_version(monkeypatch):
    """Installed as compiled files alone, or in an archive; numba keeps nothing on disk then."""
    monkeypatch.setattr("snubridge.nn.kernels.cpu.compiled.Path", lambda _: Path("archive.zip/compiled.py"))
    assert version.__wrapped__() == 0


def test_numba_that_compiles_nothing_is_said(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert "NUMBA_DISABLE_JIT" in kernels.examined()["cpu"]
    assert nn.Unit(3).running_kernel.kernel == "eager"
    with pytest.raises(sb.errors.MissingEngine, match="NUMBA_DISABLE_JIT is set"):
        nn.Unit(3, kernel="cpu")


def test_every_kernel_is_tried(monkeypatch):
    monkeypatch.setattr("snubridge.nn.kernels.triton.limits.INSTALLED", False)
    assert kernels.examined() == {
        "eager": "ready",
        "cpu": 'ready, what kernel="auto" runs',
        "triton": "MissingEngine: kernel='triton': triton is not installed; pip install 'snubridge[triton]'",
    }
    monkeypatch.setattr(limits, "INSTALLED", False)
    found = kernels.examined()
    assert found["eager"] == 'ready, what kernel="auto" runs'
    assert found["cpu"].startswith("MissingEngine: kernel='cpu': numba is not installed; pip install")


def test_the_codes_are_those_of_the_loops():
    for reset, code in codes.RESETS.items():
        assert getattr(loops, reset.name) == code
    names = {sb.Identity: "IDENTITY", sb.ReLU: "RELU", sb.LeakyReLU: "LEAKY_RELU"}
    assert {getattr(loops, names[kind]): kind for kind in codes.G} == {code: kind for kind, code in codes.G.items()}
    names = {sb.Step: "STEP", sb.Sigmoid: "SIGMOID", sb.Tanh: "TANH", sb.Identity: "LINEAR"}
    assert {getattr(loops, names[kind]): kind for kind in codes.H} == {code: kind for kind, code in codes.H.items()}
    assert loops.STEP_AT_THRESHOLD == codes.TIE
    forms = {
        nn.TanhDerivative: loops.LOGISTIC,
        nn.SigmoidDerivative: loops.LOGISTIC,
        nn.ArctanDerivative: loops.ARCTAN,
        nn.PiecewiseLinear: loops.TRIANGLE,
        nn.SuperSpike: loops.SUPER_SPIKE,
    }
    assert {kind: made(kind())[0] for kind, made in codes.SURROGATES.items()} == forms
    assert [codes.CONTINUOUS[kind][0] for kind in (sb.Sigmoid, sb.Tanh, sb.Identity)] == [0, 0, loops.CONSTANT]


def test_sigmoid_and_tanh_are_as_close_as_the_adapter_says():
    """Every float32 of one octave, where tanh is at its worst, and a sweep of both."""
    octave = np.arange(np.float32(0.125).view(np.int32), np.float32(0.25).view(np.int32), 3, np.int32).view(np.float32)
    for v in (octave, -octave, np.linspace(-87, 87, 2_000_001, dtype=np.float32)):
        y, exact = np.empty_like(v), v.astype(float)
        for code, other in ((loops.SIGMOID, 1 / (1 + np.exp(-exact))), (loops.TANH, np.tanh(exact))):
            loops.put_out(code, v, np.zeros_like(v), y)
            assert (np.abs(y - other) <= 3.0 * 2.0**-24 * np.abs(other)).all()
    assert not np.signbit(y[v == 0]).any()


def test_far_from_the_threshold_a_surrogate_is_zero():
    for surrogate in (nn.TanhDerivative(), nn.SigmoidDerivative(50), nn.SigmoidDerivative(1e20)):
        unit = nn.Unit(2, surrogate=surrogate, threshold=0.1)
        drive = torch.tensor([1e36, -100.0]).reshape(1, 1, 2).requires_grad_()
        unit(drive)[0].sum().backward()
        assert not drive.grad.any()


def test_a_numba_that_does_not_import_is_said(monkeypatch):
    def fail(name):
        raise ImportError("Numba needs NumPy 2.3 or less. Got NumPy 9.0.")

    monkeypatch.setattr("snubridge.nn.kernels.cpu.code.import_module", fail)
    for layer in (nn.SNU(2, 3), nn.SNU(2, 3, recurrent=True), nn.SNU(2, 3, projection="events")):
        with pytest.raises(sb.MissingEngine, match=r"cannot be imported \(Numba needs.*kernel='eager' needs none"):
            layer(torch.zeros(1, 1, 2))
    assert kernels.examined()["cpu"].startswith("MissingEngine: kernel='cpu': numba cannot be imported")


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")  # torch.func.jvp uses it
def test_forward_mode_names_the_kernel_that_has_it():
    for layer in (nn.SNU(2, 3), nn.SNU(2, 3, recurrent=True)):
        x = torch.randn(4, 2, 2)
        with pytest.raises(sb.Unsupported, match="first derivatives, backward; kernel='eager' gives second"):
            torch.func.jvp(lambda given, layer=layer: layer(given)[0], (x,), (x,))

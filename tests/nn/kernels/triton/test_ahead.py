"""The Triton kernels compiled ahead of time, without a GPU: no fused multiply-add, and no register that spills.

Every kind of reset, g, h and surrogate, every geometry, with all that is optional switched on: what needs the most
registers. Run without TRITON_INTERPRET, under which Triton compiles nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

import snubridge as sb
from snubridge import nn
from snubridge.nn.kernels.codes import encoded
from snubridge.nn.kernels.triton.launch import FAR, geometries
from tests.nn.kernels.cases import dynamics

triton = pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: Triton compiles nothing", allow_module_level=True)

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
R, LEAKY = sb.Reset, sb.LeakyReLU(0.3)
UNITS = {
    "the paper's": dynamics(R.TO_ZERO, sb.ReLU()),
    "subtract": dynamics(R.SUBTRACT, LEAKY, sb.Step(at_threshold=True), nn.ArctanDerivative()),
    "subtract decayed": dynamics(R.SUBTRACT_DECAYED, surrogate=nn.SuperSpike()),
    "lateral": dynamics(R.LATERAL, sb.ReLU(), surrogate=nn.PiecewiseLinear()),
    "detached": dynamics(R.TO_ZERO, surrogate=nn.PiecewiseLinear(), detach_reset=True),
    "tanh": dynamics(R.TO_ZERO, LEAKY, sb.Tanh()),
    "lateral tanh": dynamics(R.LATERAL, LEAKY, sb.Tanh()),
    "sigmoid": dynamics(R.SUBTRACT_DECAYED, LEAKY, sb.Sigmoid()),
    "integrator": dynamics(R.NONE, h=sb.Identity()),
}
NARROW = "subtract decayed"  # with a drive of 16 bits, below
CASES = [
    (unit, kernel, geometry)
    for unit, kind in UNITS.items()
    for kernel in ("forward", "backward")
    for geometry in geometries(kernel, encoded(kind)[0])
    if (geometry.steps > 1 and unit != NARROW) or unit in ("the paper's", "lateral tanh", "tanh")
]
SIZES = {"T": "i32", "N": "i32", "M": "i32", "slope": "fp32", "rate": "fp32", "scale": "fp32"}
TYPES = {"bits": "i32", "decay_sums": "fp64", "threshold_sums": "fp64"}


def constants(unit, kernel, geometry):
    """All that is optional on; for a single step as a recurrent layer calls it."""
    reset, g, h, form, detached = encoded(UNITS[unit])[0]
    one = geometry.steps == 1
    values = {"RESET": reset, "G": g, "H": h, "K": geometry.steps, "BLOCK": geometry.block, "MORE": one}
    if kernel == "forward":
        return values | {"Y": True, "A": True, "BITS": not one, "KEEP": not one}
    values |= {"FORM": form, "DETACHED": bool(detached), "RECOMPUTE": not one, "FOLLOWING": one, "ADD": one}
    return values | dict.fromkeys(("Y", "A", "LAST", "START", "DECAY", "THRESHOLD"), True)


@cache
def compiled(target, unit, kernel, geometry, kind="fp32", fusion=False):
    """What Triton makes of it."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snubridge.nn.kernels.triton import kernels

    function = getattr(kernels, kernel)
    fixed = constants(unit, kernel, geometry)
    narrow = dict.fromkeys(("x", "y", "from_x", "from_y"), kind)
    signature = {
        name: "constexpr" if name in fixed else SIZES.get(name) or "*" + TYPES.get(name, narrow.get(name, "fp32"))
        for name in function.arg_names
    }
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(signature) if signature[name][0] == "*"}
    source = ASTSource(fn=function, signature=signature, constexprs=fixed, attrs=aligned)
    options = {"num_warps": geometry.warps, "enable_fp_fusion": fusion}
    return triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)


def instructions(made):
    """Those that fuse a product and a sum, and are not part of a division."""
    if "ptx" in made.asm:
        return re.findall(r"\bfma\.\S+|\bmad\.\S*f32\S*", made.asm["ptx"])
    return re.findall(r"\bv_(?:pk_)?(?:fma|fmac|mac|mad)\w*f(?:16|32|64)\w*", made.asm["amdgcn"])


def fused_in_code_of_llvm(made):
    """What lets LLVM fuse: its operation, or leave on a product or a sum."""
    return re.findall(r"llvm\.fmuladd\S*|llvm\.fma\S*|\bf(?:mul|add|sub) (?:contract|fast|reassoc)", made.asm["llir"])


def spilled(made, tmp_path):
    """Bytes of a thread's stack, or of scratch memory and spilled registers."""
    if "cubin" in made.asm:
        (tmp_path / "kernel.cubin").write_bytes(made.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        command = [tool, "--dump-resource-usage", tmp_path / "kernel.cubin"]
        used = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        local = re.findall(r"\b(?:ld|st)\.local\b", made.asm["ptx"])
        return [int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", used)] + [len(local)]
    names = r"\.(?:private_segment_fixed_size|vgpr_spill_count): *(\d+)"
    return [int(size) for size in re.findall(names, made.asm["amdgcn"])]


def named(case):
    unit, kernel, (block, _, steps) = case
    return f"{unit}-{kernel}-{block}-{steps}"


@pytest.mark.parametrize("case", CASES, ids=map(named, CASES))
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_fused_and_nothing_spills(target, case, tmp_path):
    made = compiled(target, *case)
    assert not fused_in_code_of_llvm(made)
    fused = instructions(made)
    if target != "gfx942":
        assert not fused
    elif fused:  # divisions are written with it there, and begin with this
        assert "v_div_scale_f32" in made.asm["amdgcn"]
        assert "v_pk_fma" not in made.asm["amdgcn"]
    sizes = spilled(made, tmp_path)
    assert len(sizes) >= 2
    assert not any(sizes), sizes


@pytest.mark.parametrize("kernel", ["forward", "backward"])
@pytest.mark.parametrize("target", TARGETS)
def test_units_without_divisions_have_no_fused_instruction_at_all(target, kernel):
    (geometry,) = (g for g in geometries(kernel, encoded(UNITS["detached"])[0]) if g.steps == FAR)
    assert not instructions(compiled(target, "detached", kernel, geometry))


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_looked_for_is_found_where_it_is_allowed(target):
    (_, geometry) = geometries("forward", encoded(UNITS["the paper's"])[0])
    assert instructions(compiled(target, "the paper's", "forward", geometry, fusion=True))


@pytest.mark.parametrize(("target", "kind"), [("sm_80", "bf16"), ("sm_90", "fp16"), ("gfx942", "bf16")])
@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_narrow_drives(target, kernel, kind, tmp_path):
    (_, geometry) = geometries(kernel, encoded(UNITS[NARROW])[0])
    made = compiled(target, NARROW, kernel, geometry, kind)
    assert not fused_in_code_of_llvm(made)
    assert not any(spilled(made, tmp_path))

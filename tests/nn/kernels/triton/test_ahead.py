"""The Triton kernels compiled ahead of time, without a GPU: no fused multiply-add, and no register that spills.

Every pair of choices that a launch may make is in some case, on every target; all units are, with all that is optional
on, if SNUBRIDGE_TRITON=all. Run without TRITON_INTERPRET, under which Triton compiles nothing.
"""

from __future__ import annotations

import itertools
import os

import pytest

from tests.nn.kernels.triton import ahead

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: Triton compiles nothing", allow_module_level=True)

KERNELS = list(itertools.product(("kernels", "persistent"), ("forward", "backward")))
ALL = os.environ.get("SNUBRIDGE_TRITON") == "all"


def cases(configurations):
    """For every target and kernel."""
    return [
        pytest.param(target, case, id=f"{target}-{case}")
        for target, (platform, *_) in ahead.TARGETS.items()
        for code, kernel in KERNELS
        for case in configurations(code, kernel, platform)
    ]


@pytest.mark.ahead
@pytest.mark.parametrize(("target", "case"), cases(ahead.paired))
def test_nothing_is_fused_and_nothing_spills(target, case, tmp_path):
    assert not ahead.faults(target, case, tmp_path)


@pytest.mark.ahead
@pytest.mark.skipif(not ALL, reason="SNUBRIDGE_TRITON=all asks for them")
@pytest.mark.parametrize(("target", "case"), cases(ahead.configurations if ALL else lambda *kernel: ()))
def test_nor_in_any_unit_with_all_that_is_optional(target, case, tmp_path):
    assert not ahead.faults(target, case, tmp_path)


def without_divisions(case):
    constants = dict(case.constants)
    return constants["H"] in (0, 1, 4) and constants.get("FORM", 2) in (2, 4) and constants["RESET"] != ahead.LATERAL


@pytest.mark.parametrize("target", ahead.TARGETS)
@pytest.mark.parametrize(("code", "kernel"), KERNELS)
def test_units_without_divisions_have_no_fused_instruction_at_all(target, code, kernel):
    case = next(filter(without_divisions, ahead.configurations(code, kernel, ahead.TARGETS[target][0])))
    assert not ahead.fused(ahead.compiled(target, case))


@pytest.mark.parametrize("target", ahead.TARGETS)
def test_what_is_looked_for_is_found_where_it_is_allowed(target):
    cases = ahead.configurations("kernels", "forward", ahead.TARGETS[target][0])
    case = next(case for case in cases if dict(case.constants)["K"] > 1)
    assert ahead.fused(ahead.compiled(target, case, fusion=True))


@pytest.mark.parametrize("target", ahead.TARGETS)
def test_what_spills_is_found(target, tmp_path):
    """The weights of 256 neurons, in the registers of a program that is meant for 128."""
    *_, case = ahead.configurations("persistent", "forward", ahead.TARGETS[target][0])
    sizes = dict(case.constants) | {"LEVELS": 8, "BLOCK": 256}
    assert any(ahead.spilled(ahead.compiled(target, case._replace(constants=tuple(sizes.items()))), tmp_path))

"""Kernels compiled ahead of time, without a GPU, as the dispatcher launches them: what is in the code, what spills.

A configuration is (kernel, geometry, constants, type of the drive): ``configurations`` are all that a launch may have.
"""

from __future__ import annotations

import itertools
import random
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from snubridge.ir.functions import Step
from snubridge.nn.kernels import codes
from snubridge.nn.kernels.triton.launch import LATERAL as LATERAL
from snubridge.nn.kernels.triton.launch import _code, geometries, options, squares

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
SIZES = {"T": "i32", "N": "i32", "M": "i32", "slope": "fp32", "rate": "fp32", "scale": "fp32"}
TYPES = {"bits": "i32", "decay_sums": "fp64", "threshold_sums": "fp64"}
DIVIDED = ("all", "addresses", "nothing")  # by 16, as Triton sees it at a launch: addresses, and N and M, or neither
KINDS = ("fp32", "fp16", "bf16")
NARROW = ("x", "y", "from_x", "from_y")
SURROGATES = sorted({made(kind())[0] for kind, made in codes.SURROGATES.items()})
OUTPUTS = [  # (h, the form of its derivative)
    *itertools.product((codes.H[Step], codes.TIE), SURROGATES),
    *((codes.H[kind], form) for kind, (form, _, _) in codes.CONTINUOUS.items()),
]


class Configuration(NamedTuple):
    """A kernel of ``code`` with its constants, its warps, the type of the drive and the spikes, what 16 divides."""

    code: str
    kernel: str
    warps: int
    constants: tuple[tuple[str, Any], ...]
    kind: str = "fp32"
    divided: str = "all"

    def __str__(self) -> str:
        values = "-".join(f"{name}{int(value)}" for name, value in self.constants)
        return f"{self.code}-{self.kernel}-{self.kind}-{self.divided}-{values}"


def _units(kernel):
    """(reset, g, h, form, detached) of all units; forward, the last two say nothing."""
    if kernel == "forward":
        yield from itertools.product(codes.RESETS.values(), codes.G.values(), {h: None for h, _ in OUTPUTS}, [0], [0])
    else:
        for reset, g, (h, form), detached in itertools.product(
            codes.RESETS.values(), codes.G.values(), OUTPUTS, (0, 1)
        ):
            yield reset, g, h, form, detached


def _flags(code, kernel, one):
    """What a launch may switch on and off, and what it never does; ``one``: that of a single step may also be of a
    recurrent layer, or make y anew from a.
    """
    both = (False, True)
    optional = dict.fromkeys(("Y", "A", "LAST", "DECAY", "THRESHOLD"), both)
    if code == "persistent":
        yield {} if kernel == "forward" else optional
    elif kernel == "forward":
        yield {"MORE": (False,), "Y": both, "A": both, "BITS": both, "KEEP": (True,)}
        if one:
            yield {"MORE": (True,), "Y": (True,), "A": (True,), "BITS": (False,), "KEEP": (False,)}
            yield {"MORE": (False,), "Y": (True,), "A": (False,), "BITS": (False,), "KEEP": (False,)}
    else:
        whole = {"MORE": (False,), "RECOMPUTE": (True,), "FOLLOWING": (False,), "ADD": (False,)}
        yield optional | whole | {"START": both, "FIRST": both}
        if one:
            step = {"MORE": both, "RECOMPUTE": (False,), "FOLLOWING": both, "ADD": (True,)}
            yield optional | step | {"START": both, "FIRST": both}


def configurations(code, kernel, platform, flags_too=0):
    """All units in all geometries, all on that can be, which takes the most; and ``flags_too`` others of each."""
    drawn = random.Random(0)
    for unit in _units(kernel):
        reset, g, h, form, detached = unit
        fixed = {"RESET": reset, "G": g, "H": h}
        fixed |= {} if kernel == "forward" else {"FORM": form, "DETACHED": bool(detached)}
        if code == "persistent":
            shapes = [(warps, {"LEVELS": block.bit_length() - 1, "BLOCK": block}) for block, warps in squares()]
        else:
            shapes = [(warps, {"K": k, "BLOCK": block}) for block, warps, k in geometries(kernel, unit, platform)]
        for warps, sizes in shapes:
            for flags in _flags(code, kernel, sizes.get("K") == 1):
                alone = code == "persistent" or flags.get("KEEP") == (False,) or flags.get("RECOMPUTE") == (False,)
                chosen = [("all", [values[-1] for values in flags.values()])]
                chosen += [
                    (drawn.choice([*DIVIDED]), [drawn.choice(values) for values in flags.values()])
                    for _ in range(flags_too)
                ]
                for (divided, values), kind in itertools.product(chosen, KINDS[:1] if alone else KINDS):
                    constants = fixed | dict(zip(flags, values, strict=True)) | sizes
                    yield Configuration(code, kernel, warps, tuple(constants.items()), kind, divided)


def holds(code, kernel, platform, constants):
    """Whether a launch with these constants is one that ``configurations`` draws from."""
    flags = list(_flags(code, kernel, constants.get("K") == 1))
    named = {name for each in flags for name in each}
    rest = {name: value for name, value in constants.items() if name not in named}
    units = ({k: v for k, v in each.constants if k not in named} for each in configurations(code, kernel, platform))
    return rest in units and any(
        each.keys() == constants.keys() - rest.keys() and all(constants[name] in each[name] for name in each)
        for each in flags
    )


def paired(code, kernel, platform):
    """So few configurations that every pair of choices which may meet does meet in one of them."""
    drawn = random.Random(0)
    pool = drawn.sample(found := list(configurations(code, kernel, platform, flags_too=4)), len(found))
    pairs = [
        set(itertools.combinations([*each.constants, ("kind", each.kind), ("divided", each.divided)], 2))
        for each in pool
    ]
    missing = set().union(*pairs)
    while missing:
        few = range(len(pool)) if len(missing) < 60 else drawn.sample(range(len(pool)), 200)
        best = max(few, key=lambda index: len(pairs[index] & missing))
        if pairs[best] & missing:
            missing -= pairs[best]
            yield pool[best]


@cache
def compiled(target, configuration, fusion=False):
    """What Triton makes of it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    code, kernel, warps, constants, kind, divided = configuration
    function, fixed = getattr(_code(code), kernel), dict(constants)
    narrow = dict.fromkeys(NARROW, kind)
    signature = {
        name: "constexpr" if name in fixed else SIZES.get(name) or "*" + TYPES.get(name, narrow.get(name, "fp32"))
        for name in function.arg_names
    }
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(signature)
        if (signature[name][0] == "*" and divided != "nothing") or (name in "NM" and divided == "all")
    }
    source = ASTSource(fn=function, signature=signature, constexprs=fixed, attrs=aligned)
    chosen = options(warps, TARGETS[target][0]) | ({"enable_fp_fusion": True} if fusion else {})
    return triton.compile(source, target=GPUTarget(*TARGETS[target]), options=chosen)


def fused(made):
    """Instructions that fuse a product and a sum; with the factor 1.0, by which AMD adds 16 bits to 32, none is."""
    if "ptx" in made.asm:
        return re.findall(r"\bfma\.\S+|\bmad\.\S*f32\S*", made.asm["ptx"])
    found = re.findall(r"\bv_(?:pk_)?(?:fma|fmac|mac|mad)\w*f(?:16|32|64)[^\n]*", made.asm["amdgcn"])
    return [line for line in found if not re.match(r"v_fma_mix_f32 [^,]+, [^,]+, 1\.0, ", line)]


def fusible(made):
    """What lets LLVM fuse: its operation, or leave on a product or a sum."""
    return re.findall(r"llvm\.fmuladd\S*|llvm\.fma\S*|\bf(?:mul|add|sub) (?:contract|fast|reassoc)", made.asm["llir"])


def spilled(made, folder):
    """Bytes of a thread's stack and loads and stores there; of scratch memory, and spilled registers."""
    import triton

    if "cubin" in made.asm:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(made.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        used = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
        local = re.findall(r"\b(?:ld|st)\.local\b", made.asm["ptx"])
        return [int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", used)] + [len(local)]
    names = r"\.(?:private_segment_fixed_size|[sv]gpr_spill_count): *(\d+)"
    return [int(size) for size in re.findall(names, made.asm["amdgcn"])]


def faults(target, configuration, folder):
    """What is wrong with a configuration: nothing, if all is well."""
    made = compiled(target, configuration)
    found = [f"LLVM may fuse: {fusible(made)}"] if fusible(made) else []
    instructions = fused(made)
    if instructions and (target != "gfx942" or "v_div_scale_f32" not in made.asm["amdgcn"]):
        found.append(f"fused: {instructions}")  # on gfx942 a division is written with it, and begins with v_div_scale
    sizes = spilled(made, folder)
    assert len(sizes) >= 3, sizes
    return found + ([f"spilled: {sizes}"] if any(sizes) else [])

"""Compiled code with floating point as it is written: no reordered sums, no fused multiply-add, no flushed numbers.

Brian2's own flags allow all of this, so may the environment's, and Brian2's cache of Cython modules does not tell
modules of other flags apart. A library linked with -ffast-math even makes the whole process flush subnormal numbers.
"""

import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

STRICT = ("-fno-fast-math", "-fno-unsafe-math-optimizations")
"""What makes a linker leave the start-up code out that flushes subnormal numbers, whatever came before."""
FLAGS = (
    *("-w", "-O3", "-march=native", "-std=c++11", *STRICT, "-fno-associative-math", "-fno-reciprocal-math"),
    *("-fsigned-zeros", "-fno-finite-math-only", "-ffp-contract=off"),
)
LINKED = ("-O3", *STRICT)
INHERITED = (
    *("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LFLAGS", "OPTIMISATIONS"),
    *("MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "MAKEFILES"),
)
"""Of the environment, what compilers and make would take flags from."""
TARGETS = ("numpy", "cython", "cpp_standalone")
PLAIN = {  # preferences of Brian2 that would change what compiled code computes
    "codegen.cpp.extra_compile_args": list(FLAGS),
    "codegen.cpp.define_macros": [],
    "codegen.cpp.headers": [],
    "codegen.generators.cpp.flush_denormals": False,
}
CHECKED = """
    if fetestexcept(FE_OVERFLOW | FE_INVALID):
        feclearexcept(FE_ALL_EXCEPT)
        raise FloatingPointError("overflow encountered in compiled code")
"""
CHECKS = """
cdef extern from "fenv.h" nogil:
    int FE_OVERFLOW, FE_INVALID, FE_ALL_EXCEPT
    int fetestexcept(int)
    int feclearexcept(int)
"""


def missing_compiler(target: str) -> str | None:
    """What keeps ``target`` from being compiled here, and the remedy; None if nothing does."""
    if target == "numpy":
        return None
    compiler = _compiler("CXX", "g++")
    if not compiler or shutil.which(compiler[0]) is None:
        found = compiler[0] if compiler else "nothing"
        return f"target {target} needs a C++ compiler, and {found} is not found: install g++, or take target numpy"
    if target == "cpp_standalone" and shutil.which("make") is None:
        return f"target {target} needs make, which is not found: install it, or take target numpy or cython"
    refused = _refused_flags(compiler)
    if refused:
        return f"target {target} needs a compiler that takes {' '.join(FLAGS)}: {compiler[0]} says {refused!r:.200}"
    if target == "cython":
        try:
            import Cython  # noqa: F401  # Brian2 uses it, and would say later and less
        except ImportError as error:
            return f"target cython needs Cython ({error}): pip install cython, or take target numpy"
    return None


@functools.cache
def _refused_flags(compiler: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "empty.cpp")
        source.write_text("int main() { return 0; }\n")
        command = [*compiler, *FLAGS, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        with plain_environment():
            done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def _compiler(variable: str, fallback: str) -> tuple[str, ...]:
    return tuple((os.environ.get(variable) or sysconfig.get_config_var(variable) or fallback).split())


@contextmanager
def plain_environment() -> Iterator[None]:
    """No flags of the environment, and then the environment as it was before."""
    before = {name: os.environ.pop(name) for name in INHERITED if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def flushes_subnormals() -> bool:
    """Whether this process takes subnormal numbers for zero, as libraries built with -ffast-math leave it."""
    return bool((np.array([2.0**-1074]) * 1.0 == 0).any())


@contextmanager
def preferences(chosen: Mapping[str, Any]) -> Iterator[None]:
    """Brian2's preferences as ``chosen``, and then as they were before, whatever happens."""
    import brian2

    before = {name: brian2.prefs[name] for name in chosen}
    try:
        for name, value in chosen.items():
            brian2.prefs[name] = value
        yield
    finally:
        for name, value in before.items():
            brian2.prefs[name] = value


def cache_folder() -> str:
    """Where compiled Cython modules lie: a folder of their own for these flags, compilers and this processor."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    built = " ".join((*FLAGS, *LINKED, _machine(_compiler("CC", "cc"), _compiler("CXX", "g++"))))
    return str(pathlib.Path(home, "snubridge", f"brian2-{hashlib.sha256(built.encode()).hexdigest()[:12]}"))


def demand_cache() -> None:
    """``PermissionError`` if no module could be put into the cache."""
    folder = pathlib.Path(cache_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"{folder}: no compiled module can be written there ({error.strerror}); set XDG_CACHE_HOME to a folder "
            "that can be written to, or take target numpy"
        ) from error


@functools.cache
def _machine(*compilers: tuple[str, ...]) -> str:
    """The versions of the compilers, and what -march=native looks at."""
    found = [platform.machine(), platform.node()]
    for command in compilers:
        if shutil.which(command[0]) is not None:
            done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
            found += [*command, done.stdout]
    described = pathlib.Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else [platform.processor()]
    return "\n".join([*found, *sorted({line for line in lines if line.startswith(("model name", "flags"))})])


@functools.cache
def strict_cython() -> Any:
    """Brian2's Cython code objects, compiled with ``FLAGS`` whatever the preferences say.

    Functions that have a ``precompute`` run it before the code that calls them. The names of groups are taken out
    of the code, so that all groups with the same equations share one module, and
    a number that no float64 holds is an error.
    """
    from brian2.codegen.runtime.cython_rt import CythonCodeObject
    from brian2.codegen.runtime.cython_rt.extension_manager import cython_extension_manager
    from brian2.core.variables import ArrayVariable

    class StrictCython(CythonCodeObject):  # type: ignore[misc]  # brian2 has no types
        namespace: dict[str, Any]
        nonconstant_values: list[tuple[str, Any]]

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.renamed = self.generic_names()
            self.precomputed = [known.precompute for known in self.variables.values() if hasattr(known, "precompute")]
            values, changing = self.namespace, self.nonconstant_values
            self.namespace = {self.renamed.get(name, name): value for name, value in values.items()}
            self.nonconstant_values = [(self.renamed.get(name, name), read) for name, read in changing]

        def generic_names(self) -> dict[str, str]:
            """Of arrays, their owners called o1, o2, ... in the order in which the code names them."""
            arrays = {
                self.device.get_array_name(var): var
                for var in self.variables.values()
                if isinstance(var, ArrayVariable)
            }
            code = " ".join(getattr(self.code, block, "") for block in ("before_run", "run", "after_run"))
            owners: dict[str, str] = {}
            renamed = {}
            for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", code)):
                for prefix in ("", "_buf_", "_num", "_dynamic"):
                    array = name.removeprefix(prefix)
                    if name == prefix + array and array in arrays:
                        owner = getattr(arrays[array].owner, "name", "temporary")
                        place = owners.setdefault(owner, f"o{len(owners) + 1}")
                        renamed[name] = f"{prefix}_array_{place}_{arrays[array].name}"
            return renamed

        def __call__(self, **given: Any) -> Any:  # in every step of every object: as little as there is to do
            for name, read in self.nonconstant_values:
                self.namespace[name] = read()
            if given:
                self.namespace.update(given)
            for precompute in self.precomputed:
                precompute()
            return self.run_block("run")

        def compile_block(self, block: str) -> Any:
            code = getattr(self.code, block, "").strip()
            if not code or "EMPTY_CODE_BLOCK" in code:
                return None
            code = re.sub(r"(?m)^\s*# namespace for function .*\n", "", code)  # names again, in a comment
            code = re.sub(r"[A-Za-z_]\w*", lambda found: self.renamed.get(found[0], found[0]), code)
            if block == "run":
                head, body = code.split("def main(_namespace):\n", 1)
                code = f"{head}{CHECKS}\ndef main(_namespace):\n    feclearexcept(FE_ALL_EXCEPT)\n{body}\n{CHECKED}"
            with plain_environment(), preferences({"codegen.runtime.cython.cache_dir": cache_folder()}):
                module = cython_extension_manager.create_extension(
                    f"# {' '.join((*FLAGS, *LINKED))}\n{code}",
                    extra_compile_args=list(FLAGS),
                    extra_link_args=[*self.extra_link_args, *LINKED],
                    include_dirs=self.include_dirs,
                    library_dirs=self.library_dirs,
                    runtime_library_dirs=self.runtime_library_dirs,
                    libraries=self.libraries,
                    compiler=self.compiler,
                    sources=self.sources,
                    owner_name=f"{self.owner.name}_{self.template_name}",
                )
            if module is None:  # where Brian2 would run on without it
                raise RuntimeError(f"{self.name}: Cython does not compile the code of {self.owner.name}")
            return module

    return StrictCython

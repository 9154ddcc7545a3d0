"""Networks as C++ projects: compiled once, run as often as wanted with other inputs."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snubridge_brian2.engine.circuit import Circuit, Layout
from snubridge_brian2.engine.equations import Array, Form, Plan
from snubridge_brian2.engine.folder import ProjectFolder
from snubridge_brian2.engine.targets import LINKED, PLAIN, plain_environment, preferences

OVERFLOWED = 3
"""The exit status of a project that met a number that no float64 holds."""
CLEARED = "#pragma omp parallel\nfeclearexcept(FE_ALL_EXCEPT);"
SEEN = f"""
{{
    int overflowed = 0;
    #pragma omp parallel reduction(|:overflowed)
    overflowed |= fetestexcept(FE_OVERFLOW | FE_INVALID);
    if (overflowed)
        return {OVERFLOWED};
}}
"""
HEADERS = """
$(OBJS): objects.h.gch
$(OBJS): CXXFLAGS += -include objects.h
objects.h.gch: objects.h $(filter-out code_objects/%,$(H_SRCS)) makefile
\t$(CXX) $(filter-out -include objects.h,$(CXXFLAGS)) -x c++-header objects.h -o objects.h.gch
"""
REPORT = """
if (isatty(2) && completed > 0 && (completed < 1 || elapsed >= 10))
    std::cerr << "\\rbrian2: " << (int)(100*completed) << " %" << (completed < 1 ? "" : "\\n") << std::flush;
"""


class Replaced(Exception):
    """The folder of a project holds another one since, or is gone."""


class Project:
    """A compiled network for inputs of one shape; ``directory`` holds its C++ code and the program ``main``.

    It is made in a folder within, and put in place as a whole: of the files there, only those of the project before
    are deleted, and nothing else is overwritten.
    """

    def __init__(
        self,
        plan: Plan,
        arrays: Mapping[str, Array],
        inputs: Mapping[str, Array],
        record: Sequence[str],
        layout: Layout,
        form: Form,
        threads: int,
        directory: pathlib.Path | None,
    ) -> None:
        import brian2
        from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
        from brian2.devices.device import reset_device, set_device

        self.layout, self.record = layout, tuple(record)
        if directory is None:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix="snubridge_brian2_"))
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        else:
            self.directory = directory
        self.folder = ProjectFolder(self.directory)
        self.token = uuid.uuid4().hex
        self.device = CPPStandaloneDevice()  # one of its own: the user's keeps what it holds
        chosen = {
            **PLAIN,
            "codegen.cpp.extra_link_args": [*brian2.prefs.codegen.cpp.extra_link_args, *LINKED],
            "devices.cpp_standalone.openmp_threads": threads if threads > 1 else 0,
        }
        with (
            tempfile.TemporaryDirectory(dir=self.directory, prefix="build_") as made,
            plain_environment(),
            preferences(chosen),
        ):
            set_device(self.device, build_on_run=False)
            try:
                self.circuit = Circuit(plan, arrays, inputs, record, layout, form)
                self.device.headers += ["<cfenv>", "<unistd.h>"]
                self.device.insert_code("before_network_run", CLEARED)
                self.device.insert_code("after_network_run", SEEN)
                self.circuit.network.run(layout.total * self.circuit.dt, report=REPORT, namespace={})
                self.device.build(directory=made, compile=False, run=False)
            finally:
                reset_device()
            self.compile(pathlib.Path(made))
            self.folder.take(pathlib.Path(made), self.token)

    def compile(self, made: pathlib.Path) -> None:
        """Run make; the headers, which take most of the time, are compiled once for all files."""
        import brian2

        with (made / "makefile").open("a") as makefile:
            makefile.write(HEADERS)
        (made / "make.deps").touch()  # which files to compile anew: all of them
        command = [brian2.prefs.devices.cpp_standalone.make_cmd_unix, "-j", str(os.cpu_count() or 1)]
        done = subprocess.run(
            command, cwd=made, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode or not (made / "main").is_file():
            said = done.stdout[-2000:].strip() or "it said nothing"
            raise RuntimeError(
                f"{self.directory}: {command[0]} ended with {done.returncode} and made no program: {said}\n"
                f"In {made} run {' '.join(command)} by hand, or take target numpy or cython"
            )
        for left in (*made.rglob("*.o"), made / "objects.h.gch"):
            left.unlink()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the monitors of the program recorded of streams (total steps, size); ``Replaced`` if it is gone."""
        try:
            with self.folder.held() as (_, said):
                if not self.folder.holds(self.token, said):
                    raise Replaced
                return self.executed(inputs)
        except FileNotFoundError as error:
            if self.folder.marker.exists():
                raise
            raise Replaced from error

    def executed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="run_") as folder:
            arguments = []
            for name, stream in self.circuit.streams.items():
                given = pathlib.Path(folder, f"{stream.name}.dat")
                np.ascontiguousarray(inputs[name], dtype=np.float64).tofile(given)
                arguments.append(f"{stream.name}.values={given}")
            command = [str(self.directory / "main"), "--results_dir", f"{folder}/", *arguments]
            done = subprocess.run(command, cwd=self.directory, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode == OVERFLOWED:
                raise FloatingPointError("overflow encountered in the compiled network")
            if done.returncode:
                raise RuntimeError(
                    f"{command[0]} ended with {done.returncode}: {done.stdout[-500:] or 'it said nothing'}"
                )
            return {key: self.recorded(monitor, folder) for key, monitor in self.circuit.monitors.items()}

    def recorded(self, monitor: Any, folder: str) -> Array:
        """(total steps, size) of a monitor."""
        if not hasattr(monitor, "record_variables") or "i" in monitor.record_variables:
            values = np.zeros((self.layout.total, len(monitor.source)))
            steps = np.rint(self.read(monitor, "t", folder) / self.circuit.clocked["clock"].dt_).astype(int)
            values[steps, self.read(monitor, "i", folder)] = 1
            return values
        (variable,) = monitor.record_variables
        return self.read(monitor, variable, folder).reshape(self.layout.total, -1)

    def read(self, monitor: Any, variable: str, folder: str) -> Array:
        array = monitor.variables[variable]
        return np.fromfile(pathlib.Path(folder, self.device.get_array_filename(array)), dtype=array.dtype)

"""Networks of Spiking Neural Units in Brian2: built from a plan and its arrays, and run."""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snubridge_brian2.engine.circuit import Circuit, Layout
from snubridge_brian2.engine.equations import Array, Form, Plan, is_graded
from snubridge_brian2.engine.project import Project, Replaced
from snubridge_brian2.engine.targets import demand_cache, flushes_subnormals, missing_compiler

BATCHES = ("auto", "side_by_side", "concatenated")
SIDE_BY_SIDE = 2_000_000
"""Synapses of all samples together up to which "auto" puts the samples side by side: fewer steps, each with more to
do. Beyond, measured, the weights of all samples leave the caches, and one after the other takes less time."""


def build(plan: Plan, arrays: Mapping[str, Array], dt: float = 1e-3, **options: Any) -> Any:
    """The ``brian2.Network`` of one sample, its inputs silent; dt in seconds.

    ``network.object_names`` maps the names of nodes to those of their groups, ``network.monitors`` the keys of
    a trace ("spikes/<unit>", "states/<unit>", "outputs/<output>") to the monitors. Feed x (T, size) to an input by
    ``network[...].namespace["stream"] = TimedArray(x, dt=dt*second)`` before the run: x as it is (a network of
    float32 parameters expects float32 values, one in fixed point multiples of the input's step within its range; an
    input declared from 0 to 1 with fraction_bits=0 is spikes, and refuses other values),
    whose last row holds on if the run is longer. The dynamics are in the groups' ``<name>_update``
    (``run_regularly``). Add your own objects with ``network.add``. What runs as a C++ project cannot be added to:
    with target cpp_standalone this is the network on numpy.
    """
    demand_fitness()
    silence = {entry["name"]: np.zeros((1, 1, int(np.prod(entry["shape"])))) for entry in plan["inputs"]}
    form = Simulation(plan, arrays, dt=dt, **options).form
    if form.target == "cpp_standalone":
        form = replace(form, target="numpy")
    circuit = Circuit(plan, arrays, silence, ("spikes", "states", "potentials"), Layout(1, 1, 1, 1), form)
    circuit.network.monitors = circuit.monitors
    circuit.network.run(0 * circuit.dt, namespace={})  # else Brian2 complains of each object if none is ever run
    return circuit.network


def run(
    plan: Plan,
    arrays: Mapping[str, Array],
    inputs: Mapping[str, Array],
    record: Sequence[str] = ("spikes",),
    **options: Any,
) -> dict[str, Array]:
    """What the monitors recorded of inputs (T, B, size), (T, B, size) each; see ``Simulation`` for the options."""
    return Simulation(plan, arrays, **options).run(inputs, record)


class Simulation:
    """Runs of one plan.

    ``dt``         seconds of a step
    ``target``     "numpy", "cython" or "cpp_standalone"; the last is compiled once, for the steps and samples of the
                   first run, and then runs up to as many steps of any number of samples; for more it is compiled anew
    ``threads``    of a C++ project
    ``batch``      "side_by_side": the samples as blocks of every group, weights for each; "concatenated": one after
                   the other in time; "auto": the first up to ``SIDE_BY_SIDE`` synapses
    ``form``       "continuous": ds/dt = -s/tau between steps, instead of s = decay*s + u
    ``units``      "SI": a potential v = v_rest + s*(v_threshold - v_rest) in volts, a view of s
    ``directory``  where the C++ project goes, an empty or a new folder or that of a project before, whose files are
                   deleted; nothing else there is overwritten or deleted (``FileExistsError``). A temporary one if None.
                   Of two programs with one directory each is compiled anew after the other was
    """

    def __init__(
        self,
        plan: Plan,
        arrays: Mapping[str, Array],
        *,
        dt: float = 1e-3,
        target: str = "numpy",
        threads: int = 1,
        batch: str = "auto",
        form: str = "discrete",
        units: str = "none",
        v_rest: float = -0.07,
        v_threshold: float = -0.05,
        directory: str | None = None,
    ) -> None:
        missing = missing_compiler(target)
        if missing is not None:
            raise RuntimeError(missing)
        self.plan, self.arrays, self.batch = plan, arrays, batch
        self.form = Form(dt, target, form == "continuous", (v_rest, v_threshold) if units == "SI" else None)
        self.threads = threads
        self.directory = None if directory is None else pathlib.Path(directory).absolute()
        if target == "cython":
            demand_cache()
        self.project: Project | None = None

    def layout(self, steps: int, samples: int) -> Layout:
        """How many samples are side by side and how many follow one another, each after silence for all delays."""
        batch = self.batch
        if batch == "auto":
            stops = {stop["name"]: stop for stop in self.plan["stops"]}
            synapses = sum(couplings(path["weight"], self.arrays, stops[path["source"]]) for path in self.plan["paths"])
            batch = "side_by_side" if synapses * samples <= SIDE_BY_SIDE else "concatenated"
        if batch == "side_by_side" or samples == 1:
            return Layout(samples, 1, steps, steps)
        delays = [path["delay"] for path in self.plan["paths"] if path["delay"] < steps]
        return Layout(1, samples, steps, steps + max(delays, default=0))

    def run(self, inputs: Mapping[str, Array], record: Sequence[str] = ("spikes",)) -> dict[str, Array]:
        """What the monitors recorded, (T, B, size) each."""
        demand_fitness()
        steps, samples = next(iter(inputs.values())).shape[:2]
        if self.form.target == "cpp_standalone":
            return self.run_project(inputs, tuple(record), steps, samples)
        layout = self.layout(steps, samples)
        circuit = Circuit(self.plan, self.arrays, in_time(inputs, layout), record, layout, self.form)
        report = progress if sys.stderr.isatty() else None
        circuit.network.run(layout.total * circuit.dt, report=report, namespace={})
        recorded = {key: values_of(monitor, layout.total, self.form.dt) for key, monitor in circuit.monitors.items()}
        return {key: by_sample(values, layout) for key, values in recorded.items()}

    def run_project(
        self, inputs: Mapping[str, Array], record: tuple[str, ...], steps: int, samples: int
    ) -> dict[str, Array]:
        """The same on a C++ project: the samples in portions of as many as it was compiled for."""
        project = self.project
        if project is None or project.layout.steps < steps or project.record != record:
            project = self.compiled(inputs, record, self.layout(steps, samples))
        while True:
            try:
                return self.run_portions(project, inputs, steps, samples)
            except Replaced:  # by another program, which runs there no more
                project = self.compiled(inputs, record, project.layout)

    def compiled(self, inputs: Mapping[str, Array], record: tuple[str, ...], layout: Layout) -> Project:
        """A project for runs of this layout."""
        given = in_time(portion_of(inputs, 0, layout), layout)
        self.project = Project(self.plan, self.arrays, given, record, layout, self.form, self.threads, self.directory)
        return self.project

    def run_portions(self, project: Project, inputs: Mapping[str, Array], steps: int, samples: int) -> dict[str, Array]:
        """What the project recorded of all samples."""
        layout = project.layout
        parts = []
        for start in range(0, samples, layout.side_by_side * layout.in_turn):
            streams = in_time(portion_of(inputs, start, layout), layout)
            parts.append({key: by_sample(values, layout) for key, values in project.run(streams).items()})
        return {key: np.concatenate([part[key] for part in parts], axis=1)[:steps, :samples] for key in parts[0]}


def couplings(weight: str | None, arrays: Mapping[str, Array], source: Mapping[str, Any]) -> int:
    """How many synapses a path takes for one sample at most; a matrix of graded values is multiplied and takes none."""
    if weight is None:
        return int(source["size"])
    if weight not in arrays:
        return int(arrays[f"{weight}/values"].size)
    return 0 if is_graded(source) and source["kind"] != "input" else int(arrays[weight].size)


def portion_of(inputs: Mapping[str, Array], start: int, layout: Layout) -> dict[str, Array]:
    """The samples from ``start`` on that are run at once, (T, B, size), zeros up to its steps and samples."""
    portion = layout.side_by_side * layout.in_turn
    cut = {name: array[:, start : start + portion] for name, array in inputs.items()}
    return {
        name: np.pad(array, ((0, layout.steps - array.shape[0]), (0, portion - array.shape[1]), (0, 0)))
        for name, array in cut.items()
    }


def in_time(inputs: Mapping[str, Array], layout: Layout) -> dict[str, Array]:
    """Inputs (T, B, size) as the network receives them, (total steps, values)."""
    if not layout.paced:
        return {name: array.reshape(len(array), -1) for name, array in inputs.items()}
    streams = {}
    for name, array in inputs.items():
        silent = np.zeros((layout.in_turn, layout.period, array.shape[2]))
        silent[:, : layout.steps] = array.swapaxes(0, 1)
        streams[name] = silent.reshape(-1, array.shape[2])[: layout.total]
    return streams


def by_sample(values: Array, layout: Layout) -> Array:
    """What was recorded, (total steps, values), as (T, B, size)."""
    if not layout.paced:
        return values.reshape(layout.steps, layout.side_by_side, -1)
    whole = np.zeros((layout.period * layout.in_turn, values.shape[1]))
    whole[: layout.total] = values
    return whole.reshape(layout.in_turn, layout.period, -1)[:, : layout.steps].swapaxes(0, 1)


def values_of(monitor: Any, steps: int, dt: float) -> Array:
    """(steps, values) of a monitor of spikes or of a variable."""
    from brian2 import SpikeMonitor

    if isinstance(monitor, SpikeMonitor):
        spikes = np.zeros((steps, len(monitor.source)))
        spikes[np.rint(monitor.t_[:] / dt).astype(int), monitor.i[:]] = 1
        return spikes
    (variable,) = monitor.record_variables
    values: Array = getattr(monitor, variable).T
    return values


def progress(elapsed: Any, completed: float, start: Any, duration: Any) -> None:
    """One line on a terminal, every ten seconds of a long run."""
    seconds = float(elapsed)
    if 0 < completed < 1:
        left = seconds / completed - seconds
        print(f"\rbrian2: {completed:.0%}, about {left:.0f} s left", end="", file=sys.stderr, flush=True)
    elif seconds >= 10:
        print(f"\rbrian2: done in {seconds:.0f} s      ", file=sys.stderr)


def hindrance() -> str | None:
    """What keeps networks from being run here, and exactly, with the remedy; None if nothing does."""
    if not is_runtime():
        return "Brian2 is in standalone mode; brian2.set_device('runtime') goes back"
    if flushes_subnormals():
        return (
            "this process takes subnormal numbers for zero, as a library built with -ffast-math leaves it, or "
            "torch.set_flush_denormal(True); run in a process without it"
        )
    return None


def demand_fitness() -> None:
    """``RuntimeError`` if there is a hindrance."""
    found = hindrance()
    if found is not None:
        raise RuntimeError(found)


def is_runtime() -> bool:
    """Whether Brian2 runs networks at once; in standalone mode it would only write code for later."""
    import brian2
    from brian2.devices.device import RuntimeDevice

    return isinstance(brian2.get_device(), RuntimeDevice)

"""``verify``: one graph, the same inputs, every engine, compared with the reference bin by bin."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.bridge.adapter import Adapter, Program
from snubridge.bridge.lowering import lower
from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import engine_version, plugins
from snubridge.errors import BadInput, MissingEngine, Unsupported, shown
from snubridge.exactness import ErrorModel
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.rules import validate
from snubridge.reference.inputs import Inputs, prepare
from snubridge.reference.interpreter import simulate
from snubridge.reference.trace import Trace
from snubridge.verification.certificates import Certificates
from snubridge.verification.comparison import UnitComparison, compare
from snubridge.verification.evidence import Evidence, digest_of
from snubridge.verification.report import Report, Row
from snubridge.version import __version__

Backends = Sequence[str] | Mapping[str, tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Verification:
    """A report with the traces it rests on."""

    report: Report
    expected: Trace
    traces: Mapping[str, Trace]


def verify(
    graph: Graph,
    inputs: Inputs,
    backends: Backends | None = None,
    *,
    lengths: ArrayLike | None = None,
) -> Report:
    """Run a graph on backends and compare every spike of every step with the reference.

    ``inputs``    (T, B, *shape), or a dict by input
    ``backends``  names; or a mapping from a label to (name, options); None: all that are installed
    ``lengths``   (B,): only these many steps of each sample are compared

    A backend that is named and refuses or is missing raises ``Unsupported`` or ``MissingEngine``;
    with ``backends=None`` it is a row with that verdict.
    """
    return verify_traces(graph, inputs, backends, lengths=lengths).report


def verify_traces(
    graph: Graph,
    inputs: Inputs,
    backends: Backends | None = None,
    *,
    lengths: ArrayLike | None = None,
    progress: Callable[[str], None] = lambda label: None,
) -> Verification:
    """``verify``, with the traces as well; ``progress`` is told each label before it runs."""
    validate(graph)
    run = prepare(graph, inputs, lengths)
    chosen = _chosen(backends)
    progress("reference")
    expected = simulate(graph, inputs, record=("spikes", "states"), lengths=lengths)
    rows: list[Row] = []
    facts: dict[str, Mapping[str, Any]] = {}
    traces: dict[str, Trace] = {}
    models: dict[str, ErrorModel] = {}
    certificates = Certificates(graph, run.inputs, lengths, progress)
    for label, (name, options) in chosen.items():
        progress(label)
        adapter = None
        try:
            adapter = find_adapter(name)
            program = lower(adapter, graph, options)
            trace = program.run(inputs, lengths=lengths)
        except (Unsupported, MissingEngine, BadInput) as error:  # the inputs are sound: the reference took them
            if backends is not None:
                raise
            rows.append(_not_run(label, adapter, error))
            continue
        traces[label], models[label] = trace, program.rounding
        rows.extend(_rows(graph, label, adapter, program, expected, traces[label]))
        facts[label] = dict(getattr(program, "facts", {}))
    spiked = any(_spikes(expected, name) for name, unit in graph.of_kind(Unit).items() if unit.spiking)
    report = Report(
        rows=tuple(rows),
        silent=not spiked,
        graph=graph.digest,
        steps=run.steps,
        samples=run.samples,
        versions={"snubridge": __version__, "python": platform.python_version(), "numpy": np.__version__},
        facts={label: found for label, found in facts.items() if found},
        inputs=digest_of(run),
        evidence=Evidence(graph, run, expected, traces, models, certificates, chosen),
    )
    return Verification(report, expected, traces)


def _chosen(backends: Backends | None) -> dict[str, tuple[str, Mapping[str, Any]]]:
    if backends is None:
        return {name: (name, {}) for name in plugins()}
    chosen: dict[str, tuple[str, Mapping[str, Any]]] = {}
    if isinstance(backends, str) or not isinstance(backends, Iterable):
        raise BadInput(f"backends={shown(backends)}: a list of names is needed, say ['pcm']")
    if isinstance(backends, Mapping):
        for label, value in backends.items():
            named = isinstance(label, str) and isinstance(value, tuple) and len(value) == 2
            if not (named and isinstance(value[1], Mapping)):
                found = f"backends[{shown(label)}]={shown(value)}"
                raise BadInput(f"{found}: under a label that is text, (name, options) is needed, say ('torch', {{}})")
            chosen[label] = value[0], dict(value[1])
    else:
        for name in backends:
            find_adapter(name)
            chosen[name] = name, {}
    if not chosen:
        raise BadInput("backends: none is named; there is nothing to compare with")
    for name, _ in chosen.values():
        find_adapter(name)  # a wrong name is said before anything runs
    return chosen


def _not_run(label: str, adapter: Adapter | None, error: Unsupported | MissingEngine | BadInput) -> Row:
    verdict = "missing" if isinstance(error, MissingEngine) else "refused"
    reason = "; ".join(error.reasons) if isinstance(error, Unsupported) else str(error)
    return Row(label, engine=adapter.engine if adapter else None, verdict=verdict, reason=reason)


def _rows(
    graph: Graph, label: str, adapter: Adapter, program: Program, expected: Trace, actual: Trace
) -> Iterator[Row]:
    precision = program.rounding.precision
    comparison = compare(expected, actual, precision=precision)
    version = engine_version(adapter)
    for part in (*comparison.units.values(), *comparison.outputs.values()):
        rung = None if part.differing else "measured" if part.kind == "spikes" else "tolerance"
        yield Row(
            backend=label,
            engine=adapter.engine,
            version=version,
            precision=precision,
            unit=part.name,
            kind=part.kind,
            compared=part.compared,
            spikes=part.spikes,
            differing=part.differing,
            largest_difference=part.largest_difference,
            first=part.first,
            margin=_margin(graph, expected, part),
            rung=rung,
            verdict="unequal" if part.differing else "equal",
        )


def _margin(graph: Graph, expected: Trace, part: UnitComparison) -> float | None:
    """The reference's s - threshold at the first difference of a unit."""
    if part.first is None or part.name not in expected.states:
        return None
    unit = graph.nodes[part.name]
    assert isinstance(unit, Unit)
    neuron = part.first.neuron if isinstance(part.first.neuron, tuple) else (part.first.neuron,)
    s = expected.states[part.name][(part.first.step, part.first.sample, *neuron)]
    threshold = np.broadcast_to(unit.threshold, expected.states[part.name].shape[2:])[neuron]
    return float(s - np.float64(threshold))


def _spikes(trace: Trace, name: str) -> int:
    """The spikes of a unit within the samples' lengths."""
    spikes = trace.spikes[name]
    alive = np.arange(len(spikes))[:, None] < trace.lengths
    return int((spikes.reshape(*spikes.shape[:2], -1).any(axis=-1) & alive).sum())

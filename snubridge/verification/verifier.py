"""``verify``: one graph, the same inputs, every engine, compared with the reference bin by bin."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snubridge.bridge.adapter import Adapter
from snubridge.bridge.lowering import lower
from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import engine_version, plugins
from snubridge.errors import BadInput, MissingEngine, Unsupported, shown
from snubridge.exactness import Certificate, ErrorModel
from snubridge.ir.graph import Graph
from snubridge.ir.nodes import Unit
from snubridge.ir.rules import validate
from snubridge.reference.inputs import Inputs, prepare
from snubridge.reference.interpreter import simulate
from snubridge.reference.trace import Trace
from snubridge.verification.certificates import Certificates, stated
from snubridge.verification.comparison import compare
from snubridge.verification.evidence import Evidence, digest_of
from snubridge.verification.ladder import Ladder, always_exact
from snubridge.verification.report import Report, Row
from snubridge.verification.suspects import Suspect, suspects
from snubridge.version import __version__

Backends = Sequence[str] | Mapping[str, tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Verification:
    """A report with what it rests on: traces, and certificates with their margins and bounds, by label."""

    report: Report
    expected: Trace
    traces: Mapping[str, Trace]
    certificates: Mapping[str, Certificate]


def verify(
    graph: Graph,
    inputs: Inputs,
    backends: Backends | None = None,
    *,
    lengths: ArrayLike | None = None,
    certify: bool = True,
) -> Report:
    """Run a graph on backends and compare every spike of every step with the reference.

    ``inputs``    (T, B, *shape), or a dict by input
    ``backends``  names; or a mapping from a label to (name, options); None: all that are installed
    ``lengths``   (B,): only these many steps of each sample are compared
    ``certify``   whether to compute which spikes must be equal, under each engine's error model. Without it nothing is
                  certified, and no difference is called explained or a bug. It takes several reference runs for each
                  distinct model, and holds two arrays like the states

    A backend that is named and refuses or is missing raises ``Unsupported`` or ``MissingEngine``;
    with ``backends=None`` it is a row with that verdict.
    """
    return verify_traces(graph, inputs, backends, lengths=lengths, certify=certify).report


def verify_traces(
    graph: Graph,
    inputs: Inputs,
    backends: Backends | None = None,
    *,
    lengths: ArrayLike | None = None,
    certify: bool = True,
    progress: Callable[[str], None] = lambda label: None,
) -> Verification:
    """``verify``, with the traces as well; ``progress`` is told each label before it runs, and what else takes long."""
    validate(graph)
    run = prepare(graph, inputs, lengths)
    chosen = _chosen(backends)
    progress("reference")
    expected = simulate(graph, inputs, record=("spikes", "states"), lengths=lengths)
    rows: list[Row] = []
    facts: dict[str, Mapping[str, Any]] = {}
    traces: dict[str, Trace] = {}
    certificates = Certificates(graph, run.inputs, lengths, progress)
    claims: dict[str, Mapping[str, Any]] = {}
    certified: dict[str, Certificate] = {}
    named: dict[str, tuple[Suspect, ...]] = {}
    models: dict[str, ErrorModel] = {}
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
        if certify and not always_exact(graph, program.rounding):
            found = certificates.of(program.rounding)
            claims[label] = stated(program.rounding, found)
            if isinstance(found, Certificate):
                certified[label] = found
        ladder = Ladder(graph, expected, trace, program.rounding, certified.get(label))
        rows.extend(_rows(label, adapter, ladder))
        if ladder.first_bug is not None:
            progress(f"suspects of {label}")
            named[label] = suspects(graph, run.inputs, expected, trace, ladder.first_bug)
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
        certificates=claims,
        suspects=named,
        inputs=digest_of(run),
        evidence=Evidence(graph, run, expected, traces, models, certificates if certify else None, chosen),
    )
    return Verification(report, expected, traces, certified)


def _chosen(backends: Backends | None) -> dict[str, tuple[str, Mapping[str, Any]]]:
    if backends is None:
        return {name: (name, {}) for name in plugins()}
    chosen: dict[str, tuple[str, Mapping[str, Any]]] = {}
    if isinstance(backends, str) or not isinstance(backends, Iterable):
        raise BadInput(f"backends={shown(backends)}: a list of names is needed, say ['pcm']")
    if isinstance(backends, Mapping):
        for label, value in backends.items():
            named = isinstance(label, str) and label != "" and isinstance(value, tuple) and len(value) == 2
            if not (named and isinstance(value[1], Mapping)):
                found = f"backends[{shown(label)}]={shown(value)}"
                raise BadInput(
                    f"{found}: under a label that is text and not empty, (name, options) is needed, say ('torch', {{}})"
                )
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


def _rows(label: str, adapter: Adapter, ladder: Ladder) -> Iterator[Row]:
    comparison = compare(ladder.expected, ladder.actual, precision=ladder.precision)
    version = engine_version(adapter)
    for part in (*comparison.units.values(), *comparison.outputs.values()):
        finding = ladder.finding(part.name)
        yield Row(
            backend=label,
            engine=adapter.engine,
            version=version,
            precision=ladder.model.precision,
            unit=part.name,
            kind=part.kind,
            compared=part.compared,
            spikes=part.spikes,
            differing=part.differing,
            largest_difference=part.largest_difference,
            first=part.first,
            margin=finding.margin,
            bound=finding.bound,
            roots=finding.roots,
            consequences=finding.consequences,
            explained=finding.explained,
            bugs=finding.bugs,
            shown=finding.shown,
            rung=finding.rung,
            verdict=finding.verdict,
        )


def _spikes(trace: Trace, name: str) -> int:
    """The spikes of a unit within the samples' lengths."""
    spikes = trace.spikes[name]
    alive = np.arange(len(spikes))[:, None] < trace.lengths
    return int((spikes.reshape(*spikes.shape[:2], -1).any(axis=-1) & alive).sum())

"""The page: what is claimed first, then the rows, the differences, the pictures, and where it all comes from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from snubridge.errors import shown
from snubridge.exactness import Certificate
from snubridge.verification.certificates import stated
from snubridge.verification.evidence import Evidence
from snubridge.verification.html import figures
from snubridge.verification.html.claims import WORDS, claim
from snubridge.verification.html.style import STYLE
from snubridge.verification.html.tables import (
    Cell,
    absent_table,
    cell,
    certificates_table,
    facts_table,
    number,
    place,
    rows_table,
    table,
)
from snubridge.verification.markup import escaped

if TYPE_CHECKING:
    from snubridge.verification.report import Report, Row

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The page may load nothing: the browser is told so."""


def page(report: Report) -> str:
    """The whole file. The same verification gives the same text: it holds no date."""
    said = claim(report)
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        f'<meta name="color-scheme" content="light dark"/><title>{escaped(said.title)} \u00b7 snubridge</title>'
        f"<style>{STYLE}</style>"
    )
    body = "".join(_body(report))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def _body(report: Report) -> Iterator[str]:
    said = claim(report)
    size = (
        f"{figures.count(report.steps, 'step')}, {figures.count(report.samples, 'sample')}, graph {report.graph[:12]}"
    )
    yield f'<header><p class="kicker">snubridge verification report \u00b7 {escaped(size)}</p>'
    yield f"<h1>{escaped(said.title)}</h1>"
    yield f'<div class="claim {said.tone}"><p>{escaped(said.sentence)}</p></div></header>'
    if said.says:
        yield f"<p><strong>What this says.</strong> {escaped(said.says)}</p>"
    if said.leaves:
        yield f"<p><strong>What it does not say.</strong> {escaped(said.leaves)}</p>"
    rows = rows_table(report)
    if rows:
        yield f"<h2>Backends and units</h2>{rows}"
    absent = absent_table(report)
    if absent:
        yield f"<h2>Did not run</h2><p>Nothing is claimed about these.</p>{absent}"
    yield from _differences(report)
    if report.evidence is None:
        yield "<h2>Pictures</h2><p>The runs that this report rests on were not stored with it: no pictures.</p>"
    else:
        yield from _pictures(report.evidence)
    yield from _certificates(report)
    yield from _provenance(report)
    words = "".join(f"<dt>{escaped(word)}</dt><dd>{escaped(text)}</dd>" for word, text in WORDS.items())
    yield f"<h2>What the words mean</h2><dl>{words}</dl>"
    version = escaped(report.versions.get("snubridge", ""))
    yield f'<footer><p class="note">Written by snubridge {version}. This file needs nothing else.</p></footer>'


def _differences(report: Report) -> Iterator[str]:
    backends = dict.fromkeys(row.backend for row in report.rows if row.ran and row.verdict != "equal")
    if not backends:
        return
    yield "<h2>Differences</h2>"
    drawn: list[str] = []
    for backend in backends:
        rows = [row for row in report.rows if row.backend == backend and row.differing]
        yield figures.heading(backend)
        yield from (f"<p>{figures.unbroken(sentence)}</p>" for sentence in _told(report, backend, rows))
        yield _roots(rows)
        evidence = report.evidence
        if evidence is None or backend not in evidence.traces:
            continue
        twin = next((other for other in drawn if evidence.agree(other, backend, evidence.spiking)), None)
        if twin is not None:
            yield f'<p class="note">It spikes like {escaped(twin)}, every step: the pictures are above.</p>'
        else:
            drawn.append(backend)
            yield from figures.mismatches(evidence, backend)
            yield figures.differing_calls(evidence, backend)


def _told(report: Report, backend: str, rows: list[Row]) -> Iterator[str]:
    """The first difference, and who is suspected."""
    first = min((row for row in rows if row.first), key=lambda row: row.first.step if row.first else 0, default=None)
    if first is not None:
        text = f"The first difference: {first.unit}, {place(first.first)}."
        if first.margin is not None:
            text += f" There s \u2212 threshold is {first.margin:+.3g} in the reference"
            text += (
                f", and the bound for {first.precision} is {number(first.bound)}." if first.bound is not None else "."
            )
        if first.largest_difference is not None:
            text += f" The largest difference is {number(first.largest_difference)}."
        yield text
    suspects = report.suspects.get(backend, ())
    if suspects:
        yield f"The usual mistakes, tried one by one: {'; '.join(map(str, suspects))}."
    elif any(getattr(row, "bugs", None) for row in rows):
        yield "None of the usual mistakes explains any of it."


def _roots(rows: list[Row]) -> str:
    """The roots that the rows name."""
    roots = [root for row in rows for root in getattr(row, "shown", ())]
    if not roots:
        return ""
    header = [
        Cell("unit"),
        Cell("kind"),
        Cell("step", "n"),
        Cell("sample", "n"),
        Cell("neuron"),
        Cell("margin", "n"),
        Cell("bound", "n"),
    ]
    kinds = {True: Cell("explained", "warn"), False: Cell("bug", "bad"), None: Cell("root")}
    body = [
        [
            Cell(root.unit),
            kinds[root.explained],
            cell(root.step),
            cell(root.sample),
            Cell(str(root.neuron)),
            cell(root.margin),
            cell(root.bound),
        ]
        for root in roots
    ]
    return table("Roots of the differences", header, body)


def _pictures(evidence: Evidence) -> Iterator[str]:
    if not evidence.spiking:
        yield "<h2>Spikes</h2><p>No unit of this graph spikes: there is nothing to draw.</p>"
        return
    if evidence.traces:
        yield "<h2>Spikes</h2>"
        yield from figures.rasters(evidence)
    yield "<h2>The closest calls</h2>"
    yield (
        "<p>A spike can differ only where the state comes so close to the threshold that rounding may move it across. "
        "Below: all margins, then the decisions with the smallest ones, at most one for each neuron of a sample.</p>"
    )
    yield from (f'<p class="note">{escaped(text)}</p>' for text in _without_bound(evidence))
    yield figures.margins(evidence)
    yield figures.bound_keys(evidence)
    yield figures.closest_calls(evidence)


def _without_bound(evidence: Evidence) -> Iterator[str]:
    if not evidence.bounds:
        yield "No bound was computed."
    for model, (names, found) in evidence.bounds.items():
        if isinstance(found, str):
            yield f"No bound for {model.precision} ({', '.join(names)}): {found}"


def _certificates(report: Report) -> Iterator[str]:
    found: dict[str, Mapping[str, Any]] = {}
    if report.evidence is not None:
        for model, (names, certificate) in report.evidence.bounds.items():
            found[", ".join(names)] = {**stated(model, certificate), "bound": _largest(certificate)}
    else:
        found = dict(getattr(report, "certificates", {}))
    if found:
        yield "<h2>Certificates</h2>"
        yield "<p>What rounding can turn, under each engine's error model, for these inputs.</p>"
        yield certificates_table(found)


def _largest(certificate: Certificate | str) -> float | None:
    if isinstance(certificate, str):
        return None
    return max((float(bound.max()) for bound in certificate.bounds.values()), default=None)


def _provenance(report: Report) -> Iterator[str]:
    yield "<h2>Where this comes from</h2>"
    pairs: list[tuple[str, Any]] = [
        ("graph", Cell(f"SHA-256 {report.graph}", "long hash")),
        ("inputs", Cell(f"SHA-256 {report.inputs}" if report.inputs else "not recorded", "long hash")),
        ("size", f"{figures.count(report.steps, 'step')}, {figures.count(report.samples, 'sample')}"),
    ]
    evidence = report.evidence
    if evidence is not None:
        lengths = evidence.run.lengths
        if (lengths != report.steps).any():
            pairs.append(("lengths", f"from {lengths.min()} to {lengths.max()} steps"))
        nodes = figures.count(len(evidence.graph.nodes), "node")
        edges = figures.count(len(evidence.graph.edges), "edge")
        pairs.append(
            (
                "network",
                f"{nodes}, {edges}, numbers {evidence.graph.numbers.name}",
            )
        )
        pairs += [
            (f"metadata: {key}", shown(value, 300)) for key, value in sorted(evidence.graph.metadata.items(), key=str)
        ]
    pairs += [(name, version) for name, version in report.versions.items()]
    pairs += [
        (backend, f"version {version}")
        for backend, version in dict.fromkeys((row.backend, row.version) for row in report.rows if row.version)
    ]
    pairs += [(f"{backend}: facts", facts) for backend, facts in report.facts.items()]
    yield facts_table("Provenance", pairs)
    if evidence is not None and evidence.chosen:
        yield "<p>The same again, with the graph and inputs of these digests:</p>"
        yield f"<pre><code>{escaped(command(evidence))}</code></pre>"


def command(evidence: Evidence) -> str:
    """What to run for the same report: on the command line, or in Python where labels are not names."""
    chosen = evidence.chosen
    if any(label != name for label, (name, _) in chosen.items()):
        named = ", ".join(f"{label!r}: ({name!r}, {dict(options)!r})" for label, (name, options) in chosen.items())
        return f"sb.verify(graph, inputs, {{{named}}}).to_html('report.html')"
    words = ["snubridge verify NET.safetensors --inputs X.npy"]
    if (evidence.run.lengths != evidence.run.steps).any():
        words.append("--lengths L.npy")
    words.append(f"--on {shlex.quote(','.join(chosen))}")
    words += [
        f"--option {shlex.quote(f'{label}.{key}={_option(value)}')}"
        for label, (_, options) in chosen.items()
        for key, value in options.items()
    ]
    return " ".join([*words, "--report report.html"])


def _option(value: Any) -> str:
    """A value as the command line reads it."""
    return value if isinstance(value, str) else json.dumps(value, default=lambda other: shown(type(other).__name__))

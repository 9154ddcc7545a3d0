"""What the results of a campaign add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from snubridge.verification.fuzz.outcome import FAILING, OUTCOMES
from snubridge.verification.report import table

COMPARED = ("equal", "explained", "bug", "values")
"""Outcomes of runs whose every spike was compared."""


class Tally:
    """Counts over lines of results. ``neuron_steps`` of a backend: neurons of all units times steps times samples,
    summed over the graphs whose run there was compared; the ``total`` sums over backends as well."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.outcomes: dict[str, Counter[str]] = {label: Counter() for label in labels}
        self.neuron_steps: Counter[str] = Counter()
        self.roots: Counter[str] = Counter()
        self.graphs = self.spikes = self.failing = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """One graph's line."""
        self.graphs += 1
        self.spikes += line["spikes"]
        for label, outcome in line["backends"].items():
            kind = outcome["outcome"]
            self.outcomes.setdefault(label, Counter())[kind] += 1
            self.failing += kind in FAILING
            if kind in COMPARED:
                self.neuron_steps[label] += line["steps"] * line["samples"] * line["neurons"]
                self.roots[label] += int(outcome.get("roots", 0))

    def document(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "graphs": self.graphs,
            "spikes": self.spikes,
            "failing": self.failing,
            "bugs": sum(counts["bug"] for counts in self.outcomes.values()),
            "neuron_steps": sum(self.neuron_steps.values()),
            "backends": {
                label: {**dict(counts), "neuron_steps": self.neuron_steps[label], "roots": self.roots[label]}
                for label, counts in self.outcomes.items()
            },
        }

    def lines(self, rates: Mapping[str, float]) -> list[str]:
        """A table for people; ``rates``: neuron-steps per second of this session, by backend."""
        shown = [kind for kind in OUTCOMES if any(counts[kind] for counts in self.outcomes.values())]
        header = ("backend", *shown, "neuron-steps", "per second")
        body = [
            (
                label,
                *(f"{counts[kind]:,}" for kind in shown),
                f"{self.neuron_steps[label]:,}",
                f"{rates[label]:,.0f}" if label in rates else "-",
            )
            for label, counts in self.outcomes.items()
        ]
        return table(header, body, right=range(1, len(header)))

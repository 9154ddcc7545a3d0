"""The report: one dictionary, written as JSON and shown as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.sections import Goal, Row, Section

CASES = {
    "dynamics": "The dynamics alone, forward and backward",
    "layer": "A dense layer with binary inputs, forward and backward",
    "recurrent": "A recurrent layer, forward and backward",
    "network": "A training step",
}


def method(repeats: int, warmup: int, measured: str, memory: str) -> str:
    """How it was measured, in a few sentences; ``measured`` and ``memory`` as a platform has them."""
    return (
        f"{measured}, all candidates of a table in one "
        f"process and taking turns: {warmup} warm-up calls each, then {repeats} rounds, in which fast candidates run "
        f"up to five times; memory that a call frees {memory}. Every neuron has decay 0.8, threshold 1, reset to zero "
        "and the surrogate 1 / (1 + abs(v))^2 where nothing else is said; before the timing, spikes are compared with "
        "those of snubridge's eager kernel, and gradients where both compute the same equation. Times are medians with "
        "quartiles, ratios are medians of the ratios of single rounds."
    )


def as_dictionary(sections: Sequence[Section], machine: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "machine": dict(machine),
        **about,
        "goals": [_goal(goal) for section in sections for goal in section.goals],
        "sections": [
            {
                "case": section.case,
                "title": section.title,
                "base": section.base,
                "rows": [_row(row) for row in section.rows],
                "notes": list(section.notes),
            }
            for section in sections
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    found = asdict(row)
    traffic = found.pop("traffic")
    if row.traffic is None:
        return found
    return found | {
        "moved_bytes": row.traffic.per_element,
        "gigabytes_per_second": row.bandwidth,
        "moved": traffic["terms"],
    }


def _goal(goal: Goal) -> dict[str, Any]:
    return asdict(goal) | {"met": goal.met}


def markdown(sections: Sequence[Section], headline: str, versions: Mapping[str, str], how: str) -> str:
    """The tables, the goals first."""
    lines = [
        f"Measured on {headline}. " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        "",
        how,
        "",
        "| figure | goal | reached | quartiles | |",
        "|---|---|---:|---:|---|",
        *(_goal_line(goal) for section in sections for goal in section.goals),
    ]
    for case, heading in CASES.items():
        chosen = [section for section in sections if section.case == case]
        if chosen:
            lines += ["", f"### {heading}"]
        for section in chosen:
            lines += ["", f"#### {section.title}", "", *_table(section)]
            for note in section.notes:
                lines += ["", note]
    return "\n".join(lines) + "\n"


def _goal_line(goal: Goal) -> str:
    bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"
    if goal.reached is None:
        return f"| {goal.what} | {bound} | | | not measured: no such opponent was asked for |"
    spread = "" if goal.spread is None else f"{goal.spread[0]:.2f} to {goal.spread[1]:.2f}"
    return f"| {goal.what} | {bound} | {goal.reached:.2f} | {spread} | {'met' if goal.met else '**not met**'} |"


def _table(section: Section) -> list[str]:
    """A row for each candidate; columns that no candidate fills are left out."""
    columns = {
        "ms": lambda row: f"{row.milliseconds[1]:.3g}" if row.milliseconds[1] < 100 else f"{row.milliseconds[1]:.0f}",
        "quartiles": lambda row: f"{row.milliseconds[0]:.3g} to {row.milliseconds[2]:.3g}",
        f"times {section.base}": lambda row: f"{row.times_base[1]:.2f}",
        "times the floor": lambda row: None if row.times_floor is None else f"{row.times_floor[1]:.2f}",
        "rate": lambda row: None if row.rate is None else f"{100 * row.rate:.1f} %",
        "spikes that differ": lambda row: None if row.differing is None else f"{row.differing:.2g}",
        "bytes saved": lambda row: None if row.saved_bytes is None else f"{row.saved_bytes:.1f}",
        "bytes moved": lambda row: None if row.traffic is None else f"{row.traffic.per_element:.2f}",
        "GB/s": lambda row: None if row.bandwidth is None else f"{row.bandwidth:.3g}",
        "settings": lambda row: row.settings or None,
    }
    cells = {name: [shown(row) for row in section.rows] for name, shown in columns.items()}
    filled = [name for name, column in cells.items() if any(cell is not None for cell in column)]
    lines = [
        f"| | {' | '.join(filled)} |",
        f"|---|{'|'.join('---' if name == 'settings' else '---:' for name in filled)}|",
    ]
    for index, row in enumerate(section.rows):
        lines.append(f"| {row.name} | {' | '.join(cells[name][index] or '' for name in filled)} |")
    return lines

"""The report: one dictionary, written as JSON and shown as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.sections import Goal

from networks.tables import Table


def as_dictionary(
    tables: Sequence[Table], about: Mapping[str, Any], versions: Mapping[str, str], skipped: Sequence[str]
) -> dict[str, Any]:
    """Everything that was measured."""
    goals = [asdict(goal) | {"met": goal.met} for table in tables for goal in table.goals]
    shown = [{"title": table.title, "rows": [dict(row) for row in table.rows]} for table in tables]
    return {
        "machine": dict(about),
        "versions": dict(versions),
        "skipped": list(skipped),
        "goals": goals,
        "tables": shown,
    }


def markdown(
    tables: Sequence[Table], about: Mapping[str, Any], versions: Mapping[str, str], skipped: Sequence[str], how: str
) -> str:
    """The tables, the goals first; ``how`` they were measured."""
    lines = [
        f"Measured on {about['cpu']}, {about['cores']} cores, one thread, {about['system']}, "
        f"load {about['load_before']} before the run. "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}.",
        "",
        how,
        "",
        *[f"{line}.\n" for line in skipped],
        "| figure | goal | reached | quartiles | |",
        "|---|---|---:|---:|---|",
        *(_goal(goal) for table in tables for goal in table.goals),
    ]
    for table in tables:
        columns = [column for column in table.rows[0] if column != "name"]
        lines += ["", f"#### {table.title}", "", f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
        lines += [
            f"| {row['name']} | {' | '.join(_cell(column, row[column]) for column in columns)} |" for row in table.rows
        ]
        lines += ["", table.note] if table.note else []
    return "\n".join(lines) + "\n"


def _goal(goal: Goal) -> str:
    bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"
    spread = "" if goal.spread is None else f"{goal.spread[0]:.2f} to {goal.spread[1]:.2f}"
    return f"| {goal.what} | {bound} | {goal.reached:.2f} | {spread} | {'met' if goal.met else '**not met**'} |"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(f"{part:.3g}" for part in value)
    if column == "rate":
        return f"{100 * value:.1f} %"
    return str(value) if isinstance(value, int) else f"{value:.3g}"

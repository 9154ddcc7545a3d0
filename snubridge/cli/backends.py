"""List the backends that are installed, and what each can express."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.bridge.adapter import Adapter
from snubridge.bridge.plugins import backends, engine_version, load_engine, plugins
from snubridge.errors import MissingEngine
from snubridge.verification.report import table


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""


def run(_args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    found = {name: _described(adapter) for name, adapter in backends().items() if _loads(adapter)}
    rest = len(plugins()) - len(found)
    header = ("backend", "engine", "version", "reads back", "nodes", "resets", "g", "h", "over time", "numbers")
    body = [
        (
            name,
            *(str(entry[key]) for key in ("engine", "version", "reads_back")),
            *(", ".join(entry[key]) for key in ("nodes", "resets", "g", "h", "over_time", "numbers")),
        )
        for name, entry in found.items()
    ]
    lines = table(header, body)
    if rest:
        lines.append(f"{rest} more cannot run here: snubridge doctor says why")
    return 0, {"backends": found}, "\n".join(lines)


def _loads(adapter: Adapter) -> bool:
    try:
        load_engine(adapter)
    except MissingEngine:  # counted below, and `doctor` says why
        return False
    return True


def _described(adapter: Adapter) -> dict[str, Any]:
    support = adapter.support
    return {
        "engine": adapter.engine,
        "version": engine_version(adapter),
        "reads_back": "yes" if hasattr(adapter, "read") else "no",
        "nodes": sorted(kind.__name__ for kind in support.nodes),
        "resets": sorted(reset.value for reset in support.resets),
        "g": sorted(kind.__name__ for kind in support.g),
        "h": sorted(kind.__name__ for kind in support.h),
        "over_time": sorted(str(how or "every step") for how in support.over_time),
        "numbers": sorted(kind.__name__ for kind in support.numbers),
    }

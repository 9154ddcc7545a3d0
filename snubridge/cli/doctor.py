"""Import every engine and say what works, what does not, and what helps."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from snubridge.bridge.plugins import Plugin, engine_version, load_engine, plugins
from snubridge.errors import MissingEngine
from snubridge.verification.report import table

LIBRARIES = ("numpy", "safetensors", "numba", "matplotlib", "music21", "tqdm")


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""


def run(_args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    engines = {name: _examined(plugin) for name, plugin in plugins().items()}
    libraries = {name: _version(name) for name in LIBRARIES}
    document = {"python": platform.python_version(), "libraries": libraries, "engines": engines}
    body = [(name, entry["version"] or "", entry["status"], entry["problem"] or "") for name, entry in engines.items()]
    lines = [f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    lines += [f"{name} {found or 'not installed'}" for name, found in libraries.items()]
    lines += ["", *table(("engine", "version", "status", "problem"), body)]
    parts = [(part, found) for entry in engines.values() for part, found in entry["parts"].items()]
    return 0, document, "\n".join([*lines, "", *(f"{part}: {found}" for part, found in parts)])


def _examined(plugin: Plugin) -> dict[str, Any]:
    if plugin.adapter is None:
        return {"version": None, "status": "broken", "problem": plugin.problem, "parts": {}}
    try:
        found = engine_version(plugin.adapter)
    except MissingEngine as error:
        return {"version": None, "status": "missing", "problem": str(error), "parts": {}}
    try:
        load_engine(plugin.adapter)
    except MissingEngine as error:
        return {"version": found, "status": "broken", "problem": str(error), "parts": {}}
    diagnosis = getattr(plugin.adapter, "diagnosis", dict)
    return {"version": found, "status": "ready", "problem": None, "parts": diagnosis()}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None

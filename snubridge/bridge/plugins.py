"""Adapters by entry point: ours have no privilege over an outsider's."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass

from snubridge.bridge.adapter import Adapter, Requirement
from snubridge.errors import BadInput, MissingEngine, shown

GROUP = "snubridge.adapters"


@dataclass(frozen=True)
class Plugin:
    """One entry point: its adapter, or the problem that kept it from loading."""

    name: str
    adapter: Adapter | None
    problem: str | None


def plugins() -> dict[str, Plugin]:
    """All plug-ins by name; one that is broken says so and hinders no other."""
    found: dict[str, Plugin] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
            adapter = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # noqa: BLE001  # a foreign module may raise anything; `doctor` shows it
            found[entry.name] = Plugin(entry.name, None, f"{entry.value} does not load: {_cause(error)}")
            continue
        if getattr(adapter, "name", None) == entry.name and callable(getattr(adapter, "lower", None)):
            found[entry.name] = Plugin(entry.name, adapter, None)
        else:
            found[entry.name] = Plugin(entry.name, None, f"{entry.value} is no adapter called {entry.name}")
    return found


def adapter(name: str) -> Adapter:
    """The adapter of that name, whether its engine is installed or not."""
    known = plugins()
    if not isinstance(name, str) or name not in known:
        raise BadInput(f"no backend is called {shown(name)}; known: {', '.join(known) or 'none'}")
    plugin = known[name]
    if plugin.adapter is None:
        raise MissingEngine(f"{name}: {plugin.problem}")
    return plugin.adapter


def engine_version(adapter: Adapter) -> str | None:
    """The version of the engine (None if the adapter names no requirement); imports nothing.

    ``MissingEngine`` says what to install.
    """
    needed: Requirement | None = getattr(adapter, "requirement", None)
    if needed is None:
        return None
    versions: list[str] = []
    for distribution in needed.distributions:
        try:
            versions.append(importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            raise MissingEngine(
                f"{adapter.name}: {distribution} is not installed: pip install '{needed.install}'"
            ) from None
    return versions[0]


def load_engine(adapter: Adapter) -> None:
    """Import the engine, or raise ``MissingEngine`` with the cause (a broken install is one)."""
    engine_version(adapter)
    needed: Requirement | None = getattr(adapter, "requirement", None)
    for module in needed.modules if needed else ():
        try:
            importlib.import_module(module)
        except Exception as error:  # an engine may fail in its own way, AttributeError included
            raise MissingEngine(
                f"{adapter.name}: {module} does not import ({_cause(error)}): "
                f"pip install '{needed.install if needed else module}' in a fresh environment"
            ) from error


def backends() -> dict[str, Adapter]:
    """The adapters whose engine is installed, by name; ``doctor`` lists the rest and why."""
    ready: dict[str, Adapter] = {}
    for name, plugin in plugins().items():
        if plugin.adapter is not None and _installed(plugin.adapter):
            ready[name] = plugin.adapter
    return ready


def _installed(adapter: Adapter) -> bool:
    try:
        engine_version(adapter)
    except MissingEngine:
        return False
    return True


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]

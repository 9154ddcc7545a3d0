"""What a campaign runs on: backends with their options, each under a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from snubridge.bridge.lowering import check_options
from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import backends, engine_version
from snubridge.errors import BadFile, BadInput, shown
from snubridge.ir.document import from_json
from snubridge.ir.numbers import NUMBERS
from snubridge.ir.rules import NAME


@dataclass(frozen=True)
class Target:
    """A backend as it is asked for: ``label`` names it in results, ``version`` is that of its engine."""

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    version: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Target, (self.label, self.name, dict(self.options), self.version)  # on the way to a worker

    def document(self) -> dict[str, Any]:
        """What results say of it, beside the label."""
        return {"name": self.name, "options": dict(self.options), "version": self.version}


def parse_targets(text: str | None) -> tuple[Target, ...]:
    """Targets of ``[LABEL=]NAME[:OPTION...]``, separated by commas; None: all backends that are installed.

    An OPTION is KEY=VALUE (JSON, or else text), or float32 or float64 for precision=. The label is the text before
    the equal sign, by default the name and what the options say: ``onnx:float32`` is called ``onnx-float32``.
    """
    targets = [_target(part) for part in (list(backends()) if text is None else text.split(","))]
    if not targets:
        raise BadInput("no backend is installed: snubridge doctor says what is missing")
    for place, target in enumerate(targets):
        if target.label in [other.label for other in targets[:place]]:
            raise BadInput(f"--backends: two are called {target.label}; name one of them LABEL={target.name}:...")
    return tuple(targets)


def target_of(label: str, document: Mapping[str, Any]) -> Target:
    """The target of a ``document``, on the engine as it is installed now; raises ``BadInput`` and ``MissingEngine``."""
    name, options = document["name"], document["options"]
    if not NAME.fullmatch(label):
        raise BadInput(f"--backends: {shown(label)} is no label: letters, digits and -_. are")
    adapter = find_adapter(name)
    check_options(name, adapter.lower, options)
    return Target(label, name, MappingProxyType(dict(options)), engine_version(adapter))


def _target(text: str) -> Target:
    head, *parts = text.split(":")
    label, _, name = head.rpartition("=")
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = ("precision", "=", part) if part in NUMBERS else part.partition("=")
        if not equals or not key.isidentifier() or key in options:
            raise BadInput(f"--backends {shown(text)}: [LABEL=]NAME[:KEY=VALUE...] is needed, say onnx:float32")
        options[key] = _value(value)
    label = label or "-".join([name, *(str(value) for value in options.values())])
    return target_of(label, {"name": name, "options": options})


def _value(text: str) -> Any:
    try:
        return from_json(text)
    except BadFile:
        return text


def described(targets: Sequence[Target]) -> dict[str, Any]:
    """All of them by label, as results say it."""
    return {target.label: target.document() for target in targets}

"""Descriptions of earlier versions, as those of today that mean the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from snubridge.errors import BadFile
from snubridge_pcm.description import NAME, VERSION, VERSION_OF_FIXED_POINT, Document
from snubridge_pcm.form import FIXED_POINT, HARDWARE, demand

ADDED = {"crossbars", "uses_per_step", "window"}
"""To a crossbar in version 2."""


def _form_1() -> dict[str, Any]:
    crossbar = {key: form for key, form in HARDWARE["crossbars"][0].items() if key not in ADDED}
    return {key: form for key, form in HARDWARE.items() if key != "pools"} | {"crossbars": [crossbar]}


def _from_1(document: Document) -> Document:
    """Of version 1, which knows Linear crossbars only, each its own entry."""
    added = [
        {"crossbars": 1, "uses_per_step": math.prod(entry["shape"][:-1]), "window": None}
        for entry in document["crossbars"]
    ]
    crossbars = [entry | more for entry, more in zip(document["crossbars"], added, strict=True)]
    return document | {"format": {"name": NAME, "version": 2}, "crossbars": crossbars, "pools": []}


VERSIONS: dict[int, tuple[dict[str, Any], Callable[[Document], Document]]] = {
    1: (_form_1(), _from_1),
    VERSION: (HARDWARE, lambda document: document),
    VERSION_OF_FIXED_POINT: (FIXED_POINT, lambda document: document),
}


def demand_version(form: Any) -> int:
    """The version that a document's ``format`` states; ``BadFile`` for one that is not read here."""
    known = [{"name": NAME, "version": version} for version in VERSIONS]
    if form not in known or type(form["version"]) is not int:
        raise BadFile(
            f"format {form!r:.100}; this snubridge reads {NAME} of versions {min(VERSIONS)} to {max(VERSIONS)}: "
            "install a newer one"
        )
    version: int = form["version"]
    return version


def demand_form(document: Document, version: int) -> None:
    """``BadFile`` naming the place where a document has not the form of its version."""
    demand(document, VERSIONS[version][0], "$")


def upgrade(document: Document, version: int) -> Document:
    """The same description in today's version."""
    return VERSIONS[version][1](document)

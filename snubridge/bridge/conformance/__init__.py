"""What an adapter's tests inherit: cases, random graphs, and the suite. Only the suite needs pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snubridge.bridge.conformance.cases import Case as Case
from snubridge.bridge.conformance.families import random_case as random_case
from snubridge.bridge.conformance.space import random_graph as random_graph
from snubridge.bridge.conformance.zoo import ZOO as ZOO
from snubridge.bridge.conformance.zoo import holding as holding

if TYPE_CHECKING:
    from snubridge.bridge.conformance.suite import AdapterConformance as AdapterConformance


def __getattr__(name: str) -> Any:
    """The suite when it is asked for: `snubridge fuzz` draws from the same graphs, and works without pytest."""
    if name == "AdapterConformance":
        from snubridge.bridge.conformance.suite import AdapterConformance

        return AdapterConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

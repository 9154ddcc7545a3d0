"""The certificates that one verification needs: one for each error model, computed when it is first asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from numpy.typing import ArrayLike

from snubridge.errors import BadInput, Unsupported, one_line
from snubridge.exactness import Certificate, ErrorModel, certify
from snubridge.ir.graph import Graph
from snubridge.reference.inputs import Inputs


@dataclass
class Certificates:
    """Of one graph, inputs and lengths, by error model; with margins and bounds."""

    graph: Graph
    inputs: Inputs
    lengths: ArrayLike | None
    progress: Callable[[str], None]
    _known: dict[ErrorModel, Certificate | str] = field(default_factory=dict)

    def of(self, model: ErrorModel) -> Certificate | str:
        """The certificate; or why there is none: the format may overflow, or is no match for FixedPoint."""
        if model not in self._known:
            self.progress(f"certificate for {model.precision}")
            try:
                self._known[model] = certify(self.graph, self.inputs, model=model, record=True, lengths=self.lengths)
            except (BadInput, Unsupported) as error:  # the inputs are sound: the reference took them
                self._known[model] = why_none(error)
        return self._known[model]


def why_none(error: BadInput | Unsupported) -> str:
    """Why ``certify`` claims nothing, in one line."""
    return one_line("; ".join(error.reasons) if isinstance(error, Unsupported) else str(error))


def stated(model: ErrorModel, found: Certificate | str) -> dict[str, Any]:
    """What a report says of a certificate, as JSON can say it."""
    if isinstance(found, str):
        return {"model": asdict(model), "reason": found}
    smallest = found.smallest_margin
    return {
        "model": asdict(model),
        "reason": None,
        "decisions": found.decisions,
        "certified": found.certified,
        "conditional": found.conditional,
        "open": found.opened,
        "smallest_margin": smallest if math.isfinite(smallest) else None,
    }

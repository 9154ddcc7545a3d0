"""The cases by the names that ``--device`` and ``--case`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from training import cuda, dynamics, layer, network, recurrent
from training.sections import Section
from training.settings import Options

Case = Callable[[Options], list[Section]]
CASES: Mapping[str, Mapping[str, Case]] = {
    "cpu": {
        "dynamics": dynamics.run,
        "layer": layer.run,
        "recurrent": recurrent.run,
        "network": network.run,
    },
    "cuda": {
        "dynamics": cuda.dynamics.run,
        "layer": cuda.layer.run,
        "recurrent": cuda.recurrent.run,
    },
}

"""The cases by the name that ``--case`` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from training import dynamics, layer, network, recurrent
from training.sections import Section
from training.settings import Options

CASES: Mapping[str, Callable[[Options], list[Section]]] = {
    "dynamics": dynamics.run,
    "layer": layer.run,
    "recurrent": recurrent.run,
    "network": network.run,
}

"""What units are made of in a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
from numpy.typing import NDArray

from snubridge_nengo.engine.neurons import SNU, Array

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """An Ensemble with the neurons ``rows`` of a unit, None being all; what arrives is divided by 2^exponent."""

    ensemble: Any
    rows: Places | None = None
    exponent: int = 0


@dataclass(frozen=True)
class Port:
    """Where connections leave from, and where they go to: an object, its rows, and the exponent, for each part."""

    source: Any
    targets: tuple[tuple[Any, Places | None, int], ...]


def ensemble(size: int, neurons: Any, gain: Any, label: str) -> nengo.Ensemble:
    """Neurons that are connected one by one: no current of their own, and no directions or points to decode by."""
    return nengo.Ensemble(
        size,
        dimensions=1,
        neuron_type=neurons,
        gain=gain,
        bias=nengo.dists.Choice([0.0]),
        encoders=nengo.dists.Choice([[1.0]]),
        eval_points=np.ones((1, 1)),
        noise=None,
        label=label,
    )


def snu_parts(unit: Mapping[str, Any], arrays: Mapping[str, Array], samples: int) -> list[Part]:
    """One Ensemble of SNU neurons."""
    name = unit["name"]
    neurons = SNU(
        np.tile(arrays[f"decay/{name}"], samples),
        np.tile(arrays[f"threshold/{name}"], samples),
        reset=unit["reset"],
        g=unit["g"],
        h=unit["h"],
        initial_state={"s": np.tile(arrays[f"initial_state/{name}"], samples)},
        grid=unit.get("grid", {}),
        samples=samples,
    )
    return [Part(ensemble(unit["size"] * samples, neurons, nengo.dists.Choice([1.0]), name))]

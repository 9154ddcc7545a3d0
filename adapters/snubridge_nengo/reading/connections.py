"""Connections with constant transforms and whole steps of delay, as matrices between whole objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np

from snubridge.errors import shown
from snubridge_nengo.reading.drawing import Array, Refused, Seeds, is_random

LONGEST = 2**20
"""Steps of a delay."""


@dataclass(frozen=True)
class Projection:
    """What one Connection carries: ``weight`` (target, source) of the whole objects, after ``delay`` steps."""

    name: str
    source: str
    target: str
    weight: Array
    delay: int


def connection_oddities(connection: nengo.Connection) -> Iterator[Refused]:
    """All that a Connection does but multiply by constant weights."""
    if isinstance(connection.post_obj, nengo.connection.LearningRule):
        yield Refused("it leads to a learning rule", "leave learning out: a graph's weights are constant")
    if connection.learning_rule_type is not None:
        yield Refused("its weights are learned", "set learning_rule_type=None: a graph's weights are constant")
    if isinstance(connection.pre_obj, nengo.Ensemble):
        yield Refused("it leaves an ensemble by decoders", "connect from ensemble.neurons, with a matrix")
    if connection.function is not None:
        yield Refused("it computes a function", "give function=None, or the values as an input")
    for part in (connection.pre_slice, connection.post_slice):
        if isinstance(part, slice) and part.step is not None and part.step < 0:
            # Seen with 4.1.0: such a network spikes otherwise with optimize=True than without, or does not build.
            yield Refused(f"its slice {part.start}:{part.stop}:{part.step} runs backwards", "give a list of indices")


def read_delay(synapse: Any) -> int:
    """The steps that a synapse delays by: Nengo adds one to every synapse but None, whatever else that does."""
    remedy = "take synapse=None for no delay, 0 for one step, or nengo.LinearFilter([1], [1, 0, 0], analog=False) for 2"
    if synapse is None:
        return 0
    if type(synapse) in (nengo.Lowpass, nengo.Alpha):
        if vars(synapse).keys() != vars(nengo.Lowpass(0)).keys():
            raise Refused("attributes of its synapse were set by hand", remedy)
        if synapse.tau == 0:
            return 1
    elif type(synapse) is nengo.LinearFilter and not synapse.analog:
        plain = vars(synapse).keys() == vars(nengo.Lowpass(0)).keys() and np.array_equal(synapse.num, [1])
        if plain and synapse.den[0] == 1 and not synapse.den[1:].any() and len(synapse.den) <= LONGEST:
            return max(1, len(synapse.den) - 1)
    raise Refused(f"its synapse {shown(synapse)} is a filter", remedy)


def read_weight(connection: nengo.Connection, seeds: Seeds, shape: tuple[int, int], limit: int) -> Array:
    """The matrix of a connection, with its slices, between objects of these sizes (target, source)."""
    if shape[0] * shape[1] > limit:
        raise Refused(
            f"a matrix of {shape[0]} x {shape[1]} weights is above the limit of {limit:,}",
            f"raise it with the option max_synapses={shape[0] * shape[1]}",
        )
    post, pre = (
        np.atleast_1d(np.arange(size)[part])
        for size, part in zip(shape, (connection.post_slice, connection.pre_slice), strict=True)
    )
    transform = connection.transform
    if type(transform) is nengo.transforms.NoTransform:
        weight = np.eye(len(post))
    elif type(transform) is nengo.Dense:
        weight = _dense(connection, transform, seeds)
    elif type(transform) is nengo.Sparse:
        weight = _sparse(connection, transform.init, seeds)
    else:
        raise Refused(f"its transform is a {type(transform).__name__}", "give a matrix, dense or sparse")
    if weight.dtype.kind not in "biuf" or not np.isfinite(weight).all():
        raise Refused("its weights are not finite real numbers", "give finite weights")
    whole = np.zeros(shape)
    np.add.at(whole, (post[:, None], pre[None, :]), weight)
    return whole


def _dense(connection: nengo.Connection, transform: nengo.Dense, seeds: Seeds) -> Array:
    if is_random(transform.init, "transform"):
        seeds.demand(connection, "transform")
    weight = np.asarray(transform.sample(rng=np.random.RandomState(seeds.of[connection])))
    if weight.ndim == 2:
        return weight
    return np.diag(np.broadcast_to(weight, (transform.size_out,)))


def _sparse(connection: nengo.Connection, init: Any, seeds: Seeds) -> Array:
    if type(init) is not nengo.transforms.SparseMatrix:
        if not type(init).__module__.startswith("scipy.sparse"):
            raise Refused(f"its transform holds a {type(init).__name__}", "take nengo.Sparse with indices, or scipy's")
        return np.asarray(init.toarray())
    if is_random(init.data, "transform"):
        seeds.demand(connection, "transform")
    found = init.sample(rng=np.random.RandomState(seeds.of[connection]))
    if (found.indices < 0).any() or (found.indices >= np.asarray(found.shape)).any():
        raise Refused("its sparse transform has indices outside of it", "fix the indices")
    if len(np.unique(found.indices, axis=0)) < len(found.indices):
        raise Refused("its sparse transform has several values at one place", "make them one, with their sum")
    return np.asarray(found.toarray())

"""Before anything is timed: do the candidates compute the same, and what do they keep for the backward pass?"""

from __future__ import annotations

import torch
from torch import Tensor

from training.timing import Candidate, CandidateFailed

OUTLIERS = 1e-3
"""The share of gradients that may be beyond the tolerance: those of neurons whose spikes differ."""


def differing(candidate: Candidate) -> tuple[float | None, float | None]:
    """The rate of its spikes and the share that is not as expected; an error beyond what may differ."""
    if candidate.forward is None:
        return None, None
    with torch.no_grad():
        spikes = candidate.forward()
    if not bool(((spikes == 0) | (spikes == 1)).all()):
        return None, None  # the real-valued output of an LSTM has no rate
    rate = float(spikes.mean(dtype=torch.float32))
    if candidate.expected is None:
        return rate, None
    share = float((spikes != candidate.expected.spikes).double().mean())
    if share > candidate.expected.differing:
        raise CandidateFailed(
            f"{candidate.name}: {100 * share:.4f} % of its spikes are not those of the eager kernel; "
            f"at most {100 * candidate.expected.differing:g} % may differ"
        )
    _check_gradients(candidate)
    return rate, share


def _check_gradients(candidate: Candidate) -> None:
    expected = candidate.expected.gradients
    if not expected:
        return
    for index, (found, wanted) in enumerate(zip(candidate.gradients(), expected, strict=True)):
        beyond = (found - wanted).abs() > candidate.expected.tolerance * wanted.abs().max()
        if not (share := float(beyond.double().mean())) <= OUTLIERS or not bool(torch.isfinite(found).all()):
            raise CandidateFailed(
                f"{candidate.name}: gradient {index}: {100 * share:.2f} % of its elements are off by more than "
                f"{candidate.expected.tolerance:g} of the largest"
            )


def saved_bytes(candidate: Candidate) -> float | None:
    """Bytes kept for the backward pass per element of the output: each storage once, leaves not counted."""
    if candidate.forward is None:
        return None
    leaves = {leaf.untyped_storage().data_ptr() for leaf in candidate.leaves}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in leaves:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would be a cycle where it is an output

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = candidate.forward()
    return sum(kept.values()) / output.numel()

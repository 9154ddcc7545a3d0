"""Training of one layer of spiking neural units with a read-out: by backpropagation through time, or online."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import BadInput, shown
from snubridge.nn.kernels import State
from snubridge.nn.online.steps import Step, paired
from snubridge.nn.online.traces import Traces, advance, demand_local, gradients, lead_back, start
from snubridge.nn.reductions import Lengths
from snubridge.nn.units import SNU

METHODS, UPDATES = ("bptt", "online"), ("sequence", "step")
Found = dict[torch.nn.Parameter, Tensor]


@dataclass
class _Sums:
    """The sum of ``values`` losses, and its gradients: to the layer by name, to the read-out by parameter."""

    loss: Tensor
    values: int
    layer: dict[str, Tensor]
    readout: Found

    def add(self, other: _Sums) -> None:
        """Adds a later step's."""
        self.loss = self.loss + other.loss
        self.values += other.values
        _add(self.layer, other.layer)
        _add(self.readout, other.readout)


def _add(sums: dict[Any, Tensor], found: dict[Any, Tensor]) -> None:
    for key, value in found.items():
        sums[key] = sums[key] + value if key in sums else value


class Trainer:
    """Trains a layer and a read-out of it by gradients of L, the mean of loss(readout(y_t), target_t).

    ``layer``      an ``nn.SNU``
    ``readout``    a module from y_t (B, N) to a prediction (B, ...); called once for each step, so it sees no time
    ``loss``       ``loss(prediction_t, target_t)``, one value per sample or element, (B, ...): torch's losses with
                   ``reduction="none"``. L is the mean over them all, over the steps and samples that count; with
                   ``lengths`` the loss is given the rows of those samples only
    ``optimizer``  of the parameters of both; its ``step`` is called once per update
    ``method``     "bptt": backpropagation through the whole sequence, which is kept; "online": by ``Traces``, in memory
                   that does not grow with T. For a feed-forward layer both give the same gradient up to rounding; for a
                   recurrent one "online" leaves out the paths from neuron to neuron (``nn.online.traces``)
    ``update``     "sequence": one update, by the gradient of L; "step": one after each step, by that of its own L_t
                   ("online" only). What was eligible before an update stays so, as the parameters of that time had it

    Parameters that need no gradient stay as they are and have no traces; x receives no gradient. ``BadInput`` for what
    does not fit, and for a layer whose gradient the traces do not hold (``Reset.LATERAL``, unless it is detached).
    """

    def __init__(
        self,
        layer: SNU,
        readout: torch.nn.Module,
        loss: Callable[[Tensor, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        method: str = "bptt",
        update: str = "sequence",
    ) -> None:
        if not isinstance(layer, SNU):
            raise BadInput(f"layer: a {type(layer).__name__}; an nn.SNU is needed")
        if not isinstance(readout, torch.nn.Module):
            raise BadInput(f"readout: a {type(readout).__name__}; a torch module is needed")
        if not callable(loss):
            raise BadInput(f"loss: a {type(loss).__name__}; a function of prediction and target is needed")
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise BadInput(f"optimizer: a {type(optimizer).__name__}; one of torch.optim is needed")
        if method not in METHODS:
            raise BadInput(f"method={shown(method)}: choose from {', '.join(map(repr, METHODS))}")
        if update not in UPDATES:
            raise BadInput(f"update={shown(update)}: choose from {', '.join(map(repr, UPDATES))}")
        if method == "bptt" and update == "step":
            raise BadInput("update='step' needs method='online': backpropagation begins where the sequence ends")
        if method == "online":
            demand_local(layer)
        self.layer = layer
        self.readout = readout
        self.loss = loss
        self.optimizer = optimizer
        self.method = method
        self.update = update
        self._stream: Traces | None = None

    @property
    def state(self) -> State | None:
        """The layer's state after the latest ``observe``; None before the first one of a stream."""
        return None if self._stream is None else self._stream.state

    def reset(self) -> None:
        """Ends the stream that ``observe`` follows: the next one starts at rest."""
        self._stream = None

    def observe(self, x: Tensor, target: Any) -> Tensor:
        """One step of a stream, with ``update="step"``: x_t (B, in_features) and target_t to L_t before the update.

        State and traces are carried on from call to call, until ``reset``. Where the read-out or the loss raises, the
        stream has taken the step, and nothing is learned.
        """
        if self.update != "step":
            raise BadInput("observe needs update='step': a stream has no end to wait for")
        samples = len(x) if isinstance(x, Tensor) and x.ndim else 1  # else `advance` says what x is
        y, self._stream = advance(self.layer, self._stream or start(self.layer, samples), x, reuse=True)
        sums = self._learned(y, self._stream, target, None)
        self._update(self._means(sums))
        return sums.loss / sums.values

    def step(self, x: Tensor | Iterable[Tensor], target: Any, lengths: Lengths | None = None) -> Tensor:
        """One sequence, from rest: x (T, B, in_features) and target (T, B, ...) to L, as it was before the update.

        With ``update="step"`` L is the mean of what each step lost before its own update. With the layer's
        ``batch_first`` x and target are (B, T, ...). Either may be an iterable of x_t or target_t as well, which
        "online" takes step by step and does not keep. ``lengths`` (B,): only these many steps of each sample count;
        what stands beyond them in x and target reaches nothing. A stream of ``observe`` is left where it is.
        """
        steps = paired(self.layer, x, target, lengths)
        return self._online(steps) if self.method == "online" else self._backpropagated(steps)

    def _online(self, steps: Iterable[Step]) -> Tensor:
        traces = whole = None
        for x, target, counts in steps:
            y, traces = advance(self.layer, traces or start(self.layer, len(x)), x, reuse=True)
            sums = self._learned(y, traces, target, counts)
            if self.update == "step":
                self._update(self._means(sums))
                sums = _Sums(sums.loss, sums.values, {}, {})
            if whole is None:
                whole = sums
            else:
                whole.add(sums)
        assert whole is not None  # `paired` has at least one step
        if self.update == "sequence":
            self._update(self._means(whole))
        return whole.loss / whole.values

    def _backpropagated(self, steps: Iterable[Step]) -> Tensor:
        received = list(steps)
        x = torch.stack([x for x, _, _ in received], dim=1 if self.layer.batch_first else 0)
        y, _ = self.layer(x)
        losses = [
            self._evaluated(y_t, target, counts)
            for y_t, (_, target, counts) in zip(y.unbind(1 if self.layer.batch_first else 0), received, strict=True)
        ]
        mean = torch.stack([loss.sum() for loss in losses]).sum() / sum(loss.numel() for loss in losses)
        parameters = [p for p in (*self.layer.parameters(), *self.readout.parameters()) if p.requires_grad]
        found = torch.autograd.grad(mean, parameters, allow_unused=True)
        self._update({p: gradient for p, gradient in zip(parameters, found, strict=True) if gradient is not None})
        return mean.detach()

    def _learned(self, y: Tensor, traces: Traces, target: Any, counts: Tensor | None) -> _Sums:
        """A step's losses and gradients: those of the read-out by autograd, those of the layer by the traces."""
        y = y.detach().requires_grad_()  # not the y of the traces' own state
        losses = self._evaluated(y, target, counts)
        parameters = [p for p in self.readout.parameters() if p.requires_grad]
        signal, *found = torch.autograd.grad(losses.sum(), [y, *parameters], allow_unused=True)
        return _Sums(
            losses.detach().sum(),
            losses.numel(),
            {} if signal is None else gradients(self.layer, traces, signal),
            {p: gradient for p, gradient in zip(parameters, found, strict=True) if gradient is not None},
        )

    def _evaluated(self, y: Tensor, target: Any, counts: Tensor | None) -> Tensor:
        """The losses (B, ...) of one step, of the samples that count."""
        prediction = self.readout(y)
        if not isinstance(prediction, Tensor) or not prediction.ndim or len(prediction) != len(y):
            found = f"shape {tuple(prediction.shape)}" if isinstance(prediction, Tensor) else type(prediction).__name__
            raise BadInput(f"readout: returned {found}; a tensor ({len(y)}, ...) is needed")
        if counts is not None:
            if not isinstance(target, Tensor) or not target.ndim or len(target) != len(y):
                raise BadInput(f"target of a step: {shown(target)}; with lengths a tensor ({len(y)}, ...) is needed")
            prediction, target = prediction[counts], target[counts]
        losses = self.loss(prediction, target)
        if not isinstance(losses, Tensor) or not losses.ndim or len(losses) != len(prediction):
            found = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
            raise BadInput(f"loss: returned {found}; a value per sample is needed, say by reduction='none'")
        if not losses.requires_grad:
            raise BadInput("loss: no gradient leads back from it; neither it nor the read-out may detach")
        return losses

    def _means(self, sums: _Sums) -> Found:
        found = {p: gradient / sums.values for p, gradient in sums.readout.items()}
        layer = lead_back(self.layer, {name: gradient / sums.values for name, gradient in sums.layer.items()})
        _add(found, {getattr(self.layer, name): gradient for name, gradient in layer.items()})
        return found

    def _update(self, found: Found) -> None:
        self.optimizer.zero_grad()
        for parameter, gradient in found.items():
            parameter.grad = gradient
        self.optimizer.step()

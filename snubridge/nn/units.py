"""Layers of spiking neural units for PyTorch: the dynamics alone, and with its projections."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from snubridge.errors import BadInput, MissingEngine, Unsupported
from snubridge.ir.functions import (
    OUTPUT_FUNCTIONS,
    STATE_FUNCTIONS,
    Identity,
    OutputFunction,
    Reset,
    StateFunction,
    Step,
)
from snubridge.nn.kernels import Choice, Dynamics, State, choose, choose_projection, clamped, project, run
from snubridge.nn.surrogates import Surrogate, TanhDerivative


class Unit(torch.nn.Module):
    """The dynamics of spiking neural units alone (Wozniak et al. 2020).

        s_t = g(c_{t-1} + x_t),  y_t = h(s_t - threshold)     c: see ``snubridge.Reset``

    ``forward(x, state=None)`` takes the drive x (T, B, *shape) and returns y (T, B, *shape) and
    the ``State`` after the last step, like ``torch.nn.LSTM``; with ``batch_first`` x and y are
    (B, T, *shape).

    ``shape``            an integer or a tuple: the neurons of one sample
    ``decay``            in [0, 1], one value or one per neuron; learned with ``learn_decay`` (clamped to [0, 1];
                         beyond it, gradients that lead back still pass)
    ``threshold``        the paper's -b, one value or one per neuron; learned by default, per neuron
    ``initial_state``    s_{-1}, one value or one per neuron; learned, per neuron, with ``learn_initial_state``;
                         y_{-1} = 0
    ``reset, g, h``      as in ``snubridge.Unit``
    ``surrogate``        stands for the derivative of the step; the derivative of tanh by default
    ``kernel``           "cpu" (compiled loops, ``snubridge.nn.kernels.cpu``), "triton" (the same on a GPU), "eager"
                         (plain PyTorch, step by step) or "auto", the fastest that can run; the one that runs stands in
                         ``repr``. Spikes are the same, but for the order of recurrent sums on a GPU.
    ``detach_reset``     gradients do not flow through the reset; they do in the paper
    ``narrow_spikes``    spikes of the type of the drive, where it has 16 bits (in ``torch.autocast``, say): half the
                         memory traffic; else they have the type of the state
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        *,
        decay: ArrayLike | Tensor = 0.8,
        threshold: ArrayLike | Tensor = 1.0,
        initial_state: ArrayLike | Tensor = 0.0,
        reset: Reset = Reset.TO_ZERO,
        g: StateFunction = Identity(),
        h: OutputFunction = Step(),
        surrogate: Surrogate = TanhDerivative(),
        learn_decay: bool = False,
        learn_threshold: bool = True,
        learn_initial_state: bool = False,
        batch_first: bool = False,
        kernel: str = "auto",
        detach_reset: bool = False,
        narrow_spikes: bool = False,
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in self.shape):
            raise BadInput(f"shape={shape!r}: an integer or a tuple of integers, each at least 1, is needed")
        _check_dynamics(reset, g, h, surrogate)
        if not isinstance(detach_reset, bool):
            raise BadInput(f"detach_reset={detach_reset!r}: True or False is needed")
        self.dynamics = Dynamics(reset, g, h, surrogate, detach_reset=detach_reset)
        if not isinstance(narrow_spikes, bool):
            raise BadInput(f"narrow_spikes={narrow_spikes!r}: True or False is needed")
        self.batch_first = batch_first
        self.narrow_spikes = narrow_spikes
        self.kernel = kernel
        self.learn_decay = learn_decay
        self.decay: Tensor
        self.threshold: Tensor
        self.initial_state: Tensor
        self._hold("decay", decay, learn_decay)
        self._hold("threshold", threshold, learn_threshold)
        self._hold("initial_state", initial_state, learn_initial_state)
        if not bool(((self.decay >= 0) & (self.decay <= 1)).all()):
            raise BadInput(f"decay={decay!r}: values in [0, 1] are needed")
        choose(self.kernel, self.dynamics, self.decay.expand(self.shape), placed=False)

    @property
    def running_kernel(self) -> Choice:
        """The kernel that runs with the present parameters; ``Unsupported`` where the one asked for cannot."""
        return self._chosen()

    def _chosen(self, *given: Tensor) -> Choice:
        recurrent = getattr(self, "recurrent", None) is not None
        return choose(self.kernel, self.dynamics, self.decay.expand(self.shape), recurrent, given)

    def _hold(self, name: str, value: ArrayLike | Tensor, learned: bool) -> None:
        try:
            tensor = torch.as_tensor(value).detach().to(torch.get_default_dtype()).clone()
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadInput(f"{name}={value!r:.60}: numbers are needed ({error})") from None
        if tensor.ndim and tensor.shape != self.shape:
            raise BadInput(f"{name}: shape {tuple(tensor.shape)}; one value or one per neuron {self.shape} is needed")
        if not bool(torch.isfinite(tensor).all()):
            raise BadInput(f"{name}: values that are not finite")
        if learned:
            setattr(self, name, torch.nn.Parameter(tensor.expand(self.shape).clone()))
        else:
            self.register_buffer(name, tensor)

    @property
    def effective_decay(self) -> Tensor:
        """The decay that the dynamics uses: a learned one clamped to [0, 1]."""
        return clamped(self.decay) if self.learn_decay else self.decay

    def rest(self, samples: int) -> State:
        """The state before the first step: s = ``initial_state`` and y = 0, each (B, *shape)."""
        s = self.initial_state.expand(samples, *self.shape)
        return State(s, torch.zeros_like(s))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The drive x (T, B, *shape) to y of the same shape and the state after the last step."""
        self._demand(x, *self.shape)
        return self._run(x, state, None)

    def _demand(self, x: Tensor, *shape: int) -> None:
        """``BadInput`` unless x is (T, B, *shape), of real numbers, with a step and a sample at least."""
        if not isinstance(x, Tensor):
            raise BadInput(f"x: a {type(x).__name__}; needed a tensor {self._expected(*shape)}")
        if x.ndim != 2 + len(shape) or x.shape[2:] != shape:
            raise BadInput(f"x: shape {tuple(x.shape)}; needed {self._expected(*shape)}")
        if not x.shape[0] or not x.shape[1]:
            raise BadInput(f"x: shape {tuple(x.shape)}; at least one step and one sample are needed")
        if x.is_complex():
            raise BadInput(f"x: {x.dtype}; real numbers are needed")

    def _run(self, drive: Tensor, state: State | None, recurrent: Tensor | None) -> tuple[Tensor, State]:
        if not isinstance(state, tuple | None) or (state is not None and len(state) != 2):
            raise BadInput(f"state: a {type(state).__name__}; needed nn.State(s, y) or None")
        drive = drive.transpose(0, 1) if self.batch_first else drive
        before = self.rest(drive.shape[1]) if state is None else State(*state)
        if any(tensor.shape != drive.shape[1:] for tensor in before):
            raise BadInput(
                f"state: s {tuple(before.s.shape)}, y {tuple(before.y.shape)}; needed {tuple(drive.shape[1:])}"
            )
        kernel, parameters = self._chosen(drive, *before).kernel, (self.effective_decay, self.threshold)
        ran = run(kernel, self.dynamics, *parameters, before, drive, recurrent, self.narrow_spikes)
        return (ran.y.transpose(0, 1) if self.batch_first else ran.y), ran.last

    def _expected(self, *shape: int) -> str:
        return f"({'B, T' if self.batch_first else 'T, B'}, {', '.join(map(str, shape))})"

    def extra_repr(self) -> str:
        """The dynamics and the kernel that runs."""
        d = self.dynamics
        return (
            f"{', '.join(map(str, self.shape))}, reset={d.reset.value}, g={d.g}, h={d.h}, surrogate={d.surrogate}, "
            f"learn_decay={self.learn_decay}, batch_first={self.batch_first}, "
            f"{'detach_reset=True, ' if d.detach_reset else ''}kernel={_told(lambda: self.running_kernel)}"
        )


class SNU(Unit):
    """A dense or recurrent layer of spiking neural units (Wozniak et al. 2020).

        s_t = g(W x_t + b + H y_{t-1} + c_{t-1}),  y_t = h(s_t - threshold)

    ``forward(x, state=None)`` takes x (T, B, in_features) and returns y (T, B, units) and the
    ``State`` after the last step. ``weight`` is W (units, in_features), ``bias`` b (units,) with
    ``bias=True``, ``recurrent`` H (units, units) with ``recurrent=True``; the rest as in ``Unit``.

    ``projection``       "dense", "events" (for inputs of 0 and 1: the sum over those that are 1) or "auto" (events
                         where the input of a call is of 0 and 1 with few ones). Fewer sums, in another order, so that
                         last bits may differ: see ``snubridge.nn.kernels.project``.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        decay: ArrayLike | Tensor = 0.8,
        threshold: ArrayLike | Tensor = 1.0,
        initial_state: ArrayLike | Tensor = 0.0,
        bias: bool = False,
        recurrent: bool = False,
        reset: Reset = Reset.TO_ZERO,
        g: StateFunction = Identity(),
        h: OutputFunction = Step(),
        surrogate: Surrogate = TanhDerivative(),
        learn_decay: bool = False,
        learn_threshold: bool = True,
        learn_initial_state: bool = False,
        batch_first: bool = False,
        kernel: str = "auto",
        projection: str = "dense",
        detach_reset: bool = False,
        narrow_spikes: bool = False,
    ) -> None:
        super().__init__(
            units,
            decay=decay,
            threshold=threshold,
            initial_state=initial_state,
            reset=reset,
            g=g,
            h=h,
            surrogate=surrogate,
            learn_decay=learn_decay,
            learn_threshold=learn_threshold,
            learn_initial_state=learn_initial_state,
            batch_first=batch_first,
            kernel=kernel,
            detach_reset=detach_reset,
            narrow_spikes=narrow_spikes,
        )
        if not isinstance(in_features, int) or isinstance(in_features, bool) or in_features < 1:
            raise BadInput(f"in_features={in_features!r}: an integer, at least 1, is needed")
        self.in_features = in_features
        bound = 1 / math.sqrt(in_features)
        self.weight = torch.nn.Parameter(torch.empty(units, in_features).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.zeros(units)) if bias else None
        bound = 1 / math.sqrt(units)
        self.recurrent = torch.nn.Parameter(torch.empty(units, units).uniform_(-bound, bound)) if recurrent else None
        self.projection = projection
        choose_projection(projection, self.weight)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x (T, B, in_features) to y (T, B, units) and the state after the last step."""
        self._demand(x, self.in_features)
        return self._run(self.project(x), state, self.recurrent)

    @property
    def running_projection(self) -> Choice:
        """The projection that runs with the present weights; ``Unsupported`` where the one asked for cannot."""
        return choose_projection(self.projection, self.weight)

    def project(self, x: Tensor) -> Tensor:
        """W x + b of x (T, B, in_features), or of one step (B, in_features)."""
        return project(self.running_projection.kernel, x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes, the dynamics and the kernel that runs."""
        own = f"projection={_told(lambda: self.running_projection)}, recurrent={self.recurrent is not None}"
        return f"{self.in_features}, {super().extra_repr()}, {own}"


def _told(choose: Callable[[], Choice]) -> str:
    """The choice for ``repr``, which never raises."""
    try:
        return str(choose())
    except (BadInput, Unsupported, MissingEngine) as error:
        return f"none: {error}"


def _check_dynamics(reset: Any, g: Any, h: Any, surrogate: Any) -> None:
    if isinstance(surrogate, type) or not callable(getattr(surrogate, "gradient", None)):
        raise BadInput(f"surrogate={surrogate!r}: an object with gradient(v) is needed, say nn.TanhDerivative()")
    if not isinstance(reset, Reset):
        raise BadInput(f"reset={reset!r}: a member of snubridge.Reset is needed")
    if type(g) not in STATE_FUNCTIONS.values():
        raise BadInput(f"g={g!r}: Identity(), ReLU() or LeakyReLU(slope) is needed")
    if type(h) not in OUTPUT_FUNCTIONS.values():
        raise BadInput(f"h={h!r}: Step(), Sigmoid(), Tanh() or Identity() is needed")
    if isinstance(h, Identity) and reset is not Reset.NONE:
        raise BadInput("h=Identity() needs reset=Reset.NONE: a leaky integrator has no spike to reset it")

"""Operators of torch as differentiable functions: what stands around every operator of compiled code.

``torch.compile`` and ``torch.export`` take the operator itself. ``torch.func`` refuses the gradients that operators
register, so that an ``autograd.Function`` stands around each. And where nobody looks on, the function calls the code
without the operator: torch's own way to it takes longer than a short sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snubridge.errors import Unsupported

TENSORS = (Tensor, torch.nn.Parameter)
PLAIN = torch._C._dispatch_keys(torch.empty(0, device="cpu")).raw_repr()
"""What a tensor with values in memory on the CPU is to torch: not batched, sparse, negated, zero or of inference."""
SIGNATURE = inspect.Signature([inspect.Parameter("given", inspect.Parameter.VAR_POSITIONAL)])


def one_by_one(operator: Any) -> Callable[..., tuple[Any, Any]]:
    """The rule by which ``torch.vmap`` takes an operator: a call for each index of the axis it goes over."""

    def rule(info: Any, axes: tuple[Any, ...], *given: Any) -> tuple[Any, Any]:
        calls = [
            operator(
                *(
                    value.select(axis, index) if isinstance(value, Tensor) and axis is not None else value
                    for value, axis in zip(given, axes, strict=True)
                )
            )
            for index in range(info.batch_size)
        ]
        if isinstance(calls[0], Tensor):
            return torch.stack(calls), 0
        outputs = tuple(torch.stack(values) for values in zip(*calls, strict=True))
        return outputs, (0,) * len(outputs)

    return rule


def first_derivatives_alone(kernel: str) -> Callable[..., Any]:
    """What a kernel answers to forward mode, and to derivatives of derivatives: ``Unsupported``."""

    def refuse(ctx: Any, *gradients: Any) -> Any:
        raise Unsupported(
            f"kernel={kernel!r}",
            ["it gives first derivatives, backward; kernel='eager' gives second ones and forward mode"],
        )

    return refuse


def keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Of a gradient that is not differentiated again."""


def unobserved(given: tuple[Any, ...]) -> bool:
    """Whether these are torch's own plain tensors, and nothing traces, transforms, records or profiles calls."""
    if (
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or torch._C._autograd._profiler_enabled()
    ):
        return False
    return all(
        type(value) in TENSORS and torch._C._dispatch_keys(value).raw_repr() == PLAIN
        for value in given
        if isinstance(value, Tensor)
    )


def function_of(
    operator: Any,
    code: Callable[..., Any],
    keep: Callable[..., None],
    differentiate: Callable[..., Any],
    kernel: str = "cpu",
) -> Any:
    """The function around an operator of ``kernel`` whose work ``code`` does."""

    class Operator(torch.autograd.Function):
        generate_vmap_rule = True
        setup_context = staticmethod(keep)
        backward = staticmethod(differentiate)
        jvp = staticmethod(first_derivatives_alone(kernel))

        @staticmethod
        def forward(*given: Any) -> Any:
            return (code if unobserved(given) else operator)(*given)

    Operator.forward.__signature__ = SIGNATURE  # type: ignore[attr-defined]  # torch asks for it with every call
    return Operator

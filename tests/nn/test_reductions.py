"""Reductions over time as the reference takes them, and losses that padding does not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn

HOW = ["mean", "sum", "max", "last"]
LENGTHS = [9, 4, 1]


def reference(x, how, lengths):
    graph = sb.Graph({"in": sb.Input(x.shape[2:]), "out": sb.Output(how)}, [sb.Edge("in", "out")], numbers=sb.Float64())
    return sb.simulate(graph, x, lengths=lengths).outputs["out"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("lengths", [None, LENGTHS, torch.tensor(LENGTHS), np.array(LENGTHS, dtype=np.uint8)])
def test_over_time_is_the_references_to_the_bit(how, lengths):
    x = np.random.default_rng(0).normal(size=(9, 3, 2, 5))
    expected = reference(x, how, None if lengths is None else LENGTHS)
    read_out = nn.OverTime(how)
    np.testing.assert_array_equal(read_out(torch.tensor(x), lengths).numpy(), expected)
    turned = nn.OverTime(how, batch_first=True)(torch.tensor(x).transpose(0, 1), lengths)
    np.testing.assert_array_equal(turned.numpy(), expected)
    chain = nn.Sequential(torch.nn.Identity(), nn.Sequential(read_out))
    np.testing.assert_array_equal(chain(torch.tensor(x), lengths=lengths)[0].numpy(), expected)


@pytest.mark.parametrize("how", HOW)
def test_what_stands_in_the_padding_gives_neither_value_nor_gradient(how):
    x = torch.randn(9, 3, 2, dtype=torch.float64)
    padded = x.clone()
    padding = torch.arange(9)[:, None] >= torch.tensor(LENGTHS)
    padded[padding] = torch.nan
    padded.requires_grad_()
    y = nn.OverTime(how)(padded, LENGTHS)
    torch.testing.assert_close(y, nn.OverTime(how)(x, LENGTHS), rtol=0, atol=0)
    y.sum().backward()
    assert not padded.grad[padding].any()
    assert bool(torch.isfinite(padded.grad).all())
    assert torch.autograd.gradcheck(lambda x: nn.OverTime(how)(x, LENGTHS), (x.requires_grad_(),))


def test_a_loss_is_the_mean_over_the_steps_that_count():
    torch.manual_seed(0)
    loss = torch.randn(9, 3, 2, 2, dtype=torch.float64)
    counted = [loss[:steps, sample] for sample, steps in enumerate(LENGTHS)]
    expected = torch.cat(counted).mean()
    torch.testing.assert_close(nn.mean_over_steps(loss, LENGTHS), expected)
    torch.testing.assert_close(nn.mean_over_steps(loss.transpose(0, 1), LENGTHS, batch_first=True), expected)
    torch.testing.assert_close(nn.mean_over_steps(loss), loss.mean())
    torch.testing.assert_close(nn.mean_over_steps(loss[..., 0, 0], LENGTHS), torch.cat(counted)[:, 0, 0].mean())


def test_padding_that_is_nan_reaches_neither_the_loss_nor_the_weights():
    """NaN in the padding of the inputs: the loss and the gradients are those of the samples cut to their lengths."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.SNU(4, 6, h=sb.Sigmoid(), recurrent=True), torch.nn.Linear(6, 2)).double()
    x, target = torch.randn(9, 3, 4).double(), torch.randn(9, 3, 2).double()
    total = sum((net(x[:steps, [b]])[0] - target[:steps, [b]]).square().sum() for b, steps in enumerate(LENGTHS)) / (
        2 * sum(LENGTHS)
    )
    expected = torch.autograd.grad(total, list(net.parameters()))
    padding = torch.arange(9)[:, None] >= torch.tensor(LENGTHS)
    y, _ = net(x)
    loss = (y - target).square().masked_fill(padding[..., None], torch.nan)  # what a loss may give for padding
    masked = nn.mean_over_steps(loss, LENGTHS)
    torch.testing.assert_close(masked, total)
    for found, needed in zip(torch.autograd.grad(masked, list(net.parameters())), expected, strict=True):
        torch.testing.assert_close(found, needed)
    loss = loss.detach().requires_grad_()
    nn.mean_over_steps(loss, LENGTHS).backward()
    assert not loss.grad[padding].any()
    assert torch.autograd.gradcheck(lambda v: nn.mean_over_steps(v.square(), LENGTHS), (y.detach().requires_grad_(),))


BAD = {
    "number": ([9, 4], "shape \\(2,\\); needed \\(3,\\)"),
    "zero": ([9, 4, 0], "from 0 to 9; needed 1 to 9"),
    "beyond": ([10, 4, 1], "from 1 to 10"),
    "float": ([9.0, 4.0, 1.0], "torch.float32; needed integers"),
    "bool": ([True, True, True], "torch.bool; needed integers"),
    "text": (["a", "b", "c"], "needed integers"),
}


@pytest.mark.parametrize("case", BAD)
def test_lengths_that_do_not_fit_are_refused(case):
    lengths, expected = BAD[case]
    x = torch.zeros(9, 3, 2)
    network = nn.to_module(sb.Graph({"in": sb.Input((2,)), "out": sb.Output("mean")}, [sb.Edge("in", "out")]))
    for take in (
        lambda: nn.OverTime("mean")(x, lengths),
        lambda: nn.mean_over_steps(x, lengths),
        lambda: nn.Sequential(nn.OverTime("max"))(x, lengths=lengths),
        lambda: network(x, lengths=lengths),
    ):
        with pytest.raises(sb.BadInput, match=f"lengths: .*{expected}" if case != "text" else expected):
            take()


def test_other_misuse_is_refused():
    with pytest.raises(sb.BadInput, match="choose from 'mean', 'sum', 'max', 'last'"):
        nn.OverTime("median")
    with pytest.raises(sb.BadInput, match=r"needed \(T, B, \.\.\.\)"):
        nn.OverTime("mean")(torch.zeros(4))
    with pytest.raises(sb.BadInput, match="at least one step"):
        nn.mean_over_steps(torch.zeros(0, 2))
    net = nn.Sequential(nn.SNU(2, 2), nn.OverTime("mean"))
    _, states = net(torch.zeros(3, 1, 2))
    with pytest.raises(sb.BadInput, match="layer 1 reduces over time and cannot go on"):
        net(torch.zeros(3, 1, 2), states)

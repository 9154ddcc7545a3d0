"""nn.Delay: later by whole steps, zero before the start, in pieces like the whole."""

from __future__ import annotations

import pytest
import torch

import snubridge as sb
from snubridge import nn


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_delay_is_a_shift(steps):
    x = torch.arange(1.0, 13.0).reshape(6, 2, 1)
    y, state = nn.Delay(steps)(x)
    expected = torch.cat([torch.zeros(steps, 2, 1), x])
    assert torch.equal(y, expected[:6])
    assert torch.equal(state, expected[6:])
    turned, turned_state = nn.Delay(steps, batch_first=True)(x.transpose(0, 1))
    assert torch.equal(turned, y.transpose(0, 1))
    assert torch.equal(turned_state, state)


@pytest.mark.parametrize("pieces", [[1] * 10, [3, 7], [10], [2, 5, 1, 2]])
@pytest.mark.parametrize("steps", [1, 4])
def test_pieces_are_the_whole(pieces, steps):
    torch.manual_seed(0)
    delay, x = nn.Delay(steps), torch.randn(10, 2, 3, 2)
    whole, last = delay(x)
    parts, state = [], None
    for piece in x.split(pieces):
        y, state = delay(piece, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state, last)


def test_gradients_go_back_by_as_many_steps():
    x = torch.randn(5, 1, 2, dtype=torch.float64, requires_grad=True)
    y, _ = nn.Delay(2)(x)
    y[3].sum().backward()
    assert x.grad.nonzero()[:, 0].unique().tolist() == [1]
    start = torch.randn(2, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s: nn.Delay(2)(x, s), (x, start))


def test_the_state_stands_alone():
    """It does not keep the sequence in memory, nor does it change with the output or the input."""
    x = torch.ones(5, 1, 1)
    y, state = nn.Delay(2)(x)
    assert state.untyped_storage().nbytes() == 2 * x.element_size()
    y += 7
    assert state.unique().tolist() == [1]
    assert x.unique().tolist() == [1]


@pytest.mark.parametrize("steps", [0, -1, 1.0, True, None, 2**20 + 1])
def test_a_delay_counts_steps(steps):
    with pytest.raises(sb.BadInput, match="an integer from 1 to 1048576"):
        nn.Delay(steps)


def test_wrong_states_and_values_are_refused():
    x = torch.zeros(3, 2, 4)
    for state in (torch.zeros(1, 2, 4), (x, x), nn.State(x, x)):
        with pytest.raises(sb.BadInput, match="needed the state of an earlier call, \\(2, 2, 4\\)"):
            nn.Delay(2)(x, state)
    with pytest.raises(sb.BadInput, match=r"needed \(T, B, \.\.\.\)"):
        nn.Delay(2)(torch.zeros(3))

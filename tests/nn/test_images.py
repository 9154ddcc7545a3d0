"""Convolutions, pools, batch norms and Flatten on (T, B, ...): torch's own, step by step."""

from __future__ import annotations

import pytest
import torch

import snubridge as sb
from snubridge import nn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_step(layer, x):
    return torch.stack([layer(step) for step in x])


PAIRS = {
    "conv": (
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=1, groups=2),
        torch.nn.Conv2d(2, 4, (3, 2), (1, 2), 1, 1, 2),
    ),
    "conv same": (nn.Conv2d(2, 3, 3, padding="same", bias=False), torch.nn.Conv2d(2, 3, 3, padding="same", bias=False)),
    "avg": (nn.AvgPool2d((2, 3), padding=1), torch.nn.AvgPool2d((2, 3), padding=1)),
    "sum": (nn.SumPool2d(2, 1), torch.nn.AvgPool2d(2, 1, divisor_override=1)),
    "flatten": (nn.Flatten(), torch.nn.Flatten()),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_layer_is_torchs_of_every_step(case):
    layer, torchs = (module.double() for module in PAIRS[case])
    layer.load_state_dict(torchs.state_dict())
    x = torch.randn(5, 3, 2, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_step(torchs, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x.transpose(0, 1)).transpose(0, 1), layer(x))
    torch.testing.assert_close(nn.Sequential(layer)(x)[0], layer(x))
    if case != "flatten":  # torch's Flatten() would mix samples here, and is left to be refused by capture
        torch.testing.assert_close(nn.Sequential(torchs)(x)[0], layer(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [(nn.BatchNorm1d, torch.nn.BatchNorm1d, (4,)), (nn.BatchNorm2d, torch.nn.BatchNorm2d, (4, 3, 2))],
)
def test_batch_norm_takes_its_statistics_over_steps_and_samples(ours, torchs, shape, training):
    layer, twin, chain = ours(4), torchs(4), nn.Sequential(torchs(4))
    for module in (layer, twin, chain):
        module.train(training)
    x = 3 * torch.randn(6, 5, *shape) + 1
    expected = twin(x.flatten(0, 1)).reshape(x.shape)
    assert torch.equal(layer(x), expected)
    assert torch.equal(chain(x)[0], expected)
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(layer, buffer), getattr(twin, buffer))
    assert bool((layer.running_mean != 0).any()) is training


def test_dropout_of_channels_drops_whole_channels_of_a_step():
    x = torch.ones(20, 4, 8, 3, 3)
    y, _ = nn.Sequential(torch.nn.Dropout2d(0.5)).train()(x)
    channels = y.flatten(3)
    assert set(channels.unique().tolist()) == {0.0, 2.0}
    assert bool((channels == channels[..., :1]).all())


@pytest.mark.parametrize(
    ("layer", "x", "needed"),
    [
        (
            nn.Conv2d(1, 2, 3),
            torch.zeros(4, 1, 5, 5),
            "Conv2d: x has the shape \\(4, 1, 5, 5\\); needed \\(T, B, C, H, W\\)",
        ),
        (nn.SumPool2d(2), torch.zeros(4, 1, 5, 5), "SumPool2d: .* needed \\(T, B, C, H, W\\)"),
        (nn.BatchNorm1d(5), torch.zeros(4, 5), "BatchNorm1d: .* needed \\(T, B, features\\)"),
        (nn.BatchNorm2d(5), torch.zeros(4, 2, 5), "BatchNorm2d: .* needed \\(T, B, C, H, W\\)"),
        (nn.Sequential(torch.nn.Conv2d(4, 2, 3)), torch.zeros(2, 2, 5, 5), "Conv2d: .* needed \\(T, B, C, H, W\\)"),
    ],
)
def test_values_without_steps_are_refused(layer, x, needed):
    with pytest.raises(sb.BadInput, match=needed):
        layer(x)


def soft(**options):
    return nn.Unit((2, 3, 3), h=sb.Sigmoid(), decay=0.6, **options)


def test_gradients_through_a_convolutional_net():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2), soft(learn_decay=True, learn_initial_state=True), nn.SumPool2d(2, 1), nn.Flatten(),
        nn.Delay(1), nn.SNU(8, 2, h=sb.Tanh(), recurrent=True), nn.OverTime("mean"),
    ).double()  # fmt: skip
    x = torch.randn(4, 2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda x, *p: net(x, lengths=lengths)[0], (x, *net.parameters()))


def test_a_convolutional_net_in_pieces_is_the_whole():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Unit((2, 3, 3), threshold=0.2, initial_state=0.5), nn.Delay(3),
        torch.nn.AvgPool2d(2), nn.Flatten(), nn.Sequential(nn.SNU(2, 3, threshold=0.05), nn.Delay(1)),
    ).double().eval()  # fmt: skip
    torch.nn.init.constant_(net[6][0].weight, 0.5)
    x = torch.randn(20, 2, 1, 4, 4, dtype=torch.float64)
    whole, last = net(x)
    assert whole.sum() > 10
    parts, states = [], None
    for piece in x.split([1, 2, 10, 7]):
        y, states = net(piece, states)
        parts.append(y)
    assert torch.equal(torch.cat(parts), whole)
    torch.testing.assert_close(states[3], last[3], rtol=0, atol=0)
    torch.testing.assert_close(states[2].s, last[2].s)

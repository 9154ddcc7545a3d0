"""Batch norms are folded into the layer before, in float64, noted; or refused by path."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settled(module):
    """With statistics and factors as after training, negative and small factors among them."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            if norm.running_mean is not None:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.01, 4)
            if norm.affine:
                norm.weight.data.normal_()
                norm.bias.data.normal_()
    return module.eval()


def module_of(forward, **children):
    module = type("Made", (torch.nn.Module,), {"forward": forward})()
    for name, child in children.items():
        module.add_module(name, child)
    return settled(module)


IMAGE, VECTOR = (2, 6, 6), (5,)
FOLDED = {
    "convolution": (lambda affine, bias: [nn.Conv2d(2, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)], IMAGE),
    "groups": (lambda affine, bias: [nn.Conv2d(2, 4, 2, groups=2, bias=bias), nn.BatchNorm2d(4, affine=affine)], IMAGE),
    "torch's own": (
        lambda affine, bias: [torch.nn.Conv2d(2, 4, 3, bias=bias), torch.nn.BatchNorm2d(4, affine=affine)],
        IMAGE,
    ),
    "linear": (lambda affine, bias: [torch.nn.Linear(5, 4, bias=bias), nn.BatchNorm1d(4, affine=affine)], VECTOR),
    "torch's own behind linear": (
        lambda affine, bias: [torch.nn.Linear(5, 4, bias=bias), torch.nn.BatchNorm1d(4, affine=affine)],
        VECTOR,
    ),
    "dropout between": (
        lambda affine, bias: [
            torch.nn.Linear(5, 4, bias=bias),
            torch.nn.Dropout(0.5),
            nn.BatchNorm1d(4, affine=affine),
        ],
        VECTOR,
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", FOLDED)
def test_a_batch_norm_is_folded(case, affine, bias, dtype):
    build, shape = FOLDED[case]
    net = settled(nn.Sequential(*build(affine, bias))).to(dtype)
    graph = nn.capture(net, shape)
    last = len(net) - 1
    assert list(graph.nodes) == ["input", "0", "output"]
    assert graph.metadata["folded"] == [{"batch_norm": str(last), "into": "0"}]
    x = torch.randn(4, 3, *shape, dtype=dtype)
    y, _ = net(x)
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    scale = max(1.0, float(y.detach().abs().max()))
    np.testing.assert_allclose(
        sb.simulate(graph, x).outputs["output"], y.detach().numpy(), rtol=0, atol=tolerance * scale
    )
    layer, norm = net[0], net[last].double()
    ones = torch.ones(4).double()
    k = (norm.weight if affine else ones) / torch.sqrt(norm.running_var + norm.eps)
    weight = layer.weight.double() * k.reshape(-1, *[1] * (layer.weight.ndim - 1))
    offset = (layer.bias.double() if bias else 0) - norm.running_mean
    shifted = offset * k + (norm.bias if affine else 0)
    np.testing.assert_array_equal(graph.nodes["0"].weight, weight.detach().numpy().astype(graph.numbers.name))
    np.testing.assert_array_equal(graph.nodes["0"].bias, shifted.detach().numpy().astype(graph.numbers.name))


def test_a_deep_net_with_norms_spikes_alike():
    layers = [[nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Unit((2, 6, 6), threshold=0.4)] for _ in range(4)]
    net = nn.Sequential(*itertools.chain(*layers)).double()
    for _ in range(20):
        net(torch.randn(10, 3, *IMAGE, dtype=torch.float64))
    graph = nn.capture(net.eval(), IMAGE)
    assert len(graph.metadata["folded"]) == 4
    x = torch.randn(40, 3, *IMAGE, dtype=torch.float64)
    spikes = sb.simulate(graph, x).outputs["output"]
    assert 500 < spikes.sum() < spikes.size - 500
    np.testing.assert_array_equal(spikes, net(x)[0].detach().numpy())


def test_a_wide_net_in_float32_is_not_refused_for_a_flip():
    """Folding rounds the weights anew, so that one of a million decisions may flip: no difference of meaning."""
    layers = [[nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Unit((16, 24, 24), threshold=0.3)]]
    layers += [[nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Unit((16, 24, 24), threshold=0.3)]] * 6
    net = nn.Sequential(*itertools.chain(*layers))
    net(torch.randn(4, 2, 3, 24, 24))
    assert len(nn.capture(net, (3, 24, 24)).metadata["folded"]) == 7


def test_a_layer_that_is_called_twice_has_a_norm_for_each_call():
    def forward(self, x):
        return self.first(self.linear(x)) + self.second(self.linear(x))

    module = module_of(
        forward, linear=torch.nn.Linear(5, 4), first=nn.BatchNorm1d(4), second=nn.BatchNorm1d(4)
    ).double()
    graph = nn.capture(module, 5)
    assert graph.metadata["folded"] == [
        {"batch_norm": "first", "into": "linear"},
        {"batch_norm": "second", "into": "linear_2"},
    ]
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    np.testing.assert_allclose(sb.simulate(graph, x).outputs["output"], module(x).detach().numpy(), rtol=1e-9)


def test_two_norms_in_a_row_are_one_factor():
    net = settled(nn.Sequential(torch.nn.Linear(5, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))).double()
    graph = nn.capture(net, 5)
    assert [entry["batch_norm"] for entry in graph.metadata["folded"]] == ["1", "2"]
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    np.testing.assert_allclose(sb.simulate(graph, x).outputs["output"], net(x)[0].detach().numpy(), rtol=1e-9)


def test_a_net_without_norms_notes_nothing():
    assert "folded" not in nn.capture(torch.nn.Linear(5, 4), 5).metadata


def linear():
    return torch.nn.Linear(5, 5)


def pair():
    return {"linear": linear(), "norm": nn.BatchNorm1d(5)}


def before_and_after(self, x):
    y = self.linear(x)
    return self.norm(y) + y


def used_by_a_layer_before(self, x):
    y = self.linear(x)
    z = self.other(y)
    return self.norm(y) + z


def used_by_a_layer_after(self, x):
    y = self.linear(x)
    return self.norm(y) + self.other(y)


def returned_too(self, x):
    y = self.linear(x)
    return self.norm(y), y


def normalized_twice(self, x):
    y = self.linear(x)
    return self.norm(y) + self.other(y)


def summed_before(self, x):
    y = self.linear(x)
    total = y + x
    return self.other(self.norm(y)) + self.other(total)


REFUSED = {
    "behind a unit": (lambda: nn.Sequential(nn.SNU(5, 5), nn.BatchNorm1d(5)), "1: a BatchNorm1d .* behind 0; put it"),
    "behind the input": (lambda: nn.Sequential(nn.BatchNorm1d(5)), "0: a BatchNorm1d .* behind input; put it directly"),
    "behind a delay": (
        lambda: nn.Sequential(torch.nn.Linear(5, 5), nn.Delay(1), nn.BatchNorm1d(5)),
        "2: a BatchNorm1d .* behind a delayed value; .* Linear",
    ),
    "behind a sum": (
        lambda: module_of(lambda self, x: self.norm(self.linear(x) + x), **pair()),
        "norm: a BatchNorm1d .* behind a sum; .* Linear",
    ),
    "used before and after": (lambda: module_of(before_and_after, **pair()), "norm: .* used elsewhere too"),
    "used before": (lambda: module_of(used_by_a_layer_before, **pair(), other=linear()), "norm: .* elsewhere"),
    "used after": (lambda: module_of(used_by_a_layer_after, **pair(), other=linear()), "norm: .* elsewhere"),
    "returned": (lambda: module_of(returned_too, **pair()), "norm: normalizes a value that is used elsewhere too"),
    "normalized twice": (lambda: module_of(normalized_twice, **pair(), other=nn.BatchNorm1d(5)), "norm: .* elsewhere"),
    "summed before": (lambda: module_of(summed_before, **pair(), other=linear()), "norm: .* elsewhere"),
    "no statistics": (
        lambda: nn.Sequential(torch.nn.Linear(5, 5), nn.BatchNorm1d(5, track_running_stats=False)),
        "1: .* without running statistics .* track_running_stats=True",
    ),
    "other channels": (
        lambda: nn.Sequential(torch.nn.Linear(5, 4), nn.BatchNorm1d(5)),
        "1: a BatchNorm1d of 5 channels receives 4",
    ),
    "torch's, not merged": (
        lambda: module_of(lambda self, x: self.norm(self.linear(x)), linear=linear(), norm=torch.nn.BatchNorm1d(5)),
        "norm: a torch.nn.BatchNorm1d would take T or B for another axis; take nn.BatchNorm1d",
    ),
    "of images behind linear": (lambda: nn.Sequential(linear(), nn.BatchNorm2d(5)), "1: a BatchNorm2d .* Conv2d"),
    "a subclass": (
        lambda: nn.Sequential(torch.nn.Linear(5, 5), type("Mine", (nn.BatchNorm1d,), {})(5)),
        "1: a Mine cannot be captured; a subclass .* nn.BatchNorm1d itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_every_misuse_is_refused_by_path(case):
    build, expected = REFUSED[case]
    with pytest.raises(sb.Unsupported, match=expected):
        nn.capture(build(), 5)


IMAGES_REFUSED = {
    "behind a pool": (lambda: [nn.Conv2d(2, 2, 3), nn.AvgPool2d(2), nn.BatchNorm2d(2)], "2: .* behind 1; .* Conv2d"),
    "behind linear on images": (lambda: [torch.nn.Linear(6, 6), nn.BatchNorm2d(2)], "1: .* behind 0; .* Conv2d"),
    "of vectors behind images": (lambda: [nn.Conv2d(2, 2, 3), nn.BatchNorm1d(2)], "1: a BatchNorm1d .* Linear"),
    "behind flatten": (lambda: [nn.Conv2d(2, 2, 3), nn.Flatten(), nn.BatchNorm1d(32)], "2: .* behind 1; .* Linear"),
    "of all": (lambda: [nn.Conv2d(2, 2, 3), torch.nn.LayerNorm(4)], "1: a LayerNorm .* nn.BatchNorm2d directly behind"),
}


@pytest.mark.parametrize("case", IMAGES_REFUSED)
def test_every_misuse_on_images_is_refused_by_path(case):
    build, expected = IMAGES_REFUSED[case]
    with pytest.raises(sb.Unsupported, match=expected):
        nn.capture(nn.Sequential(*build()), IMAGE)


@pytest.mark.parametrize("variance", [-1.0, float("nan"), float("inf")])
def test_statistics_that_are_no_numbers_make_no_graph(variance):
    net = settled(nn.Sequential(torch.nn.Linear(5, 4), nn.BatchNorm1d(4)))
    net[1].running_var.fill_(variance)
    if variance == float("inf"):  # a factor of 0: finite, and what the module computes
        assert not nn.capture(net, 5).nodes["0"].weight.any()
    else:
        with pytest.raises(sb.InvalidGraph, match="node 0, weight: found nan"):
            nn.capture(net, 5)

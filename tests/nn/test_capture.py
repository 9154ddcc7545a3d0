"""Capture: names by path, the same values, the module left as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import dropout

import snubridge as sb
from snubridge import nn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Nested(torch.nn.Module):
    """Modules in modules, a skip connection, dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.SNU(8, 12, recurrent=True, g=sb.ReLU(), threshold=0.3),
            torch.nn.Dropout(0.2),
            nn.Sequential(nn.SNU(12, 6, bias=True, learn_decay=True, threshold=0.2)),
        )
        self.skip = torch.nn.Linear(8, 6)
        self.out = torch.nn.Linear(6, 3)

    def forward(self, x, states=None):
        y, states = self.body(x, states)
        return self.out(y + self.skip(x)), states


def same(module, graph, width, steps=40):
    """The reference's output is the module's, and a captured spike is a spike."""
    x = (torch.rand(steps, 3, width) < 0.4).float()
    module = copy.deepcopy(module).eval()
    y, _ = module(x)
    trace = sb.simulate(graph, x)
    assert sum(int(spikes.sum()) for spikes in trace.spikes.values()) > 50
    np.testing.assert_allclose(trace.outputs["output"], y.detach().numpy(), atol=1e-5)


def test_names_are_module_paths():
    module = Nested()
    graph = nn.capture(module, (8,))
    assert list(graph.nodes) == [
        *("input", "body.0.weight", "body.0", "body.0.recurrent", "body.2.0.weight", "body.2.0"),
        *("skip", "out", "output"),
    ]
    assert sb.Edge("body.0", "body.0.recurrent", 1) in graph.edges
    assert [e.source for e in graph.incoming["out"]] == ["body.2.0", "skip"]
    same(module, graph, 8)


def test_a_layer_that_is_the_root_has_the_path_unit():
    layer = nn.SNU(5, 4, recurrent=True, threshold=0.3)
    graph = nn.capture(layer, 5)
    assert list(graph.nodes) == ["input", "unit.weight", "unit", "unit.recurrent", "output"]
    same(layer, graph, 5)
    assert list(nn.capture(torch.nn.Linear(5, 4), 5).nodes) == ["input", "unit", "output"]
    assert list(nn.capture(nn.Unit((5,)), 5).nodes) == ["input", "unit", "output"]


def test_sequential_and_torch_sequential():
    net = nn.Sequential(nn.SNU(6, 5, threshold=0.2), torch.nn.Linear(5, 4))
    graph = nn.capture(net, 6)
    assert list(graph.nodes) == ["input", "0.weight", "0", "1", "output"]
    same(net, graph, 6)


def test_a_layer_called_twice_gets_a_second_name():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.SNU(4, 4, threshold=0.1)

        def forward(self, x):
            y, _ = self.layer(x)
            return self.layer(y)

    module = Twice()
    graph = nn.capture(module, 4)
    assert list(graph.nodes) == ["input", "layer.weight", "layer", "layer.weight_2", "layer_2", "output"]
    same(module, graph, 4)


def test_the_module_is_left_as_it_was():
    module = Nested()
    module.skip.eval()
    modes = [m.training for m in module.modules()]
    before = copy.deepcopy(module.state_dict())
    nn.capture(module, 8)
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_double_modules_become_float64_graphs():
    graph = nn.capture(nn.SNU(3, 2).double(), 3)
    assert graph.numbers == sb.Float64()
    assert graph.nodes["unit"].decay == np.float64(np.float32(0.8))  # double() cannot bring back what float32 lost


def test_what_computes_the_same_is_taken():
    """A sum in place of a value that nobody else uses, calls by keyword, dropout that follows the mode."""

    class Various(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unit = torch.nn.Linear(4, 6), torch.nn.Linear(4, 6), nn.Unit(6, threshold=0.2)
            self.c, self.drop = torch.nn.Linear(4, 6), torch.nn.Dropout(0.5)

        def forward(self, x, scale=1.0, flag=False, mode="a", option=None):
            h = self.a(input=x)
            h += self.b(x)
            h = dropout(h, 0.5, self.training)
            h = self.drop(sum([h, self.c(x)]))
            _T, _B, _ = x.shape
            h += self.b(x)
            unused = self.a(x)  # noqa: F841  # that it is unused is the point
            return self.unit(x=h)

    module = Various()
    graph = nn.capture(module, 4)
    assert list(graph.nodes) == ["input", "a", "b", "c", "b_2", "unit", "output"]
    same(module, graph, 4)


def test_states_beside_named_values_are_passed_over():
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unit = nn.Unit(4)

        def forward(self, x):
            y, state = self.unit(x)
            return {"y": y, "state": state, "pair": self.unit(y), "nothing": None}

    assert list(nn.capture(Named(), 4).of_kind(sb.Output)) == ["y", "pair"]

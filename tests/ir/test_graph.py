"""Graphs are frozen, rounded once, and compared by bits."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import snubridge as sb


def graph(weight=((0.1, 0.2),), numbers=sb.Float32(), **options):
    nodes = {"in": sb.Input((2,)), "w": sb.Linear(weight), "u": sb.Unit(0.8, 1.0, **options)}
    return sb.Graph(nodes, [sb.Edge("in", "w"), sb.Edge("w", "u")], numbers=numbers)


def test_parameters_are_rounded_once_to_float32_by_default():
    g = graph()
    assert g.nodes["u"].decay == np.float32(0.8)
    assert g.nodes["u"].decay.dtype == np.float32
    np.testing.assert_array_equal(g.nodes["w"].weight, np.float32([[0.1, 0.2]]))
    assert graph(numbers=sb.Float64()).nodes["u"].decay == 0.8


def test_an_integer_is_rounded_once_not_twice():
    near = 2**53 + 2**29 + 1  # just above a float32 tie; by way of float64 it would become the tie, and round down
    assert graph([[near, 0]]).nodes["w"].weight[0, 0] == np.float32(2**53 + 2**30)


def test_slopes_and_ranges_are_rounded_too():
    g = sb.Graph({"in": sb.Input((1,), 0.1, 0.3), "u": sb.Unit(0.5, 1.0, g=sb.LeakyReLU(0.1))}, [sb.Edge("in", "u")])
    assert g.nodes["u"].g.slope == float(np.float32(0.1))
    assert (g.nodes["in"].low, g.nodes["in"].high) == (float(np.float32(0.1)), float(np.float32(0.3)))


def test_nothing_can_be_changed_afterwards():
    weight = np.array([[1.0, 2.0]])
    g = graph(weight)
    weight[:] = 7
    assert g.nodes["w"].weight[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        g.nodes["w"].weight[0, 0] = 3
    with pytest.raises(TypeError):
        g.nodes["x"] = sb.Output()
    with pytest.raises(AttributeError, match="frozen"):
        g.edges = ()
    with pytest.raises(AttributeError):
        g.nodes["u"].decay = 1
    g.metadata["x"] = 1
    assert g.metadata == {}


def test_equality_is_by_structure_and_bits_not_metadata():
    one = graph()
    assert one == graph()
    assert hash(one) == hash(graph())
    assert one.digest == graph().digest
    assert one == sb.Graph(one.nodes, one.edges, metadata={"note": "other"})
    assert one != graph([[0.1, np.nextafter(np.float32(0.2), np.float32(1))]])
    assert graph([[0.0, 1.0]]) != graph([[-0.0, 1.0]])
    assert one != graph(numbers=sb.Float64())
    assert one != graph(g=sb.ReLU())
    assert one != sb.Graph(one.nodes, one.edges[::-1])
    assert one != "graph"


def test_digests_of_different_graphs_differ():
    others = [graph(), graph([[0.0, 1.0]]), graph([[-0.0, 1.0]]), graph(g=sb.ReLU()), graph(initial_state=1)]
    assert len({g.digest for g in others}) == len(others)


def test_a_graph_can_be_copied_and_pickled():
    g = sb.Graph(graph().nodes, graph().edges, metadata={"note": [1]})
    assert copy.deepcopy(g) is g
    assert copy.copy(g) is g
    back = pickle.loads(pickle.dumps(g))
    assert back == g
    assert back.metadata == g.metadata
    with pytest.raises(ValueError, match="read-only"):
        back.nodes["w"].weight[0, 0] = 3


def test_signed_zeros_in_settings_count_as_bits():
    one, two = (sb.Graph({"in": sb.Input((2,), low=zero)}, []) for zero in (0.0, -0.0))
    assert one != two
    assert one.digest != two.digest


def test_names_and_delays_of_numpy_are_taken_as_python_s_own():
    name = np.str_("in")
    graph = sb.Graph({name: sb.Input((1,)), "u": sb.Unit(0.5, 1.0)}, [sb.Edge(name, "u", np.int64(1))])
    sb.validate(graph)
    assert {type(key) for key in graph.nodes} == {type(graph.edges[0].source)} == {str}
    assert graph.edges == (sb.Edge("in", "u", 1),)
    assert type(graph.edges[0].delay) is int

"""The order of nodes, subgraphs included."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from pyfastep._graph_order import names_read, sort_nodes

FLOAT = onnx.TensorProto.FLOAT


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)])


def choice(*then: onnx.NodeProto) -> onnx.NodeProto:
    other = branch("else", helper.make_node("Identity", ["d"], ["of_else"]))
    return helper.make_node("If", ["flag"], ["e"], name="choice", then_branch=branch("then", *then), else_branch=other)


def test_what_a_node_reads() -> None:
    inner = choice(helper.make_node("Neg", ["outside"], ["inside"]), helper.make_node("Abs", ["inside"], ["of_then"]))
    outer = choice(inner, helper.make_node("Add", ["e", "deep"], ["sum"]))
    assert set(names_read(outer)) == {"flag", "outside", "deep", "d"}
    assert list(names_read(helper.make_node("Clip", ["x", "", "high"], ["y"]))) == ["x", "high"]


@pytest.mark.parametrize("places", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_subgraph_waits_for_what_it_reads(places: tuple[int, ...]) -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["c"], name="c"),
        helper.make_node("Abs", ["c"], ["d"], name="d"),
        choice(helper.make_node("Identity", ["c"], ["of_then"])),
        helper.make_node("Add", ["e", "x"], ["y"], name="y"),
    ]
    graph = helper.make_graph([nodes[place] for place in places], "g", [], [])
    sort_nodes(graph)
    assert [node.name for node in graph.node] == ["c", "d", "choice", "y"]


def test_what_need_not_move_stays() -> None:
    nodes = [helper.make_node("Neg", ["x"], [name], name=name) for name in "dbca"]
    graph = helper.make_graph([*nodes, helper.make_node("Sum", list("abcd"), ["y"], name="y")], "g", [], [])
    sort_nodes(graph)
    assert [node.name for node in graph.node] == ["d", "b", "c", "a", "y"]


def test_a_circle_is_left_to_the_checker() -> None:
    nodes = [helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    graph = helper.make_graph(nodes, "g", [], [])
    sort_nodes(graph)
    assert list(graph.node) == nodes

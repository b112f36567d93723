"""Names of new nodes and values are new: in the graph, its inputs and initializers, and inside subgraphs."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from pyfastep.passes.names import forget_names, node_name, take, value_name

from .extra_nodes import with_subgraph
from .models import Builder, to_ir


def model() -> ir.Model:
    """Add, and If inside If."""
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Add", ["x", b.constant("w", [0] * 4)], "y")
    b.output("y", ["n", 4])
    source = with_subgraph(b.build(), ["one", "two", "three"])
    onnx.checker.check_model(source, full_check=True)
    return to_ir(source)


def test_every_name_of_the_model_is_taken() -> None:
    graph = model().graph
    values = ["x", "w", "y", "extra_condition", "inner_result", "one", "two", "three", "inner_then_constant"]
    assert [value_name(graph, name) for name in values] == [f"{name}_1" for name in values]
    nodes = ["y/Add", "inner_result", "one", "two", "three"]
    assert [node_name(graph, name) for name in nodes] == [f"{name}_1" for name in nodes]


def test_nodes_and_values_may_share_a_name() -> None:
    graph = model().graph
    assert (node_name(graph, "y"), value_name(graph, "y/Add")) == ("y", "y/Add")


def test_a_name_is_given_once() -> None:
    graph = model().graph
    for give in (node_name, value_name):
        assert [give(graph, "new") for _ in range(3)] == ["new", "new_1", "new_2"]
        assert give(graph, "new_1") == "new_1_1"


def test_names_that_are_gone_are_free_for_the_next_pass() -> None:
    graph = model().graph
    assert value_name(graph, "y") == "y_1"
    graph[0].outputs[0].name = "z"
    forget_names(graph)
    assert value_name(graph, "y") == "y"
    assert value_name(graph, "z") == "z_1"


def test_take_skips_numbers_that_are_taken() -> None:
    taken = {"a", "a_1", "a_3"}
    assert [take("a", taken) for _ in range(2)] == ["a_2", "a_4"]
    assert take("b", taken) == "b"
    assert taken == {"a", "a_1", "a_2", "a_3", "a_4", "b"}

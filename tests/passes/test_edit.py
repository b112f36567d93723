"""Edits keep names, outputs and declarations."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.edit import (
    add_initializer,
    insert,
    move_shapes,
    remove_dead,
    replace,
    replace_nodes,
    set_type,
    top_level,
)

from .models import Builder, op_types, to_ir


def chain() -> ir.Model:
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Abs", [b.node("Neg", ["x"], "a")], "y")
    b.output("y", ["n", 4])
    return to_ir(b.build())


def test_replace_takes_over_name_and_declaration() -> None:
    model = chain()
    last = model.graph[1]
    new = insert(last, "Sqrt", [last.inputs[0]], name="sqrt", like=ir.Value(name="unknown"))
    assert new.type is None
    replace(last.outputs[0], new)
    remove_dead([last])
    assert op_types(model) == ["Neg", "Sqrt"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert new.shape == ir.Shape(["n", 4])
    assert new.dtype == ir.DataType.FLOAT
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


def test_remove_dead_stops_at_what_is_read() -> None:
    model = chain()
    graph = model.graph
    extra = insert(graph[1], "Exp", [graph[0].outputs[0]], name="exp", like=graph[0].outputs[0])
    remove_dead([extra.producer(), None])
    assert op_types(model) == ["Neg", "Abs"]
    remove_dead([graph[1]])
    assert op_types(model) == ["Neg", "Abs"]


def test_names_of_initializers_are_unique() -> None:
    graph = chain().graph
    names = [add_initializer(graph, "w", np.zeros(3, np.int8)).name for _ in range(3)]
    assert names == ["w", "w_1", "w_2"]
    assert graph.initializers["w_1"].dtype == ir.DataType.INT8


def test_names_of_values_are_unique() -> None:
    """Among inputs, outputs of nodes and initializers; what is replaced makes way, but not into another's name."""
    graph = chain().graph
    last, x = graph[1], graph.inputs[0]
    names = [insert(last, "Neg", [x], name="neg", like=x).name for _ in range(3)]
    assert names == ["neg_output", "neg_output_1", "neg_output_2"]
    assert [node.name for node in graph] == ["a/Neg", "neg", "neg_1", "neg_2", "y/Abs"]
    assert [add_initializer(graph, name, np.zeros(1)).name for name in ("x", "a")] == ["x_1", "a_1"]
    add_initializer(graph, "y_replaced", np.zeros(1))
    old, new = last.outputs[0], insert(last, "Sqrt", [x], name="a_1", like=x)
    replace(old, new)
    assert (new.name, old.name) == ("y", "y_replaced_1")


def test_a_type_needs_a_shape() -> None:
    value = ir.Value(name="v")
    set_type(value, ir.DataType.UINT8)
    assert value.type is None
    value.shape = ir.Shape([1])
    set_type(value, ir.DataType.UINT8)
    assert value.dtype == ir.DataType.UINT8


def test_top_level_asks_for_domain_and_type() -> None:
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Neg", [b.node("Neg", ["x"], "a", domain="com.example")], "y")
    b.output("y", ["n", 4])
    graph = to_ir(b.build()).graph
    assert top_level(graph, "Neg", "Abs") == [graph[1]]


@pytest.mark.parametrize("leaving", [0, 2])
def test_nodes_that_compute_the_same_are_replaced(leaving: int) -> None:
    """The result has the name of the one that leaves the graph, or of the first."""
    b = Builder()
    b.input("x", ["n", 4])
    for index in range(3):
        b.node("Neg", ["x"], f"a{index}")
        if index == leaving == 2:
            b.output(f"a{index}", ["n", 4])
        else:
            b.node("Abs", [f"a{index}"], f"y{index}")
            b.output(f"y{index}", ["n", 4])
    model = to_ir(b.build())
    nodes, graph = top_level(model.graph, "Neg"), model.graph
    names = [value.name for value in graph.outputs]
    new = insert(nodes[0], "Sqrt", [graph.inputs[0]], name="sqrt", like=graph.inputs[0])
    replace_nodes(nodes, new)
    assert new.name == f"a{leaving}"
    assert [value.name for value in graph.outputs] == names
    assert not {"Neg"} & set(op_types(model))
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


def test_shapes_move() -> None:
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Neg", ["x"], "a")
    b.node("Shape", ["a"], "s")
    b.node("Abs", ["a"], "y")
    b.output("s", [2], "i64")
    b.output("y", ["n", 4])
    graph = to_ir(b.build()).graph
    move_shapes(graph[0].outputs[0], graph.inputs[0])
    assert [node.inputs[0].name for node in graph if node.inputs[0] is not None] == ["x", "x", "a"]

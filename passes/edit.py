"""Small edits of a graph that several passes need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from .match.constants import is_default_domain, is_op
from .names import node_name, value_name


def set_type(value: ir.Value, dtype: ir.DataType) -> None:
    """Declares an element type. Without a shape nothing is declared: onnx.checker accepts both or neither."""
    value.type = None if value.shape is None else ir.TensorType(dtype)


def insert(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str,
    inherits: bool = False,
    like: ir.Value,
    dtype: ir.DataType | None = None,
    domain: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """Inserts a node with one output in front of another.

    Args:
        before: where.
        op_type: what.
        inputs: its inputs.
        name: name of the node, and of the output with an ending; names that are taken get a number.
        inherits: whether the name is that of a node whose place is taken, and stays as it is.
        like: the output gets the shape of this value, and its type unless `dtype` says otherwise.
        dtype: element type of the output.
        domain: domain of the op.
        attributes: Python values.
    """
    graph = before.graph
    assert graph is not None  # nodes of a model belong to a graph
    output = ir.Value(name=value_name(graph, f"{name}_output"), shape=like.shape)
    dtype = dtype or like.dtype
    if dtype is not None:
        set_type(output, dtype)
    converted = ir.convenience.convert_attributes(attributes or {})
    node = ir.Node(
        domain, op_type, inputs, converted, outputs=[output], name=name if inherits else node_name(graph, name)
    )
    graph.insert_before(before, node)
    return output


def add_initializer(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """Adds an initializer; a name that is taken gets a number."""
    unique = value_name(graph, name)
    tensor = ir.tensor(array, name=unique)
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def replace(old: ir.Value, new: ir.Value) -> None:
    """Lets every reader of `old` read `new`, which takes over its name and its place among the outputs of the graph."""
    name, graph = old.name, old.graph
    assert graph is not None  # values of a model belong to a graph
    if old.is_graph_output():
        new.shape, new.type = old.shape, old.type  # as the model declares it
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name = value_name(graph, f"{name}_replaced")
    new.name = name


def replace_nodes(nodes: Sequence[ir.Node], new: ir.Value) -> None:
    """Puts one value in the place of nodes that compute the same, and removes them.

    Args:
        nodes: with one output each; at most one of these is an output of the graph (`can_be_one`).
        new: read instead; takes over the name of the output of the graph, else of the first node.
    """
    heir = next((node for node in nodes if node.outputs[0].is_graph_output()), nodes[0])
    for node in nodes:
        if node is not heir:
            ir.convenience.replace_all_uses_with(node.outputs[0], new)
    replace(heir.outputs[0], new)
    remove_dead(nodes)


def move_shapes(old: ir.Value, new: ir.Value) -> None:
    """Lets those who only ask for the shape of `old` ask `new`."""
    for use in [use for use in old.uses() if is_op(use.node, "Shape")]:
        use.node.replace_input_with(use.idx, new)


def remove_dead(candidates: Iterable[ir.Node | None]) -> None:
    """Removes those of the nodes that nobody reads, then the same among their producers."""
    waiting = list(candidates)
    while waiting:
        node = waiting.pop()
        if node is None or node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        producers = [value.producer() for value in node.inputs if value is not None]
        node.graph.remove(node, safe=True)
        waiting += producers


def opset_of(model: ir.Model) -> int | None:
    """The model's version of the default domain."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx"))


def top_level(graph: ir.Graph, *op_types: str) -> list[ir.Node]:
    """The nodes of the graph itself (not of subgraphs) that are one of these ops of ONNX."""
    return [node for node in graph if is_default_domain(node) and node.op_type in op_types]

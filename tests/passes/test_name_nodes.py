"""Every node has a name of its own behind the pass, and those that had one keep it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import helper

from pyfastep.passes.name_nodes import NameNodesPass

from .extra_nodes import with_subgraph
from .models import Builder, to_ir


def chain(*names: str) -> onnx.ModelProto:
    """Neg after Neg, with these names."""
    b = Builder()
    value = b.input("x", ["n"])
    for index in range(len(names)):
        value = b.node("Neg", [value], f"v{index}")
    b.output(value, ["n"])
    for node, name in zip(b.nodes, names, strict=True):
        node.name = name
    return b.build()


def names_after(source: onnx.ModelProto) -> tuple[list[str | None], int]:
    model, step = to_ir(source), NameNodesPass()
    step(model)
    assert not NameNodesPass()(model).modified
    values = [[value.name for value in node.outputs] for node in model.graph]
    assert values == [list(node.output) for node in source.graph.node]
    return [node.name for node in model.graph], step.count


def test_unnamed_and_repeated_nodes_are_named_after_their_outputs() -> None:
    assert names_after(chain("", "a", "a", "")) == (["v0/Neg", "a", "v2/Neg", "v3/Neg"], 3)


def test_unique_names_stay() -> None:
    assert names_after(chain("b", "v0/Neg", "a")) == (["b", "v0/Neg", "a"], 0)


def test_a_name_that_a_later_node_has_is_not_taken_from_it() -> None:
    assert names_after(chain("", "v0/Neg", "v0/Neg_1")) == (["v0/Neg_2", "v0/Neg", "v0/Neg_1"], 1)


def test_nodes_whose_first_output_is_left_out() -> None:
    source = chain("a")
    split = helper.make_node("Dropout", ["x"], ["", "mask"])
    source.graph.node.append(split)
    source.graph.node.append(helper.make_node("Dropout", ["x"], ["", ""]))
    assert names_after(source) == (["a", "mask/Dropout", "Dropout"], 2)


def test_nodes_of_subgraphs_are_told_apart_too() -> None:
    model = to_ir(with_subgraph(chain("a"), ["b", "c"]))
    for node in model.graph.all_nodes():
        node.name = "same"
    NameNodesPass()(model)
    names = [node.name for node in model.graph.all_nodes()]
    assert len(set(names)) == len(names)
    assert names[:2] == ["same", "extra_result/If"]
    assert {"b/Neg", "c/Neg", "inner_result/If"} < set(names)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)

"""Which products are those of attention."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from pyfastep._products import attention_products


def node(op: str, inputs: str, name: str) -> onnx.NodeProto:
    """Its output is called as it is."""
    return helper.make_node(op, inputs.split(), [name], name=name)


ROTARY = [
    node("MatMul", "frequencies positions", "angles"),
    node("Cos", "angles", "cos"),
    node("Mul", "q cos", "rotated"),
]
ATTENTION = [
    node("MatMul", "rotated k", "scores"),
    node("Div", "scores size", "scaled"),
    node("Where", "mask scaled lowest", "masked"),
    node("Softmax", "masked", "weights"),
    node("Cast", "weights", "weights_32"),
    node("MatMul", "weights_32 v", "summed"),
    node("Reshape", "summed shape", "heads"),
    node("MatMul", "heads w", "output"),
]


def test_attention_but_not_its_angles() -> None:
    graph = helper.make_graph([*ROTARY, *ATTENTION], "g", [], [])
    assert attention_products(graph) == {"scores", "summed"}


def test_scores_that_are_a_sum() -> None:
    """Of content and of relative positions, as DeBERTa has them; the branches of an If are seen through."""
    inner = helper.make_graph([node("Gather", "relative places", "then")], "then", [], [])
    other = helper.make_graph([node("Identity", "relative", "else")], "else", [], [])
    choice = helper.make_node("If", ["long"], ["gathered"], name="choice", then_branch=inner, else_branch=other)
    nodes = [
        node("MatMul", "q k", "content"),
        node("MatMul", "q table", "relative"),
        choice,
        node("Add", "content gathered", "masked"),
        *ATTENTION[3:],
    ]
    assert attention_products(helper.make_graph(nodes, "g", [], [])) == {"content", "relative", "summed"}


@pytest.mark.parametrize("last", ["weights", "summed"])
def test_a_softmax_at_an_end(last: str) -> None:
    names = [one.name for one in ATTENTION]
    graph = helper.make_graph(ATTENTION[: names.index(last) + 1], "g", [], [])
    assert attention_products(graph) == ({"scores"} if last == "weights" else {"scores", "summed"})


@pytest.mark.parametrize("op", ["Einsum", "FusedMatMul"])
def test_scores_by_another_op(op: str) -> None:
    """What is behind it is no attention any more."""
    graph = helper.make_graph([*ROTARY, node(op, "rotated k", "scores"), *ATTENTION[1:]], "g", [], [])
    assert attention_products(graph) == {"summed"}


def test_no_softmax() -> None:
    assert attention_products(helper.make_graph(ROTARY, "g", [], [])) == set()

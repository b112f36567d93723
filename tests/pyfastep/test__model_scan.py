"""The small protobuf reader against the package onnx, and on damaged files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pyfastep._model_scan import (
    FastepNode,
    append_metadata,
    external_files,
    fastep_nodes,
    is_plain_onnx,
    metadata,
    table_rows,
)


def test_finds_the_nodes_that_onnx_finds(fast_model: Path) -> None:
    expected = [
        FastepNode(node.name or node.output[0], node.op_type)
        for node in onnx.load(str(fast_model)).graph.node
        if node.domain == "fastep"
    ]
    assert expected
    assert fastep_nodes(fast_model) == expected
    assert fastep_nodes(str(fast_model)) == expected
    assert fastep_nodes(fast_model.read_bytes()) == expected


def test_finds_none_in_an_ordinary_model(float_model: Path) -> None:
    assert fastep_nodes(float_model) == []


def branching_model() -> onnx.ModelProto:
    """A fastep node without a name within a branch, and one outside."""
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branches = [
        helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain)], "branch", [], [y])
        for op, domain in (("Inner", "fastep"), ("Neg", ""))
    ]
    nodes = [
        helper.make_node("Outer", ["x"], ["z"], "outer", domain="fastep"),
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, [y]))


def test_looks_into_subgraphs() -> None:
    assert fastep_nodes(branching_model().SerializeToString()) == [
        FastepNode("outer", "Outer"),
        FastepNode("y", "Inner"),
    ]


def test_a_damaged_model_never_raises() -> None:
    data = branching_model().SerializeToString()
    whole = fastep_nodes(data)
    for end in range(len(data)):
        assert len(fastep_nodes(data[:end])) <= len(whole)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        assert isinstance(fastep_nodes(bytes(damaged)), list)


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"ORTM" * 10])
def test_what_is_no_model_has_no_nodes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert fastep_nodes(tmp_path / "x") == []
    assert fastep_nodes(tmp_path / "missing") == []
    assert table_rows(tmp_path / "x", "input_ids") is None


def field(number: int, content: bytes) -> bytes:
    """A protobuf field: key, length in groups of seven bits, content."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def test_what_is_nested_without_end_has_no_files() -> None:
    """Such a file may stand beside a model."""
    nested = b""
    for _ in range(2000):
        nested = field(1, field(5, field(6, nested)))  # a graph's node, its attribute, whose graph is that before
    assert external_files(field(7, nested)) == set()


def test_rows_of_the_embedding_table(float_model: Path) -> None:
    assert table_rows(float_model, "input_ids") == 37
    assert table_rows(float_model, "attention_mask") is None


def test_rows_of_a_quantized_embedding_table() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["table", "scale"], ["t"]),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.zeros((11, 3), np.int8), "table"),
            numpy_helper.from_array(np.array(1, np.float32), "scale"),
        ],
    )
    assert table_rows(helper.make_model(graph).SerializeToString(), "ids") == 11


@pytest.mark.parametrize("tokens", ["", "_type", "_counted", "_type_counted"])
@pytest.mark.parametrize("stored", ["", "_quant"])
def test_rows_of_the_table_of_a_fused_embedding(tokens: str, stored: str) -> None:
    op_type = f"EmbedLayerNorm{tokens}_f32{stored}"
    types, counted = "_type" in op_type, "_counted" in op_type
    names = ["input_ids", *([] if counted else ["position_ids"]), *(["token_type_ids"] if types else [])]
    sizes = {"word": 11, "position": 7} | ({"type": 2} if types else {})
    tables = [[name, f"{name}_scale", f"{name}_zero"] if "quant" in op_type else [name] for name in sizes]
    node = helper.make_node(op_type, [*names, *itertools.chain(*tables), "gamma", "beta"], ["y"], domain="fastep")
    rows = [numpy_helper.from_array(np.zeros((size, 3), np.float32), name) for name, size in sizes.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in names]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    data = helper.make_model(helper.make_graph([node], "g", values, [y], rows)).SerializeToString()
    assert table_rows(data, "input_ids") == 11
    assert table_rows(data, "position_ids") is None


def test_metadata() -> None:
    model = branching_model()
    model.metadata_props.add(key="other", value="1")
    model.metadata_props.add(key="fastep.padding", value="skipped (proven: first token)")
    data = model.SerializeToString()
    assert metadata(data, "fastep.padding") == "skipped (proven: first token)"
    assert metadata(data, "other") == "1"
    assert metadata(data, "none") is None
    assert metadata(b"\xff" * 9, "other") is None


def test_metadata_that_are_added(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = branching_model()
    model.metadata_props.add(key="other", value="1")
    onnx.save(model, path)
    append_metadata(path, {"fastep.vocabulary": "30522", "é": "x" * 100})
    append_metadata(path, {})
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert found == {"other": "1", "fastep.vocabulary": "30522", "é": "x" * 100}
    assert metadata(path, "fastep.vocabulary") == "30522"
    with pytest.raises(ValueError, match="200 bytes"):
        append_metadata(path, {"long": "x" * 200})


def test_what_is_plain_onnx(fast_model: Path) -> None:
    assert is_plain_onnx(fast_model)
    assert is_plain_onnx(fast_model.read_bytes())
    assert not is_plain_onnx(b"\x10\0\0\0ORTM" + b"\xff" * 50)
    assert not is_plain_onnx(b"")

"""EmbedLayerNorm takes the place of embeddings that are added and normalized."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.attach_functions import AttachFunctionsPass
from pyfastep.passes.fuse_embed_layer_norm import FuseEmbedLayerNormPass
from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.remove_unused import RemoveUnusedPass

from .encoders import FEATURES, POSITIONS, WORDS, EncoderBuilder, embeddings, feeds_of
from .models import op_types, run, to_ir

SHAPE = ["batch", "length", FEATURES]


def embed_model(
    tables: str = "f32",
    *,
    with_type: bool = False,
    quantized: bool = False,
    ids: str = "i64",
    change: Callable[[EncoderBuilder, str], str] = lambda b, total: total,
    asks_shape: bool = False,
) -> onnx.ModelProto:
    b = EncoderBuilder()
    b.input("input_ids" if ids == "i64" else "input_ids_given", ["batch", "length"])
    b.inputs[0].type.tensor_type.elem_type = onnx.TensorProto.INT64 if ids == "i64" else onnx.TensorProto.INT32
    if ids != "i64":
        b.inputs[0].name = "input_ids"
    total = change(b, embeddings(b, tables, with_type))
    y = b.norm(total, "norm")
    if asks_shape:
        b.node("Shape", ["word_rows"], "asked")
        b.node("Shape", ["word_rows" if tables == "f32" else "word_g"], "asked_last", start=-1)
        b.output("asked", [3])
        b.output("asked_last", [1])
        for output in b.outputs:
            output.type.tensor_type.elem_type = onnx.TensorProto.INT64
    if quantized:
        b.dequantize(b.quantize(y, b.scale("y", 0.03, 120), "y_q"), ["y_scale", "y_zero"], "y")
    else:
        b.node("Identity", [y], "y")
    b.output("y", SHAPE)
    return b.build()


def fuse(source: onnx.ModelProto) -> tuple[ir.Model, FuseEmbedLayerNormPass]:
    onnx.checker.check_model(source, full_check=True)
    model = to_ir(source)
    InferShapesPass()(model)
    step = FuseEmbedLayerNormPass()
    step(model)
    AttachFunctionsPass()(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model, step


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("with_type", [False, True])
@pytest.mark.parametrize("tables", ["f32", "first", "behind"])
def test_forms(tables: str, with_type: bool, quantized: bool) -> None:
    source = embed_model(tables, with_type=with_type, quantized=quantized)
    model, step = fuse(source)
    assert step.count == 1
    assert not step.refusals
    tokens = "_type" * with_type + "_counted"
    name = f"EmbedLayerNorm{tokens}" + ("_u8" if quantized else "_f32") + "_quant" * (tables != "f32")
    assert op_types(model).count(name) == 1
    assert not {"LayerNormalization", "Add", "QuantizeLinear"} & set(op_types(model))
    feeds = feeds_of(source)
    difference = np.abs(run(model, feeds)[0] - run(source, feeds)[0])
    assert difference.max() <= (0.0301 if quantized else 1e-5)
    assert (difference > 1e-5).mean() < 0.01


def test_positions_that_count_tokens_need_no_node() -> None:
    model, _ = fuse(embed_model(with_type=True))
    RemoveUnusedPass()(model)
    node, last = model.graph
    assert last.op_type == "Identity"
    assert [value and value.name for value in node.inputs[:2]] == ["input_ids", "token_type_ids"]


@pytest.mark.parametrize("rows", [POSITIONS - 3, POSITIONS + 3])
def test_rows_that_no_position_reaches_are_left_out(rows: int) -> None:
    """A buffer of another length than the table; a sequence longer than either is an error before and after."""
    source = embed_model()
    buffer = next(tensor for tensor in source.graph.initializer if tensor.name == "all_positions")
    buffer.CopyFrom(onnx.numpy_helper.from_array(np.arange(rows)[None], buffer.name))
    model, _ = fuse(source)
    (node,) = [node for node in model.graph if node.domain == "fastep"]
    table = next(value for value in node.inputs if value is not None and str(value.name).endswith("/position"))
    assert list(table.shape or ()) == [min(rows, POSITIONS), FEATURES]
    longest, too_long = (feeds_of(source, 2, length) for length in (min(rows, POSITIONS), min(rows, POSITIONS) + 1))
    assert np.allclose(run(model, longest)[0], run(source, longest)[0], atol=1e-5)
    for proto in (source, model):
        with pytest.raises(Exception, match=r"(?i)out of|broadcast"):  # ONNX Runtime's errors share no base
            run(proto, too_long)


def test_positions_that_do_not_are_an_input() -> None:
    source = embed_model()
    buffer = next(tensor for tensor in source.graph.initializer if tensor.name == "all_positions")
    buffer.CopyFrom(onnx.numpy_helper.from_array(np.arange(POSITIONS)[None, ::-1].copy(), buffer.name))
    model, step = fuse(source)
    assert step.count == 1
    assert "EmbedLayerNorm_f32" in op_types(model)
    feeds = feeds_of(source)
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], atol=1e-5)


def test_tables_are_stored_as_they_were() -> None:
    model, _ = fuse(embed_model("first", with_type=True))
    (node,) = [node for node in model.graph if node.domain == "fastep"]
    shapes = {(v.name or "").split("/")[-1]: v.const_value for v in node.inputs if v and v.const_value is not None}
    assert shapes["word"].dtype == ir.DataType.UINT8
    assert list(shapes["word"].shape) == [WORDS, FEATURES]
    assert float(shapes["word_scale"].numpy()) == np.float32(0.01)


def test_int32_ids_are_cast() -> None:
    source = embed_model(ids="i32")
    model, step = fuse(source)
    assert step.count == 1
    assert "Cast" in op_types(model)
    feeds = {"input_ids": feeds_of(embed_model())["input_ids"].astype(np.int32)}
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], atol=1e-5)


@pytest.mark.parametrize("tables", ["f32", "first"])
def test_who_asks_for_a_shape_asks_the_ids(tables: str) -> None:
    """No embedding is computed only to know its shape."""
    source = embed_model(tables, asks_shape=True)
    model, _ = fuse(source)
    gathers = [node for node in model.graph if node.op_type == "Gather" and node.inputs[1] is model.graph.inputs[0]]
    assert not gathers
    feeds = feeds_of(source, 2, 5)
    found = run(model, feeds)
    assert found[0].tolist() == [2, 5, FEATURES]
    assert found[1].tolist() == [FEATURES]


@pytest.mark.parametrize("ids", ["i64", "i32"])
def test_a_row_beside_words_alone_gets_an_id_per_token(ids: str) -> None:
    """As a model with rotary positions whose only token type was folded."""
    b = EncoderBuilder()
    b.input("input_ids", ["batch", "length"], "i64")
    b.inputs[0].type.tensor_type.elem_type = onnx.TensorProto.INT64 if ids == "i64" else onnx.TensorProto.INT32
    rows = b.node("Gather", [b.constant("word", b.rng.standard_normal((WORDS, FEATURES))), "input_ids"], "rows")
    y = b.norm(b.node("Add", [rows, b.c(b.rng.standard_normal((1, 1, FEATURES)))], "total"), "norm")
    b.node("Identity", [y], "y")
    b.output("y", SHAPE)
    source = b.build()
    model, step = fuse(source)
    assert step.count == 1
    (node,) = [node for node in model.graph if node.domain == "fastep"]
    assert node.inputs[1] is not None
    assert list(node.inputs[1].shape or ()) == ["batch", "length"]
    feeds = {"input_ids": feeds_of(embed_model())["input_ids"].astype(np.int64 if ids == "i64" else np.int32)}
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], atol=1e-5)


def four_terms(b: EncoderBuilder, total: str) -> str:
    extra = b.node("Gather", [b.constant("extra", np.ones((WORDS, FEATURES))), "input_ids"], "extra_rows")
    return b.node("Add", [total, b.node("Add", [extra, extra], "twice")], "more")


def input_added(b: EncoderBuilder, total: str) -> str:
    return b.node("Add", [total, b.input("noise", ["batch", "length", FEATURES])], "more")


def constant_added(b: EncoderBuilder, total: str) -> str:
    return b.node("Add", [total, b.c(np.ones(FEATURES))], "more")


def rows_added(b: EncoderBuilder, total: str) -> str:
    """Rows that an exporter picked, because it knew the length."""
    return b.node("Add", [total, b.c(np.arange(4 * FEATURES).reshape(1, 4, FEATURES) / 50)], "more")


def test_a_constant_is_part_of_a_table() -> None:
    source = embed_model(change=constant_added)
    model, step = fuse(source)
    assert step.count == 1
    feeds = feeds_of(source, 2, 4)
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], atol=1e-5)


def one_table_quantized(b: EncoderBuilder, total: str) -> str:
    table = b.constant("extra", np.ones((WORDS, FEATURES)), np.uint8)
    rows = b.dequantize(b.node("Gather", [table, "input_ids"], "extra_q"), b.scale("extra", 0.1, 3), "extra_rows")
    return b.node("Add", [total, rows], "more")


def rounded_rows(b: EncoderBuilder, total: str) -> str:
    extra = b.node("Gather", [b.constant("extra", np.ones((WORDS, FEATURES))), "input_ids"], "extra_rows")
    return b.node("Add", [total, b.pair(extra, 0.1)], "more")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (four_terms, "a sum of 4 embeddings, expected 2 or 3"),
        (rows_added, "two tables beside the words' may have one row of ids for all sequences"),
        (input_added, "something else than an embedding is added"),
        (one_table_quantized, "some embedding tables are quantized, others are not"),
        (rounded_rows, "the rows of a float embedding table are rounded"),
    ],
)
def test_reasons(change: Callable[[EncoderBuilder, str], str], reason: str) -> None:
    model, step = fuse(embed_model(change=change))
    assert step.count == 0
    assert [entry.reason for entry in step.refusals] == [reason]
    assert "LayerNormalization" in op_types(model)


def test_a_rounding_to_another_scale_is_dropped() -> None:
    source = embed_model("first")
    feeds = feeds_of(source)
    expected = run(source, feeds)[0]  # a rounding to the table's own scale changes nothing
    other = onnx.numpy_helper.from_array(np.float32(0.013), "another_scale")
    source.graph.initializer.append(other)
    for node in source.graph.node:
        if node.output[0] in ("word_gq", "word_rows"):
            node.input[1] = "another_scale"
    assert np.abs(run(source, feeds)[0] - expected).max() > 1e-3
    model, step = fuse(source)
    assert step.count == 1
    np.testing.assert_allclose(run(model, feeds)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_second_run_changes_nothing() -> None:
    model, step = fuse(embed_model("first", quantized=True))
    assert not step(model).modified

"""The whole pipeline on a transformer layer: every op is fused, the model stays whole, and the report says so."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from pyfastep.passes.pipeline import build_pipeline, convert_model

from .encoders import encoder_model, feeds_of
from .models import op_types, run, to_ir

MAX_ERROR_RATIO = 1.05
FORMS: list[dict[str, Any]] = [
    {},
    {"products": True, "scale": "at_run_time"},
    {"tables": "first", "with_type": True},
    {"tables": "behind", "mask": "expanded"},
    {"spelled_out": True, "opset": 13},
    {"opset": 21, "mask": "where_not"},
]


def fused_ops(model: ir.Model) -> set[str]:
    return {name.split("_")[0] for name in op_types(model)}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_everything_is_fused(form: dict[str, Any]) -> None:
    source = encoder_model(**form)
    model = to_ir(source)
    report = convert_model(model, encoder=True)
    assert report.encoder is not None
    assert not report.encoder.unfused
    assert sum(report.encoder.fused.values()) == 4
    assert not report.skipped
    assert {"EmbedLayerNorm", "QAttention", "SkipLayerNorm", "QLinear"} <= fused_ops(model)
    assert not {"LayerNormalization", "Softmax", "MatMul", "Transpose", "QuantizeLinear"} & set(op_types(model))
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    assert list(proto.graph.input) == list(source.graph.input)
    assert list(proto.graph.output) == list(source.graph.output)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_error_is_that_of_the_source(form: dict[str, Any]) -> None:
    source, float_model = encoder_model(**form), encoder_model(**form, quantized=False)
    model = to_ir(source)
    convert_model(model, encoder=True)
    errors = np.zeros(2)
    for seed in range(8):
        feeds = feeds_of(source, 4, 4 + seed, seed)
        keep = feeds["attention_mask"] == 1
        expected = run(float_model, feeds)[0][keep]
        errors += [np.abs(run(entry, feeds, optimized=True)[0][keep] - expected).mean() for entry in (source, model)]
    assert errors[1] <= MAX_ERROR_RATIO * errors[0]


def test_by_default_only_linears_are_fused() -> None:
    model = to_ir(encoder_model())
    report = convert_model(model)
    assert report.encoder is None
    assert not {"QAttention", "SkipLayerNorm", "EmbedLayerNorm"} & fused_ops(model)
    assert {"LayerNormalization", "Softmax"} <= set(op_types(model))


def test_exact_conversion_fuses_products_alone() -> None:
    source = encoder_model()
    model = to_ir(source)
    report = convert_model(model, exact=True, encoder=True)
    assert report.encoder is None
    assert "exact: products alone" in report.to_text()
    assert {name for name in op_types(model) if "_" in name} == {"QLinear_f32"}
    before, after = set(op_types(to_ir(source))), set(op_types(model))
    assert after - before == {"QLinear_f32"}
    for seed in range(4):
        feeds = feeds_of(source, 4, 4 + seed, seed)
        found, expected = (run(entry, feeds, optimized=True)[0] for entry in (model, source))
        # Stock ONNX Runtime sees the bodies, and sums some floats in another order: single steps may move.
        assert np.abs(found - expected).mean() < 1e-3 * np.abs(expected).mean()


@pytest.mark.parametrize("exact", [False, True])
def test_a_second_run_of_every_pass_changes_nothing(exact: bool) -> None:
    model = to_ir(encoder_model(products=True, tables="first"))
    convert_model(model, exact=exact, encoder=True)
    before = [node.SerializeToString() for node in ir.serde.serialize_model(model).graph.node]
    for step in build_pipeline(exact, encoder=True):
        assert not step(model).modified, type(step).__name__
    assert [node.SerializeToString() for node in ir.serde.serialize_model(model).graph.node] == before


def test_the_report() -> None:
    report = convert_model(to_ir(encoder_model(quantized_attention=False)), encoder=True)
    counts = {entry.name: entry.count for entry in report.passes}
    assert (counts["FuseEmbedLayerNorm"], counts["FuseSkipLayerNorm"], counts["FuseAttention"]) == (1, 2, 1)
    text = report.to_text()
    fused = "1 EmbedLayerNorm_counted_f32_u8, 1 FAttention_u8_mask, 1 SkipLayerNorm_f32, 1 SkipLayerNorm_f32_u8"
    assert f"beyond the linears: {fused}" in text
    assert "softmax/Softmax: attention in float (FAttention), its products are not quantized" in text
    assert json.loads(json.dumps(report.to_dict()))["encoder"]["fused"]["EmbedLayerNorm_counted_f32_u8"] == 1


def as_operator(source: onnx.ModelProto, product: str) -> None:
    """DQ, DQ -> MatMul -> Q, DQ written as QLinearMatMul -> DQ."""
    nodes = {node.output[0]: node for node in source.graph.node}
    matmul = nodes[product]
    sides = [nodes[name] for name in matmul.input]
    quantizer = next(
        node for node in source.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == product
    )
    inputs = [name for side in sides for name in side.input] + list(quantizer.input[1:])
    operator = helper.make_node("QLinearMatMul", inputs, [quantizer.output[0]], name=f"{product}/QLinearMatMul")
    index = list(source.graph.node).index(matmul)
    source.graph.node.insert(index, operator)
    for node in (matmul, quantizer, *sides):
        source.graph.node.remove(node)


def test_operators_of_attention_are_unpacked() -> None:
    source = encoder_model(products=True)
    expected = run(source, feeds_of(source))[0]
    for product in ("scores", "context"):
        as_operator(source, product)
    onnx.checker.check_model(source, full_check=True)
    model = to_ir(source)
    report = convert_model(model, encoder=True)
    assert report.encoder is not None
    assert report.encoder.fused["QAttention_u8_mask"] == 1
    assert np.abs(run(model, feeds_of(source))[0] - expected).mean() < 0.05


def test_sums_of_full_qdq_models_stay_float() -> None:
    """Q/DQ around the residual sum is gone, and the linear before it is not quantized."""
    source = encoder_model()
    for name, array in (("extra_scale", np.float32(0.03)), ("extra_zero", np.uint8(128))):
        source.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    index = next(i for i, node in enumerate(source.graph.node) if node.output[0] == "first_sum")
    source.graph.node[index].input[0] = "out_rounded"
    for offset, (op_type, x, y) in enumerate(
        (("QuantizeLinear", "out_y", "out_q"), ("DequantizeLinear", "out_q", "out_rounded"))
    ):
        source.graph.node.insert(
            index + offset, helper.make_node(op_type, [x, "extra_scale", "extra_zero"], [y], name=y)
        )
    onnx.checker.check_model(source, full_check=True)
    plain, rounded = to_ir(encoder_model()), to_ir(source)
    for model in (plain, rounded):
        convert_model(model, encoder=True)
    assert sorted(op_types(plain)) == sorted(op_types(rounded))
    feeds = feeds_of(source)
    assert np.array_equal(run(plain, feeds)[0], run(rounded, feeds)[0])

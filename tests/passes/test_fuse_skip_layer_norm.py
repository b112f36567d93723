"""SkipLayerNorm takes the place of residual sums that are normalized, and of no other sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.attach_functions import AttachFunctionsPass
from pyfastep.passes.fuse_skip_layer_norm import FuseSkipLayerNormPass
from pyfastep.passes.infer_shapes import InferShapesPass

from .encoders import FEATURES, EncoderBuilder
from .models import op_types, run, to_ir

SHAPE: list[str | int] = ["batch", "length", FEATURES]


def residual_model(
    readers: str = "f32",
    *,
    spelled_out: bool = False,
    quantized_residual: bool = False,
    right: list[Any] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """LayerNorm(a + b), read by what `readers` names: f32, u8, both, or two quantizers."""
    b = EncoderBuilder(opset, spelled_out=spelled_out)
    b.input("a", SHAPE)
    b.input("b", SHAPE if right is None else right)
    side = b.pair("b", 0.02) if quantized_residual else "b"
    y = b.norm(b.node("Add", ["a", side], "sum"), "norm")
    if readers in ("f32", "both"):
        b.node("Identity", [y], "float_y")
        b.output("float_y", SHAPE)
    count = {"f32": 0, "two": 2}.get(readers, 1)
    for index in range(count):
        quantized = b.quantize(y, b.scale(f"y{index}", 0.03, 120), f"quantized_{index}")
        b.dequantize(quantized, [f"y{index}_scale", f"y{index}_zero"], f"y_{index}")
        b.output(f"y_{index}", SHAPE)
    return b.build()


def fuse(source: onnx.ModelProto) -> tuple[ir.Model, FuseSkipLayerNormPass]:
    model = to_ir(source)
    InferShapesPass()(model)
    step = FuseSkipLayerNormPass()
    step(model)
    AttachFunctionsPass()(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model, step


@pytest.mark.parametrize("spelled_out", [False, True])
@pytest.mark.parametrize(
    ("readers", "name"),
    [
        ("f32", "SkipLayerNorm_f32"),
        ("u8", "SkipLayerNorm_u8"),
        ("two", "SkipLayerNorm_u8"),
        ("both", "SkipLayerNorm_f32_u8"),
    ],
)
def test_outputs_follow_the_readers(readers: str, name: str, spelled_out: bool) -> None:
    source = residual_model(readers, spelled_out=spelled_out)
    model, step = fuse(source)
    assert step.count == 1
    assert not step.refusals
    types = op_types(model)
    assert types.count(name) == 1
    assert not {"LayerNormalization", "ReduceMean", "Add", "QuantizeLinear"} & set(types)
    rng = np.random.default_rng(0)
    feeds = {key: rng.standard_normal((2, 5, FEATURES)).astype(np.float32) for key in "ab"}
    assert [entry.name for entry in model.graph.outputs] == [entry.name for entry in source.graph.output]
    for found, expected in zip(run(model, feeds), run(source, feeds), strict=True):
        # A float may land on the other side of a half: one step. Otherwise a few roundings of values below 8.
        step_size = 0.0301 if not spelled_out or readers != "f32" else 0
        difference = np.abs(found - expected)
        assert difference.max() <= max(step_size, 1e-5)
        assert (difference > 1e-5).mean() < 0.01


def test_two_scales_fold_the_first() -> None:
    source = residual_model("two")
    next(t for t in source.graph.initializer if t.name == "y1_scale").CopyFrom(
        onnx.numpy_helper.from_array(np.float32(0.05), "y1_scale")
    )
    model, _ = fuse(source)
    assert op_types(model).count("SkipLayerNorm_f32_u8") == 1
    assert op_types(model).count("QuantizeLinear") == 1


def test_a_quantized_residual_stays_as_it_is() -> None:
    model, step = fuse(residual_model(quantized_residual=True))
    assert step.count == 1
    assert "DequantizeLinear" in op_types(model)


@pytest.mark.parametrize("right", [[1, "length", FEATURES], ["one", "length", FEATURES], ["length", FEATURES]])
def test_sums_that_may_broadcast_are_left_alone(right: list[Any]) -> None:
    model, step = fuse(residual_model(right=right))
    assert step.count == 0
    assert "LayerNormalization" in op_types(model)
    (refusal,) = step.refusals
    assert "broadcast" in refusal.reason or "equal shapes" in refusal.reason


def test_a_residual_block_has_one_shape() -> None:
    """Sizes are unknown behind a Reshape, but one side is computed from the other."""
    b = EncoderBuilder()
    b.input("a", [None, None, FEATURES])
    doubled = b.node("Mul", ["a", b.c(2)], "doubled")
    shape = b.node("Shape", ["a"], "a_shape")
    flat = b.node("Reshape", [doubled, b.c([-1], np.int64)], "flat")
    back = b.node("Reshape", [flat, b.node("Add", [shape, b.c([0, 0, 0], np.int64)], "computed")], "back")
    known = b.node("Slice", [back, b.c([0], np.int64), b.c([FEATURES], np.int64), b.c([2], np.int64)], "known")
    b.node("Identity", [b.norm(b.node("Add", [known, "a"], "sum"), "norm")], "y")
    b.output("y", [None, None, FEATURES])
    source = b.build()
    model = to_ir(source)
    back_value = next(node for node in model.graph if node.outputs[0].name == "known").outputs[0]
    back_value.shape = ir.Shape([None, None, FEATURES])
    back_value.type = ir.TensorType(ir.DataType.FLOAT)
    step = FuseSkipLayerNormPass()
    step(model)
    assert step.count == 1


def first_by_slice(b: EncoderBuilder, x: str) -> str:
    return b.node("Slice", [x, b.c([0], np.int64), b.c([1], np.int64), b.c([1], np.int64)], "first")


def first_by_gather(b: EncoderBuilder, x: str) -> str:
    return b.node("Gather", [x, b.c([0], np.int64)], "first", axis=1)


def mean_of_tokens(b: EncoderBuilder, x: str) -> str:
    return b.node("ReduceMean", [x], "first", axes=[1], keepdims=1)


def transposed_cut(b: EncoderBuilder, x: str) -> str:
    turned = b.node("Transpose", [x], "turned", perm=[0, 2, 1])
    cut = b.node("Slice", [turned, b.c([0], np.int64), b.c([1], np.int64), b.c([2], np.int64)], "cut")
    return b.node("Transpose", [cut], "first", perm=[0, 2, 1])


def one_query(b: EncoderBuilder, x: str) -> str:
    """Attention of a single query: the other operand's tokens are summed up."""
    query = b.c(np.ones((1, FEATURES)))
    weights = b.node("MatMul", [query, b.node("Transpose", [x], "keys", perm=[0, 2, 1])], "weights")
    return b.node("MatMul", [weights, x], "first")


@pytest.mark.parametrize("pick", [first_by_slice, first_by_gather, mean_of_tokens, transposed_cut, one_query])
@pytest.mark.parametrize("token", [None, "length"])
def test_a_token_for_all_is_no_residual(pick: Callable[[EncoderBuilder, str], str], token: str | None) -> None:
    """The sum repeats what is computed from the first token, or of all together."""
    b = EncoderBuilder(quantized=False)
    shape = [None if token is None else "batch", token, FEATURES]
    b.input("a", shape)
    side = b.linear(pick(b, "a"), "side", FEATURES, FEATURES)
    b.node("Identity", [b.norm(b.node("Add", [side, "a"], "sum"), "norm")], "y")
    b.output("y", shape)
    model = to_ir(b.build())
    InferShapesPass()(model)
    unknown = next(node for node in model.graph if node.op_type == "Add" and node.outputs[0].name == "side_y")
    unknown.outputs[0].shape = ir.Shape([None, None, FEATURES])  # as a Reshape before it would leave it
    step = FuseSkipLayerNormPass()
    step(model)
    assert step.count == 0
    assert [entry.reason for entry in step.refusals] == ["the sum before it may broadcast"]


def no_residual() -> onnx.ModelProto:
    b = EncoderBuilder()
    b.input("a", SHAPE)
    b.node("Identity", [b.norm("a", "norm")], "y")
    b.output("y", SHAPE)
    return b.build()


def used_sum() -> onnx.ModelProto:
    source = residual_model()
    source.graph.output.append(onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, SHAPE))
    return source


def first_axis() -> onnx.ModelProto:
    source = residual_model()
    node = next(node for node in source.graph.node if node.op_type == "LayerNormalization")
    next(attribute for attribute in node.attribute if attribute.name == "axis").i = 1
    return source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (no_residual(), "no residual is added before it"),
        (used_sum(), "the sum before it is used elsewhere"),
        (first_axis(), "normalizes more than the last axis"),
    ],
    ids=["alone", "used", "axis"],
)
def test_reasons(source: onnx.ModelProto, reason: str) -> None:
    model = to_ir(source)
    step = FuseSkipLayerNormPass()
    assert not step(model).modified
    assert [entry.reason for entry in step.refusals] == [reason]


def test_a_second_run_changes_nothing() -> None:
    model, step = fuse(residual_model("both"))
    assert not step(model).modified

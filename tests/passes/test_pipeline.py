"""All passes in order: what comes out is a whole model, and what cannot be converted is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.errors import ConversionError
from pyfastep.passes.move_scales import MoveScalesPass
from pyfastep.passes.pipeline import build_pipeline, convert_model

from .models import FORMS, Builder, linear_model, op_types, random_weight, random_x, run, to_ir

WEIGHT = random_weight(32, 24, (4, 1), 0.25)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("form", FORMS)
def test_models_are_whole(form: str, opset: int, exact: bool) -> None:
    source = linear_model(form, weight=WEIGHT, activation="gelu", opset=opset, per_channel=opset >= 13)
    model = to_ir(source)
    report = convert_model(model, exact=exact)
    assert len(report.layers) == 1
    assert not report.skipped
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    assert list(proto.graph.input) == list(source.graph.input)
    assert list(proto.graph.output) == list(source.graph.output)
    assert list(proto.metadata_props) == list(source.metadata_props)
    feeds = random_x(source)
    found, expected = run(model, feeds)[0], run(source, feeds)[0]
    assert found.shape == expected.shape
    # Exact: floats are rounded once less at most. Otherwise roundings around the product may be gone, too.
    np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-5 if exact else 0.02) * np.abs(expected).max())


def test_counts_per_pass() -> None:
    report = convert_model(to_ir(linear_model("qlinear_matmul", weight=WEIGHT, opset=13)))
    counts = {entry.name: entry.count for entry in report.passes}
    assert [entry.name for entry in report.passes] == [
        type(step).__name__.removesuffix("Pass") for step in build_pipeline()
    ]
    assert {
        name: counts[name]
        for name in ("RaiseOpset", "UnpackOperators", "FuseQLinear", "StoreSparse", "AttachFunctions")
    } == {
        "RaiseOpset": 1,
        "UnpackOperators": 1,
        "FuseQLinear": 1,
        "StoreSparse": 1,
        "AttachFunctions": 1,
    }


def test_a_second_run_of_every_pass_changes_nothing() -> None:
    model = to_ir(linear_model(weight=WEIGHT, x_type="s8", pair=True, opset=13))
    convert_model(model)
    before = ir.serde.serialize_model(model).SerializeToString()
    for step in build_pipeline():
        assert not step(model).modified, type(step).__name__
    assert ir.serde.serialize_model(model).SerializeToString() == before


def test_a_converted_model_is_refused() -> None:
    model = to_ir(linear_model(weight=WEIGHT))
    convert_model(model)
    with pytest.raises(ConversionError, match="converted already"):
        convert_model(model)


def test_functions_of_the_source_are_inlined() -> None:
    source = linear_model(weight=WEIGHT, y_type="f32")
    body = [onnx.helper.make_node("MatMul", ["a", "b"], ["c"])]
    source.functions.append(
        onnx.helper.make_function("local", "Product", ["a", "b"], ["c"], body, [onnx.helper.make_opsetid("", 17)])
    )
    source.opset_import.append(onnx.helper.make_opsetid("local", 1))
    product = next(node for node in source.graph.node if node.op_type == "MatMul")
    product.domain, product.op_type = "local", "Product"
    model = to_ir(source)
    assert len(convert_model(model).layers) == 1
    assert {domain for domain, _, _ in model.functions} == {"fastep"}


def float_model(dtype: Any = np.float32, k: int = 4) -> onnx.ModelProto:
    b = Builder()
    b.input("x", ["n", k])
    weight = b.constant("w", np.ones((k, 6)), dtype)
    if dtype == np.float16:
        b.node("Cast", ["x"], "x_half", to=onnx.TensorProto.FLOAT16)
        b.node("Cast", [b.node("MatMul", ["x_half", weight], "half")], "y", to=onnx.TensorProto.FLOAT)
    else:
        b.node("MatMul", ["x", weight], "y")
    b.output("y", ["n", 6])
    return b.build()


def no_linear() -> onnx.ModelProto:
    b = Builder()
    b.input("x", ["n", 4])
    b.node("Neg", ["x"], "y")
    b.output("y", ["n", 4])
    return b.build()


@pytest.mark.parametrize(
    ("model", "node", "problem"),
    [
        (float_model(), "node 'y/MatMul'", "none of the 1 linears can be converted: weights are float (not quantized)"),
        (float_model(np.float16), "node 'half/MatMul'", "float16 weights"),
        (no_linear(), "model", "the model has no linear"),
    ],
)
def test_nothing_to_convert(model: onnx.ModelProto, node: str, problem: str) -> None:
    with pytest.raises(ConversionError) as error:
        convert_model(to_ir(model))
    assert error.value.node == node
    assert problem in error.value.problem
    assert error.value.remedy is not None
    assert "quantize" in error.value.remedy


def set_tensor(model: onnx.ModelProto, name: str, value: Any) -> onnx.ModelProto:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    old = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(value, old.dtype), name))
    return model


@pytest.mark.parametrize(
    ("model", "node", "problem"),
    [
        (
            set_tensor(linear_model(weight=WEIGHT), "x_scale", np.nan),
            "node 'x_float/DequantizeLinear'",
            "the scale is nan",
        ),
        (set_tensor(linear_model(weight=WEIGHT), "y_scale", np.nan), "node 'y/QuantizeLinear'", "the scale is nan"),
        (
            set_tensor(linear_model(weight=WEIGHT), "w_scale", [np.nan] * 32),
            "node 'w_float_again/DequantizeLinear'",
            "the weight scale is nan",
        ),
        (
            set_tensor(linear_model(weight=WEIGHT), "w", np.ones((23, 32))),
            "node 'product/MatMul'",
            "24 features, the weights expect 23",
        ),
        (
            set_tensor(linear_model(weight=WEIGHT), "w_scale", [1.0, 2.0]),
            "node 'product/MatMul'",
            "2 weight scales for 32 outputs",
        ),
    ],
)
def test_broken_models(model: onnx.ModelProto, node: str, problem: str) -> None:
    """Errors of ours come out of the pipeline as they are."""
    with pytest.raises(ConversionError) as error:
        convert_model(to_ir(model))
    assert (error.value.node, problem in error.value.problem) == (node, True), str(error.value)
    assert error.value.remedy


def test_what_a_pass_trips_over_becomes_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cause attached, and the pass named."""

    def trip(self: MoveScalesPass, model: ir.Model) -> int:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(MoveScalesPass, "rewrite", trip)
    with pytest.raises(ConversionError, match="MoveScalesPass failed: IndexError: tuple index") as error:
        convert_model(to_ir(linear_model(weight=WEIGHT)))
    assert isinstance(error.value.__cause__, IndexError)


def test_some_converted_some_not() -> None:
    source = linear_model(weight=WEIGHT, y_type="f32")
    extra = Builder()
    extra.constant("w_extra", np.ones((32, 4)))
    extra.node("MatMul", ["y", "w_extra"], "z")
    extra.output("z", ["batch", "length", 4])
    source.graph.node.extend(extra.nodes)
    source.graph.output.extend(extra.outputs)
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((32, 4), np.float32), "w_extra"))
    model = to_ir(source)
    report = convert_model(model)
    assert [layer.name for layer in report.layers] == ["product/MatMul"]
    assert [(skip.node, skip.reason) for skip in report.skipped] == [("z/MatMul", "weights are float (not quantized)")]
    assert "MatMul" in op_types(model)


def test_linears_inside_control_flow_are_reported() -> None:
    source = linear_model(weight=WEIGHT)
    branch = Builder()
    branch.node("MatMul", ["x", "w_if"], "inner")
    graphs = [
        onnx.helper.make_graph(
            branch.nodes, name, [], [onnx.helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)]
        )
        for name in ("then", "else")
    ]
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((24, 4), np.float32), "w_if"))
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "condition"))
    node = onnx.helper.make_node("If", ["condition"], ["z"], name="if", then_branch=graphs[0], else_branch=graphs[1])
    source.graph.node.append(node)
    source.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["batch", "length", 4]))
    report = convert_model(to_ir(source))
    assert "inside the body of a control-flow op (If, Loop, Scan)" in {skip.reason for skip in report.skipped}

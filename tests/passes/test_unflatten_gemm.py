"""Gemm between Reshapes, as ONNX Runtime's optimizer writes static linears, becomes MatMul and Add again."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.unflatten_gemm import UnflattenGemmPass

from .extra_nodes import with_reading_branch
from .models import Builder, op_types, run, to_ir
from .unpacking import builder, random

B, S, K, N = 2, 3, 8, 12


def gemm_model(
    quantized: bool = True,
    by_rows: bool = False,
    target: tuple[int, ...] = (B, S, N),
    alpha: float = 1.0,
    added: tuple[int, ...] = (N,),
) -> Builder:
    b = builder({"x": [B, S, K]})
    values = np.random.default_rng(0).integers(-127, 128, (N, K) if by_rows else (K, N))
    flat = b.node("Reshape", ["x", b.constant("flat_shape", [B * S, K], np.int64)], "flat")
    if quantized:
        b.constant("w", values, np.int8)
        weight = b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
        pair = b.scale("flat", 0.03, 128)
        flat = b.dequantize(b.quantize(flat, pair, "flat_q"), pair, "flat_again")
    else:
        weight = b.constant("w_float", values * 0.01)
    gemm = b.node("Gemm", [flat, weight, b.constant("c", random(*added))], "gemm", transB=int(by_rows), alpha=alpha)
    b.node("Reshape", [gemm, b.constant("shape", target, np.int64)], "y")
    b.output("y", list(target))
    return b


@pytest.mark.parametrize("added", [(N,), (1, N), (1,), (1, 1)])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_rewritten(quantized: bool, by_rows: bool, added: tuple[int, ...]) -> None:
    source = gemm_model(quantized, by_rows, added=added).build()
    model = to_ir(source)
    InferShapesPass()(model)
    step = UnflattenGemmPass()
    assert step(model).modified
    assert not {"Gemm", "Reshape"} & set(op_types(model))
    feeds = {"x": random(B, S, K)}
    # Float sums of K terms in another order.
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], rtol=1e-5, atol=1e-5)
    assert not step(model).modified


@pytest.mark.parametrize(
    "options",
    [{"target": (S, B, N)}, {"alpha": 0.5}, {"added": (B * S, 1)}, {"added": (B * S, N)}],
    ids=["axes", "alpha", "rows", "matrix"],
)
def test_others_stay(options: dict[str, object]) -> None:
    model = to_ir(gemm_model(**options).build())  # type: ignore[arg-type]
    InferShapesPass()(model)
    assert not UnflattenGemmPass()(model).modified


def test_a_quantizer_that_comes_later_is_not_taken() -> None:
    b = gemm_model()
    b.dequantize(b.quantize("x", ["flat_scale", "flat_zero"], "later"), ["flat_scale", "flat_zero"], "z")
    b.output("z", [B, S, K])
    source = b.build()
    model = to_ir(source)
    InferShapesPass()(model)
    assert UnflattenGemmPass()(model).modified
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    for found, expected in zip(run(model, {"x": random(B, S, K)}), run(source, {"x": random(B, S, K)}), strict=True):
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_quantizer_inside_a_branch_is_not_taken() -> None:
    b = gemm_model()
    b.constant("other", np.zeros((B, S, K)), np.uint8)
    steps = [("QuantizeLinear", ["flat_scale", "flat_zero"])]
    source = with_reading_branch(b.build(), "x", steps, "other", "u8", [B, S, K])
    model = to_ir(source)
    InferShapesPass()(model)
    assert UnflattenGemmPass()(model).modified
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


def test_the_linear_keeps_its_axes() -> None:
    model = to_ir(gemm_model().build())
    convert_model(model)
    assert op_types(model) == ["QuantizeLinear", "QLinear_f32"]

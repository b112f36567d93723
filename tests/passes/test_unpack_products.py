"""FusedMatMul and FusedGemm come apart (the quantized products are in test_unpack_operators)."""

from __future__ import annotations

import numpy as np
import pytest

from .models import op_types, run
from .unpacking import builder, check_equal, random, refused, unpack


@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize(("swap_a", "swap_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_fused_matmul(swap_a: int, swap_b: int, alpha: float) -> None:
    shapes = {"a": [2, 3, 5, 4] if swap_a else [2, 3, 4, 5], "b": [2, 3, 6, 5] if swap_b else [2, 3, 5, 6]}
    b = builder(shapes)
    b.node("FusedMatMul", ["a", "b"], "y", domain="com.microsoft", transA=swap_a, transB=swap_b, alpha=alpha)
    b.output("y", [2, 3, 4, 6])
    check_equal(b.build(), {name: random(*shape) for name, shape in shapes.items()})


def test_transposed_batches_stay() -> None:
    b = builder({"a": [3, 2, 5], "b": [2, 5, 4]})
    b.node("FusedMatMul", ["a", "b"], "y", domain="com.microsoft", transBatchA=1)
    b.output("y", [2, 3, 4])
    assert refused(b.build()) == ["a fused product that transposes its batch axes"]


@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_fused_gemm(activation: str) -> None:
    b = builder({"x": ["n", 5]})
    inputs = ["x", b.constant("w", random(6, 5)), b.constant("c", random(6))]
    b.node("FusedGemm", inputs, "y", domain="com.microsoft", transB=1, activation=activation)
    b.output("y", ["n", 6])
    model = check_equal(b.build(), {"x": random(4, 5)})
    assert op_types(model) == ["Gemm", activation]


def test_a_fused_activation_with_parameters_stays() -> None:
    b = builder({"x": ["n", 5]})
    b.node("FusedGemm", ["x", b.constant("w", random(5, 6))], "y", domain="com.microsoft", activation="LeakyRelu")
    b.output("y", ["n", 6])
    assert refused(b.build()) == ["a fused product with the activation LeakyRelu"]


def test_products_of_two_activations() -> None:
    """MatMulIntegerToFloat of attention: unpacked only where attention is."""
    b = builder({"a": [2, 3, 4, 5], "b": [2, 3, 5, 6]}, kinds={"a": "u8", "b": "u8"})
    (a_scale, a_zero), (b_scale, b_zero) = b.scale("qa", 0.1, 120), b.scale("qb", 0.2, 130)
    inputs = ["a", "b", a_scale, b_scale, a_zero, b_zero]
    b.node("MatMulIntegerToFloat", inputs, "y", domain="com.microsoft")
    b.output("y", [2, 3, 4, 6])
    source = b.build()
    rng = np.random.default_rng(0)
    feeds = {"a": rng.integers(0, 256, (2, 3, 4, 5), np.uint8), "b": rng.integers(0, 256, (2, 3, 5, 6), np.uint8)}
    model, _ = unpack(source)
    assert op_types(model) == ["DequantizeLinear", "DequantizeLinear", "MatMul"]
    assert np.allclose(run(model, feeds)[0], run(source, feeds)[0], rtol=1e-5, atol=1e-3)
    assert op_types(unpack(source, attention=False)[0]) == ["MatMulIntegerToFloat"]


@pytest.mark.parametrize("alpha", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("by_rows", [False, True])
def test_qgemm_multiplies_the_bias_too(alpha: float, by_rows: bool) -> None:
    """alpha a_scale b_scale (A . B + C), unlike Gemm."""
    b = builder({"a": ["n", 5]}, kinds={"a": "u8"})
    weight = np.random.default_rng(0).integers(-127, 128, (6, 5) if by_rows else (5, 6))
    inputs = ["a", *b.scale("qa", 0.02, 120), b.constant("b", weight, np.int8), b.constant("b_scale", [0.01] * 6)]
    inputs += [b.constant("b_zero", [0] * 6, np.int8), b.constant("c", np.arange(-3, 3) * 2000, np.int32)]
    b.node("QGemm", inputs, "y", domain="com.microsoft", alpha=alpha, transB=int(by_rows))
    b.output("y", ["n", 6])
    check_equal(b.build(), {"a": np.random.default_rng(1).integers(0, 256, (4, 5), np.uint8)})


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 3.0), (0.25, -2.0)])
def test_fused_gemm_has_two_factors(alpha: float, beta: float) -> None:
    b = builder({"x": ["n", 5]})
    inputs = ["x", b.constant("w", random(5, 6)), b.constant("c", random(6))]
    b.node("FusedGemm", inputs, "y", domain="com.microsoft", activation="Relu", alpha=alpha, beta=beta)
    b.output("y", ["n", 6])
    check_equal(b.build(), {"x": random(4, 5)})


@pytest.mark.parametrize(
    ("shape", "is_unpacked"), [((), True), ((6,), True), ((1, 6), True), ((6, 1), False), ((1, 1, 6), False)]
)
def test_the_scale_of_an_integer_product(shape: tuple[int, ...], is_unpacked: bool) -> None:
    """By output, and without adding an axis; [6, 1] multiplies rows."""
    b = builder({"a": [6, 5]}, kinds={"a": "u8"})
    b.constant("b", np.random.default_rng(0).integers(-127, 128, (5, 6)), np.int8)
    inputs = ["a", "b", b.constant("a_zero", 120, np.uint8), b.constant("b_zero", 0, np.int8)]
    b.node("Cast", [b.node("MatMulInteger", inputs, "acc")], "acc_float", to=1)
    scale = 0.001 * (1 + np.arange(np.prod(shape, dtype=int))).reshape(shape)
    b.node("Mul", ["acc_float", b.constant("scale", scale)], "y")
    b.output("y", [*[1] * (len(shape) - 2), 6, 6])
    if is_unpacked:
        check_equal(b.build(), {"a": np.random.default_rng(1).integers(0, 256, (6, 5), np.uint8)})
    else:
        assert refused(b.build()) == ["the scale of the product is not a float32 number per output"]

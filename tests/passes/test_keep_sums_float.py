"""Q/DQ pairs around sums that are normalized go; others stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pyfastep.passes.keep_sums_float import KeepSumsFloatPass

from .encoders import FEATURES, EncoderBuilder
from .models import op_types, run, to_ir

SHAPE = ["batch", "length", FEATURES]


def sum_model(zero_point: int = 128, normalized: bool = True, read_twice: bool = False) -> ir.Model:
    """A sum of three in which every term and every sum is rounded."""
    b = EncoderBuilder()
    for name in "abc":
        b.input(name, SHAPE)
    inner = b.node("Add", [b.pair("a", 0.02, zero_point), b.pair("b", 0.02, zero_point)], "inner")
    outer = b.node("Add", [b.pair(inner, 0.04, zero_point), b.pair("c", 0.02, zero_point)], "outer")
    rounded = b.pair(outer, 0.06, zero_point)
    b.node("Identity", [b.norm(rounded, "norm") if normalized else rounded], "y")
    b.output("y", SHAPE)
    if read_twice:
        b.node("Neg", [rounded], "z")
        b.output("z", SHAPE)
    return to_ir(b.build())


def feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(-2, 2, (2, 3, FEATURES)).astype(np.float32) for name in "abc"}


def test_all_pairs_of_a_nested_sum_go() -> None:
    model = sum_model()
    step = KeepSumsFloatPass()
    before = run(model, feeds())[0]
    assert step(model).modified
    assert step.count == 5
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(op_types(model))
    assert np.abs(run(model, feeds())[0] - before).max() < 0.2
    assert not step(model).modified


def test_the_result_is_the_float_one() -> None:
    model, float_model = sum_model(), EncoderBuilder(quantized=False)
    KeepSumsFloatPass()(model)
    for name in "abc":
        float_model.input(name, SHAPE)
    inner = float_model.node("Add", ["a", "b"], "inner")
    y = float_model.norm(float_model.node("Add", [inner, "c"], "outer"), "norm")
    float_model.node("Identity", [y], "y")
    float_model.output("y", SHAPE)
    assert np.array_equal(run(model, feeds())[0], run(float_model.build(), feeds())[0])


@pytest.mark.parametrize("zero_point", [0, 255])
def test_a_clamp_stays(zero_point: int) -> None:
    assert not KeepSumsFloatPass()(sum_model(zero_point)).modified


def test_other_sums_stay() -> None:
    assert not KeepSumsFloatPass()(sum_model(normalized=False)).modified


def test_other_readers_see_the_sum_without_rounding_too() -> None:
    model = sum_model(read_twice=True)
    KeepSumsFloatPass()(model)
    a, b, c = (feeds()[name] for name in "abc")
    assert np.array_equal(run(model, feeds())[1], -(a + b + c))

"""Scales move through data movement to the linear they belong to, exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.fuse_qlinear import FuseQLinearPass
from pyfastep.passes.move_scales import MoveScalesPass

from .extra_nodes import with_reading_branch
from .models import Builder, op_types, random_weight, run, to_ir

WEIGHT = random_weight(12, 20)


def start(x_moves: Callable[[Builder, str], str] | None = None, shape: tuple[int, ...] = (3, 20)) -> Builder:
    """x -> Q -> DQ [-> x_moves] -> MatMul -> product."""
    b = Builder()
    b.input("x", list(shape))
    b.scale("x", 0.02, 120)
    b.dequantize(b.quantize("x", ["x_scale", "x_zero"], "x_q"), ["x_scale", "x_zero"], "x_float")
    b.constant("w", WEIGHT.T, np.int8)
    b.dequantize("w", [b.constant("w_scale", 0.01), b.constant("w_zero", 0, np.int8)], "w_float")
    b.node("MatMul", [x_moves(b, "x_float") if x_moves else "x_float", "w_float"], "product")
    b.scale("y", 0.05, 100)
    return b


def reshape(b: Builder, value: str, name: str, *sizes: int) -> str:
    return b.node("Reshape", [value, b.constant(f"{name}_shape", sizes, np.int64)], name)


def finish(b: Builder, value: str, shape: list[int]) -> onnx.ModelProto:
    b.quantize(value, ["y_scale", "y_zero"], "y")
    b.output("y", shape, "u8")
    return b.build()


def behind_reshape_and_transpose() -> onnx.ModelProto:
    b = start()
    moved = b.node("Transpose", [reshape(b, "product", "heads", 3, 4, 3)], "turned", perm=[1, 0, 2])
    return finish(b, moved, [4, 3, 3])


def behind_split() -> onnx.ModelProto:
    b = start()
    b.nodes.append(onnx.helper.make_node("Split", ["product"], ["left", "right"], name="split", axis=1))
    b.quantize("left", ["y_scale", "y_zero"], "y1")
    b.quantize("right", ["y_scale", "y_zero"], "y2")
    b.node("Identity", ["y1"], "out1")
    b.node("Identity", ["y2"], "out2")
    b.output("out1", [3, 6], "u8")
    b.output("out2", [3, 6], "u8")
    return b.build()


def behind_concat() -> onnx.ModelProto:
    b = start()
    b.node("MatMul", ["x_float", "w_float"], "product2")
    return finish(b, b.node("Concat", ["product", "product2"], "joined", axis=0), [6, 12])


def in_front() -> onnx.ModelProto:
    b = start(lambda b, x: reshape(b, b.node("Transpose", [x], "turned", perm=[1, 0]), "flat", 3, 20), (20, 3))
    return finish(b, "product", [3, 12])


def in_front_joined() -> onnx.ModelProto:
    def join(b: Builder, x: str) -> str:
        other = b.dequantize("x_q", ["x_scale", "x_zero"], "x_again")
        return b.node("Concat", [x, other], "joined", axis=0)

    return finish(start(join), "product", [6, 12])


def in_front_of_two() -> onnx.ModelProto:
    b = start(lambda b, x: b.node("Transpose", [x], "turned", perm=[1, 0]), (20, 3))
    b.node("MatMul", ["turned", "w_float"], "product2")
    return finish(b, b.node("Concat", ["product", "product2"], "joined", axis=0), [6, 12])


MODELS = {
    "behind_reshape_and_transpose": (behind_reshape_and_transpose, 2),
    "behind_split": (behind_split, 1),
    "behind_concat": (behind_concat, 1),
    "in_front": (in_front, 1),
    "in_front_joined": (in_front_joined, 1),
    "in_front_of_two": (in_front_of_two, 3),
}


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_moves_are_exact(name: str, exact: bool) -> None:
    build, count = MODELS[name]
    source = build()
    model = to_ir(source)
    move = MoveScalesPass(exact)
    assert move(model).modified
    assert move.count == count
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    for found, expected in zip(run(model, feeds_of(source)), run(source, feeds_of(source)), strict=True):
        assert np.array_equal(found, expected)
    again = MoveScalesPass(exact)
    assert not again(model).modified


@pytest.mark.parametrize("name", MODELS)
def test_linears_become_quantized(name: str) -> None:
    source = MODELS[name][0]()
    model = to_ir(source)
    MoveScalesPass()(model)
    FuseQLinearPass()(model)
    linears = [op for op in op_types(model) if op.startswith("QLinear")]
    assert linears
    assert set(linears) == {"QLinear_u8"}
    assert [value.name for value in model.graph.outputs] == [value.name for value in source.graph.output]


def test_a_pair_behind_movement_vanishes() -> None:
    """DQ -> Transpose -> Q of one scale is a Transpose of the quantized data."""
    b = Builder()
    b.input("x", [3, 20], "u8")
    b.scale("s", 0.1, 7)
    turned = b.node("Transpose", [b.dequantize("x", ["s_scale", "s_zero"], "d")], "turned", perm=[1, 0])
    b.node("Identity", [b.quantize(turned, ["s_scale", "s_zero"], "q")], "y")
    b.output("y", [20, 3], "u8")
    model = to_ir(b.build())
    assert MoveScalesPass()(model).modified
    assert op_types(model) == ["Transpose", "Identity"]
    feeds = {"x": np.random.default_rng(0).integers(0, 256, (3, 20)).astype(np.uint8)}
    assert np.array_equal(run(model, feeds)[0], run(b.build(), feeds)[0])


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 0.1, 0.333, 7.0, 1e30])
@pytest.mark.parametrize("zero_point", [0, 1, 127, 255])
def test_a_pair_of_one_scale_is_the_identity(scale: float, zero_point: int) -> None:
    """The ground for removing it: on ONNX Runtime, for every value."""
    b = Builder()
    b.input("x", [256], "u8")
    parameters = b.scale("s", scale, zero_point)
    b.quantize(b.dequantize("x", parameters, "d"), parameters, "y")
    b.output("y", [256], "u8")
    x = np.arange(256, dtype=np.uint8)
    assert np.array_equal(run(b.build(), {"x": x})[0], x)


def unmoved(write: Callable[[Builder], None]) -> list[str]:
    b = start()
    write(b)
    model = to_ir(b.build())
    before = op_types(model)
    assert not MoveScalesPass()(model).modified
    assert op_types(model) == before
    return before


def test_a_float_reader_keeps_the_scale_where_it_is() -> None:
    def write(b: Builder) -> None:
        moved = reshape(b, "product", "flat", 36)
        b.quantize(moved, ["y_scale", "y_zero"], "y1")
        b.node("Neg", [moved], "y2")
        b.output("y1", [36], "u8")
        b.output("y2", [36])

    unmoved(write)


def test_two_scales_stay() -> None:
    def write(b: Builder) -> None:
        moved = reshape(b, "product", "flat", 36)
        b.node("Identity", [b.quantize(moved, ["y_scale", "y_zero"], "q1")], "y1")
        b.node("Identity", [b.quantize(moved, b.scale("z", 0.06, 100), "q2")], "y2")
        b.output("y1", [36], "u8")
        b.output("y2", [36], "u8")

    unmoved(write)


def test_scales_that_belong_to_no_linear_stay() -> None:
    def write(b: Builder) -> None:
        b.node("Softmax", ["product"], "soft")
        finish(b, reshape(b, "soft", "flat", 36), [36])

    unmoved(write)


def test_inputs_of_two_scales_are_not_joined() -> None:
    def join(b: Builder, x: str) -> str:
        other = b.dequantize("x_q", b.scale("o", 0.03, 120), "x_other")
        return b.node("Concat", [x, other], "joined", axis=0)

    b = start(join)
    b.node("Identity", ["product"], "y")
    b.output("y", [6, 12])
    assert not MoveScalesPass()(to_ir(b.build())).modified


def test_a_quantizer_inside_a_branch_stays_there() -> None:
    """Beside one outside: both stay."""
    b = start()
    moved = reshape(b, "product", "flat", 36)
    b.constant("other", np.zeros(36), np.uint8)
    proto = finish(b, moved, [36])
    source = with_reading_branch(proto, moved, [("QuantizeLinear", ["y_scale", "y_zero"])], "other", "u8", [36])
    assert not MoveScalesPass()(to_ir(source)).modified

"""The op contract of QLinear: names, numpy reference and function body agree with each other and with the document.

How far body and reference may differ. Both compute t = (acc x_scale w_scale + bias) / y_scale + y_zero_point, with
roundings of at most u = 2^-24 relative each. With P = |acc x_scale w_scale|, B = |bias|, V = |v| of the sum v
of product and bias, all in the units of the result:

    reference   float(acc), the scale, fma                         2 P + V           (+ B and the zero point, quantized)
    body        float(acc), the scale, product, sum, division      3 P + 2 V

so that 1.01 u (5 P + 3 V + B + |t|) bounds their distance, 1.01 covering terms of second order. A quantized value may
therefore differ by one step, and only where t lies that close to a half. GELU is Lipschitz with 1.13; its two
implementations add `GELU_ERROR_BOUND` (ours) and 2^-20 max(|v|, 1) (erf or tanh of ONNX Runtime and the four operations
around it).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pyfastep.passes import storage
from pyfastep.passes.ops import DOMAIN, arithmetic, qlinear
from pyfastep.passes.ops.qlinear import Variant

from ..stock import exact_session

Array = npt.NDArray[Any]
Inputs = dict[str, Array]

UNIT = 2.0**-24
RUNTIME_GELU_ERROR = 2.0**-20
VARIANTS = qlinear.all_variants()
TYPES = {"u8": (np.uint8, TensorProto.UINT8), "s8": (np.int8, TensorProto.INT8), "f32": (np.float32, TensorProto.FLOAT)}


def make_inputs(
    variant: Variant, n: int, k: int, x_type: str = "u8", block: tuple[int, int] = (4, 1), seed: int = 0
) -> Inputs:
    """Random inputs in the contract's types."""
    rng = np.random.default_rng(seed)
    kind: Any = TYPES[x_type][0]
    info = np.iinfo(kind)
    weight = rng.integers(-127, 128, (n, k)).astype(np.int8)
    mask = np.kron(rng.random((-(-n // block[0]), -(-k // block[1]))) < 0.4, np.ones(block, bool))[:n, :k]
    inputs: Inputs = {
        "x": rng.integers(info.min, info.max + 1, (2, 3, k)).astype(info.dtype),
        "x_scale": np.float32(rng.uniform(0.01, 0.03)),
        "x_zero_point": kind(rng.integers(info.min, info.max + 1)),
        "w_scale": rng.uniform(0.002, 0.02, n).astype(np.float32),
        "w_zero_point": np.zeros((), np.int8),
        "bias": rng.standard_normal(n).astype(np.float32),
    }
    if variant.sparse:
        stored = storage.encode(np.where(mask, weight, 0).astype(np.int8), block)
        inputs |= {"blocks": stored.blocks, "block_gaps": stored.gaps}
    else:
        inputs["weight"] = np.ascontiguousarray(weight.T)
    if variant.y_type != "f32":
        dtype = TYPES[variant.y_type][0]
        inputs |= {"y_scale": np.float32(rng.uniform(0.02, 0.08)), "y_zero_point": dtype(rng.integers(-60, 60) % 120)}
    return inputs


def make_model(variant: Variant, inputs: Inputs, shape: tuple[int, int], opset: int = 17) -> onnx.ModelProto:
    """A model of one node and its function."""
    arrays = [numpy_helper.from_array(np.asarray(inputs[name]), name) for name in variant.inputs[1:]]
    node = helper.make_node(variant.name, list(variant.inputs), ["y"], domain=DOMAIN, weight_shape=list(shape))
    x_type = helper.np_dtype_to_tensor_dtype(inputs["x"].dtype)
    leading = [f"d{i}" for i in range(inputs["x"].ndim - 1)]
    x = helper.make_tensor_value_info("x", x_type, [*leading, shape[1]])
    y = helper.make_tensor_value_info("y", TYPES[variant.y_type][1], [*leading, shape[0]])
    graph = helper.make_graph([node], "g", [x], [y], arrays)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    functions = [qlinear.build_function(variant, opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 20 else 8, functions=functions)
    onnx.checker.check_model(model, full_check=True)
    return model


def run_runtime(model: onnx.ModelProto, x: Array, optimized: bool) -> Array:
    session = exact_session(model.SerializeToString(), optimized=optimized)
    return np.asarray(session.run(None, {"x": x})[0])


def gelu_in_double(v: npt.NDArray[np.float64], activation: str) -> npt.NDArray[np.float64]:
    """GELU from the definition, with math.erf."""
    import math

    if activation == "gelutanh":
        return np.asarray(v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))))
    return np.vectorize(lambda t: t / 2 * (1 + math.erf(t / math.sqrt(2))), otypes=[np.float64])(v)


def exact_and_bound(
    variant: Variant, inputs: Inputs, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The unrounded result in double (in steps, if quantized), and how far the two computed ones may lie apart."""
    acc = qlinear.accumulate(variant, inputs, shape)
    product = acc * (np.float64(inputs["x_scale"]) * inputs["w_scale"].astype(np.float64))
    bias = inputs["bias"].astype(np.float64)
    v = product + bias
    bound = 5 * np.abs(product) + 3 * np.abs(v) + np.abs(bias)
    exact = v
    if variant.activation == "relu":
        exact = np.maximum(v, 0)
    elif variant.activation:
        exact = gelu_in_double(v, variant.activation)
        own = (arithmetic.GELU_ERROR_BOUND + RUNTIME_GELU_ERROR) * np.maximum(np.abs(v), 1) / UNIT
        is_coarse = (
            variant.y_type != "f32" and np.float32(1 / np.float64(inputs["y_scale"])) <= arithmetic.COARSE_GELU_SCALE
        )
        coarse = arithmetic.COARSE_GELU_ERROR_BOUND / UNIT if is_coarse else 0.0
        bound = 1.13 * bound + own + coarse + 2 * np.abs(exact)
    if variant.y_type != "f32":
        scale, zero_point = np.float64(inputs["y_scale"]), float(inputs["y_zero_point"])
        exact = exact / scale + zero_point
        bound = bound / scale + np.abs(exact) + abs(zero_point)
    return exact, 1.01 * UNIT * bound


def assert_close(variant: Variant, inputs: Inputs, shape: tuple[int, int], found: Array) -> None:
    """Equal but for the derived bound."""
    expected = qlinear.reference(variant, inputs, shape)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    exact, bound = exact_and_bound(variant, inputs, shape)
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if variant.y_type == "f32":
        assert (difference <= bound).all()
        return
    distance_to_half = np.abs(exact - np.floor(exact) - 0.5)
    assert (difference <= 1).all()
    assert (distance_to_half[difference > 0] <= bound[difference > 0]).all()
    assert bound.max() < 0.02  # the bound says something


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_names_round_trip(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize(
    "name",
    ["QLinear", "QLinear_", "QLinear_u8_pair", "QLinear_u8_gelu", "QLinear_swish_u8", "qlinear_u8", "QLinear_u8x"],
)
def test_other_names_are_not_ours(name: str) -> None:
    assert Variant.parse(name) is None


def test_names_are_distinct() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS) == 24


def test_the_document_lists_the_inputs(repository: Path) -> None:
    text = (repository / "docs/op-contract.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    documented = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    names = {name for variant in VARIANTS for name in variant.inputs}
    assert names <= set(documented)
    assert f"`{qlinear.WEIGHT_SHAPE}`" in text


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@pytest.mark.parametrize("optimized", [False, True], ids=["plain", "optimized"])
@pytest.mark.parametrize(
    ("n", "k", "block"), [(1, 1, (1, 1)), (13, 7, (4, 1)), (17, 33, (1, 4)), (64, 48, (4, 4)), (31, 130, (8, 4))]
)
def test_body_on_runtime(variant: Variant, optimized: bool, n: int, k: int, block: tuple[int, int]) -> None:
    inputs = make_inputs(variant, n, k, block=block)
    assert_close(variant, inputs, (n, k), run_runtime(make_model(variant, inputs, (n, k)), inputs["x"], optimized))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_body_on_reference_evaluator(variant: Variant) -> None:
    """A second implementation of ONNX, written by others."""
    inputs = make_inputs(variant, 13, 22, seed=3)
    evaluator = onnx.reference.ReferenceEvaluator(make_model(variant, inputs, (13, 22)))
    (y,) = evaluator.run(None, {"x": inputs["x"]})
    assert_close(variant, inputs, (13, 22), np.asarray(y))


@pytest.mark.parametrize("opset", range(17, 22))
@pytest.mark.parametrize("name", ["QLinear_gelutanh_u8_sparse", "QLinear_gelu_s8_sparse", "QLinear_f32"])
def test_body_in_every_opset(name: str, opset: int) -> None:
    variant = Variant.parse(name)
    assert variant is not None
    inputs = make_inputs(variant, 9, 10)
    assert_close(variant, inputs, (9, 10), run_runtime(make_model(variant, inputs, (9, 10), opset), inputs["x"], True))


@pytest.mark.parametrize("x_type", ["u8", "s8"])
@pytest.mark.parametrize("leading", [(), (5,), (0, 4), (2, 1, 3)])
def test_body_shapes(x_type: str, leading: tuple[int, ...]) -> None:
    variant = Variant("relu", "u8", sparse=False)
    inputs = make_inputs(variant, 6, 11, x_type)
    inputs["x"] = np.resize(inputs["x"], (*leading, 11)).astype(inputs["x"].dtype)
    assert_close_or_empty(variant, inputs, run_runtime(make_model(variant, inputs, (6, 11)), inputs["x"], True))


def assert_close_or_empty(variant: Variant, inputs: Inputs, found: Array) -> None:
    if inputs["x"].size:
        assert_close(variant, inputs, (6, 11), found)
    else:
        assert found.shape == (*inputs["x"].shape[:-1], 6)


@pytest.mark.parametrize("w_type", [np.int8, np.uint8])
@pytest.mark.parametrize("per_output", [False, True])
def test_body_weight_zero_points(w_type: type[np.integer[Any]], per_output: bool) -> None:
    variant = Variant("", "f32", sparse=False)
    inputs = make_inputs(variant, 6, 11)
    rng = np.random.default_rng(5)
    inputs["weight"] = rng.integers(np.iinfo(w_type).min, np.iinfo(w_type).max + 1, (11, 6)).astype(w_type)
    inputs["w_zero_point"] = rng.integers(0, 100, 6 if per_output else ()).astype(w_type)
    assert_close(variant, inputs, (6, 11), run_runtime(make_model(variant, inputs, (6, 11)), inputs["x"], False))


@pytest.mark.parametrize("optimized_away", ["ScatterND", "CumSum", "Transpose", "Slice"])
def test_runtime_decodes_at_load(optimized_away: str, tmp_path: Path) -> None:
    variant = Variant("gelu", "u8", sparse=True)
    inputs = make_inputs(variant, 24, 36)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    model = make_model(variant, inputs, (24, 36)).SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    left = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert optimized_away not in left
    assert "MatMulInteger" in left


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_reference_against_plain_loops(variant: Variant) -> None:
    """The reference again, element by element, in Python's own integers and in double."""
    inputs = make_inputs(variant, 5, 9, seed=7)
    found = qlinear.reference(variant, inputs, (5, 9))
    exact, bound = exact_and_bound(variant, inputs, (5, 9))
    if variant.y_type == "f32":
        assert (np.abs(found - exact) <= bound).all()
        return
    info = np.iinfo(found.dtype)
    rounded = np.clip(np.rint(exact), info.min, info.max)
    sure = np.abs(exact - np.floor(exact) - 0.5) > bound
    assert sure.mean() > 0.9
    assert np.array_equal(found[sure], rounded[sure])


def test_accumulators_are_exact() -> None:
    """At the largest sums: every product 255 * 255, against Python's integers."""
    variant, k = Variant("", "f32", sparse=False), 4096
    inputs = make_inputs(variant, 1, k)
    inputs |= {
        "x": np.full((1, k), 255, np.uint8),
        "x_zero_point": np.uint8(0),
        "weight": np.full((k, 1), 255, np.uint8),
    }
    inputs["w_zero_point"] = np.uint8(0)
    assert qlinear.accumulate(variant, inputs, (1, k)).item() == 255 * 255 * k


def test_relu_clamps_at_the_zero_point() -> None:
    variant = Variant("relu", "u8", sparse=False)
    inputs = make_inputs(variant, 8, 8)
    found = qlinear.reference(variant, inputs, (8, 8))
    assert found.min() == inputs["y_zero_point"]
    without = qlinear.reference(Variant("", "u8", sparse=False), inputs, (8, 8))
    assert np.array_equal(found, np.maximum(without, inputs["y_zero_point"]))
    assert without.min() < inputs["y_zero_point"]


def test_halves_round_to_even() -> None:
    """acc / 2 with zero point 1: 0.5, 1.5, 2.5 + 1 are halves, and go to the even neighbour of the final value."""
    variant = Variant("", "u8", sparse=False)
    inputs = make_inputs(variant, 1, 1)
    inputs |= {"x": np.arange(6, dtype=np.uint8).reshape(6, 1), "x_zero_point": np.uint8(0), "x_scale": np.float32(1)}
    inputs |= {"weight": np.ones((1, 1), np.int8), "w_scale": np.ones(1, np.float32), "bias": np.zeros(1, np.float32)}
    inputs |= {"y_scale": np.float32(2), "y_zero_point": np.uint8(1)}
    assert qlinear.reference(variant, inputs, (1, 1)).ravel().tolist() == [1, 2, 2, 2, 3, 4]

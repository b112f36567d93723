"""A tiny encoder in all its forms: float, quantized, converted, and with a node that the library does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import pyfastep
from pyfastep.convert import convert

VOCABULARY, HIDDEN, INNER = 37, 12, 20

Feeds = dict[str, NDArray[Any]]


def encoder_constants() -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)

    def constant(name: str, *shape: int, density: float = 1.0) -> onnx.TensorProto:
        kept = rng.random(shape) < density
        return numpy_helper.from_array((rng.normal(0, 0.3, shape) * kept).astype(np.float32), name)

    return [
        constant("words", VOCABULARY, HIDDEN),
        numpy_helper.from_array(np.ones(HIDDEN, np.float32), "gamma"),
        numpy_helper.from_array(np.zeros(HIDDEN, np.float32), "beta"),
        constant("wq", HIDDEN, HIDDEN),
        constant("wk", HIDDEN, HIDDEN),
        constant("bq", HIDDEN),
        constant("w1", HIDDEN, INNER, density=0.3),
        constant("b1", INNER),
        constant("w2", INNER, HIDDEN, density=0.3),
        constant("b2", HIDDEN),
        constant("wp", 5, HIDDEN),
        constant("bp", 5),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]


def encoder_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Gather", ["words", "input_ids"], ["embedded"], "embed"),
        node("Cast", ["attention_mask"], ["mask"], "mask", to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "axis"], ["mask3"], "mask3"),
        node("LayerNormalization", ["embedded", "gamma", "beta"], ["x"], "norm0"),
        node("MatMul", ["x", "wq"], ["q0"], "query"),
        node("Add", ["q0", "bq"], ["q"], "query_bias"),
        node("MatMul", ["x", "wk"], ["k"], "key"),
        node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"], "scores"),
        node("Mul", ["scores", "mask3"], ["masked"], "apply_mask"),
        node("Softmax", ["masked"], ["p"], "softmax", axis=-1),
        node("MatMul", ["p", "x"], ["attended"], "attend"),
        node("MatMul", ["attended", "w1"], ["h0"], "up"),
        node("Add", ["h0", "b1"], ["h1"], "up_bias"),
        node("Relu", ["h1"], ["h"], "relu"),
        node("MatMul", ["h", "w2"], ["d0"], "down"),
        node("Add", ["d0", "b2"], ["d1"], "down_bias"),
        node("Add", ["d1", "x"], ["hidden"], "residual"),
        node("Gather", ["hidden", "first"], ["first3"], "pick", axis=1),
        node("Squeeze", ["first3", "axis"], ["pooled"], "squeeze"),
        node("Gemm", ["pooled", "wp", "bp"], ["logits"], "head", transB=1),
    ]


def float_encoder(opset: int = 17) -> onnx.ModelProto:
    """Embeddings, LayerNorm, self-attention of one head, a feed-forward block with Relu, and a Gemm on the first token.

    The feed-forward weights are pruned to about a third.
    """
    tokens = ["batch_size", "sequence_length"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [*tokens, HIDDEN]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 5]),
    ]
    graph = helper.make_graph(encoder_nodes(), "encoder", inputs, outputs, encoder_constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    helper.set_model_props(model, {"origin": "test"})
    return model


def token_ids(batch: int, length: int, seed: int = 0) -> Feeds:
    ids = np.random.default_rng([seed, batch, length]).integers(0, VOCABULARY, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.fixture(scope="session")
def calibration() -> list[Feeds]:
    return [token_ids(4, length, seed) for seed, length in enumerate((3, 7, 11, 16))]


@pytest.fixture(scope="session")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    onnx.save(float_encoder(), str(path))
    return path


@pytest.fixture(scope="session")
def quantized_model(float_model: Path, calibration: list[Feeds], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "q.onnx"
    pyfastep.quantize(float_model, path, data=calibration)
    return path


@pytest.fixture(scope="session")
def fast_model(quantized_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fast") / "fast.onnx"
    convert(quantized_model, path)
    return path


@pytest.fixture(scope="session")
def half_model(fast_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fast_model` whose first fastep node has a name that no version of the library knows; its body is still there."""
    model = onnx.load(str(fast_model))
    old = next(node for node in model.graph.node if node.domain == "fastep").op_type
    body = onnx.FunctionProto()
    body.CopyFrom(next(function for function in model.functions if function.name == old))
    body.name = "QLinear_of_tomorrow"
    model.functions.append(body)
    next(node for node in model.graph.node if node.domain == "fastep").op_type = body.name
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    onnx.save(model, str(path))
    return path

"""Every QLinear of a converted model, alone, on recorded inputs, against stock ONNX Runtime and the exact value.

The exact value of a quantized output, before rounding, is

    q = act(v) / y_scale + y_zero_point,   v = x_scale w_scale sum_k (x - x_zero_point)(w - w_zero_point) + bias

in double precision (the sum is an exact integer). Whoever computes q with an error of at most eps returns
rint(q) unless q lies within eps of a half, and then one step beside it at most. With u = 2^-24, the unit roundoff of
float32, K products and S = x_scale w_scale sum_k |x - x_zero_point| |w - w_zero_point|, the errors are:

* stock ONNX Runtime, float product: dequantizing rounds x and w once each, K products and K - 1 sums round in any
  order, adding the bias rounds once: |dv| <= gamma(K + 3) (S + |bias|), gamma(n) = n u / (1 - n u) (Higham, Accuracy
  and Stability of Numerical Algorithms, section 3.1). Integer products err less.
* FastEP: the scale rounds once, the accumulator's conversion once, the fused multiply-add once, the bias once:
  |dv| <= 4 u (|v - bias| + |bias|), and no more for q, whose scale and offset round the same way.
* An activation multiplies |dv| by its largest slope (1.13 for GELU) and adds its own error, at most
  ACTIVATION_ULPS u |v|.
* GELU of a quantized output is FastEP's coarse form where a step is at least 1 / COARSE_GELU_SCALE: it adds at most
  COARSE_GELU_ERROR_BOUND max(|v|, 1), under a tenth of a step.
* Quantizing divides (or multiplies by a rounded reciprocal) and adds: 3 u (|q| + |y_zero_point|).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pyfastep.passes.ops.arithmetic import COARSE_GELU_ERROR_BOUND, COARSE_GELU_SCALE

torch = pytest.importorskip("torch")

DOMAIN = "fastep"
U = 2.0**-24
ACTIVATION_ULPS = 32
GELU_SLOPE = 1.13

Array = NDArray[Any]


@dataclass(frozen=True)
class QLinear:
    """One node, its constants, and what flowed through it."""

    node: onnx.NodeProto
    constants: dict[str, Array]
    x: Array
    model: onnx.ModelProto

    @property
    def activation(self) -> str:
        parts = self.node.op_type.split("_")
        return parts[1] if parts[1] in ("relu", "gelu", "gelutanh") else ""

    def alone(self) -> bytes:
        """A model of this node, with its function."""
        functions = [f for f in self.model.functions if (f.domain, f.name) == (DOMAIN, self.node.op_type)]
        initializers = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        return self._model([self.node], initializers, functions)

    def as_qdq(self) -> bytes:
        """The same op written as users' models write it: DequantizeLinear, MatMul, Add, activation, QuantizeLinear."""
        x, y = self.node.input[0], self.node.output[0]
        c = self.named
        weight = self.weight()
        wzp = np.broadcast_to(c["w_zero_point"], c["w_scale"].shape).astype(weight.dtype)
        values = {"W": weight, "ws": c["w_scale"], "wzp": wzp, "xs": c["x_scale"], "xzp": c["x_zero_point"]}
        values["bias"] = c["bias"]
        nodes = [
            helper.make_node("DequantizeLinear", [x, "xs", "xzp"], ["xf"]),
            helper.make_node("DequantizeLinear", ["W", "ws", "wzp"], ["wf"], axis=1 if c["w_scale"].ndim else None),
            helper.make_node("MatMul", ["xf", "wf"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["v"]),
        ]
        if self.activation == "relu":
            nodes.append(helper.make_node("Relu", ["v"], ["act"]))
        elif self.activation == "gelu":
            values |= {"root2": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
            nodes += [
                helper.make_node("Div", ["v", "root2"], ["scaled"]),
                helper.make_node("Erf", ["scaled"], ["erf"]),
                helper.make_node("Add", ["erf", "one"], ["erf1"]),
                helper.make_node("Mul", ["v", "erf1"], ["doubled"]),
                helper.make_node("Mul", ["doubled", "half"], ["act"]),
            ]
        else:
            assert not self.activation, f"no float form for {self.activation}"
        last = nodes[-1].output[0]
        if "y_scale" in c:
            values |= {"ys": c["y_scale"], "yzp": c["y_zero_point"]}
            nodes.append(helper.make_node("QuantizeLinear", [last, "ys", "yzp"], [y]))
        else:
            nodes[-1].output[0] = y
        initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
        return self._model(nodes, initializers, [])

    def _model(self, nodes: list[Any], initializers: list[Any], functions: list[Any]) -> bytes:
        element = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        x = helper.make_tensor_value_info(self.node.input[0], element, self.x.shape)
        y_type = self.named.get("y_zero_point", np.float32(0)).dtype
        y = helper.make_tensor_value_info(self.node.output[0], helper.np_dtype_to_tensor_dtype(y_type), None)
        graph = helper.make_graph(nodes, "one_op", [x], [y], initializers)
        return helper.make_model(
            graph, functions=functions, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        ).SerializeToString()

    @property
    def named(self) -> dict[str, Array]:
        """Constants by the contract's names."""
        sparse = self.node.op_type.endswith("_sparse")
        names = ["x_scale", "x_zero_point", *(["blocks", "block_gaps"] if sparse else ["weight"])]
        names += ["w_scale", "w_zero_point", "bias", "y_scale", "y_zero_point"]
        return {name: self.constants[given] for name, given in zip(names, self.node.input[1:], strict=False)}

    def weight(self) -> Array:
        """W [K, N], decoded as the contract says."""
        c = self.named
        if "weight" in c:
            return c["weight"]
        (n_out, n_in) = next(list(a.ints) for a in self.node.attribute if a.name == "weight_shape")
        _, rows, cols = c["blocks"].shape
        full = np.zeros((-(-n_out // rows) * rows, -(-n_in // cols) * cols), np.int8)
        positions = np.cumsum(c["block_gaps"].astype(np.int64)) - 1
        for position, block in zip(positions, c["blocks"], strict=True):
            row, col = divmod(int(position), full.shape[1] // cols)
            full[row * rows : (row + 1) * rows, col * cols : (col + 1) * cols] = block
        return np.ascontiguousarray(full[:n_out, :n_in].T)

    def exact(self) -> tuple[Array, Array, Array]:
        """The value before rounding, and how far FastEP and a float product may be from it."""
        c = {name: value.astype(np.float64) for name, value in self.named.items()}
        x = self.x.astype(np.float64) - c["x_zero_point"]
        w = self.weight().astype(np.float64) - c["w_zero_point"]
        scale = c["x_scale"] * c["w_scale"]
        product, magnitude = (x @ w) * scale, (np.abs(x) @ np.abs(w)) * scale
        v, bias = product + c["bias"], np.abs(c["bias"])
        depth = (x.shape[-1] + 3) * U
        ours, floats = 4 * U * (np.abs(product) + bias), depth / (1 - depth) * (magnitude + bias)
        slope, own = (GELU_SLOPE, ACTIVATION_ULPS * U * np.abs(v)) if "gelu" in self.activation else (1.0, 0.0 * v)
        y = activate(v, self.activation)
        ours, floats = slope * ours + own, slope * floats + own
        if "y_scale" not in c:
            return y, ours + U * np.abs(y), floats + U * np.abs(y)
        if "gelu" in self.activation and 1 / c["y_scale"] <= COARSE_GELU_SCALE:
            ours = ours + COARSE_GELU_ERROR_BOUND * np.maximum(np.abs(v), 1)
        q, offset = y / c["y_scale"], np.abs(c["y_zero_point"])
        rounding = 3 * U * (np.abs(q) + offset)
        return q + c["y_zero_point"], ours / c["y_scale"] + rounding, floats / c["y_scale"] + rounding


def activate(v: Array, activation: str) -> Array:
    if activation == "relu":
        return np.maximum(v, 0)
    if activation == "gelu":
        return v / 2 * (1 + torch.special.erf(torch.from_numpy(v / np.sqrt(2))).numpy())
    if activation == "gelutanh":
        return v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))
    return v


def recorded(path: Path, feeds: dict[str, Array], stock_session: Callable[..., Any]) -> Iterator[QLinear]:
    """All QLinear nodes with their inputs as stock ONNX Runtime, optimizations off, computes them."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.domain == DOMAIN and node.op_type.startswith("QLinear")]
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inputs = sorted({node.input[0] for node in nodes})
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inputs)
    session = stock_session(probe.SerializeToString(), optimized=False)
    values = dict(zip(inputs, session.run(inputs, feeds), strict=True))
    for node in nodes:
        constants = {name: initializers[name] for name in node.input[1:]}
        yield QLinear(node, constants, values[node.input[0]], model)


def check_rounding(actual: Array, exact: Array, epsilon: Array, what: str) -> None:
    """`actual` is the nearest integer, or one beside it where `exact` lies within epsilon of a half; clamped."""
    info = np.iinfo(actual.dtype)
    assert epsilon.max() < 0.25, f"{what}: epsilon {epsilon.max():.3g} of a step proves nothing"
    lowest = np.clip(np.rint(exact - epsilon), info.min, info.max)
    highest = np.clip(np.rint(exact + epsilon), info.min, info.max)
    wrong = (actual < lowest) | (actual > highest)
    if wrong.any():
        i = tuple(np.argwhere(wrong)[0])
        pytest.fail(f"{what}: {wrong.sum()} of {wrong.size} wrong, at {i}: {actual[i]}, exact {exact[i]:.6f}")


# Blocks of the paper, of our kernels, of other engines, unstructured (1x1), dense; quantizers' forms; activations.
ENCODERS = [
    {"architecture": "bert", "block": (4, 1)},
    {"architecture": "bert", "block": (4, 1), "form": "float-products"},
    {"architecture": "distilbert", "block": (4, 4), "form": "float-products"},
    {"architecture": "distilbert", "block": (8, 4), "form": "float-products", "activation": "relu"},
    {"architecture": "bert", "block": (1, 4), "form": "s8"},
    {"architecture": "distilbert", "block": (2, 4), "form": "operators"},
    {"architecture": "bert", "block": (1, 1), "form": "float-products"},
    {"architecture": "distilbert", "sparsity": 0.0, "form": "default"},
    {"architecture": "bert", "sparsity": 0.0, "form": "float-products", "activation": "gelu_new"},
]


def name_of(arguments: dict[str, object]) -> str:
    return "-".join(str(value).replace(", ", "x").strip("()") for value in arguments.values())


def check_ops(path: Path, feeds: dict[str, Array], doors: tuple[str, ...], sessions: dict[str, Any]) -> dict[str, int]:
    """Checks each op of a model and counts outputs and differences for the report."""
    stock, fastep = sessions["stock"], sessions["fastep"]
    counts = {"ops": 0, "outputs": 0, "stock float differs": 0, "stock optimized differs": 0, "body differs": 0}
    for op in recorded(path, feeds, stock):
        exact, ours_epsilon, float_epsilon = op.exact()
        feed = {op.node.input[0]: op.x}
        ours = [fastep(op.alone(), door=door).run(None, feed)[0] for door in doors]
        for other in ours[1:]:
            np.testing.assert_array_equal(other, ours[0], err_msg=f"{op.node.name}: the doors differ")
        body = stock(op.alone(), optimized=False).run(None, feed)[0]
        counts["ops"] += 1
        counts["outputs"] += exact.size
        if ours[0].dtype == np.float32:
            assert (np.abs(ours[0] - exact) <= ours_epsilon).all(), op.node.name
            assert (np.abs(body - exact) <= float_epsilon).all(), op.node.name
            continue
        check_rounding(ours[0], exact, ours_epsilon, f"FastEP, {op.node.name}")
        check_rounding(body, exact, float_epsilon, f"stock on the body, {op.node.name}")
        counts["body differs"] += int((body != ours[0]).sum())
        if op.activation == "gelutanh":
            continue
        qdq = stock(op.as_qdq(), optimized=False).run(None, feed)[0]
        check_rounding(qdq, exact, float_epsilon, f"stock on QDQ, {op.node.name}")
        assert np.abs(qdq.astype(int) - ours[0].astype(int)).max() <= 1
        counts["stock float differs"] += int((qdq != ours[0]).sum())
        optimized = stock(op.as_qdq(), optimized=True).run(None, feed)[0]
        counts["stock optimized differs"] += int((optimized != ours[0]).sum())
    return counts


@pytest.mark.parametrize("arguments", ENCODERS, ids=name_of)
def test_each_op_rounds_the_exact_value(
    arguments: dict[str, Any],
    tiny_encoder: Callable[..., Any],
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
    report: Callable[[str, object], None],
) -> None:
    encoder = tiny_encoder(**arguments)
    sessions = {"stock": stock_session, "fastep": fastep_session}
    for path in (encoder.exact, encoder.default):
        counts = check_ops(path, encoder.feeds(2, 19), ("provider", "custom-ops"), sessions)
        report(path.stem, counts)
        # Six linears in each of two layers, and the head of question answering.
        assert counts["ops"] == (12 if arguments["architecture"] == "bert" else 13), counts


def test_each_op_of_the_real_model_rounds_the_exact_value(
    minilm: Any,
    stock_session: Callable[..., Any],
    fastep_session: Callable[..., Any],
    report: Callable[[str, object], None],
) -> None:
    sessions = {"stock": stock_session, "fastep": fastep_session}
    counts = check_ops(minilm.default, minilm.feeds(2, 64), ("provider", "custom-ops"), sessions)
    report("default", counts)
    assert counts["ops"] == 36, counts

"""Small quantized models in the forms that quantizers and exporters write."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from ..stock import exact_session

Array = npt.NDArray[Any]

TYPES = {"u8": np.uint8, "s8": np.int8}
ONNX_TYPES = {
    "u8": TensorProto.UINT8,
    "s8": TensorProto.INT8,
    "f32": TensorProto.FLOAT,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}
FORMS = (
    "matmul",
    "transposed_float",
    "transposed_constant",
    "fake_quantized",
    "gemm",
    "gemm_transposed",
    "qlinear_matmul",
    "qgemm",
    "matmul_integer",
    "matmul_integer_to_float",
)
BY_ROWS = ("transposed_float", "fake_quantized", "gemm_transposed")  # the weight is [N, K]
RANK_2 = ("gemm", "gemm_transposed", "qgemm")


class Builder:
    """Collects nodes and initializers of a model."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.initializers[name] = np.asarray(value, dtype)
        return name

    def node(self, op_type: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        name = f"{output}/{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def input(self, name: str, shape: list[Any], kind: str = "f32") -> str:
        self.inputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[kind], shape))
        return name

    def output(self, name: str, shape: list[Any], kind: str = "f32") -> str:
        self.outputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[kind], shape))
        return name

    def scale(self, name: str, scale: float, zero_point: int, kind: str = "u8") -> list[str]:
        return [self.constant(f"{name}_scale", scale), self.constant(f"{name}_zero", zero_point, TYPES[kind])]

    def quantize(self, x: str, parameters: list[str], output: str) -> str:
        return self.node("QuantizeLinear", [x, *parameters], output)

    def dequantize(self, x: str, parameters: list[str], output: str, **attributes: Any) -> str:
        return self.node("DequantizeLinear", [x, *parameters], output, **attributes)

    def build(self) -> onnx.ModelProto:
        initializers = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, "model", self.inputs, self.outputs, initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        model.producer_name = "tests"
        model.metadata_props.add(key="purpose", value="a test")
        return model


def random_weight(n: int, k: int, block: tuple[int, int] = (1, 1), density: float = 1.0, seed: int = 0) -> Array:
    """s8 `[N, K]` without zeros inside the kept blocks."""
    rng = np.random.default_rng(seed)
    rows, cols = block
    kept = rng.random((-(-n // rows), -(-k // cols))) < density
    mask = np.kron(kept, np.ones(block, bool))[:n, :k]
    values = rng.integers(1, 128, (n, k)) * rng.choice([-1, 1], (n, k))
    return np.where(mask, values, 0).astype(np.int8)


def gelu(builder: Builder, x: str, output: str) -> str:
    """GELU as torch exports it."""
    divided = builder.node("Div", [x, builder.constant("sqrt2", 2**0.5)], f"{output}_div")
    erf = builder.node("Erf", [divided], f"{output}_erf")
    plus = builder.node("Add", [erf, builder.constant("one", 1)], f"{output}_plus")
    return builder.node("Mul", [builder.node("Mul", [x, plus], f"{output}_mul"), builder.constant("half", 0.5)], output)


def add_activation(builder: Builder, x: str, activation: str) -> str:
    if activation == "relu":
        return builder.node("Relu", [x], "activated")
    if activation == "gelu":
        return gelu(builder, x, "activated")
    if activation == "gelutanh":
        return builder.node("FastGelu", [x], "activated", domain="com.microsoft")
    return x


def add_weight(b: Builder, form: str, weight: Array, w_scale: Array, axis: dict[str, Any]) -> None:
    """The quantized weight `w` with `w_scale` and `w_zero`, in the orientation of the form."""
    b.constant("w_scale", w_scale)
    b.constant("w_zero", np.zeros(w_scale.shape), np.int8)
    if form == "fake_quantized":
        b.constant("w_float", weight * np.broadcast_to(w_scale.reshape(-1, 1), (weight.shape[0], 1)))
        b.node("QuantizeLinear", ["w_float", "w_scale", "w_zero"], "w", **axis)
    elif form == "transposed_constant":
        b.constant("w_by_rows", weight, np.int8)
        b.node("Transpose", ["w_by_rows"], "w", perm=[1, 0])
    else:
        b.constant("w", weight if form in BY_ROWS else weight.T, np.int8)


def add_product(
    b: Builder, form: str, x: str, weight: Array, w_scale: Array, pair: list[str], bias: Array | None
) -> str:
    """A product in one of FORMS on the quantized `x`; `pair` is the output scale, where the form has one."""
    x_parameters, w_parameters, n = ["x_scale", "x_zero"], ["w_scale", "w_zero"], weight.shape[0]
    by_rows = form in BY_ROWS
    axis = {"axis": 0 if by_rows else 1} if w_scale.size > 1 else {}
    add_weight(b, form, weight, w_scale, axis)
    if form == "qlinear_matmul":
        return b.node("QLinearMatMul", [x, *x_parameters, "w", *w_parameters, *pair], "product_q")
    if form == "qgemm":
        steps = np.zeros(n) if bias is None else np.rint(bias / (b.initializers["x_scale"] * w_scale))
        b.constant("c", steps, np.int32)
        return b.node("QGemm", [x, *x_parameters, "w", *w_parameters, "c"], "product", domain="com.microsoft")
    if form == "matmul_integer":
        acc = b.node("MatMulInteger", [x, "w", "x_zero", "w_zero"], "acc")
        b.constant("xw_scale", b.initializers["x_scale"] * w_scale)
        return b.node("Mul", [b.node("Cast", [acc], "acc_float", to=TensorProto.FLOAT), "xw_scale"], "product")
    if form == "matmul_integer_to_float":
        inputs = [x, "w", "x_scale", "w_scale", "x_zero", "w_zero"]
        return b.node("MatMulIntegerToFloat", inputs, "product", domain="com.microsoft")
    b.dequantize(x, x_parameters, "x_float")
    b.dequantize("w", w_parameters, "w_float_again", **axis)
    if form in ("gemm", "gemm_transposed"):
        inputs = ["x_float", "w_float_again", *([] if bias is None else [b.constant("c", bias)])]
        return b.node("Gemm", inputs, "product", transB=int(form == "gemm_transposed"))
    if by_rows:
        b.node("Transpose", ["w_float_again"], "w_transposed")
    return b.node("MatMul", ["x_float", "w_transposed" if by_rows else "w_float_again"], "product")


def linear_model(
    form: str = "matmul",
    *,
    weight: Array | None = None,
    per_channel: bool = True,
    bias: bool = True,
    activation: str = "",
    x_type: str = "u8",
    y_type: str = "u8",
    pair: bool = False,
    opset: int = 17,
) -> onnx.ModelProto:
    """Float input -> Q -> linear [-> Q] in one of FORMS.

    `pair` puts Q/DQ between product and bias (a form that quantizes its product has them anyway).
    """
    weight = random_weight(12, 20) if weight is None else weight
    n, k = weight.shape
    rng = np.random.default_rng(1)
    w_scale = np.asarray(rng.uniform(0.5, 1.5, n) / 127 if per_channel else 1 / 127, np.float32)
    bias_values = rng.standard_normal((n,)).astype(np.float32) if bias else None
    b = Builder(opset)
    batch = ["batch"] if form in RANK_2 else ["batch", "length"]
    b.input("x", [*batch, k])
    b.scale("x", 0.02, 120 if x_type == "u8" else -8, x_type)
    b.scale("product", 0.06, 121)
    b.quantize("x", ["x_scale", "x_zero"], "x_q")
    result = add_product(b, form, "x_q", weight, w_scale, ["product_scale", "product_zero"], bias_values)
    if form == "qlinear_matmul":
        result = b.dequantize(result, ["product_scale", "product_zero"], "product")
    elif pair:
        b.quantize(result, ["product_scale", "product_zero"], "product_q")
        result = b.dequantize("product_q", ["product_scale", "product_zero"], "product_again")
    if bias_values is not None and form not in RANK_2:
        result = b.node("Add", [b.constant("bias", bias_values), result], "biased")
    result = add_activation(b, result, activation)
    if y_type == "f32":
        b.node("Identity", [result], "y")
    else:
        y_zero = {"u8": 60, "s8": -68}[y_type] if activation != "relu" else {"u8": 0, "s8": -128}[y_type]
        b.quantize(result, b.scale("y", 0.04, y_zero, y_type), "y")
    b.output("y", [*batch, n], y_type)
    return b.build()


def to_ir(model: onnx.ModelProto) -> ir.Model:
    return ir.serde.deserialize_model(model)


def run(model: onnx.ModelProto | ir.Model, feeds: dict[str, Array], optimized: bool = False) -> list[Array]:
    """Runs a model on stock ONNX Runtime."""
    proto = ir.serde.serialize_model(model) if isinstance(model, ir.Model) else model
    session = exact_session(proto.SerializeToString(), optimized=optimized, intra_op_num_threads=1)
    return list(session.run(None, feeds))


def random_x(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """A random float input for `linear_model`."""
    shape = [d.dim_value or 3 for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]

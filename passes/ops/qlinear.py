"""QLinear: y = quantize(act(dequantize(x) . dequantize(W)^T + bias)).

Schema, numpy reference and function body of the op; `docs/op-contract.md` is what they share with the library.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import onnx

from .. import storage
from . import DOMAIN
from .arithmetic import (
    COARSE_GELU_SCALE,
    FloatArray,
    coarse_gelu_erf,
    coarse_gelu_tanh,
    fma,
    gelu_erf,
    gelu_tanh,
)
from .body import Body

Activation = Literal["", "relu", "gelu", "gelutanh"]
OutputType = Literal["u8", "s8", "f32"]

WEIGHT_SHAPE = "weight_shape"
MIN_OPSET = 17

_NAME = re.compile(r"QLinear(?:_(?P<activation>relu|gelu|gelutanh))?_(?P<y_type>u8|s8|f32)(?P<sparse>_sparse)?")
_QUANTIZED_TYPES: dict[str, type[np.integer[Any]]] = {"u8": np.uint8, "s8": np.int8}


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the name of a QLinear says.

    Attributes:
        activation: `relu`, `gelu` (erf), `gelutanh` or empty.
        y_type: element type of y.
        sparse: whether the weight is stored as blocks.
    """

    activation: Activation
    y_type: OutputType
    sparse: bool

    @property
    def name(self) -> str:
        """The op name, `QLinear[_relu|_gelu|_gelutanh]_{u8|s8|f32}[_sparse]`."""
        parts = ["QLinear", self.activation, self.y_type, "sparse" if self.sparse else ""]
        return "_".join(part for part in parts if part)

    @classmethod
    def parse(cls, name: str) -> Variant | None:
        """Reads an op name; None if it is not one of QLinear."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        activation = cast(Activation, match["activation"] or "")
        return cls(activation, cast(OutputType, match["y_type"]), match["sparse"] is not None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        weight = ("blocks", "block_gaps") if self.sparse else ("weight",)
        output = () if self.y_type == "f32" else ("y_scale", "y_zero_point")
        return ("x", "x_scale", "x_zero_point", *weight, "w_scale", "w_zero_point", "bias", *output)


def all_variants() -> list[Variant]:
    """Every variant that the contract knows."""
    return [
        Variant(activation, y_type, sparse)
        for activation in ("", "relu", "gelu", "gelutanh")
        for y_type in ("u8", "s8", "f32")
        for sparse in (False, True)
    ]


def reference(
    variant: Variant, inputs: Mapping[str, npt.NDArray[Any]], weight_shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """The contract's arithmetic, bit for bit: what every tier must return.

    Args:
        variant: the op.
        inputs: arrays by the names of `variant.inputs`; x is `[..., K]`.
        weight_shape: `(N, K)`.

    Returns:
        y `[..., N]` of the variant's type.
    """
    acc = accumulate(variant, inputs, weight_shape).astype(np.float32)
    x_scale, w_scale, bias = np.float64(inputs["x_scale"]), inputs["w_scale"].astype(np.float64), inputs["bias"]
    if variant.y_type == "f32":
        return _activate(fma(acc, (x_scale * w_scale).astype(np.float32), bias), variant.activation)

    y_scale, zero_point = np.float64(inputs["y_scale"]), inputs["y_zero_point"]
    if variant.activation in ("", "relu"):
        scale = (x_scale * w_scale / y_scale).astype(np.float32)
        offset = (bias.astype(np.float64) / y_scale + zero_point).astype(np.float32)
        steps = fma(acc, scale, offset)
    else:
        v, out_scale = fma(acc, (x_scale * w_scale).astype(np.float32), bias), np.float32(1 / y_scale)
        is_coarse = out_scale <= COARSE_GELU_SCALE
        steps = fma(_activate(v, variant.activation, coarse=is_coarse), out_scale, np.float32(zero_point))
    info = np.iinfo(_QUANTIZED_TYPES[variant.y_type])
    lowest = max(info.min, int(zero_point)) if variant.activation == "relu" else info.min
    return np.clip(np.rint(steps), lowest, info.max).astype(info.dtype)


def accumulate(
    variant: Variant, inputs: Mapping[str, npt.NDArray[Any]], weight_shape: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """sum_k (x - x_zero_point)(W - w_zero_point), `[..., N]`, exact."""
    if variant.sparse:
        stored = storage.BlockWeight(inputs["blocks"], inputs["block_gaps"], weight_shape)
        weight: npt.NDArray[Any] = storage.decode(stored).T
    else:
        weight = inputs["weight"]
    # Integers below 2^53 are exact in double, in any order of summation.
    x = inputs["x"].astype(np.float64) - inputs["x_zero_point"]
    return np.asarray(x @ (weight.astype(np.float64) - inputs["w_zero_point"])).astype(np.int64)


def _activate(v: FloatArray, activation: Activation, *, coarse: bool = False) -> FloatArray:
    if activation == "relu":
        return np.where(v > 0, v, np.float32(0))
    if activation == "gelu":
        return coarse_gelu_erf(v) if coarse else gelu_erf(v)
    if activation == "gelutanh":
        return coarse_gelu_tanh(v) if coarse else gelu_tanh(v)
    return v


def build_function(variant: Variant, opset: int) -> onnx.FunctionProto:
    """The body of a variant in plain ONNX.

    ONNX Runtime without FastEP inlines it. Everything up to the weight is constant, so it is computed once, at load.

    Args:
        variant: the op.
        opset: the model's own version of the default domain, at least `MIN_OPSET`.
    """
    body = Body(opset)
    weight = _decode_weight(body) if variant.sparse else "weight"
    body.add("MatMulInteger", ["x", weight, "x_zero_point", "w_zero_point"], "acc")
    body.add("Cast", ["acc"], "acc_float", to=onnx.TensorProto.FLOAT)
    body.add("Mul", ["x_scale", "w_scale"], "product_scale")
    body.add("Mul", ["acc_float", "product_scale"], "product")
    result = _add_activation(body, body.add("Add", ["product", "bias"], "v"), variant.activation)
    if variant.y_type == "f32":
        body.nodes[-1].output[0] = "y"
    else:
        body.add("QuantizeLinear", [result, "y_scale", "y_zero_point"], "y")
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_function(
        DOMAIN, variant.name, list(variant.inputs), ["y"], body.nodes, opsets, attributes=[WEIGHT_SHAPE]
    )


def _decode_weight(body: Body) -> str:
    """Blocks `[n, R, C]` and gaps `[n]` to the weight `[K, N]`."""
    one, zeros, swap = body.ints("one", [1]), body.ints("zeros", [0, 0]), body.ints("swap", [1, 0])
    weight_shape = body.attribute("shape", WEIGHT_SHAPE, "value_ints")
    axis = body.add("Constant", [], "axis", value_int=0)

    block_shape = body.add("Shape", ["blocks"], "block_shape", start=1)
    body.add("Sub", [body.add("Add", [weight_shape, block_shape], "shape_plus"), one], "shape_up")
    grid = body.add("Div", ["shape_up", block_shape], "grid")  # blocks along N and along K, rounded up
    count = body.add("ReduceProd", [grid], "count", keepdims=1)
    body.add("Reshape", [count, one], "count_1d")
    tiles_shape = body.add("Concat", ["count_1d", block_shape], "tiles_shape", axis=0)
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.INT8, [1], [0])
    empty = body.add("ConstantOfShape", [tiles_shape], "empty", value=zero)

    gaps = body.add("Cast", ["block_gaps"], "gaps", to=onnx.TensorProto.INT64)
    ends = body.add("CumSum", [gaps, axis], "ends")
    positions = body.add("Sub", [ends, one], "positions")
    body.add("Unsqueeze", [positions, one], "indices")
    tiles = body.add("ScatterND", [empty, "indices", "blocks"], "tiles")

    split = body.add("Concat", [grid, block_shape], "split_shape", axis=0)
    body.add("Reshape", [tiles, split], "split")
    body.add("Transpose", ["split"], "joined", perm=[1, 3, 0, 2])
    padded_shape = body.add("Mul", [grid, block_shape], "padded_shape")
    body.add("Gather", [padded_shape, swap], "padded_k_n")
    body.add("Reshape", ["joined", "padded_k_n"], "padded")
    body.add("Gather", [weight_shape, swap], "k_n")
    return body.add("Slice", ["padded", zeros, "k_n"], "weight")


def _add_activation(body: Body, v: str, activation: Activation) -> str:
    """Activations in the spelling that ONNX Runtime's own fusions know."""
    if activation == "":
        return v
    if activation == "relu":
        return body.add("Relu", [v], "g")
    one, half = body.scalar("gelu_one", 1.0), body.scalar("half", 0.5)
    if activation == "gelu":
        body.add("Div", [v, body.scalar("sqrt2", 2.0**0.5)], "scaled")
        body.add("Erf", ["scaled"], "bent")
        body.add("Mul", [v, body.add("Add", ["bent", one], "bent_plus")], "twice")
        return body.add("Mul", ["twice", half], "g")
    body.add("Pow", [v, body.scalar("three", 3.0)], "cubed")
    body.add("Mul", ["cubed", body.scalar("cubic", 0.044715)], "cubic_term")
    body.add("Add", [v, "cubic_term"], "inner")
    body.add("Mul", ["inner", body.scalar("slope", (2 / np.pi) ** 0.5)], "scaled")
    body.add("Tanh", ["scaled"], "bent")
    body.add("Add", ["bent", one], "bent_plus")
    return body.add("Mul", [body.add("Mul", [v, half], "halved"), "bent_plus"], "g")

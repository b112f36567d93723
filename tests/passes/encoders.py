"""One quantized transformer layer in the forms that exporters write, small enough to read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .models import Array, Builder

FEATURES, HEADS, HEAD_SIZE, INNER, WORDS, POSITIONS = 24, 3, 8, 40, 50, 32
MASKS = ("sdpa", "eager", "where", "where_not", "expanded", "integer_where")
SCALES = ("on_q", "divide_q", "on_scores", "divide_scores", "on_both", "at_run_time")
LOWEST = float(np.finfo(np.float32).min)


class EncoderBuilder(Builder):
    """Builds a layer; with `quantized=False` the float model that it was quantized from."""

    def __init__(self, opset: int = 17, quantized: bool = True, spelled_out: bool = False) -> None:
        super().__init__(opset)
        self.quantized = quantized
        self.spelled_out = spelled_out
        self.rng = np.random.default_rng(5)

    def c(self, value: Any, dtype: Any = np.float32) -> str:
        return self.constant(f"constant_{len(self.initializers)}", value, dtype)

    def pair(self, x: str, scale: float, zero_point: int = 128) -> str:
        """Q and DQ."""
        if not self.quantized:
            return x
        parameters = self.scale(f"{x}_{scale}", scale, zero_point)
        return self.dequantize(self.quantize(x, parameters, f"{x}_{scale}_q"), parameters, f"{x}_{scale}_dq")

    def weight(self, name: str, k: int, n: int) -> str:
        values = self.rng.integers(-127, 128, (k, n))
        scale = self.rng.uniform(0.7, 1.3, n) * 0.9 / 127 / k**0.5
        if not self.quantized:
            return self.constant(f"{name}_w", values * scale)
        self.constant(f"{name}_w", values, np.int8)
        parameters = [self.constant(f"{name}_ws", scale), self.constant(f"{name}_wz", np.zeros(n), np.int8)]
        return self.dequantize(f"{name}_w", parameters, f"{name}_wf", axis=1)

    def linear(self, x: str, name: str, k: int, n: int) -> str:
        product = self.node("MatMul", [x, self.weight(name, k, n)], f"{name}_product")
        return self.node("Add", [product, self.constant(f"{name}_b", self.rng.standard_normal(n) * 0.2)], f"{name}_y")

    def norm(self, x: str, name: str) -> str:
        gamma = self.constant(f"{name}_gamma", self.rng.uniform(0.7, 1.3, FEATURES))
        beta = self.constant(f"{name}_beta", self.rng.standard_normal(FEATURES) * 0.1)
        if not self.spelled_out:
            return self.node("LayerNormalization", [x, gamma, beta], f"{name}_y", axis=-1, epsilon=1e-6)
        mean = self.node("ReduceMean", [x], f"{name}_mean", axes=[-1])
        centred = self.node("Sub", [x, mean], f"{name}_centred")
        square = self.node("Pow", [centred, self.c(2)], f"{name}_square")
        variance = self.node("ReduceMean", [square], f"{name}_variance", axes=[-1])
        root = self.node("Sqrt", [self.node("Add", [variance, self.c(1e-6)], f"{name}_plus")], f"{name}_root")
        scaled = self.node("Mul", [self.node("Div", [centred, root], f"{name}_div"), gamma], f"{name}_scaled")
        return self.node("Add", [scaled, beta], f"{name}_y")

    def size(self, x: str, axis: int, name: str) -> str:
        """The size of an axis, `[1]`, as torch computes it."""
        shape = self.node("Shape", [x], f"{name}_its_shape")
        picked = self.node("Gather", [shape, self.c(axis, np.int64)], f"{name}_size", axis=0)
        return self.node("Unsqueeze", [picked, self.c([0], np.int64)], f"{name}_size_1d")

    def heads(self, x: str, like: str, name: str, permutation: tuple[int, ...]) -> str:
        parts = [
            self.size(like, 0, name),
            self.c([-1], np.int64),
            self.c([HEADS], np.int64),
            self.c([HEAD_SIZE], np.int64),
        ]
        shape = self.node("Concat", parts, f"{name}_heads_shape", axis=0)
        split = self.node("Reshape", [x, shape], f"{name}_split")
        return self.node("Transpose", [split], f"{name}_heads", perm=permutation)


def embeddings(b: EncoderBuilder, tables: str = "f32", with_type: bool = False) -> str:
    """The sum of embeddings; `tables`: `f32`, `first` (DQ before Gather) or `behind` (DQ behind it)."""
    length = b.size("input_ids", 1, "length")
    slice_inputs = [
        b.constant("all_positions", np.arange(POSITIONS)[None], np.int64),
        b.c([0], np.int64),
        length,
        b.c([1], np.int64),
    ]
    ids = {"word": ("input_ids", WORDS), "position": (b.node("Slice", slice_inputs, "position_ids"), POSITIONS)}
    if with_type:
        ids["type"] = (b.input("token_type_ids", ["batch", "length"], "i64"), 2)
    rows = []
    for name, (indices, count) in ids.items():
        values = b.rng.integers(0, 256, (count, FEATURES))
        if tables == "f32" or not b.quantized:
            rows.append(
                b.node("Gather", [b.constant(name, (values - 120.0) * np.float32(0.01)), indices], f"{name}_rows")
            )
            continue
        parameters = b.scale(f"{name}_table", 0.01, 120)
        table = b.constant(name, values, np.uint8)
        if tables == "behind":
            rows.append(b.dequantize(b.node("Gather", [table, indices], f"{name}_q"), parameters, f"{name}_rows"))
        else:
            gathered = b.node("Gather", [b.dequantize(table, parameters, f"{name}_f"), indices], f"{name}_g")
            rows.append(b.dequantize(b.quantize(gathered, parameters, f"{name}_gq"), parameters, f"{name}_rows"))
    total = rows[0]
    for row in rows[:0:-1]:
        total = b.node("Add", [total, row], f"{row}_added")
    return total


def mask_of(b: EncoderBuilder, form: str, scores: str) -> str:
    """The scores behind the mask."""
    by_key = b.node("Unsqueeze", ["attention_mask", b.c([1, 2], np.int64)], "by_key")
    if form == "sdpa":
        expanded = b.node("Expand", [by_key, b.node("Shape", [by_key], "by_key_shape")], "by_key_expanded")
        inverse = b.node("Sub", [b.c(1), b.node("Cast", [expanded], "mask_float", to=1)], "inverse")
        condition = b.node("Cast", [inverse], "is_hidden", to=9)
        return b.node("Add", [scores, b.node("Where", [condition, b.c(LOWEST), inverse], "mask_added")], "masked")
    if form == "eager":
        inverse = b.node("Sub", [b.c(1), b.node("Cast", [by_key], "mask_float", to=1)], "inverse")
        return b.node("Add", [scores, b.node("Mul", [inverse, b.c(-10000)], "mask_added")], "masked")
    condition = b.node("Equal", [by_key, b.c(0, np.int64)], "is_hidden")
    if form == "expanded":
        condition = b.node("Expand", [condition, b.node("Shape", [scores], "shape_of_scores")], "is_hidden_everywhere")
    if form == "where_not":
        return b.node("Where", [b.node("Not", [condition], "is_visible"), scores, b.c(-np.inf)], "masked")
    if form == "integer_where":
        added = b.node("Where", [b.node("Cast", [by_key], "is_visible", to=9), b.c(0), b.c(-np.inf)], "mask_added")
        return b.node("Add", [added, scores], "masked")
    return b.node("Where", [condition, b.c(LOWEST), scores], "masked")


def scaled(b: EncoderBuilder, x: str, side: str, form: str) -> str:
    """A side of the first product with what this form multiplies it by."""
    factor = HEAD_SIZE**-0.5
    if form in ("on_q", "divide_q") and side == "q":
        op, value = ("Mul", factor) if form == "on_q" else ("Div", 1 / factor)
        return b.node(op, [x, b.c(value)], "q_scaled")
    if form == "on_both":
        return b.node("Mul", [x, b.c(factor**0.5)], f"{side}_scaled")
    if form == "at_run_time":
        shape = b.node("Shape", ["q_split"], f"{side}_split_shape")
        last = b.node("Slice", [shape, b.c([-1], np.int64), b.c([2**63 - 1], np.int64)], f"{side}_last")
        root = b.node("Sqrt", [b.node("Cast", [last], f"{side}_last_float", to=1)], f"{side}_root")
        inverse = b.node("Div", [b.c([1.0]), root], f"{side}_inverse")
        return b.node("Mul", [x, b.node("Sqrt", [inverse], f"{side}_factor")], f"{side}_scaled")
    return x


def attention(b: EncoderBuilder, x: str, mask: str = "sdpa", scale: str = "on_q", products: bool = False) -> str:
    """Attention on a quantized `x`; `products` puts Q and DQ behind both products too."""
    wide = 0.02
    sides = {}
    for side, permutation in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        heads = b.heads(b.linear(x, side, FEATURES, FEATURES), x, side, permutation)
        narrow = {"q": ("on_q", "divide_q"), "k": ()}.get(side, ())
        step = (
            wide
            * (HEAD_SIZE**-0.5 if scale in narrow else 1)
            * (HEAD_SIZE**-0.25 if scale in SCALES[4:] and side != "v" else 1)
        )
        sides[side] = b.pair(scaled(b, heads, side, scale) if side != "v" else heads, step)
    scores = b.node("MatMul", [sides["q"], sides["k"]], "scores")
    scores = b.pair(scores, 0.05) if products else scores
    if scale in ("on_scores", "divide_scores"):
        op, value = ("Mul", HEAD_SIZE**-0.5) if scale == "on_scores" else ("Div", HEAD_SIZE**0.5)
        scores = b.node(op, [scores, b.c(value)], "scores_scaled")
    masked = mask_of(b, mask, scores) if mask else scores
    weights = b.pair(b.node("Softmax", [masked], "softmax", axis=-1), 1 / 255, 0)
    context = b.node("MatMul", [weights, sides["v"]], "context")
    context = b.pair(context, 0.016) if products else context
    merged = b.node("Transpose", [context], "context_by_token", perm=[0, 2, 1, 3])
    shape = b.node(
        "Concat", [b.size(x, 0, "context"), b.c([-1], np.int64), b.c([FEATURES], np.int64)], "merged_shape", axis=0
    )
    return b.node("Reshape", [merged, shape], "merged")


def encoder_model(
    *,
    mask: str = "sdpa",
    scale: str = "on_q",
    products: bool = False,
    tables: str = "f32",
    with_type: bool = False,
    spelled_out: bool = False,
    quantized: bool = True,
    quantized_attention: bool = True,
    opset: int = 17,
) -> onnx.ModelProto:
    """Embeddings, one layer and the last normalization."""
    b = EncoderBuilder(opset, quantized, spelled_out)
    b.input("input_ids", ["batch", "length"], "i64")
    if mask:
        b.input("attention_mask", ["batch", "length"], "i64")
    first = b.norm(embeddings(b, tables, with_type), "embedded")
    rounded = b.pair(first, 0.03)
    b.quantized = quantized and quantized_attention
    if b.quantized != quantized:
        b.quantized = quantized
        merged = float_attention(b, rounded, mask, scale)
    else:
        merged = attention(b, rounded, mask, scale, products)
    out = b.linear(b.pair(merged, 0.016), "out", FEATURES, FEATURES)
    second = b.norm(b.node("Add", [out, first], "first_sum"), "attended")
    inner = b.node("Relu", [b.linear(b.pair(second, 0.03), "inner", FEATURES, INNER)], "inner_relu")
    outer = b.linear(b.pair(inner, 0.015, 0), "outer", INNER, FEATURES)
    b.node("Identity", [b.norm(b.node("Add", [second, outer], "second_sum"), "finished")], "y")
    b.output("y", ["batch", "length", FEATURES])
    return b.build()


def float_attention(b: EncoderBuilder, x: str, mask: str, scale: str) -> str:
    """Quantized linears around float products."""
    pair, b.pair = b.pair, lambda value, *_: value  # type: ignore[method-assign]
    merged = attention(b, x, mask, scale)
    b.pair = pair  # type: ignore[method-assign]
    return merged


def feeds_of(model: onnx.ModelProto, batch: int = 3, length: int = 7, seed: int = 0) -> dict[str, Array]:
    """Random ids; every sequence but the first is padded."""
    rng = np.random.default_rng([seed, batch, length])
    real = np.arange(length) < np.r_[length, rng.integers(1, length + 1, batch - 1)][:, None]
    values = {
        "input_ids": rng.integers(0, WORDS, (batch, length)),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": rng.integers(0, 2, (batch, length)),
    }
    return {entry.name: values[entry.name] for entry in model.graph.input}

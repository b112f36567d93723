"""Heads behind an encoder: some show what stands at right padding, some do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .models import Builder

FEATURES, OUTPUTS = 6, 4
END = 2**63 - 1


class HeadBuilder(Builder):
    """Nodes on the values `tokens` `[B, S, FEATURES]` and `attention_mask` `[B, S]`."""

    def ints(self, *values: int) -> str:
        return self.constant(f"i{len(self.initializers)}", values, np.int64)

    def c(self, value: float) -> str:
        return self.constant(f"c{len(self.initializers)}", value)

    def n(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op_type, list(inputs), f"v{len(self.nodes)}", **attributes)

    def weight(self, *shape: int) -> str:
        values = np.random.default_rng(len(self.initializers)).normal(0, 0.5, shape)
        return self.constant(f"w{len(self.initializers)}", values)

    def mask(self, expanded: bool = True, kind: int = TensorProto.FLOAT) -> str:
        """`[B, S, 1]`, or as large as `tokens`."""
        column = self.n("Unsqueeze", "attention_mask", self.ints(-1))
        return self.n("Cast", self.n("Expand", column, self.n("Shape", "tokens")) if expanded else column, to=kind)

    def sum(self, x: str, axis: int = 1, op: str = "ReduceSum", keepdims: int = 0) -> str:
        return self.n(op, x, self.ints(axis), keepdims=keepdims)

    def first(self, x: str = "tokens") -> str:
        return self.n("Gather", x, self.constant(f"first{len(self.nodes)}", 0, np.int64), axis=1)


Head = Callable[[HeadBuilder], str]


def mean(b: HeadBuilder) -> str:
    mask = b.mask()
    pooled = b.n("Div", b.sum(b.n("Mul", "tokens", mask)), b.n("Clip", b.sum(mask), b.c(1e-9)))
    norm = b.n("Clip", b.sum(pooled, 1, "ReduceL2", keepdims=1), b.c(1e-12))
    return b.n("Div", pooled, b.n("Expand", norm, b.n("Shape", pooled)))


def mean_of_a_linear(b: HeadBuilder) -> str:
    hidden = b.n("Tanh", b.n("Add", b.n("MatMul", "tokens", b.weight(FEATURES, OUTPUTS)), b.c(0.5)))
    return b.sum(b.n("Mul", b.mask(expanded=False), hidden), op="ReduceMean")


def mean_by_product(b: HeadBuilder) -> str:
    row = b.n("Cast", b.n("Unsqueeze", "attention_mask", b.ints(1)), to=TensorProto.FLOAT)
    return b.n("Squeeze", b.n("MatMul", row, "tokens"), b.ints(1))


def mean_by_product_from_the_right(b: HeadBuilder) -> str:
    by_feature = b.n("Transpose", "tokens", perm=[0, 2, 1])
    return b.n("Squeeze", b.n("MatMul", by_feature, b.mask(expanded=False)), b.ints(-1))


def weights_of_quotients(b: HeadBuilder) -> str:
    mask = b.mask(expanded=False)
    return b.sum(b.n("Mul", "tokens", b.n("Div", mask, b.sum(mask, keepdims=1))))


def maximum(b: HeadBuilder) -> str:
    hidden = b.n("Equal", b.mask(), b.c(0))
    return b.sum(b.n("Where", hidden, b.c(-1e9), "tokens"), op="ReduceMax")


def maximum_of_visible(b: HeadBuilder) -> str:
    visible = b.n("Not", b.n("Not", b.mask(expanded=False, kind=TensorProto.BOOL)))
    return b.sum(b.n("Where", visible, "tokens", b.c(-1e9)), op="ReduceMax")


def maximum_by_assignment(b: HeadBuilder) -> str:
    """As torch writes `x[mask == 0] = -1e9`."""
    chosen = b.n("Transpose", b.n("NonZero", b.n("Equal", b.mask(), b.c(0))), perm=[1, 0])
    count = b.n("Slice", b.n("Shape", chosen), b.ints(0), b.ints(1))
    return b.sum(b.n("ScatterND", "tokens", chosen, b.n("Expand", b.c(-1e9), count)), op="ReduceMax")


def inverted_mask(b: HeadBuilder) -> str:
    hidden = b.n("Cast", b.n("Sub", b.c(1), b.mask()), to=TensorProto.BOOL)
    return b.sum(b.n("Where", hidden, b.c(0), "tokens"))


def first_token(b: HeadBuilder) -> str:
    pooled = b.n("Tanh", b.n("Gemm", b.first(), b.weight(FEATURES, FEATURES), b.weight(FEATURES)))
    return b.n("Gemm", pooled, b.weight(FEATURES, OUTPUTS))


def first_token_by_slice(b: HeadBuilder) -> str:
    cut = b.n("Slice", "tokens", b.ints(0), b.ints(1), b.ints(1))
    return b.n("Squeeze", cut, b.ints(1))


def first_token_behind_a_slice_of_all(b: HeadBuilder) -> str:
    everything = b.n("Slice", "tokens", b.ints(0, 0), b.ints(END, END), b.ints(0, 1), b.ints(1, 1))
    return b.first(b.n("Identity", everything))


def first_visible_token(b: HeadBuilder) -> str:
    """CLS pooling of sentence-transformers."""
    place = b.n("ArgMax", b.n("Cast", "attention_mask", to=TensorProto.INT32), axis=1, keepdims=0)
    column = b.n("Unsqueeze", b.n("Unsqueeze", place, b.ints(-1)), b.ints(1))
    places = b.n("Expand", column, b.ints(1, 1, FEATURES))
    return b.n("Squeeze", b.n("GatherElements", "tokens", places, axis=1), b.ints(1))


def first_visible_token_with_kept_axes(b: HeadBuilder) -> str:
    place = b.n("ArgMax", "attention_mask", axis=-1)
    return b.n("GatherElements", "tokens", b.n("Unsqueeze", b.n("Identity", place), b.ints(2)), axis=1)


def reshaped_mean(b: HeadBuilder) -> str:
    split = b.n("Reshape", "tokens", b.ints(0, 0, 2, FEATURES // 2))
    mask = b.n("Unsqueeze", b.mask(expanded=False), b.ints(-1))
    return b.sum(b.n("Mul", split, mask))


def normalized_tokens_chosen_by_mask(b: HeadBuilder) -> str:
    """0 / 0 at padding, but nobody sees it."""
    unit = b.n("Div", "tokens", b.sum("tokens", 2, "ReduceL2", keepdims=1))
    return b.sum(b.n("Where", b.mask(expanded=False, kind=TensorProto.BOOL), unit, b.c(0)))


def centred(b: HeadBuilder) -> str:
    """Nothing is known of a mean: it may be infinite, but then it is so in both runs."""
    return b.sum(b.n("Mul", b.n("Sub", "tokens", b.n("Unsqueeze", mean(b), b.ints(1))), b.mask()))


def both(b: HeadBuilder) -> str:
    return b.n("Concat", b.first(), mean(b), axis=-1)


HIDES: tuple[Head, ...] = (
    mean,
    mean_of_a_linear,
    mean_by_product,
    mean_by_product_from_the_right,
    maximum,
    maximum_of_visible,
    maximum_by_assignment,
    inverted_mask,
    first_token,
    first_token_by_slice,
    first_token_behind_a_slice_of_all,
    first_visible_token,
    first_visible_token_with_kept_axes,
    reshaped_mean,
    normalized_tokens_chosen_by_mask,
    both,
)
MAY_BE_NAN: tuple[Head, ...] = (weights_of_quotients, centred)
"""Hide it, too: of a row without visible tokens both runs make NaN."""


def all_tokens(b: HeadBuilder) -> str:
    return b.n("Identity", "tokens")


def spans(b: HeadBuilder) -> str:
    logits = b.n("MatMul", "tokens", b.weight(FEATURES, 2))
    start = b.n("Slice", logits, b.ints(0), b.ints(1), b.ints(2))
    return b.n("Squeeze", start, b.ints(-1))


def mean_of_all(b: HeadBuilder) -> str:
    return b.sum("tokens", op="ReduceMean")


def maximum_of_all(b: HeadBuilder) -> str:
    return b.sum(b.n("Mul", "tokens", b.c(2)), op="ReduceMax")


def masked_then_shown(b: HeadBuilder) -> str:
    """A masked mean beside the tokens that it was taken from."""
    return b.n("Add", b.n("Unsqueeze", mean(b), b.ints(1)), "tokens")


def wrong_polarity(b: HeadBuilder) -> str:
    return b.sum(b.n("Mul", "tokens", b.n("Sub", b.c(1), b.mask())))


def wrong_choice(b: HeadBuilder) -> str:
    return b.sum(b.n("Where", b.mask(kind=TensorProto.BOOL), b.c(0), "tokens"))


def wrong_assignment(b: HeadBuilder) -> str:
    chosen = b.n("Transpose", b.n("NonZero", b.mask()), perm=[1, 0])
    count = b.n("Slice", b.n("Shape", chosen), b.ints(0), b.ints(1))
    return b.sum(b.n("ScatterND", "tokens", chosen, b.n("Expand", b.c(-1e9), count)), op="ReduceMax")


def last_token(b: HeadBuilder) -> str:
    return b.n("Gather", "tokens", b.constant("last", -1, np.int64), axis=1)


def second_token(b: HeadBuilder) -> str:
    """Of a batch of sequences with a single token this is padding."""
    return b.n("Gather", "tokens", b.constant("second", 1, np.int64), axis=1)


def first_hidden_token(b: HeadBuilder) -> str:
    place = b.n("ArgMax", b.n("Neg", "attention_mask"), axis=1)
    return b.n("GatherElements", "tokens", b.n("Unsqueeze", place, b.ints(2)), axis=1)


def last_of_the_largest(b: HeadBuilder) -> str:
    """Of a row that hides all tokens this is the last one."""
    place = b.n("ArgMax", "attention_mask", axis=1, select_last_index=1)
    return b.n("GatherElements", "tokens", b.n("Unsqueeze", place, b.ints(2)), axis=1)


def longest_sequence(b: HeadBuilder) -> str:
    """Positions along the batch are none along the tokens."""
    place = b.n("ArgMax", "attention_mask", axis=0)
    return b.n("GatherElements", "tokens", b.n("Unsqueeze", place, b.ints(2)), axis=0)


def largest_feature(b: HeadBuilder) -> str:
    """Positions that depend on tokens."""
    return b.n("GatherElements", "tokens", b.n("ArgMax", "tokens", axis=1), axis=1)


def without_the_first(b: HeadBuilder) -> str:
    """The mask no longer stands at its tokens."""
    rest = b.n("Slice", "tokens", b.ints(1), b.ints(END), b.ints(1))
    mask = b.n("Slice", b.mask(), b.ints(0), b.ints(-1), b.ints(1))
    return b.sum(b.n("Mul", rest, mask))


def reversed_tokens(b: HeadBuilder) -> str:
    turned = b.n("Slice", "tokens", b.ints(-1), b.ints(-END), b.ints(1), b.ints(-1))
    return b.sum(b.n("Mul", turned, b.mask()))


def softmax_over_tokens(b: HeadBuilder) -> str:
    weights = b.n("Softmax", b.sum("tokens", 2, keepdims=1), axis=1)
    return b.sum(b.n("Mul", b.n("Mul", weights, "tokens"), b.mask()))


def normalized_by_the_largest(b: HeadBuilder) -> str:
    """A statistic of the whole tensor."""
    largest = b.n("ReduceMax", "tokens", keepdims=1)
    return b.sum(b.n("Mul", b.n("Div", "tokens", largest), b.mask()))


def infinite_before_the_mask(b: HeadBuilder) -> str:
    """0 / 0 of a padded token is NaN, and so is NaN times 0."""
    unit = b.n("Div", "tokens", b.sum("tokens", 2, "ReduceL2", keepdims=1))
    return b.sum(b.n("Mul", unit, b.mask()))


def counted(b: HeadBuilder) -> str:
    """How many tokens are not zero."""
    return b.sum(b.n("Cast", b.n("Equal", "tokens", b.c(0)), to=TensorProto.FLOAT))


def unknown_op(b: HeadBuilder) -> str:
    masked = b.n("Mul", b.n("CumSum", "tokens", b.constant("axis", 1, np.int64), reverse=1), b.mask())
    return b.sum(masked)


def flattened(b: HeadBuilder) -> str:
    return b.sum(b.n("Reshape", "tokens", b.ints(-1, FEATURES)), 0)


def places_of(b: HeadBuilder, condition: str) -> tuple[str, str]:
    """Where a condition is true, `[n, rank]` and `[n]`."""
    chosen = b.n("Transpose", b.n("NonZero", condition), perm=[1, 0])
    return chosen, b.n("Slice", b.n("Shape", chosen), b.ints(0), b.ints(1))


def added_at_padding(b: HeadBuilder) -> str:
    """`x[mask == 0] += 1`."""
    chosen, count = places_of(b, b.n("Equal", b.mask(), b.c(0)))
    return b.sum(b.n("ScatterND", "tokens", chosen, b.n("Expand", b.c(1), count), reduction="add"))


def first_feature_assigned(b: HeadBuilder) -> str:
    """The condition has one entry per token: those of the other features stay."""
    chosen, count = places_of(b, b.n("Equal", b.mask(expanded=False), b.c(0)))
    return b.sum(b.n("ScatterND", "tokens", chosen, b.n("Expand", b.c(0), count)))


def last_token_unmasked(b: HeadBuilder) -> str:
    """`mask[:, -1] = 1`."""
    by_token = b.n("Transpose", b.n("Cast", "attention_mask", to=TensorProto.FLOAT), perm=[1, 0])
    ones = b.n("Expand", b.c(1), b.n("Slice", b.n("Shape", by_token), b.ints(1), b.ints(2)))
    index = b.constant("last_index", [[-1]], np.int64)
    changed = b.n("ScatterND", by_token, index, b.n("Unsqueeze", ones, b.ints(0)))
    weights = b.n("Unsqueeze", b.n("Transpose", changed, perm=[1, 0]), b.ints(-1))
    return b.sum(b.n("Mul", "tokens", weights))


def divided_by_mask(b: HeadBuilder) -> str:
    """A number over 0 is infinite, 0 over 0 is NaN."""
    mask = b.mask()
    return b.sum(b.n("Mul", b.n("Tanh", b.n("Div", "tokens", mask)), mask))


def sign_of_zero(b: HeadBuilder) -> str:
    """The reciprocal of -0 is not that of 0."""
    mask = b.mask()
    return b.sum(b.n("Sigmoid", b.n("Reciprocal", b.n("Mul", "tokens", mask))))


def integer_product(b: HeadBuilder) -> str:
    """What is 0 at padding is -1 without its zero point."""
    row = b.n("Cast", b.n("Unsqueeze", "attention_mask", b.ints(1)), to=TensorProto.UINT8)
    scale, zero, one = b.c(0.1), b.constant("zero", 120, np.uint8), b.constant("one_u8", 1, np.uint8)
    product = b.n("MatMulInteger", row, b.n("QuantizeLinear", "tokens", scale, zero), one, zero)
    return b.n("Cast", product, to=TensorProto.FLOAT)


SHOWS: tuple[Head, ...] = (
    added_at_padding,
    first_feature_assigned,
    last_token_unmasked,
    divided_by_mask,
    sign_of_zero,
    integer_product,
    all_tokens,
    spans,
    mean_of_all,
    maximum_of_all,
    masked_then_shown,
    wrong_polarity,
    wrong_choice,
    wrong_assignment,
    last_token,
    second_token,
    first_hidden_token,
    last_of_the_largest,
    longest_sequence,
    largest_feature,
    without_the_first,
    reversed_tokens,
    softmax_over_tokens,
    normalized_by_the_largest,
    infinite_before_the_mask,
    counted,
    unknown_op,
    flattened,
)


def head_model(head: Head, *, behind_attention: bool, mask_kind: str = "i64") -> onnx.ModelProto:
    """A head on its own, or behind an attention that computes `tokens`."""
    b = HeadBuilder(18)
    b.input("attention_mask", ["batch", "length"], mask_kind)
    shape: list[str | int] = ["batch", "length", FEATURES]
    if behind_attention:
        q, k, v = (b.input(name, shape, "u8") for name in "qkv")
        scales = [name for operand in "qkv" for name in b.scale(operand, 0.1, 3)]
        inputs = [q, k, v, *scales, "attention_mask"]
        b.node("QAttention_f32_mask", inputs, "tokens", "fastep", num_heads=1, head_size=FEATURES, scale=1.0)
    else:
        b.input("tokens", shape)
    b.output(b.node("Identity", [head(b)], "y"), [None] * 0)
    model = b.build()
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    if behind_attention:
        model.graph.value_info.append(helper.make_tensor_value_info("tokens", TensorProto.FLOAT, shape))
        model.opset_import.append(helper.make_opsetid("fastep", 1))
    return model

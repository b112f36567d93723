"""Whole encoders as one plan, on every tier, against the oracle node by node: fusions change no bit."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from . import encoder_oracle as oracle
from . import reference
from .capi import Array, Capi, CoreError, LinearSpec
from .cases import make_spec, sparse_values
from .plan_capi import NONE, AttentionSpec, NormSpec, Plan, PlanBuilder, Quantization, TableSpec

HEADS = 2


@dataclass(frozen=True)
class Layer:
    """One post-norm encoder layer."""

    q: LinearSpec
    k: LinearSpec
    v: LinearSpec
    out: LinearSpec
    up: LinearSpec
    down: LinearSpec
    attention: AttentionSpec
    norms: tuple[NormSpec, NormSpec]


@dataclass(frozen=True)
class Model:
    """Embeddings and layers."""

    tables: list[TableSpec]
    norm: NormSpec
    layers: list[Layer]


def quantization(spec: LinearSpec) -> Quantization:
    return Quantization(spec.y_type, spec.y_scale, spec.y_zero_point)


def make_model(seed: int, hidden: int, block: tuple[int, int], element: str = "u8", layers: int = 2) -> Model:
    """Random weights whose values use the range of their types."""
    rng = np.random.default_rng(seed)
    norm_q = Quantization(element, 0.025, 128 if element == "u8" else 3)

    def linear(n: int, k: int, y_type: str, activation: str = "none", y_zero_point: int = 117) -> LinearSpec:
        options: dict[str, Any] = {"x_type": element, "x_zero_point": norm_q.zero_point}
        options |= {"x_scale": float(np.float32(1 / (5000 * (0.4 * k) ** 0.5)))}
        options |= {"y_type": y_type, "activation": activation}
        if y_type != "f32":
            options |= {"y_zero_point": y_zero_point if y_type == "u8" else y_zero_point - 128}
        return make_spec(rng, sparse_values(rng, n, k, block, 0.4), **options)

    def norm(wants_float: bool = True) -> NormSpec:
        gamma, beta = rng.normal(1, 0.2, hidden), rng.normal(0, 0.2, hidden)
        return NormSpec(gamma.astype(np.float32), beta.astype(np.float32), 1e-12, wants_float, norm_q)

    def layer() -> Layer:
        q, k, v = (linear(hidden, hidden, element, y_zero_point=z) for z in (117, 130, 140))
        attended = Quantization(element, 0.01, norm_q.zero_point)
        attention = AttentionSpec(
            HEADS, (hidden / HEADS) ** -0.5, quantization(q), quantization(k), quantization(v), attended
        )
        up = linear(
            3 * hidden + 5, hidden, element, "gelu", y_zero_point=norm_q.zero_point + (128 if element == "s8" else 0)
        )
        down = linear(hidden, 3 * hidden + 5, "f32")
        return Layer(q, k, v, linear(hidden, hidden, "f32"), up, down, attention, (norm(), norm()))

    tables = [TableSpec(rng.normal(0, 1, (n, hidden)).astype(np.float32)) for n in (50, 256)]
    return Model(tables, norm(), [layer() for _ in range(layers)])


def build(capi: Capi, model: Model, tier: str, masked: bool, skip_padding: bool = False, counted: bool = False) -> Plan:
    builder = PlanBuilder(capi)
    ids = [builder.tensor("ids", name) for name in ("input_ids", "position_ids")[: 2 - counted]] + [NONE] * counted
    mask = builder.tensor("mask", "attention_mask") if masked else NONE
    x, q = builder.embed_layer_norm(model.norm, list(zip(model.tables, ids, strict=True)))
    for layer in model.layers:
        projected = [builder.linear(q, spec) for spec in (layer.q, layer.k, layer.v)]
        attended = builder.attention(projected[0], projected[1], projected[2], layer.attention, mask)
        x, q = builder.skip_layer_norm(builder.linear(attended, layer.out), x, layer.norms[0])
        x, q = builder.skip_layer_norm(builder.linear(builder.linear(q, layer.up), layer.down), x, layer.norms[1])
    builder.output(x)
    builder.output(q)
    if skip_padding:
        builder.skip_padding(mask)
    return builder.build(tier)


def expect(capi: Capi, model: Model, ids: list[Array], mask: Array | None) -> list[Array]:
    def linear(spec: LinearSpec, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1])
        return reference.run(spec, flat, functools.partial(capi.gelu, "scalar")).reshape(*x.shape[:-1], -1)

    x, q = oracle.layer_norm(oracle.embed(list(zip(model.tables, ids, strict=True))), model.norm)
    for layer in model.layers:
        projected = [linear(spec, q) for spec in (layer.q, layer.k, layer.v)]
        attended = oracle.attention(projected[0], projected[1], projected[2], layer.attention, mask)
        x, q = oracle.layer_norm(linear(layer.out, attended) + x, layer.norms[0])
        x, q = oracle.layer_norm(linear(layer.down, linear(layer.up, q)) + x, layer.norms[1])
    return [x, q]


def make_ids(rng: np.random.Generator, b: int, s: int) -> list[Array]:
    return [rng.integers(0, 50, (b, s)), np.arange(s)[None]]


def check(found: list[Array], wanted: list[Array], what: object) -> None:
    for x, y in zip(found, wanted, strict=True):
        assert np.array_equal(x, y), what


@pytest.mark.parametrize("block", [(1, 1), (4, 1), (4, 4), (1, 4)])
@pytest.mark.parametrize(("hidden", "element"), [(32, "u8"), (48, "u8"), (40, "s8"), (96, "s8")])
def test_two_layers(capi: Capi, tier: str, block: tuple[int, int], hidden: int, element: str) -> None:
    """Hidden sizes with heads of 16, 24, 20 and 48: merged projections or not, heads that end inside a row step."""
    rng = np.random.default_rng(hidden)
    model = make_model(1, hidden, block, element)
    plan = build(capi, model, tier, masked=True)
    for b, s in ((1, 1), (3, 7), (1, 77), (5, 13), (2, 64)):
        ids = make_ids(rng, b, s)
        mask = (rng.random((b, s)) < 0.8).astype(np.int64)
        check(plan.run(*ids, mask), expect(capi, model, ids, mask), (b, s))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_bits(capi: Capi, tier: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    model = make_model(2, 64, (4, 4))
    plan = build(capi, model, tier, masked=False)
    for b, s in ((1, 9), (4, 33), (16, 128)):
        ids = make_ids(rng, b, s)
        check(plan.run(*ids, threads=threads), expect(capi, model, ids, None), (b, s))


def test_batches_beyond_one_group(capi: Capi, tier: str) -> None:
    rng = np.random.default_rng(4)
    model = make_model(3, 16, (4, 4), layers=1)
    plan = build(capi, model, tier, masked=True)
    for b, s in ((40, 61), (3, 1100), (2500, 1)):
        ids = [rng.integers(0, 50, (b, s)), rng.integers(0, 256, (1, s))]
        mask = (rng.random((b, s)) < 0.5).astype(np.bool_)
        found, wanted = plan.run(*ids, mask, threads=2), expect(capi, model, ids, mask)
        check(found, wanted, (b, s))


def test_empty_batches(capi: Capi, tier: str) -> None:
    plan = build(capi, make_model(4, 16, (4, 4)), tier, masked=True)
    for b, s in ((0, 5), (3, 0), (0, 0)):
        empty = np.zeros((b, s), np.int64)
        found = plan.run(empty, np.zeros((1, s), np.int64), empty)
        assert [x.shape for x in found] == [(b, s, 16)] * 2


def test_right_padding_is_not_computed(capi: Capi, tier: str) -> None:
    """Real tokens get the bits they get alone; the outputs of padding are 0, but for the first token of a sequence."""
    rng = np.random.default_rng(5)
    model = make_model(5, 48, (4, 4))
    plan = build(capi, model, tier, masked=True, skip_padding=True)
    lengths = [16, 3, 77, 0, 40, 1, 76]
    ids = make_ids(rng, len(lengths), 77)
    mask = (np.arange(77) < np.array(lengths)[:, None]).astype(np.int64)
    mask[4, :7] = 0  # left padding
    mask[6, 30:35] = 0  # a hole
    found, wanted = plan.run(*ids, mask, threads=2), expect(capi, model, ids, mask)
    for i, length in enumerate(lengths):
        computed = max(length, 1)
        check([x[i, :computed] for x in found], [y[i, :computed] for y in wanted], i)
        assert not any(np.any(x[i, computed:]) for x in found)


@pytest.mark.parametrize("threads", [1, 4])
def test_groups_follow_the_tokens_that_are_computed(capi: Capi, tier: str, threads: int) -> None:
    """Many short sequences in long rows go through the plan together, one that is longer than a group alone."""
    rng = np.random.default_rng(9)
    model = make_model(9, 16, (4, 4), layers=1)
    plan = build(capi, model, tier, masked=True, skip_padding=True)
    lengths = np.array([7] * 40 + [300, 1, 256, 255, 4, 299] + [5] * 6)
    ids = [rng.integers(0, 50, (len(lengths), 300)), rng.integers(0, 256, (1, 300))]
    mask = (np.arange(300) < lengths[:, None]).astype(np.int64)
    found, wanted = plan.run(*ids, mask, threads=threads), expect(capi, model, ids, mask)
    real = mask[..., None] != 0
    check(found, [np.where(real, y, 0).astype(y.dtype) for y in wanted], threads)


def test_rows_skipped_between_rows_in_order_stay_zero(capi: Capi, tier: str) -> None:
    """Sequences of 16 that miss up to three tokens stand among the packed tokens as in the batch, with gaps."""
    rng = np.random.default_rng(9)
    model = make_model(9, 16, (4, 4), layers=1)
    plan = build(capi, model, tier, masked=True, skip_padding=True)
    lengths = np.array([16, 15, 16, 14, 13, 16, 15])
    ids = make_ids(rng, len(lengths), 16)
    mask = (np.arange(16) < lengths[:, None]).astype(np.int64)
    found, wanted = plan.run(*ids, mask), expect(capi, model, ids, mask)
    check(found, [np.where(mask[..., None] != 0, y, y.dtype.type(0)) for y in wanted], lengths)


def test_values_that_live_on_are_not_overwritten(capi: Capi, tier: str) -> None:
    """A residual with a later reader, a product with two readers, a value added to itself, outputs in the middle."""
    rng = np.random.default_rng(6)
    hidden = 48
    model = make_model(6, hidden, (4, 4), layers=1)
    layer, norm = model.layers[0], model.norm
    builder = PlanBuilder(capi)
    x, r = builder.activation("x", "u8", hidden), builder.activation("residual", "f32", hidden)
    product = builder.linear(x, layer.out)
    first, first_q = builder.skip_layer_norm(product, r, layer.norms[0])
    second, second_q = builder.skip_layer_norm(builder.linear(first_q, layer.out), r, layer.norms[1])
    third, _ = builder.skip_layer_norm(first, second, norm)
    fourth, _ = builder.skip_layer_norm(third, third, norm)
    fifth, _ = builder.skip_layer_norm(product, fourth, norm)
    for value in (product, first, second_q, second, third, fourth, fifth):
        builder.output(value)
    plan = builder.build(tier)
    gelu = functools.partial(capi.gelu, "scalar")
    for m in (1, 5, 16, 70):
        xs = rng.integers(0, 256, (m, hidden)).astype(np.uint8)
        rs = rng.normal(0, 1, (m, hidden)).astype(np.float32)
        y = reference.run(layer.out, xs, gelu)
        y1, q1 = oracle.layer_norm(y + rs, layer.norms[0])
        y2, q2 = oracle.layer_norm(reference.run(layer.out, q1, gelu) + rs, layer.norms[1])
        y3, _ = oracle.layer_norm(y1 + y2, norm)
        y4, _ = oracle.layer_norm(y3 + y3, norm)
        y5, _ = oracle.layer_norm(y + y4, norm)
        check(plan.run(xs, rs), [y, y1, q2, y2, y3, y4, y5], m)


def test_weights_with_zero_points(capi: Capi, tier: str) -> None:
    """Dense products that need the sums of their tokens, in a chain whose K is no multiple of 4."""
    rng = np.random.default_rng(7)
    weights = [rng.integers(0, 256, (k, n)).astype(np.uint8) for k, n in ((30, 37), (37, 21))]
    specs = [
        make_spec(
            rng,
            np.ones(w.T.shape, np.int8),
            weight=w,
            w_zero_point=rng.integers(0, 256, w.shape[1]).astype(np.uint8),
            y_type=t,
        )
        for w, t in zip(weights, ("u8", "f32"), strict=True)
    ]
    builder = PlanBuilder(capi)
    value = builder.activation("x", "u8", 30)
    for spec in specs:
        value = builder.linear(value, spec)
    builder.output(value)
    plan = builder.build(tier)
    for m in (1, 18, 65):
        x = rng.integers(0, 256, (m, 30)).astype(np.uint8)
        y = x
        for spec in specs:
            y = reference.run(spec, y, functools.partial(capi.gelu, "scalar"))
        check(plan.run(x, threads=2), [y], m)


def test_fusions_leave_few_steps(capi: Capi, tier: str) -> None:
    """Per layer: three projections as one product, attention, and products that end in the LayerNorm's statistics."""
    steps = {
        layers: build(capi, make_model(8, 32, (4, 4), layers=layers), tier, masked=True).summary() for layers in (1, 2)
    }
    counts = {layers: [int(part.split()[0]) for part in text.split(", ")[:2]] for layers, text in steps.items()}
    assert counts[2][0] - counts[1][0] == 7  # projections, attention, out, norm, up, down, norm
    assert counts[2][1] - counts[1][1] == 4  # products


def test_counted_positions(capi: Capi, tier: str) -> None:
    """What explicit ones give, for sequences that share tiles, fill several, or end with padding."""
    model = make_model(9, 32, (4, 4), layers=1)
    given = build(capi, model, tier, masked=True, skip_padding=True)
    counted = build(capi, model, tier, masked=True, skip_padding=True, counted=True)
    rng = np.random.default_rng(9)
    for b, s in ((1, 1), (7, 5), (3, 67), (2, 256)):
        ids = make_ids(rng, b, s)
        mask = (np.arange(s) < rng.integers(0, s + 1, (b, 1))).astype(np.int64)
        for threads in (1, 3):
            check(counted.run(ids[0], mask, threads=threads), given.run(*ids, mask), (b, s, threads))
    with pytest.raises(CoreError, match=r"at most 256 tokens, .* found 257"):
        counted.run(np.zeros((2, 257), np.int64), np.ones((2, 257), np.int64))


def test_the_first_table_needs_ids(capi: Capi) -> None:
    model = make_model(9, 32, (4, 4), layers=1)
    builder = PlanBuilder(capi)
    with pytest.raises(CoreError, match="the first table needs ids"):
        builder.embed_layer_norm(model.norm, [(model.tables[0], NONE)])

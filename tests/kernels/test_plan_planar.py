"""Values that only 4x1 products read stand in planar tiles, whoever computes them; no bit depends on it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from . import encoder_capi as abi
from . import encoder_oracle as oracle
from . import reference
from .capi import Array, Capi, LinearSpec
from .cases import make_spec, sparse_values
from .plan_capi import AttentionSpec, NormSpec, Plan, PlanBuilder, Quantization, TableSpec

# One tile of every width, several of unequal widths.
TOKENS = (1, 16, 31, 48, 64, 65, 80, 150, 260)
GATHERED, BLOCKS = (4, 1), (4, 4)


def planar_values(plan: Plan) -> int:
    found = re.search(r"\((\d+) planar\)", plan.summary())
    return int(found[1]) if found else 0


def check_planar(capi: Capi, tier: str, plan: Plan, expected: int) -> None:
    writes = bool(abi.extras(capi, tier) & abi.PLANAR_EPILOGUE)
    assert planar_values(plan) == (expected if writes else 0), plan.summary()


def linear(
    rng: np.random.Generator, n: int, k: int, block: tuple[int, int], x_type: str = "u8", **options: Any
) -> LinearSpec:
    """A layer whose blocks decide its product: a third of the weights."""
    return make_spec(rng, sparse_values(rng, n, k, block, 0.3), x_type=x_type, **options)


def norm(rng: np.random.Generator, hidden: int, element: str) -> NormSpec:
    gamma, beta = rng.normal(1, 0.2, hidden), rng.normal(0, 0.2, hidden)
    quantized = Quantization(element, 0.025, 128 if element == "u8" else 3)
    return NormSpec(gamma.astype(np.float32), beta.astype(np.float32), 1e-12, True, quantized)


def run_linear(capi: Capi) -> Callable[[LinearSpec, Array], Array]:
    def run(spec: LinearSpec, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1])
        return reference.run(spec, flat, functools.partial(capi.gelu, "scalar")).reshape(*x.shape[:-1], -1)

    return run


def random_x(rng: np.random.Generator, shape: tuple[int, ...], element: str) -> Array:
    low = 0 if element == "u8" else -128
    return np.asarray(rng.integers(low, low + 256, shape), np.uint8 if element == "u8" else np.int8)


@pytest.mark.parametrize("element", ["u8", "s8"])
@pytest.mark.parametrize("producer", [GATHERED, BLOCKS, (1, 1)])
def test_chains(capi: Capi, tier: str, element: str, producer: tuple[int, int]) -> None:
    """Every activation, from products of every kind; widths that are no multiples of a quad, a row step or a vector."""
    rng = np.random.default_rng(1)
    widths = (70, 101, 93, 259, 77, 64)
    specs = []
    for i, activation in enumerate(("none", "relu", "gelu", "gelutanh", "none")):
        # The first may be of any kind; what it writes is read by 4x1.
        block = producer if i == 0 else GATHERED
        y_type = element if i < 4 else "f32"
        specs.append(linear(rng, widths[i + 1], widths[i], block, element, activation=activation, y_type=y_type))
    builder = PlanBuilder(capi)
    value = builder.activation("x", element, widths[0])
    for spec in specs:
        value = builder.linear(value, spec)
    builder.output(value)
    plan = builder.build(tier)
    check_planar(capi, tier, plan, 5 if producer == GATHERED else 4)
    run = run_linear(capi)
    for m in TOKENS:
        x = random_x(rng, (m, widths[0]), element)
        y = x
        for spec in specs:
            y = run(spec, y)
        assert np.array_equal(plan.run(x, threads=1 + m % 3)[0], y), m


def test_values_beyond_int32(capi: Capi, tier: str) -> None:
    """A producer whose values have to be clamped before the conversion."""
    rng = np.random.default_rng(2)
    first = linear(rng, 67, 50, GATHERED, y_type="u8", x_scale=1e6)
    second = linear(rng, 33, 67, GATHERED, y_type="f32")
    builder = PlanBuilder(capi)
    builder.output(builder.linear(builder.linear(builder.activation("x", "u8", 50), first), second))
    plan = builder.build(tier)
    check_planar(capi, tier, plan, 2)
    run = run_linear(capi)
    for m in TOKENS:
        x = random_x(rng, (m, 50), "u8")
        assert np.array_equal(plan.run(x)[0], run(second, run(first, x))), m


def test_readers_of_several_kinds(capi: Capi, tier: str) -> None:
    """A value with a reader of quads, or that leaves the plan, stays in quads; two 4x1 readers share planar tiles."""
    rng = np.random.default_rng(3)
    x_spec = linear(rng, 60, 60, GATHERED, y_type="u8")
    gathered = [linear(rng, n, 60, GATHERED, y_type="f32") for n in (33, 48)]
    blocks = linear(rng, 40, 60, BLOCKS, y_type="f32")
    run = run_linear(capi)
    for readers, leaves, planar in (
        ([*gathered], False, 1),
        ([gathered[0], blocks], False, 0),
        ([blocks, gathered[1]], False, 0),
        ([blocks], False, 0),
        ([*gathered], True, 0),
    ):
        builder = PlanBuilder(capi)
        value = builder.linear(builder.activation("x", "u8", 60), x_spec)
        for spec in readers:
            builder.output(builder.linear(value, spec))
        if leaves:
            builder.output(value)
        plan = builder.build(tier)
        check_planar(capi, tier, plan, planar + 1)
        for m in TOKENS:
            x = random_x(rng, (m, 60), "u8")
            y = run(x_spec, x)
            wanted = [run(spec, y) for spec in readers] + [y] * leaves
            for found, expected in zip(plan.run(x, threads=2), wanted, strict=True):
                assert np.array_equal(found, expected), (m, planar)


@pytest.mark.parametrize("size", [16, 20, 22, 48])
@pytest.mark.parametrize("element", ["u8", "s8"])
def test_attention_and_norms(capi: Capi, tier: str, size: int, element: str) -> None:
    """One encoder layer: heads that end inside a row step or a quad, shared tiles, masks that hide all keys."""
    rng = np.random.default_rng(size)
    heads, hidden = 3, 3 * size
    table = TableSpec(rng.normal(0, 1, (30, hidden)).astype(np.float32))
    norms = [norm(rng, hidden, element) for _ in range(3)]
    zero_point = norms[0].quantized.zero_point
    options: dict[str, Any] = {"x_type": element, "x_zero_point": zero_point}
    narrow: dict[str, Any] = {"y_type": element, "y_zero_point": zero_point} | options
    q, k, v = (linear(rng, hidden, hidden, GATHERED, **narrow) for _ in range(3))
    types = [Quantization(spec.y_type, spec.y_scale, spec.y_zero_point) for spec in (q, k, v)]
    spec = AttentionSpec(heads, size**-0.5, types[0], types[1], types[2], Quantization(element, 0.01, zero_point))
    out = linear(rng, hidden, hidden, GATHERED, **options)
    up = linear(rng, 2 * hidden + 3, hidden, GATHERED, activation="gelu", **narrow)
    down = linear(rng, hidden, 2 * hidden + 3, GATHERED, **options)

    builder = PlanBuilder(capi)
    ids, mask_input = builder.tensor("ids", "input_ids"), builder.tensor("mask", "mask")
    x, x_q = builder.embed_layer_norm(norms[0], [(table, ids)])
    projected = [builder.linear(x_q, s) for s in (q, k, v)]
    attended = builder.attention(projected[0], projected[1], projected[2], spec, mask_input)
    x, x_q = builder.skip_layer_norm(builder.linear(attended, out), x, norms[1])
    x, _ = builder.skip_layer_norm(builder.linear(builder.linear(x_q, up), down), x, norms[2])
    builder.output(x)
    plan = builder.build(tier)
    # Of both LayerNorms and GELU, and of attention where its heads are whole quads.
    check_planar(capi, tier, plan, 4 if size % 4 == 0 else 3)
    run = run_linear(capi)
    for b, s in ((1, 1), (1, 16), (3, 7), (1, 77), (5, 13), (2, 64), (9, 33)):
        tokens, mask = rng.integers(0, 30, (b, s)), (rng.random((b, s)) < 0.7).astype(np.int64)
        mask[0] = 0
        y, y_q = oracle.layer_norm(oracle.embed([(table, tokens)]), norms[0])
        mixed = oracle.attention(run(q, y_q), run(k, y_q), run(v, y_q), spec, mask)
        y, y_q = oracle.layer_norm(run(out, mixed) + y, norms[1])
        y, _ = oracle.layer_norm(run(down, run(up, y_q)) + y, norms[2])
        for threads in (1, 3):
            assert np.array_equal(plan.run(tokens, mask, threads=threads)[0], y), (b, s, threads)


def test_attention_beside_other_readers(capi: Capi, tier: str) -> None:
    """What attention reads stays in quads, whatever else reads it; padding is not computed."""
    rng = np.random.default_rng(4)
    kinds = Quantization("u8", 0.021, 117)
    spec = AttentionSpec(2, 0.25, kinds, kinds, kinds, Quantization("u8", 0.01, 120))
    first = linear(rng, 48, 48, GATHERED, y_type="u8")
    second = linear(rng, 35, 48, GATHERED, y_type="f32")
    builder = PlanBuilder(capi)
    value, mask_input = builder.activation("x", "u8", 48), builder.tensor("mask", "mask")
    shared = builder.linear(value, first)
    attended = builder.attention(shared, shared, shared, spec, mask_input)
    for read in (shared, attended):
        builder.output(builder.linear(read, second))
    builder.skip_padding(mask_input)
    plan = builder.build(tier)
    check_planar(capi, tier, plan, 2)  # the input and what attention computes
    run = run_linear(capi)
    lengths = np.array([33, 2, 17, 50, 1, 50, 9])
    mask = (np.arange(50) < lengths[:, None]).astype(np.int64)
    x = random_x(rng, (len(lengths), 50, 48), "u8")
    y = run(first, x)
    for found, wanted in zip(
        plan.run(x, mask, threads=2), [run(second, y), run(second, oracle.attention(y, y, y, spec, mask))], strict=True
    ):
        assert np.array_equal(found, np.where(mask[..., None] != 0, wanted, np.float32(0)))

"""The op contract of EmbedLayerNorm: names, numpy reference, function body and document agree with each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.passes.ops import embed_layer_norm
from pyfastep.passes.ops.embed_layer_norm import Variant
from pyfastep.passes.ops.layer_norm import NormOutputs

from .contract_models import EVALUATOR_OPSET, Array, one_node, run_evaluator, run_runtime
from .test_skip_layer_norm_contract import EPSILON, assert_norm_close, norm_inputs, types_of

VARIANTS = embed_layer_norm.all_variants()
ROWS = {"word": 23, "position": 9, "type": 2}
IDS = {"word": "input_ids", "position": "position_ids", "type": "token_type_ids"}


def make_inputs(variant: Variant, features: int, table_type: Any = np.uint8, positions: int = 1) -> dict[str, Any]:
    """Random tables and ids `[2, 6]`; `positions` is the first size of the position ids."""
    rng = np.random.default_rng(features)
    inputs = norm_inputs(features, variant.norm)
    for name in variant.tables:
        rows = positions if name == "position" else 2
        if IDS[name] in variant.ids:
            inputs[IDS[name]] = rng.integers(0, ROWS[name], (rows, 6))
        if not variant.quantized_tables:
            inputs[name] = rng.standard_normal((ROWS[name], features)).astype(np.float32)
            continue
        info = np.iinfo(table_type)
        inputs[name] = rng.integers(info.min, info.max + 1, (ROWS[name], features)).astype(table_type)
        inputs[f"{name}_scale"] = np.float32(rng.uniform(0.005, 0.02))
        inputs[f"{name}_zero_point"] = table_type(rng.integers(info.min, info.max + 1))
    return inputs


def sum_of(variant: Variant, inputs: dict[str, Any]) -> Array:
    """The float32 sum in the contract's order, from the definition."""
    total: Any = None
    for name in variant.tables:
        table = inputs[name]
        if variant.quantized_tables:
            table = (table.astype(np.float32) - np.float32(inputs[f"{name}_zero_point"])) * inputs[f"{name}_scale"]
        counted = variant.counted and name == "position"
        rows = table[np.arange(inputs["input_ids"].shape[1])[None] if counted else inputs[IDS[name]]]
        total = rows if total is None else (total + rows).astype(np.float32)
    return np.asarray(total)


def check(variant: Variant, inputs: dict[str, Any], opset: int) -> None:
    expected = embed_layer_norm.reference(variant, inputs, EPSILON)
    feeds = {name: inputs[name] for name in variant.ids}
    model = one_node(variant.name, inputs, list(feeds), types_of(variant.norm), opset, epsilon=EPSILON)
    runs = [run_runtime(model, feeds, optimized) for optimized in (False, True)]
    runs += [run_evaluator(model, feeds)] if opset >= EVALUATOR_OPSET else []
    for found in runs:
        assert_norm_close(sum_of(variant, inputs), inputs, variant.norm, expected, found)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_names_round_trip(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize(
    "name", [f"EmbedLayerNorm{end}" for end in ("", "_quant", "_u8_type", "_quant_u8", "_counted", "_counted_type_u8")]
)
def test_other_names_are_not_ours(name: str) -> None:
    assert Variant.parse(name) is None


def test_the_document_lists_attributes_and_inputs(repository: Path) -> None:
    text = (repository / "docs/op-contract-encoder.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text[text.index("## EmbedLayerNorm") : text.index("## QAttention")]))
    inputs = set(Variant(True, NormOutputs(True, "u8"), False).inputs)
    assert inputs <= named
    assert {"word_scale", "word_zero_point"} <= named
    assert len({variant.name for variant in VARIANTS}) == 40


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_body(variant: Variant) -> None:
    for features, opset in ((31, 17), (64, 19)):
        check(variant, make_inputs(variant, features), opset)


@pytest.mark.parametrize("opset", [18, 19, 21])
@pytest.mark.parametrize("positions", [1, 2])
@pytest.mark.parametrize("table_type", [np.uint8, np.int8])
def test_body_forms(table_type: Any, positions: int, opset: int) -> None:
    variant = Variant(True, NormOutputs(True, "u8"), True)
    check(variant, make_inputs(variant, 33, table_type, positions), opset)


@pytest.mark.parametrize(
    ("name", "bad"), [("input_ids", 23), ("input_ids", -1), ("position_ids", 9), ("token_type_ids", 2)]
)
def test_ids_out_of_range(name: str, bad: int) -> None:
    variant = Variant(True, NormOutputs(True, ""), False)
    inputs = make_inputs(variant, 8)
    inputs[name][0, 3] = bad
    with pytest.raises(IndexError, match=name):
        embed_layer_norm.reference(variant, inputs, EPSILON)


@pytest.mark.parametrize("quantized", [False, True])
def test_more_tokens_than_counted_positions(quantized: bool) -> None:
    """No row is repeated, as the reference says and the function body does."""
    variant = Variant(False, NormOutputs(True, ""), quantized, counted=True)
    inputs = make_inputs(variant, 8)
    inputs["position"] = inputs["position"][:5]
    with pytest.raises(IndexError, match=r"position_ids lie in 0\.\.5, the table has 5 rows"):
        embed_layer_norm.reference(variant, inputs, EPSILON)
    model = one_node(variant.name, inputs, ["input_ids"], types_of(variant.norm), 17, epsilon=EPSILON)
    with pytest.raises(Exception, match=r"(?i)out of|broadcast"):  # ONNX Runtime's errors share no base
        run_runtime(model, {"input_ids": inputs["input_ids"]})

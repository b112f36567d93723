"""The op contract of SkipLayerNorm: names, numpy reference and function body agree with each other and the document.

Body and reference both lie within the bound of test_layer_norm of the exact value of the same float32 sum (ONNX
Runtime's and onnx's implementations add in other orders, with at most H u in place of (40 + H / 32) u).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.passes.ops import skip_layer_norm
from pyfastep.passes.ops.layer_norm import NormOutputs
from pyfastep.passes.ops.skip_layer_norm import Variant

from .contract_models import EVALUATOR_OPSET, TYPES, UNIT, Array, one_node, run_evaluator, run_runtime
from .test_layer_norm import exact_layer_norm

VARIANTS = skip_layer_norm.all_variants()
EPSILON = float(np.float32(1e-5))


def norm_inputs(features: int, outputs: NormOutputs, seed: int = 0) -> dict[str, Any]:
    """Gamma, beta and output scale."""
    rng = np.random.default_rng([seed, features])
    inputs: dict[str, Any] = {key: rng.standard_normal(features).astype(np.float32) for key in ("gamma", "beta")}
    if outputs.quantized:
        inputs |= {"y_scale": np.float32(0.03), "y_zero_point": TYPES[outputs.quantized](7)}
    return inputs


def assert_norm_close(
    z: Array, inputs: dict[str, Any], outputs: NormOutputs, expected: list[Array], found: list[Array]
) -> None:
    """Equal but for the bound of the module's text; a quantized value is the rounding of such a one."""
    exact, bound = exact_layer_norm(z, inputs["gamma"], inputs["beta"], EPSILON)
    features = z.shape[-1]
    bound = bound * (2 + features / 40)
    assert [(r.dtype, r.shape) for r in found] == [(r.dtype, r.shape) for r in expected]
    if outputs.f32:
        assert (np.abs(found[0] - expected[0]) <= 2 * bound).all()
    if outputs.quantized:
        info = np.iinfo(found[-1].dtype)
        steps = np.clip(exact / float(inputs["y_scale"]) + 7, info.min, info.max)
        slack = 0.5 + bound / float(inputs["y_scale"]) + 4 * UNIT * (np.abs(steps) + 7)
        for result in (found[-1], expected[-1]):
            assert (np.abs(result - steps) <= slack).all()
        assert slack.max() < 0.6  # the bound says something


def types_of(outputs: NormOutputs) -> dict[str, tuple[Any, int]]:
    return {name: (TYPES["f32" if name == "y" else outputs.quantized], 3) for name in outputs.outputs}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_names_round_trip(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize(
    "name", ["SkipLayerNorm", "SkipLayerNorm_u8_f32", "SkipLayerNorm_f32_", "SkipLayerNorm_f32_f32"]
)
def test_other_names_are_not_ours(name: str) -> None:
    assert Variant.parse(name) is None


def test_the_document_lists_attributes_and_inputs(repository: Path) -> None:
    text = (repository / "docs/op-contract-encoder.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text[text.index("## SkipLayerNorm") : text.index("## EmbedLayerNorm")]))
    assert {*VARIANTS[-1].inputs, *VARIANTS[-1].attributes} <= named
    assert len({variant.name for variant in VARIANTS}) == 5


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@pytest.mark.parametrize("features", [2, 31, 32, 77, 384])
def test_body(variant: Variant, features: int) -> None:
    rng = np.random.default_rng(features)
    inputs = norm_inputs(features, variant.norm)
    for name in ("x", "residual"):
        inputs[name] = (rng.standard_normal((2, 5, features)) + 0.5).astype(np.float32)
    expected = skip_layer_norm.reference(variant, inputs, EPSILON)
    feeds = {name: inputs[name] for name in ("x", "residual")}
    for opset in (17, 18, 21):
        model = one_node(variant.name, inputs, list(feeds), types_of(variant.norm), opset, epsilon=EPSILON)
        runs = [run_runtime(model, feeds, optimized) for optimized in (False, True)]
        runs += [run_evaluator(model, feeds)] if opset >= EVALUATOR_OPSET else []
        for found in runs:
            assert_norm_close(inputs["x"] + inputs["residual"], inputs, variant.norm, expected, found)


def test_empty() -> None:
    variant = VARIANTS[-1]
    inputs = norm_inputs(32, variant.norm) | {name: np.zeros((0, 4, 32), np.float32) for name in ("x", "residual")}
    results = skip_layer_norm.reference(variant, inputs, EPSILON)
    assert [result.shape for result in results] == [(0, 4, 32)] * 2

"""Layers and families of steps: from names of many exporters, and from the order alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyfastep.profile.layers import families, layers
from pyfastep.profile.recording import RecordedStep

Make = Callable[..., RecordedStep]
ORDER = ["embed", "norm", *(["q", "attention", "o", "norm", "up", "down", "norm"] * 2), "head", "export"]


def encoder(step: Make, product: Make, name: Callable[[int, str], str]) -> list[RecordedStep]:
    """The steps of a post-norm encoder of two layers whose nodes `name(layer, part)` names; -1: embeddings, 2: head."""
    shapes = {"q": (192, 64), "o": (64, 64), "up": (256, 64), "down": (64, 256), "head": (2, 64)}
    steps, layer = [], -1
    for i, part in enumerate(ORDER):
        layer += part == "q" or part == "head"
        weights = product(*shapes[part]) if part in shapes else None
        op = "linear" if part in shapes else part
        nodes = (
            [name(layer, f"{x}{i}") for x in ("query", "key", "value")] if part == "q" else [name(layer, f"{part}{i}")]
        )
        steps.append(step(op, *nodes, product=weights))
    return steps


NAMES: dict[str, tuple[Callable[[int, str], str], str]] = {
    "optimum": (
        lambda n, part: f"/bert/encoder/layer.{n}/{part}/MatMul" if n in (0, 1) else f"/bert/{part}/MatMul",
        "layer.{}",
    ),
    "dots": (lambda n, part: f"encoder.layers.{n}.{part}.MatMul" if n in (0, 1) else f"{part}.MatMul", "layers.{}"),
    "folders": (lambda n, part: f"/model/h/{n}/{part}/MatMul" if n in (0, 1) else f"/model/{part}/MatMul", "h/{}"),
    "tensorflow": (
        lambda n, part: f"tf_bert/encoder/layer_._{n}/{part}/MatMul" if n in (0, 1) else f"tf_bert/{part}/MatMul",
        "layer_._{}",
    ),
    "underscore": (
        lambda n, part: f"encoder/layer_{n}/{part}/MatMul" if n in (0, 1) else f"encoder/{part}/MatMul",
        "layer_{}",
    ),
    "one number for all": (
        lambda n, part: f"/0/encoder/layer.{n}/{part}/MatMul" if n in (0, 1) else f"/0/{part}/MatMul",
        "layer.{}",
    ),
    "numbered nodes": (lambda n, part: f"node_MatMul_{part}_17", "layer {}"),
    "one layer again and again": (lambda n, part: f"/albert/layers.0/{part}/MatMul_{n}", "layer {}"),
    "no names": (lambda n, part: "", "layer {}"),
}


@pytest.mark.parametrize("names", NAMES)
def test_layers_of_an_encoder(names: str, step: Make, product: Make) -> None:
    name, form = NAMES[names]
    found = layers(encoder(step, product, name))
    first, second = (form.format(n) for n in (0, 1))
    assert found == ["embeddings"] * 2 + [first] * 7 + [second] * 7 + ["head"] * 2


def test_layers_whose_ends_are_equal_keep_their_prefixes(step: Make, product: Make) -> None:
    steps = [
        one
        for tower in ("left", "right")
        for n in (0, 1)
        for one in (
            step("linear", f"/{tower}/layer.{n}/q/MatMul", product=product()),
            step("attention", f"/{tower}/layer.{n}/a/Softmax"),
        )
    ]
    assert list(dict.fromkeys(layers(steps))) == ["left/layer.0", "left/layer.1", "right/layer.0", "right/layer.1"]


def test_without_attention(step: Make, product: Make) -> None:
    chain = [step("linear", f"/mlp/{n}/MatMul", product=product()) for n in range(3)]
    assert layers(chain) == ["mlp/0", "mlp/1", "mlp/2"]
    assert layers([step("linear", "a", product=product())]) == ["model"]
    assert layers([]) == []


def test_families_of_an_encoder(step: Make, product: Make) -> None:
    found = families(encoder(step, product, lambda n, part: part))
    layer = ["linear q k v", "attention", "linear out", "norm", "linear up", "linear down", "norm"]
    assert found == ["embed", "norm", *layer, *layer, "linear", "transfer"]


def test_projections_that_are_not_merged(step: Make, product: Make) -> None:
    linear = step("linear", "x", product=product())
    steps = [step("import", "x"), linear, step("export", "x"), linear, linear, step("attention", "a"), linear, linear]
    assert families(steps) == [
        "transfer",
        *["linear q k v", "transfer", "linear q k v", "linear q k v", "attention", "linear out", "linear"],
    ]


def test_an_op_that_nobody_knows_is_its_own_family(step: Make) -> None:
    assert families([step("pool", "x"), step("sum", "y")]) == ["pool", "norm"]

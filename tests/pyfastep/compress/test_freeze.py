"""What is frozen stays, the rest trains, and everything can be trained again afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from .encoders import tiny_bert

torch = pytest.importorskip("torch")

from pyfastep.compress.freeze import check_freeze, frozen  # noqa: E402
from pyfastep.compress.recipe_file import load_recipe  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

TABLES = "*.embeddings.*"


def trained(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_freezes_by_name_and_puts_back() -> None:
    model = tiny_bert("BertForSequenceClassification")
    model.classifier.bias.requires_grad_(False)  # somebody else's decision
    before = trained(model)
    with frozen(model, [TABLES], "train"):
        assert trained(model) == {name for name in before if ".embeddings." not in name}
    assert trained(model) == before


def test_no_pattern_changes_nothing() -> None:
    model = tiny_bert()
    before = trained(model)
    with frozen(model, [], "train"):
        assert trained(model) == before


def fail_inside(model: Any) -> None:
    with frozen(model, ["embeddings.*"], "train"):
        raise FloatingPointError


def test_an_error_puts_back() -> None:
    model = tiny_bert()
    before = trained(model)
    with pytest.raises(FloatingPointError):
        fail_inside(model)
    assert trained(model) == before


@pytest.mark.parametrize(
    ("patterns", "message"), [(["embeddings.*", "nothing.*"], "'nothing.*' matches no"), (["*"], "every parameter")]
)
def test_says_what_is_wrong(patterns: list[str], message: str) -> None:
    model = tiny_bert()
    before = trained(model)
    with pytest.raises(FastEPError, match=message) as caught, frozen(model, patterns, "dense"):
        pass
    assert caught.value.node == "dense.freeze"
    assert trained(model) == before


QAT = ["quantize.method=qat", "quantize.train.steps=1"]


@pytest.mark.parametrize("where", ["dense", "train", "quantize.train"])
def test_trainings_to_come_are_checked(where: str) -> None:
    recipe = load_recipe("smoke", [*QAT, f'{where}.freeze=["embeddings.*", "pooller.*"]'])
    with pytest.raises(FastEPError, match=r"'pooller\.\*' matches no parameter") as caught:
        check_freeze(tiny_bert(), recipe)
    assert caught.value.node == f"{where}.freeze"


def test_what_will_be_there_or_is_not_trained_is_no_mistake() -> None:
    check_freeze(tiny_bert(), load_recipe("smoke", [*QAT, 'quantize.train.freeze=["input_quantizers.*"]']))
    check_freeze(tiny_bert(), load_recipe("smoke", ['quantize.train.freeze=["nothing.*"]']))

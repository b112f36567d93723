"""Recipes from TOML: what is read, and errors that name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.compress.recipe_file import load_recipe, ready_recipes, recipe_from_tables, recipe_tables
from pyfastep.errors import FastEPError

TEXT = """
name = "mine"
[model]
path = "tiny"
[task]
kind = "question-answering"
[data]
train = "train.json"
eval = "eval.json"
[prune]
sparsity = 0
targets = { "*.q" = 0.5 }
exclude = ["*.k"]
[train]
steps = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def test_values_and_paths(file: Path) -> None:
    (file.parent / "train.json").touch()
    recipe = load_recipe(file)
    assert recipe.prune.sparsity == 0.0
    assert recipe.prune.targets == {"*.q": 0.5}
    assert recipe.prune.exclude == ("*.k",)
    assert recipe.data.train == str(file.parent.resolve() / "train.json")
    assert recipe.data.eval == "eval.json"  # no such file: left as it is, the data step says so


def test_tables_give_the_same_recipe(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe_from_tables(recipe_tables(recipe)) == recipe


def test_changes(file: Path) -> None:
    changes = ["prune.sparsity=0.9", "prune.pattern=2:4", 'model.path="a/b"', "quantize.train.steps=7"]
    recipe = load_recipe(file, changes)
    assert (recipe.prune.sparsity, recipe.prune.pattern, recipe.model.path) == (0.9, "2:4", "a/b")
    assert recipe.quantize.train.steps == 7


@pytest.mark.parametrize(("given", "read"), [("0", 0.0), ("0.25", 0.25), ("model", "model"), ('"auto"', "auto")])
def test_a_number_or_a_word(file: Path, given: str, read: float | str) -> None:
    assert load_recipe(file, [f"train.dropout={given}"]).train.dropout == read


@pytest.mark.parametrize("name", ["minilm-embed-80-4x1", "minilm-qa-80-4x1", "distilbert-squad-80-4x1", "smoke"])
def test_ready_recipes_are_recipes(name: str) -> None:
    assert load_recipe(name) == load_recipe(ready_recipes()[name])
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prune.sparsty=0.5", r"mine.toml: prune.sparsty: unknown key \(known are method"),
        ('prune.sparsity="much"', r"mine.toml: prune.sparsity: expected a number, found 'much'"),
        ("bench.lengths=[2,9999]", r"mine.toml: bench.lengths: expected at most model.max_length = \d+, found 9999"),
        ("prune.sparsity=1.5", r"mine.toml: prune.sparsity: expected a number between 0 and 0.999, found 1.5"),
        ("train.steps=1.5", r"mine.toml: train.steps: expected a whole number, found 1.5"),
        ("train.dropout=true", r"mine.toml: train.dropout: expected a number, found True"),
        ("train.dropout=none", r"mine.toml: train.dropout: expected a number or one of auto, model, found 'none'"),
        ("quantize.attention=1", r"quantize.attention: expected true or false, found 1"),
        ("prune.exclude=x", r"prune.exclude: expected a list, each a text, found 'x'"),
        ("prune=3", r"mine.toml: prune: expected a table, found 3"),
        ("name.first=3", r"name.first=3: name is a value, not a table"),
        ("nonsense", r"nonsense: expected table.key=value"),
    ],
)
def test_errors_name_the_key(file: Path, change: str, message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        load_recipe(file, [change])


def test_a_missing_key(file: Path) -> None:
    file.write_text(TEXT.replace('kind = "question-answering"', ""))
    with pytest.raises(FastEPError, match=r"mine.toml: task.kind: expected one of question-answering, .*found nothing"):
        load_recipe(file)


def test_no_toml_and_no_file(file: Path) -> None:
    file.write_text("name = ")
    with pytest.raises(FastEPError, match=r"mine.toml: not a TOML file"):
        load_recipe(file)
    with pytest.raises(FastEPError, match=r"nowhere.toml: no such recipe file \(ready ones are .*smoke"):
        load_recipe("nowhere.toml")

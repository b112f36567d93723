"""A teacher of another checkpoint: what has to fit, and the order of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .encoders import batches

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress.context import Context  # noqa: E402
from pyfastep.compress.data.splits import Splits  # noqa: E402
from pyfastep.compress.models import tiny_model, tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe_file import load_recipe  # noqa: E402
from pyfastep.compress.teacher import load_teacher  # noqa: E402
from pyfastep.compress.workspace import Workspace  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

LABELS = ("bad", "good", "so-so")
TOKENIZER = tiny_tokenizer(["one two three four five six seven eight nine ten eleven twelve"] * 3)
ROWS = datasets.Dataset.from_dict({"text": ["one"], "label": [0]})


def make_context(folder: Path, labels: tuple[str, ...] = LABELS) -> Context:
    """With the teacher ``folder/teacher``, sequences of at most 32 tokens."""
    recipe = load_recipe("smoke", [f"distill.teacher={folder / 'teacher'}", "model.max_length=32"])
    context = Context(recipe, Workspace(folder), lambda step, share, what: None)
    vars(context).update(tokenizer=TOKENIZER, splits=Splits(ROWS, ROWS, labels))
    return context


def save_teacher(context: Context, labels: tuple[str, ...], tokenizer: Any = TOKENIZER, length: int = 32) -> Any:
    folder = context.recipe.distill.teacher
    model = tiny_model(context.task, 50, length, labels)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_classes_are_told_apart_by_name(order: list[int], tmp_path: Path) -> None:
    context = make_context(tmp_path)
    model = save_teacher(context, tuple(LABELS[number] for number in order))
    (batch,) = batches(count=1)
    with torch.no_grad():
        own, given = model(**batch).logits, load_teacher(context).model(**batch).logits
    for number, label in enumerate(order):
        assert torch.equal(given[:, label], own[:, number])


def test_classes_of_other_names(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    save_teacher(context, ("Bad", "Good", "So-so"))
    with pytest.raises(FastEPError, match=r"teacher: expected .* bad, good, so-so .*, found .* Bad, Good, So-so"):
        load_teacher(context)


def test_a_vocabulary_of_other_words(tmp_path: Path) -> None:
    """As many of them: nothing else would tell."""
    context = make_context(tmp_path)
    words = ["eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"]
    save_teacher(context, LABELS, tiny_tokenizer(words * 3))
    with pytest.raises(FastEPError, match=r"distill.teacher: .*expected the vocabulary of model.path, \d+ tokens"):
        load_teacher(context)


def test_further_words_do_no_harm(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    more = tiny_tokenizer(["one two three four five six seven eight nine ten eleven twelve"] * 3)
    more.add_tokens(["thirteen"])
    save_teacher(context, LABELS, more)
    assert load_teacher(context).model.config.num_labels == 3


def test_a_teacher_without_tokenizer(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    tiny_model(context.task, 50, 32, LABELS).save_pretrained(context.recipe.distill.teacher)
    with pytest.raises(FastEPError, match=r"teacher: the tokenizer cannot be loaded"):
        load_teacher(context)


def test_a_teacher_of_shorter_sequences(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    save_teacher(context, LABELS, length=31)
    with pytest.raises(FastEPError, match=r"distill.teacher: expected at most the model's 31 positions, found 32"):
        load_teacher(context)

"""Embeddings in the order of their texts, and figures against a reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress.data.splits import Splits  # noqa: E402
from pyfastep.compress.models import tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe import TaskSettings  # noqa: E402
from pyfastep.compress.tasks.sentence_embedding import SentenceEmbedding  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

TEXTS = ["one", "one two three four", "two two", "three four five", "five one"]
TOKENIZER = tiny_tokenizer(TEXTS * 3)
TABLE = np.random.default_rng(0).standard_normal((len(TOKENIZER), 6))


def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    states = TABLE[feeds["input_ids"]]
    states[feeds["attention_mask"] == 0] = 1e9  # padding must not count
    return {"last_hidden_state": states}


def test_embeddings_and_figures() -> None:
    data = datasets.Dataset.from_dict({"text": TEXTS, "query": TEXTS, "passage": TEXTS})
    task = SentenceEmbedding(TaskSettings("sentence-embedding"), 16)
    predictions = task.predict(run, data, TOKENIZER)
    for row, text in zip(predictions["text"], TEXTS, strict=True):
        mean = TABLE[TOKENIZER(text)["input_ids"]].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean))
    first = SentenceEmbedding(TaskSettings("sentence-embedding"), 16, "cls").predict(run, data, TOKENIZER)["text"]
    start = TABLE[TOKENIZER.cls_token_id]
    np.testing.assert_allclose(first, np.tile(start / np.linalg.norm(start), (len(TEXTS), 1)))
    figures = task.judge(predictions, data, predictions)
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0))
    assert set(figures) == {
        "cosine",
        "cosine_p5",
        "spearman",
        "top1_overlap",
        "top10_overlap",
        "retrieval_at_1",
        "retrieval_mrr",
    }
    assert task.encode(data, TOKENIZER).column_names == ["input_ids", "attention_mask", "token_type_ids"]


def test_queries_with_the_same_passage_find_it() -> None:
    passages = ["one two", "three four", "one two", "three four"]
    data = datasets.Dataset.from_dict({"text": TEXTS[:4], "query": passages, "passage": passages})
    task = SentenceEmbedding(TaskSettings("sentence-embedding"), 16)
    predictions = task.predict(run, data, TOKENIZER)
    assert task.judge(predictions, data, predictions)["retrieval_at_1"] == 1.0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["one"], r"data.eval: expected at least 3 different sentences, found 1"),
        (["one", "two", "two"], r"data.eval: expected at least 3 different sentences, found 2"),
        ([str(n) for n in range(10_001)], r"data.eval: expected at most 10000 .*, found 10001 \(set data.eval_samples"),
    ],
)
def test_too_few_or_too_many_sentences_to_compare(texts: list[str], message: str) -> None:
    held_out = datasets.Dataset.from_dict({"text": texts})
    train = datasets.Dataset.from_dict({"text": ["one"]})  # as few, or as many, as there are
    task = SentenceEmbedding(TaskSettings("sentence-embedding"), 16)
    task.check(Splits(train, datasets.Dataset.from_dict({"text": TEXTS[:3]})), TOKENIZER)
    with pytest.raises(FastEPError, match=message):
        task.check(Splits(train, held_out), TOKENIZER)

"""Embeddings in the order of their texts, and figures against a reference."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress.models import tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe import TaskSettings  # noqa: E402
from pyfastep.compress.tasks.sentence_embedding import SentenceEmbedding  # noqa: E402

TEXTS = ["one", "one two three four", "two two", "three four five", "five one"]
TOKENIZER = tiny_tokenizer(TEXTS * 3)
TABLE = np.random.default_rng(0).standard_normal((len(TOKENIZER), 6))


def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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

"""Sentence embeddings and neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyfastep.demo.similarity import embed, mean_cosine, nearest_other


class Echo:
    """A model whose token vectors are (id, 1): means can be told by hand."""

    def run(self, names: None, feeds: dict[str, Any]) -> list[np.ndarray]:
        ids = feeds["input_ids"].astype(np.float32)
        return [np.stack([ids, np.ones_like(ids)], axis=2)]


def test_embedding_is_the_normalized_mean_of_real_tokens() -> None:
    feeds = {"input_ids": np.array([[2, 4, 99], [5, 5, 5]]), "attention_mask": np.array([[1, 1, 0], [1, 1, 1]])}
    rows = embed(Echo(), [feeds, {name: values[:1] for name, values in feeds.items()}])
    expected = np.array([[3, 1], [5, 1], [3, 1]]) / np.sqrt([[10], [26], [10]])
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_nearest_is_never_the_sentence_itself() -> None:
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    assert nearest_other(rows).tolist() == [1, 0, 1]


def test_mean_cosine() -> None:
    a = np.array([[1, 0], [0, 1]], np.float32)
    b = np.array([[1, 0], [1, 0]], np.float32)
    assert mean_cosine(a, a) == pytest.approx(1)
    assert mean_cosine(a, b) == pytest.approx(0.5)

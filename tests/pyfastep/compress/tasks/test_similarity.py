"""Measures of embeddings by hand and at their extremes."""

from __future__ import annotations

import numpy as np
import pytest

from pyfastep.compress.tasks import similarity


def unit(rows: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, 16))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_pooling() -> None:
    pooled = similarity.mean_pool(np.array([[3.0, 0.0], [0.0, 4.0]]))
    np.testing.assert_allclose(pooled, [0.6, 0.8])


def test_the_same_embeddings_and_rotated_ones_agree_in_full() -> None:
    rows = unit(30)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0]
    np.testing.assert_allclose(similarity.cosines(rows, rows), 1.0)
    assert similarity.pairwise_spearman(rows, rows @ rotation) == pytest.approx(1.0)
    assert similarity.neighbour_overlap(rows, rows @ rotation, 10) == 1.0
    assert similarity.retrieval(rows, rows, range(30)) == (1.0, 1.0)


def test_neighbours_by_hand() -> None:
    def at(*degrees: float) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    # nearest: 0 -> 10, 10 -> 0, 30 -> 10, 80 -> 30 against 0 -> 10, 10 -> 0, 30 -> 40, 40 -> 30
    assert similarity.neighbour_overlap(at(0, 10, 30, 80), at(0, 10, 30, 40), 1) == 0.75


def test_retrieval_by_hand_and_of_constants() -> None:
    queries = np.eye(3)
    passages = np.eye(3)[[0, 2, 1]]
    first, reciprocal = similarity.retrieval(queries, passages, "abc")
    assert first == pytest.approx(1 / 3)
    assert reciprocal == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)  # ties count against
    assert similarity.retrieval(np.ones((4, 2)), np.ones((4, 2)), "abcd") == (0.0, 0.25)


def test_a_passage_that_occurs_several_times_is_one_passage() -> None:
    passages = unit(10)
    twice = np.concatenate([passages, passages])
    assert similarity.retrieval(twice, twice, [*range(10), *range(10)]) == (1.0, 1.0)
    assert similarity.retrieval(np.ones((4, 2)), np.ones((4, 2)), "abab") == (0.0, 0.5)
    # Of the passages a, b, b the last query's own, a, comes behind b, which counts once.
    corner = np.eye(2)
    assert similarity.retrieval(corner[[0, 1, 1, 1]], corner[[0, 1, 1, 0]], "abba") == (0.75, (3 + 1 / 2) / 4)


def test_spearman_by_hand() -> None:
    rows = unit(12, seed=2)
    other = unit(12, seed=3)
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    ranks = [np.argsort(np.argsort([float(x[i] @ x[j]) for i, j in pairs])) for x in (rows, other)]
    assert similarity.pairwise_spearman(rows, other) == pytest.approx(np.asarray(np.corrcoef(ranks))[0, 1])


def test_unrelated_embeddings_are_at_chance() -> None:
    assert abs(similarity.pairwise_spearman(unit(60), unit(60, seed=5))) < 0.15
    assert similarity.neighbour_overlap(unit(60), unit(60, seed=5), 10) < 0.3

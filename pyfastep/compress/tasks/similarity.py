"""How alike two sets of sentence embeddings are, and how well one finds what belongs together.

All take rows of unit length ``[texts, hidden]``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

__all__ = ["cosines", "mean_pool", "neighbour_overlap", "pairwise_spearman", "retrieval"]

Floats = NDArray[Any]


def mean_pool(tokens: Floats) -> Floats:
    """Sentence embedding ``[hidden]``: the mean of the tokens ``[tokens, hidden]``, scaled to length 1."""
    mean = np.asarray(tokens, np.float64).mean(axis=0)
    scaled: Floats = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return scaled


def cosines(a: Floats, b: Floats) -> Floats:
    """Cosine of corresponding rows ``[texts]``."""
    return np.asarray(np.einsum("ij,ij->i", a, b))


def pairwise_spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of the cosines of all pairs of rows, in ``a`` and in ``b``."""
    pairs = np.triu(np.ones((len(a), len(a)), bool), k=1)  # a mask is an eighth of the indices of one side
    return float(spearmanr((a @ a.T)[pairs], (b @ b.T)[pairs]).statistic)


def neighbour_overlap(a: Floats, b: Floats, count: int) -> float:
    """Mean share of a row's ``count`` nearest other rows that are the same in ``a`` and in ``b``, 0 to 1."""
    count = min(count, len(a) - 1)
    first, second = _nearest(a, count), _nearest(b, count)
    return float(np.mean([len(set(x) & set(y)) / count for x, y in zip(first, second, strict=True)]))


def retrieval(queries: Floats, passages: Floats, texts: Iterable[Hashable]) -> tuple[float, float]:
    """Each query's own passage among all different ones: share where it comes first, and mean reciprocal rank.

    Equal cosines count against the own passage, so that constant embeddings find nothing.

    Args:
        queries: Embeddings.
        passages: Of each query's own passage.
        texts: Of the passages: equal ones are one passage, which several queries ask for.
    """
    numbers: dict[Hashable, int] = {}
    own = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    different = np.unique(own, return_index=True)[1]
    scores = queries @ passages[different].T
    ranks = (scores >= scores[np.arange(len(own)), own][:, None]).sum(axis=1)
    return float(np.mean(ranks == 1)), float(np.mean(1.0 / ranks))


def _nearest(rows: Floats, count: int) -> NDArray[np.intp]:
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    return np.asarray(np.argsort(-similarity, axis=1, kind="stable")[:, :count])

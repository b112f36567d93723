"""Sentence embeddings and their neighbours: what a MiniLM is used for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["embed", "mean_cosine", "nearest_other", "token_batches"]

Floats = NDArray[np.float32]
Feeds = dict[str, NDArray[np.int64]]


def token_batches(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, batch: int = 16, max_length: int = 128
) -> Iterator[Feeds]:
    """Model inputs ``[batch, length]``, padded to the longest text of each batch and cut at ``max_length`` tokens."""
    for start in range(0, len(texts), batch):
        encoded = tokenizer(
            list(texts[start : start + batch]),
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="np",
        )
        yield {name: np.asarray(values, dtype=np.int64) for name, values in encoded.items()}


def embed(session: Any, batches: Sequence[Feeds]) -> Floats:
    """Sentence embeddings ``[texts, hidden]``: the mean over a text's real tokens, scaled to length 1.

    Args:
        session: An ``onnxruntime.InferenceSession`` whose first output is ``[batch, length, hidden]``.
        batches: As from :func:`token_batches`.
    """
    rows = []
    for feeds in batches:
        tokens = session.run(None, feeds)[0]
        mask = feeds["attention_mask"][:, :, None].astype(np.float32)
        rows.append((tokens * mask).sum(axis=1) / mask.sum(axis=1))
    means = np.concatenate(rows)
    normalized: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
    return normalized


def mean_cosine(a: Floats, b: Floats) -> float:
    """Mean cosine of corresponding rows of unit length."""
    return float(np.einsum("ij,ij->i", a, b).mean())


def nearest_other(rows: Floats) -> NDArray[np.intp]:
    """Index of the row of largest cosine to each row, itself excluded; all rows have unit length."""
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return np.asarray(cosines.argmax(axis=1))

"""Sentence embedding: the mean of a text's token states, or its first token's, scaled to length 1.

Rows: ``text``; for retrieval also ``query`` and ``passage``, which belong together. There are no labels: the dense
model is what the compressed one is measured against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastep.compress.recipe import LEAST_SENTENCES
from pyfastep.compress.tasks import similarity
from pyfastep.compress.tasks.base import MODEL_INPUTS, Figures, Task, pad_id, run_batches
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pyfastep.compress.data.splits import Splits
    from pyfastep.compress.runners import Runner

__all__ = ["SentenceEmbedding"]

_COLUMNS = ("text", "query", "passage")
_LOW_PERCENTILE = 5
_FEW, _SOME = 1, 10
# Ranking all of their pairs takes 6 GB.
_MOST_SENTENCES = 10_000


class SentenceEmbedding(Task):
    """Token states; fidelity to the dense model's embeddings, and retrieval."""

    kind = "sentence-embedding"
    export_task = "feature-extraction"
    auto_class = "AutoModel"
    runtime_class = "ORTModelForFeatureExtraction"
    chief_figure = "cosine"
    relative = ("cosine", "cosine_p5", "spearman", "top1_overlap", "top10_overlap")
    outputs = ("last_hidden_state",)
    has_head = False

    def check(self, splits: Splits, tokenizer: PreTrainedTokenizerBase) -> None:
        """Sentences that are measured are compared with each other."""
        texts = splits.eval["text"][:]
        different = len(set(texts))
        if different < LEAST_SENTENCES:
            raise FastEPError(
                f"expected at least {LEAST_SENTENCES} different sentences, found {different}", node="data.eval"
            )
        if len(texts) > _MOST_SENTENCES:
            raise FastEPError(
                f"expected at most {_MOST_SENTENCES} sentences, as all pairs are compared, found {len(texts)}",
                node="data.eval",
                remedy=f"set data.eval_samples to {_MOST_SENTENCES} or less",
            )

    def encode(self, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokens alone."""

        def run(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return self._tokens(rows["text"], tokenizer)

        return data.map(run, batched=True, remove_columns=data.column_names, desc="tokens")

    def texts(self, data: Dataset) -> list[str]:
        """The texts."""
        return list(data["text"])

    def predict(self, run: Runner, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Embeddings ``[rows, hidden]`` of each column of texts."""
        return {name: self._embed(run, list(data[name]), tokenizer) for name in _COLUMNS if name in data.column_names}

    def judge(self, predictions: Any, data: Dataset, reference: Any) -> Figures:
        """Fidelity to ``reference`` and, where the data have pairs, retrieval within them."""
        own, dense = predictions["text"], reference["text"]
        cosines = similarity.cosines(own, dense)
        figures = {
            "cosine": float(cosines.mean()),
            "cosine_p5": float(np.percentile(cosines, _LOW_PERCENTILE)),
            "spearman": similarity.pairwise_spearman(own, dense),
            "top1_overlap": similarity.neighbour_overlap(own, dense, _FEW),
            "top10_overlap": similarity.neighbour_overlap(own, dense, _SOME),
        }
        if "query" in predictions:
            first, reciprocal = similarity.retrieval(predictions["query"], predictions["passage"], data["passage"])
            figures |= {"retrieval_at_1": first, "retrieval_mrr": reciprocal}
        return figures

    def _embed(self, run: Runner, texts: list[str], tokenizer: PreTrainedTokenizerBase) -> Any:
        tokens = self._tokens(texts, tokenizer)
        rows = [dict(zip(tokens, values, strict=True)) for values in zip(*tokens.values(), strict=True)]
        embedded: dict[int, Any] = {}
        for index, outputs in run_batches(run, rows, pad_id(tokenizer)):
            states = outputs["last_hidden_state"]
            embedded[index] = similarity.mean_pool(states[:1] if self.pooling == "cls" else states)
        return np.stack([embedded[index] for index in range(len(texts))])

    def _tokens(self, texts: list[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        encoded = tokenizer(texts, truncation=True, max_length=self.max_length)
        return {name: encoded[name] for name in MODEL_INPUTS if name in encoded}

"""Text classification: one label per text, or per pair of texts.

Rows: ``text``, for pairs ``text_pair``, and ``label``, a number from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastep.compress.tasks.base import MODEL_INPUTS, Figures, Task, pad_id, run_batches

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pyfastep.compress.runners import Runner

__all__ = ["TextClassification"]


class TextClassification(Task):
    """Logits per class; accuracy."""

    kind = "text-classification"
    export_task = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    runtime_class = "ORTModelForSequenceClassification"
    chief_figure = "accuracy"
    relative = ("agreement",)
    outputs = ("logits",)

    def encode(self, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokens and ``labels``."""

        def run(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {**self._tokens(rows, tokenizer), "labels": rows["label"]}

        return data.map(run, batched=True, remove_columns=data.column_names, desc="tokens")

    def texts(self, data: Dataset) -> list[str]:
        """Both texts of a pair."""
        return [text for name in ("text", "text_pair") if name in data.column_names for text in data[name]]

    def predict(self, run: Runner, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Any:
        """The class of highest logit, ``[rows]``."""
        columns = {name: list(data[name]) for name in ("text", "text_pair") if name in data.column_names}
        tokens = self._tokens(columns, tokenizer)
        rows = [dict(zip(tokens, values, strict=True)) for values in zip(*tokens.values(), strict=True)]
        classes = np.zeros(len(data), np.int64)
        for index, outputs in run_batches(run, rows, pad_id(tokenizer), per_token=False):
            classes[index] = int(np.argmax(outputs["logits"]))
        return classes

    def judge(self, predictions: Any, data: Dataset, reference: Any) -> Figures:
        """``accuracy`` against the labels, ``agreement`` with the dense model, in percent."""
        labels = np.asarray(data["label"])
        return {
            "accuracy": 100.0 * float(np.mean(predictions == labels)),
            "agreement": 100.0 * float(np.mean(predictions == reference)),
        }

    def _tokens(self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        texts = [rows[name] for name in ("text", "text_pair") if name in rows]
        encoded = tokenizer(*texts, truncation=True, max_length=self.max_length)
        return {name: encoded[name] for name in MODEL_INPUTS if name in encoded}

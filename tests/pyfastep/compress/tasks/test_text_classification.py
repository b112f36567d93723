"""Tokens, classes and figures of text classification."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress.models import tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe import TaskSettings  # noqa: E402
from pyfastep.compress.tasks.text_classification import TextClassification  # noqa: E402

TOKENIZER = tiny_tokenizer(["good food", "bad food here", "so so"] * 3)


def test_pairs_predictions_and_figures() -> None:
    data = datasets.Dataset.from_dict({"text": ["good", "bad", "so"], "text_pair": ["food"] * 3, "label": [1, 0, 1]})
    task = TextClassification(TaskSettings("text-classification", text_columns=("text", "text_pair")), 16)
    features = task.encode(data, TOKENIZER)
    assert features["labels"][:] == [1, 0, 1]
    assert TOKENIZER.decode(features[0]["input_ids"]) == "[CLS] good [SEP] food [SEP]"
    good = TOKENIZER.convert_tokens_to_ids("good")

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = (feeds["input_ids"] == good).any(axis=1)
        return {"logits": np.stack([~found, found], axis=1).astype(float)}

    classes = task.predict(run, data, TOKENIZER)
    assert classes.tolist() == [1, 0, 0]
    figures = task.judge(classes, data, np.array([1, 0, 0]))
    assert figures == {"accuracy": pytest.approx(200 / 3), "agreement": 100.0}

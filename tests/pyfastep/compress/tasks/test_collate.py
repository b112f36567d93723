"""Padding of batches."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from pyfastep.compress.tasks.collate import Collator


def test_pads_ids_masks_and_logits_and_stacks_numbers() -> None:
    rows = [
        {"input_ids": [7, 8, 9], "attention_mask": [1, 1, 1], "labels": 2, "teacher_start_logits": [0.5, 1.5, 2.5]},
        {"input_ids": [5], "attention_mask": [1], "labels": 0, "teacher_start_logits": [0.25]},
    ]
    batch = Collator(3)(rows)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [2, 0]
    assert batch["teacher_start_logits"].tolist() == [[0.5, 1.5, 2.5], [0.25, 0.0, 0.0]]

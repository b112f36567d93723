"""A classification task from nothing, and an easy one: which relation does a sentence about a made-up person state?

A tiny model learns it in seconds, which is what a trial of the whole pipeline needs. Names and values of the evaluation
do not occur in training; wordings do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pyfastep.compress.data.fact_world import RELATIONS, person_name
from pyfastep.compress.data.splits import Splits

__all__ = ["LABELS", "sentence_rows", "statement_splits"]

LABELS = tuple(sorted(RELATIONS))


def statement_splits(train: int, held_out: int, seed: int) -> Splits:
    """Training and evaluation rows; the same arguments give the same rows.

    Args:
        train: Number of training sentences.
        held_out: Number of evaluation sentences.
        seed: Of everything.
    """
    from datasets import Dataset

    parts = [
        Dataset.from_list(list(sentence_rows(count, f"{seed}-{name}", name == "eval")))
        for name, count in (("train", train), ("eval", held_out))
    ]
    return Splits(parts[0], parts[1], LABELS, {"chance": 100.0 / len(LABELS)})


def sentence_rows(count: int, seed: str, held_out: bool) -> Iterator[dict[str, Any]]:
    """Rows of ``text`` and ``label``, each label as often as any other."""
    rng = random.Random(seed)
    for number in range(count):
        label = number % len(LABELS)
        relation = RELATIONS[LABELS[label]]
        who, value = person_name(rng, held_out), relation.value(rng, held_out)
        yield {"text": rng.choice(relation.statements[0]).format(who=who, value=value), "label": label}

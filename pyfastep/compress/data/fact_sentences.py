"""A classification task from nothing, and an easy one: which relation does a sentence about a made-up person state?

A tiny model learns it in seconds, which is what a trial of the whole pipeline needs. Names and values are made of
syllables, which a vocabulary from the training data covers; those of the evaluation do not occur in training, wordings
do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pyfastep.compress.data.fact_world import RELATIONS, draw
from pyfastep.compress.data.splits import Splits

__all__ = ["LABELS", "sentence_rows", "statement_splits"]

LABELS = tuple(sorted(RELATIONS))

_SYLLABLES = "bar bel cor dan dor el fen gar hal im jor kal lan mar mir nor ol pel quin ras sel tam ul ven wil yor zan"
_ENDINGS = "a an ek en ia in is o on or us y"


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
        given, family, value = (draw(rng, held_out, _word) for _ in range(3))
        statement = RELATIONS[LABELS[label]].openings[0].draw(rng)
        yield {"text": statement.format(who=f"{given} {family}", value=value), "label": label}


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(parts.split()) for parts in (_SYLLABLES, _SYLLABLES, _ENDINGS)).capitalize()

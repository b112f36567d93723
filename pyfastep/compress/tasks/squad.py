"""SQuAD's own measures: exact match and F1 of answers, after its normalization.

Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", arXiv:1606.05250, and its
official evaluation script for version 1.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

__all__ = ["exact_match", "f1", "normalize", "score"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, answer: str) -> float:
    """1 where both are the same text after normalization, else 0."""
    return float(normalize(predicted) == normalize(answer))


def f1(predicted: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the words, 0 to 1.

    As in the official script, 0 where there is no word in common, also if both are empty.
    """
    words, wanted = normalize(predicted).split(), normalize(answer).split()
    same = sum((Counter(words) & Counter(wanted)).values())
    if not same:
        return 0.0
    precision, recall = same / len(words), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def score(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Exact match and F1 in percent; each answer counts with the best of the texts that are right."""

    def mean(measure: Callable[[str, str], float]) -> float:
        best = (max(measure(p, text) for text in texts) for p, texts in zip(predicted, answers, strict=True))
        return 100.0 * sum(best) / max(1, len(predicted))

    return mean(exact_match), mean(f1)

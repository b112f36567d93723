"""Positions of answers in windows, and answers out of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")

from pyfastep.compress.data.splits import Splits  # noqa: E402
from pyfastep.compress.models import tiny_tokenizer  # noqa: E402
from pyfastep.compress.recipe import TaskSettings  # noqa: E402
from pyfastep.compress.tasks.question_answering import QuestionAnswering, best_span  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

CONTEXT = "the ship was built by many men and it sank in nineteen twelve after it hit the ice far from the coast"
ANSWER = "nineteen twelve"
DATA = datasets.Dataset.from_list(
    [
        {
            "id": str(n),
            "question": question,
            "context": CONTEXT,
            "answers": {"text": [answer], "answer_start": [CONTEXT.index(answer)]},
        }
        for n, (question, answer) in enumerate([("when did it sink", ANSWER), ("where", "far from the coast")])
    ]
)
TOKENIZER = tiny_tokenizer([CONTEXT, "when did it sink", "where"] * 3)


def task(max_length: int = 16, stride: int = 4) -> QuestionAnswering:
    return QuestionAnswering(TaskSettings("question-answering", doc_stride=stride, max_answer_tokens=5), max_length)


@pytest.mark.parametrize("max_length", [64, 16])
def test_labels_point_at_the_answer_in_the_windows_that_hold_it(max_length: int) -> None:
    features = task(max_length).encode(DATA, TOKENIZER)
    assert len(features) == 2 if max_length == 64 else len(features) > 4
    texts = set()
    for row in features:
        first, last = row["start_positions"], row["end_positions"]
        assert len(row["input_ids"]) <= max_length
        if first:
            texts.add(TOKENIZER.decode(row["input_ids"][first : last + 1]))
        else:
            assert last == 0
    assert texts == {ANSWER, "far from the coast"}


@pytest.mark.parametrize("max_length", [64, 16])
def test_predictions_are_the_best_span_of_all_windows(max_length: int) -> None:
    wanted = [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in (ANSWER, "far from the coast")]

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A model that knows the answers: it finds their first and last tokens."""
        logits = {name: np.full(feeds["input_ids"].shape, -5.0) for name in ("start_logits", "end_logits")}
        for row, ids in enumerate(feeds["input_ids"].tolist()):
            tokens = wanted[0] if "sink" in TOKENIZER.decode(ids[:6]) else wanted[1]
            for place in range(len(ids) - len(tokens) + 1):
                if ids[place : place + len(tokens)] == tokens:
                    logits["start_logits"][row, place] = logits["end_logits"][row, place + len(tokens) - 1] = 9.0
        logits["start_logits"][:, 1] = 50.0  # a token of the question, which is no answer
        return logits

    made = task(max_length)
    predictions = made.predict(run, DATA, TOKENIZER)
    assert predictions == [ANSWER, "far from the coast"]
    figures = made.judge(predictions, DATA, [ANSWER, "coast"])
    assert figures == {"exact_match": 100.0, "f1": 100.0, "agreement": 50.0}


def test_best_span_by_hand() -> None:
    offsets: list[Any] = [None, (0, 1), (2, 3), (4, 5), None]
    start, end = np.array([9.0, 1.0, 3.0, 2.0, 9.0]), np.array([9.0, 4.5, 0.0, 2.0, 9.0])
    assert best_span(start, end, offsets, 5) == (5.5, 1, 1)
    assert best_span(start, np.array([9.0, 0.0, 0.0, 2.5, 9.0]), offsets, 5) == (5.5, 2, 3)
    assert best_span(start, np.array([9.0, 0.0, 0.0, 2.5, 9.0]), offsets, 1) == (4.5, 3, 3)
    assert best_span(start, end, [None] * 5, 5) is None


NO_ROOM = r"'when did it sink': the question leaves no room for its context in 8 tokens"


def test_a_question_that_fills_the_window() -> None:
    with pytest.raises(FastEPError, match=NO_ROOM):
        task(8, stride=4).encode(DATA, TOKENIZER)
    with pytest.raises(FastEPError, match=NO_ROOM):
        task(8, stride=4).predict(dict, DATA, TOKENIZER)


@pytest.mark.parametrize("part", ["train", "eval", "primer"])
def test_such_a_question_is_refused_before_anything_is_trained(part: str) -> None:
    short = DATA.select([1])
    parts = {"train": short, "eval": short, "primer": short}
    task(8, stride=3).check(Splits(**parts), TOKENIZER)
    with pytest.raises(FastEPError, match=rf"data.{part}: {NO_ROOM} \(raise model.max_length or lower"):
        task(8, stride=3).check(Splits(**{**parts, part: DATA}), TOKENIZER)


@pytest.mark.parametrize("max_length", range(5, 14))
def test_what_is_refused_is_what_the_tokenizer_cannot_cut(max_length: int) -> None:
    """A context that need not be cut may lie behind any question."""
    rows = [{**DATA[0], "context": context} for context in (CONTEXT, "the ship", "the ship was built by many men")]
    for row in rows:
        for stride in range(6):
            made, data = task(max_length, stride), datasets.Dataset.from_list([row])
            try:
                TOKENIZER(
                    row["question"],
                    row["context"],
                    truncation="only_second",
                    max_length=max_length,
                    stride=stride,
                    return_overflowing_tokens=True,
                )
            except BaseException:  # it panics
                with pytest.raises(FastEPError, match=r"leaves no room|task.doc_stride: expected it below"):
                    made.check(Splits(data, data), TOKENIZER)
            else:
                made.check(Splits(data, data), TOKENIZER)

"""Extractive question answering: the answer is a span of the context.

Rows: ``id``, ``question``, ``context``, ``answers`` (``text`` and ``answer_start`` lists), as SQuAD has them. A context
that is too long is read in windows that overlap; the best span of all windows is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyfastep.compress.tasks import squad
from pyfastep.compress.tasks.base import MODEL_INPUTS, Figures, Task, pad_id, run_batches
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pyfastep.compress.data.splits import Splits
    from pyfastep.compress.runners import Runner

__all__ = ["QuestionAnswering", "best_span"]

_CANDIDATES = 20
_SHOWN_CHARS = 60
Span = tuple[float, int, int]


class QuestionAnswering(Task):
    """Start and end logits per token; exact match and F1."""

    kind = "question-answering"
    export_task = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    runtime_class = "ORTModelForQuestionAnswering"
    chief_figure = "f1"
    relative = ("agreement",)
    outputs = ("start_logits", "end_logits")

    def check(self, splits: Splits, tokenizer: PreTrainedTokenizerBase) -> None:
        """Every question leaves room for its context."""
        parts = {"train": splits.train, "eval": splits.eval, "primer": splits.primer}
        for name, data in parts.items():
            if data is not None:
                self._check_room(data["question"][:], data["context"][:], tokenizer, f"data.{name}: ")

    def encode(self, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Windows with the positions of the answer's first and last token; 0 where a window does not hold it."""

        def run(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            windows = self._windows(rows, tokenizer)
            spans = [
                _token_span(offsets, rows["answers"][sample])
                for offsets, sample in zip(windows["offsets"], windows["sample"], strict=True)
            ]
            features = {name: windows[name] for name in MODEL_INPUTS if name in windows}
            features["start_positions"] = [first for first, _ in spans]
            features["end_positions"] = [last for _, last in spans]
            return features

        return data.map(run, batched=True, remove_columns=data.column_names, desc="tokens")

    def texts(self, data: Dataset) -> list[str]:
        """Questions and contexts."""
        return [*data["question"], *data["context"]]

    def predict(self, run: Runner, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """The answer to every question."""
        columns = {name: list(data[name]) for name in ("question", "context")}
        windows = self._windows(columns, tokenizer)
        names = [name for name in MODEL_INPUTS if name in windows]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*(windows[n] for n in names), strict=True)]
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(data)
        for index, outputs in run_batches(run, rows, pad_id(tokenizer)):
            offsets, sample = windows["offsets"][index], windows["sample"][index]
            found = best_span(outputs["start_logits"], outputs["end_logits"], offsets, self.settings.max_answer_tokens)
            if found is not None and found[0] > best[sample][0]:
                first, last = offsets[found[1]][0], offsets[found[2]][1]
                best[sample] = (found[0], columns["context"][sample][first:last])
        return [text for _, text in best]

    def judge(self, predictions: Any, data: Dataset, reference: Any) -> Figures:
        """``exact_match``, ``f1`` against the labels, ``agreement`` with the dense model, all in percent."""
        exact, overlap = squad.score(predictions, [answers["text"] for answers in data["answers"]])
        same = [squad.exact_match(a, b) for a, b in zip(predictions, reference, strict=True)]
        return {"exact_match": exact, "f1": overlap, "agreement": 100.0 * float(np.mean(same))}

    def _windows(self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
        """Tokens of every window, the row it is of, and the place of each of its tokens in the context, or None."""
        self._check_room(rows["question"], rows["context"], tokenizer)
        encoded = tokenizer(
            [question.strip() for question in rows["question"]],
            rows["context"],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.settings.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        offsets = [
            [place if part == 1 else None for place, part in zip(places, encoded.sequence_ids(i), strict=True)]
            for i, places in enumerate(encoded["offset_mapping"])
        ]
        windows = {name: encoded[name] for name in MODEL_INPUTS if name in encoded}
        return {**windows, "offsets": offsets, "sample": encoded["overflow_to_sample_mapping"]}

    def _check_room(
        self, questions: list[str], contexts: list[str], tokenizer: PreTrainedTokenizerBase, place: str = ""
    ) -> None:
        """Refuses what the tokenizer panics at: a window for less of a context to be cut than neighbours share.

        Contexts are the longer part by far, and are counted behind long questions only.
        """
        stride, remedy = self.settings.doc_stride, "raise model.max_length or lower task.doc_stride"
        most = self.max_length - tokenizer.num_special_tokens_to_add()
        if stride >= most:
            raise FastEPError(f"expected it below {most}, found {stride}", node="task.doc_stride", remedy=remedy)
        left = self.max_length - tokenizer.num_special_tokens_to_add(pair=True)
        lengths = map(len, _ids(tokenizer, [question.strip() for question in questions]))
        for question, context, length in zip(questions, contexts, lengths, strict=True):
            room = left - length
            if room <= stride and len(_ids(tokenizer, [context])[0]) > room:
                shown = question if len(question) <= _SHOWN_CHARS else question[:_SHOWN_CHARS] + "..."
                raise FastEPError(
                    f"the question leaves no room for its context in {self.max_length} tokens",
                    node=f"{place}{shown!r}",
                    remedy=remedy,
                )


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of each text alone."""
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def best_span(
    start: NDArray[Any], end: NDArray[Any], offsets: list[tuple[int, int] | None], max_tokens: int
) -> Span | None:
    """The span of highest ``start + end`` logit within the context: its score, first and last token.

    Args:
        start: Logits ``[tokens]``.
        end: Logits ``[tokens]``.
        offsets: None for tokens that are not of the context.
        max_tokens: Of a span.
    """
    inside = np.array([place is not None for place in offsets])
    masked_start, masked_end = (np.where(inside, logits, -np.inf) for logits in (start, end))
    best: Span | None = None
    for first in np.argsort(-masked_start, kind="stable")[:_CANDIDATES]:
        ends = masked_end[first : first + max_tokens]
        last = int(first + np.argmax(ends))
        total = float(masked_start[first] + masked_end[last])
        if np.isfinite(total) and (best is None or total > best[0]):
            best = (total, int(first), last)
    return best


def _token_span(offsets: list[tuple[int, int] | None], answers: dict[str, list[Any]]) -> tuple[int, int]:
    first_char = answers["answer_start"][0]
    last_char = first_char + len(answers["text"][0])
    inside = [i for i, place in enumerate(offsets) if place and place[0] < last_char and place[1] > first_char]
    whole = bool(inside) and _starts(offsets[inside[0]]) <= first_char and _ends(offsets[inside[-1]]) >= last_char
    return (inside[0], inside[-1]) if whole else (0, 0)


def _starts(place: tuple[int, int] | None) -> int:
    return place[0] if place else 0


def _ends(place: tuple[int, int] | None) -> int:
    return place[1] if place else 0

"""What a task is: how its data become tokens, what its model answers, and how answers are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pyfastep.compress.recipe import TaskSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pyfastep.compress.data.splits import Splits
    from pyfastep.compress.export import Task as ExportTask
    from pyfastep.compress.pooling import Pooling
    from pyfastep.compress.runners import Runner

__all__ = ["MODEL_INPUTS", "Figures", "Task", "pad_id", "run_batches"]

Figures = dict[str, float]

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_EVAL_BATCH = 16


class Task(ABC):
    """One kind of task.

    Attributes:
        kind: As in the recipe.
        export_task: As optimum knows it.
        auto_class: The class of transformers that loads its models.
        runtime_class: The class of optimum that opens its exported models.
        chief_figure: The figure that stands for quality, higher is better.
        relative: The figures that compare with the dense model.
        outputs: Names of the model's outputs, as exported.
        has_head: Whether its models have weights of their own behind the encoder.
        pooling: How token states become one vector, where that is what they are for.
    """

    kind: ClassVar[str]
    export_task: ClassVar[ExportTask]
    auto_class: ClassVar[str]
    runtime_class: ClassVar[str]
    chief_figure: ClassVar[str]
    relative: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    has_head: ClassVar[bool] = True

    def __init__(self, settings: TaskSettings, max_length: int, pooling: Pooling = "mean") -> None:
        self.settings = settings
        self.max_length = max_length
        self.pooling = pooling

    def check(self, splits: Splits, tokenizer: PreTrainedTokenizerBase) -> None:  # noqa: B027
        """Refuses what could not be trained or measured on, before anything is; by default nothing.

        Raises:
            FastEPError: Names the split.
        """

    @abstractmethod
    def encode(self, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Tokens and labels to train on, one row per sequence, not padded."""

    @abstractmethod
    def texts(self, data: Dataset) -> list[str]:
        """Every text of the data: what a tokenizer is trained on."""

    @abstractmethod
    def predict(self, run: Runner, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> Any:
        """What a model answers on every row of ``data``, in its order."""

    @abstractmethod
    def judge(self, predictions: Any, data: Dataset, reference: Any) -> Figures:
        """Figures of answers, against the data's labels or against the dense model's answers ``reference``."""

    def collate(self, tokenizer: PreTrainedTokenizerBase) -> Any:
        """Pads a batch's sequences, and what goes with each token, to the longest; see :class:`Collator`."""
        from pyfastep.compress.tasks.collate import Collator

        return Collator(pad_id(tokenizer))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that sequences are padded with."""
    found: Any = tokenizer.pad_token_id
    return int(found or 0)


def run_batches(
    run: Runner, rows: Sequence[dict[str, Any]], pad_id: int, *, per_token: bool = True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Runs a model on rows of token ids, similar lengths together.

    Args:
        run: The model.
        rows: ``input_ids`` and what else of `MODEL_INPUTS` there is, as lists.
        pad_id: Of the tokenizer; sequences are padded on the right.
        per_token: The outputs are ``[B, S, ...]`` and each is cut to its row's real tokens.

    Yields:
        A row's index and its outputs.
    """
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]["input_ids"]))
    for start in range(0, len(order), _EVAL_BATCH):
        chosen = order[start : start + _EVAL_BATCH]
        feeds = _padded([rows[index] for index in chosen], pad_id)
        outputs = run(feeds)
        for position, index in enumerate(chosen):
            tokens = len(rows[index]["input_ids"])
            yield (
                index,
                {name: value[position, :tokens] if per_token else value[position] for name, value in outputs.items()},
            )


def _padded(rows: Sequence[dict[str, Any]], pad_id: int) -> dict[str, NDArray[Any]]:
    longest = max(len(row["input_ids"]) for row in rows)
    feeds = {}
    for name in MODEL_INPUTS:
        if name in rows[0]:
            feeds[name] = np.full((len(rows), longest), pad_id if name == "input_ids" else 0, np.int64)
            for array, row in zip(feeds[name], rows, strict=True):
                array[: len(row[name])] = row[name]
    return feeds

"""The tasks that a model is compressed for: one file each, told apart by ``[task] kind``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyfastep.compress.recipe import TaskSettings
from pyfastep.compress.tasks.base import Task

if TYPE_CHECKING:
    from pyfastep.compress.pooling import Pooling

__all__ = ["Task", "create_task"]


def create_task(settings: TaskSettings, max_length: int, pooling: Pooling = "mean") -> Task:
    """The task of a recipe; ``max_length`` is in tokens, ``pooling`` that of the checkpoint's sentence embeddings."""
    from pyfastep.compress.tasks.question_answering import QuestionAnswering
    from pyfastep.compress.tasks.sentence_embedding import SentenceEmbedding
    from pyfastep.compress.tasks.text_classification import TextClassification

    kinds: dict[str, type[Task]] = {
        "question-answering": QuestionAnswering,
        "text-classification": TextClassification,
        "sentence-embedding": SentenceEmbedding,
    }
    return kinds[settings.kind](settings, max_length, pooling)

"""The tasks that a model is compressed for: one file each, told apart by ``[task] kind``."""

from __future__ import annotations

from pyfastep.compress.recipe import TaskSettings
from pyfastep.compress.tasks.base import Task

__all__ = ["Task", "create_task"]


def create_task(settings: TaskSettings, max_length: int) -> Task:
    """The task of a recipe; ``max_length`` is in tokens."""
    from pyfastep.compress.tasks.question_answering import QuestionAnswering
    from pyfastep.compress.tasks.sentence_embedding import SentenceEmbedding
    from pyfastep.compress.tasks.text_classification import TextClassification

    kinds: dict[str, type[Task]] = {
        "question-answering": QuestionAnswering,
        "text-classification": TextClassification,
        "sentence-embedding": SentenceEmbedding,
    }
    return kinds[settings.kind](settings, max_length)

"""Where data come from: the user's files, generated tasks, this machine's own documentation."""

from __future__ import annotations

from pathlib import Path

from pyfastep.compress.data.splits import Splits
from pyfastep.compress.recipe import Recipe

__all__ = ["Splits", "load_splits"]


def load_splits(recipe: Recipe, cache: Path) -> Splits:
    """The checked data of a recipe.

    Args:
        recipe: Its tables ``data`` and ``task`` decide.
        cache: Folder for what `datasets` keeps.

    Raises:
        FastEPError: A file is missing, empty or not as the task needs it: names the file, the row and the column.
    """
    data = recipe.data
    if data.source == "facts" and recipe.task.kind == "text-classification":
        from pyfastep.compress.data.fact_sentences import statement_splits

        return statement_splits(data.train_samples, data.eval_samples, recipe.seed)
    if data.source == "facts":
        from pyfastep.compress.data.facts import fact_splits

        counts = {"train": data.train_samples, "held_out": data.eval_samples, "primer": data.primer_samples}
        return fact_splits(seed=recipe.seed, people=data.difficulty, view=data.view, **counts)
    if data.source == "sentences":
        from pyfastep.compress.data.sentences import sentence_splits

        return sentence_splits(data.train_samples, data.eval_samples, recipe.seed)
    from pyfastep.compress.data.files import file_splits
    from pyfastep.compress.models import classifier_labels

    classes = classifier_labels(recipe.model.path) if recipe.task.kind == "text-classification" else ()
    return file_splits(data, recipe.task, cache, recipe.seed, classes)

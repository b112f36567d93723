"""What the steps of a run share: the recipe, the folders, and what earlier steps left there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyfastep.compress.data.splits import Splits
from pyfastep.compress.models import load_model, load_tokenizer
from pyfastep.compress.pooling import recipe_pooling
from pyfastep.compress.recipe import Recipe
from pyfastep.compress.runners import with_token_types
from pyfastep.compress.tasks import Task, create_task
from pyfastep.compress.tasks.base import MODEL_INPUTS
from pyfastep.compress.workspace import Workspace

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Context", "Progress"]

Progress = Callable[[str, float, str], None]
"""Called with the step's name, the share of it that is done, 0 to 1, and what is being done."""

_CALIBRATION_BATCH = 16


@dataclass
class Context:
    """One run."""

    recipe: Recipe
    workspace: Workspace
    progress: Progress

    @cached_property
    def task(self) -> Task:
        """The recipe's."""
        return create_task(self.recipe.task, self.recipe.model.max_length, recipe_pooling(self.recipe))

    @cached_property
    def splits(self) -> Splits:
        """The data that the step ``data`` left."""
        return Splits.load(self.workspace.folder("data"))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the step ``data`` left."""
        return load_tokenizer(str(self.workspace.folder("data") / "tokenizer"))

    @property
    def device(self) -> torch.device:
        """A GPU where torch sees one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def model(self, step: str) -> PreTrainedModel:
        """The checkpoint that a step left."""
        return load_model(str(self.workspace.folder(step) / "model"), self.task, self.splits.labels)

    def features(self) -> Dataset:
        """The training data as tokens."""
        return self.task.encode(self.splits.train, self.tokenizer)

    def primer_features(self) -> Dataset | None:
        """What the dense model sees before them, if anything."""
        return None if self.splits.primer is None else self.task.encode(self.splits.primer, self.tokenizer)

    def calibration_rows(self) -> list[dict[str, list[int]]]:
        """Tokens of the first training samples, as lists."""
        count = min(self.recipe.data.calibration_samples, len(self.splits.train))
        features = self.task.encode(self.splits.train.select(range(count)), self.tokenizer)
        names = [name for name in MODEL_INPUTS if name in features.column_names]
        return [{name: row[name] for name in names} for row in features]

    def calibration_batches(self) -> list[dict[str, torch.Tensor]]:
        """The same for a torch model, padded in batches of similar length."""
        rows = sorted(self.calibration_rows(), key=lambda row: len(row["input_ids"]))
        collate = self.task.collate(self.tokenizer)
        return [collate(rows[start : start + _CALIBRATION_BATCH]) for start in range(0, len(rows), _CALIBRATION_BATCH)]

    def calibration_arrays(self) -> list[dict[str, NDArray[Any]]]:
        """The same for an ONNX model, one sample at a time and not padded, so that ranges are those of real tokens."""
        return [
            with_token_types({name: np.asarray([values], np.int64) for name, values in row.items()})
            for row in self.calibration_rows()
        ]

    def tell(self, step: str) -> Callable[[float, str], None]:
        """Progress of one step."""
        return lambda share, what: self.progress(step, share, what)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """A checkpoint with its tokenizer, in ``folder/model``."""
        model.save_pretrained(str(folder / "model"))
        self.tokenizer.save_pretrained(str(folder / "model"))

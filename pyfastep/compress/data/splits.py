"""The two halves of a task's data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Splits"]


@dataclass(frozen=True)
class Splits:
    """What is trained on and what is measured on.

    Attributes:
        train: Rows as the task describes them.
        eval: The same, with nothing of ``train`` in it.
        labels: Names of the classes, in the order of their numbers; empty for other tasks.
        notes: What else is known, for the report: for instance the level of chance, in percent.
        primer: Easier training rows, which the dense model sees before all others.
    """

    train: Dataset
    eval: Dataset
    labels: tuple[str, ...] = ()
    notes: dict[str, float] = field(default_factory=dict)
    primer: Dataset | None = None

    def save(self, folder: Path) -> None:
        """Writes all of it into ``folder``."""
        self.train.save_to_disk(str(folder / "train"))
        self.eval.save_to_disk(str(folder / "eval"))
        if self.primer is not None:
            self.primer.save_to_disk(str(folder / "primer"))
        (folder / "data.json").write_text(json.dumps({"labels": self.labels, "notes": self.notes}, indent=1))

    @staticmethod
    def load(folder: Path) -> Splits:
        """What :meth:`save` wrote."""
        from datasets import Dataset

        known = json.loads((folder / "data.json").read_text())
        train, held_out = (Dataset.load_from_disk(str(folder / name)) for name in ("train", "eval"))
        primer = Dataset.load_from_disk(str(folder / "primer")) if (folder / "primer").is_dir() else None
        return Splits(train, held_out, tuple(known["labels"]), known["notes"], primer)

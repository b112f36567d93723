"""Checkpoints of a training that may be killed at any moment, also while it writes one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = ["KEPT", "LAST_FILE", "newest_complete"]

LAST_FILE = "meter.json"
"""What is written last, at once or not at all: where it is, the rest is."""

KEPT = 2
"""The Trainer deletes old checkpoints before callbacks have completed the new one: the one before has to stay."""


def newest_complete(folder: Path) -> Path | None:
    """The checkpoint to go on from, None where there is none; newer ones, which a kill left unfinished, are deleted.

    Args:
        folder: Of folders ``checkpoint-<step>``.
    """
    named = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.iterdir())
    for _, path in sorted(((int(found[1]), path) for found, path in named if found), reverse=True):
        if (path / LAST_FILE).is_file():
            return path
        shutil.rmtree(path)
    return None

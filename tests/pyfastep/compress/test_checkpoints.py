"""Which checkpoint counts after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from pyfastep.compress.checkpoints import LAST_FILE, newest_complete


def write(folder: Path, *names: str) -> None:
    folder.mkdir()
    for name in names:
        (folder / name).touch()


def test_the_newest_that_is_complete_and_no_newer_one_stays(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-9", LAST_FILE)
    write(tmp_path / "checkpoint-10", "model.safetensors", LAST_FILE)
    write(tmp_path / "checkpoint-11", "model.safetensors", "meter.partial")
    write(tmp_path / "checkpoint-100")
    write(tmp_path / "checkpoint-best")
    (tmp_path / "steps.json").touch()
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-10"
    names = {"checkpoint-9", "checkpoint-10", "checkpoint-best", "steps.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_none(tmp_path: Path) -> None:
    assert newest_complete(tmp_path) is None
    write(tmp_path / "checkpoint-1", "model.safetensors")
    assert newest_complete(tmp_path) is None
    assert list(tmp_path.iterdir()) == []

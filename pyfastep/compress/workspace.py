"""Folders of a run's steps: each is finished, begun or to be done anew, as its manifest says.

A step's digest covers the recipe tables that it reads, the files that it reads and the digests of the steps before it.
A step whose folder holds a manifest with the same digest is skipped; one that was begun with the same digest goes on
with what is there (trainings have their checkpoints); anything else is done anew. What only an interrupted step needs
is in its folder ``scratch``, which goes when it is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pyfastep.errors import FastEPError

__all__ = ["SCRATCH", "StepRecord", "Workspace", "digest_of"]

SCRATCH = "scratch"
_FINISHED, _BEGUN = "manifest.json", "begun.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StepRecord:
    """A finished step: its folder, its digest, the seconds it took and whether it was finished before this run."""

    name: str
    folder: Path
    digest: str
    seconds: float
    skipped: bool


class Workspace:
    """The folder ``<output>/steps``.

    Args:
        output: Of the run; created with its parents.
        fresh: Forget what earlier runs left.
        reuse: Outputs of other runs or of studies, whose finished steps are taken over where their digest is the same.
    """

    def __init__(self, output: Path, *, fresh: bool = False, reuse: Sequence[Path] = ()) -> None:
        if output.exists() and not output.is_dir():
            raise FastEPError("expected a folder, found a file", node=str(output), remedy="give another --output")
        self.output = output
        self.steps = output / "steps"
        if fresh and self.steps.exists():
            shutil.rmtree(self.steps)
        self.steps.mkdir(parents=True, exist_ok=True)
        self._others = [] if fresh else [steps for other in reuse for steps in _steps_below(other)]
        self.records: dict[str, StepRecord] = {}

    def folder(self, step: str) -> Path:
        """Of a step that is finished.

        Raises:
            FastEPError: It is not.
        """
        if step not in self.records:
            raise FastEPError(f"step {step} is not finished", node=str(self.steps))
        return self.records[step].folder

    def run(self, name: str, digest: str, work: Callable[[Path], None]) -> StepRecord:
        """Does a step, unless it is finished: ``work`` gets its folder."""
        folder = self.steps / name
        if _read(folder / _FINISHED).get("digest") != digest:
            self._take_over(name, digest)
        known = _read(folder / _FINISHED)
        if known.get("digest") != digest:
            if _read(folder / _BEGUN).get("digest") != digest and folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
            (folder / _FINISHED).unlink(missing_ok=True)
            (folder / _BEGUN).write_text(json.dumps({"digest": digest}))
            start = time.perf_counter()
            work(folder)
            seconds = time.perf_counter() - start
            _write(folder / _FINISHED, {"step": name, "digest": digest, "seconds": round(seconds, 3)})
            shutil.rmtree(folder / SCRATCH, ignore_errors=True)
            record = StepRecord(name, folder, digest, seconds, skipped=False)
        else:
            record = StepRecord(name, folder, digest, float(known["seconds"]), skipped=True)
        self.records[name] = record
        return record

    def _take_over(self, name: str, digest: str) -> None:
        """Another run's folder of the same step, if there is one; files are shared where the file system allows it.

        No step changes a file that it finished, and doing it anew begins with an empty folder.
        """
        for other in self._others:
            if _read(other / name / _FINISHED).get("digest") == digest:
                partial = self.steps / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(other / name, partial, copy_function=_link)
                shutil.rmtree(self.steps / name, ignore_errors=True)
                partial.rename(self.steps / name)
                return


def _steps_below(output: Path) -> list[Path]:
    """The steps of a run, or those of every run of a study."""
    return [output / "steps", *sorted(output.glob("runs/*/*/steps"))]


def digest_of(values: Any, files: Iterable[Path] = ()) -> str:
    """SHA-256 of plain values and of the contents of files; of folders, of the files directly in them.

    The order of a mapping does not count.
    """
    total = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for path in files:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                total.update(file.name.encode())
                state = file.stat()
                total.update(_content_digest(file, state.st_size, state.st_mtime_ns))
    return total.hexdigest()


@cache
def _content_digest(path: Path, size: int, changed_ns: int) -> bytes:
    """A study asks for the same checkpoint in every run: read once, as long as size and time stay."""
    total = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.digest()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    """A file that is complete or not there."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1))
    partial.replace(path)

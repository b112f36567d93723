"""Steps are skipped, resumed or done anew as their digests say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.compress.workspace import SCRATCH, Workspace, digest_of
from pyfastep.errors import FastEPError


class Work:
    """Counts calls; fails where it is told to, leaving something behind."""

    def __init__(self, fails: bool = False) -> None:
        self.found: list[list[str]] = []
        self.fails = fails

    def __call__(self, folder: Path) -> None:
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "result").write_text("x")
        if self.fails:
            raise RuntimeError("interrupted")


def test_a_finished_step_is_skipped_and_a_changed_one_done_anew(tmp_path: Path) -> None:
    work = Work()
    assert not Workspace(tmp_path).run("a", "1", work).skipped
    assert Workspace(tmp_path).run("a", "1", work).skipped
    assert not Workspace(tmp_path).run("a", "2", work).skipped
    assert not Workspace(tmp_path, fresh=True).run("a", "2", work).skipped
    assert work.found == [["begun.json"]] * 3


def test_an_interrupted_step_goes_on_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Workspace(tmp_path).run("a", "1", Work(fails=True))
    again = Work()
    assert not Workspace(tmp_path).run("a", "1", again).skipped
    assert again.found == [["begun.json", "result"]]


def test_scratch_goes_when_a_step_is_finished(tmp_path: Path) -> None:
    def work(folder: Path, fails: bool = False) -> None:
        (folder / SCRATCH).mkdir(exist_ok=True)
        (folder / SCRATCH / "checkpoint").touch()
        if fails:
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        Workspace(tmp_path).run("a", "1", lambda folder: work(folder, fails=True))
    assert (tmp_path / "steps" / "a" / SCRATCH / "checkpoint").exists()
    Workspace(tmp_path).run("a", "1", work)
    assert not (tmp_path / "steps" / "a" / SCRATCH).exists()


def test_what_was_begun_for_another_digest_is_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Workspace(tmp_path).run("a", "1", Work(fails=True))
    other = Work()
    Workspace(tmp_path).run("a", "2", other)
    assert other.found == [["begun.json"]]


def test_damaged_manifests_count_as_none(tmp_path: Path) -> None:
    Workspace(tmp_path).run("a", "1", Work())
    (tmp_path / "steps" / "a" / "manifest.json").write_text("{")
    assert not Workspace(tmp_path).run("a", "1", Work()).skipped


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="step a is not finished"):
        Workspace(tmp_path).folder("a")
    (tmp_path / "file").touch()
    with pytest.raises(FastEPError, match="expected a folder, found a file"):
        Workspace(tmp_path / "file")


def test_digest_covers_values_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_of({"x": 1, "y": 2}, [tmp_path])
    assert digest_of({"y": 2, "x": 1}, [tmp_path]) == first
    assert digest_of({"x": 1, "y": 3}, [tmp_path]) != first
    (tmp_path / "a").write_text("2")
    assert digest_of({"x": 1, "y": 2}, [tmp_path]) != first


@pytest.mark.parametrize("place", ["", "runs/cell/seed-0"])
def test_finished_steps_of_a_run_or_a_study_are_taken_over(tmp_path: Path, place: str) -> None:
    def work(folder: Path) -> None:
        (folder / "result").write_text("known")

    Workspace(tmp_path / "other" / place).run("step", "1", work)

    def never(folder: Path) -> None:
        raise AssertionError("done anew")

    record = Workspace(tmp_path / "own", reuse=[tmp_path / "other"]).run("step", "1", never)
    assert record.skipped
    assert (record.folder / "result").read_text() == "known"
    with pytest.raises(AssertionError, match="done anew"):
        Workspace(tmp_path / "own", reuse=[tmp_path / "other"]).run("step", "2", never)

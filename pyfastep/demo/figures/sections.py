"""The one list of sections: a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable

from pyfastep.demo.figures.accuracy import measure_accuracy
from pyfastep.demo.figures.figure import Section
from pyfastep.demo.figures.files import DemoFiles
from pyfastep.demo.figures.padding import measure_padding
from pyfastep.demo.figures.speed import measure_speed
from pyfastep.demo.figures.threads import measure_threads

__all__ = ["SECTIONS"]

Progress = Callable[[str], None]

_MODEL = "distilbert-4x4-80"  # where one model speaks for all


def _threads(files: DemoFiles, progress: Progress) -> Section:
    return measure_threads(files.models[_MODEL], progress)


def _padding(files: DemoFiles, progress: Progress) -> Section:
    return measure_padding(files.models[_MODEL], progress)


SECTIONS: dict[str, Callable[[DemoFiles, Progress], Section]] = {
    "speed": measure_speed,
    "threads": _threads,
    "padding": _padding,
    "accuracy": measure_accuracy,
}

"""The chart: a bar per layer, stacked to its time, limits where they belong, and files of each form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyfastep.errors import FastEPError
from pyfastep.profile.chart import draw_chart, save_chart


@pytest.mark.parametrize(("name", "start"), [("c.svg", b"<?xml"), ("c.PNG", b"\x89PNG"), ("c.pdf", b"%PDF")])
def test_files(name: str, start: bytes, report: Callable[..., Any], tmp_path: Path) -> None:
    save_chart(report(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_bars_are_the_times_of_layers(report: Callable[..., Any]) -> None:
    (axes,) = draw_chart(report()).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *["layer.0", "layer.1", "between steps", "ONNX Runtime (1 nodes)", "session, Python"]
    ]
    widths: dict[int, float] = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        widths[row] = max(widths.get(row, 0.0), bar.get_x() + bar.get_width())
    assert widths == pytest.approx({0: 3.0, 1: 1.0, 2: 0.5, 3: 1.0, 4: 0.5})
    (limits,) = axes.collections
    assert [(line[0][0], (line[0][1] + line[1][1]) / 2) for line in limits.get_segments()] == [(1.0, 0.0), (1.0, 1.0)]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == ["3.00 ms, 50%", "1.00 ms, 17%"]


def test_a_report_without_steps(report: Callable[..., Any], tmp_path: Path) -> None:
    save_chart(report(steps=(), between_ms=0.0), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_many_families_have_colours_of_their_own(report: Callable[..., Any]) -> None:
    from dataclasses import replace

    found = report()
    steps = tuple(replace(found.steps[1], family=f"family {i}") for i in range(4))
    (axes,) = draw_chart(report(steps=steps)).axes
    colours = {bar.get_facecolor() for bar in axes.patches if round(bar.get_y() + bar.get_height() / 2) == 0}
    assert len(colours) == 4


def test_other_extensions_are_refused(report: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match=r"ends in \.svg, \.png, \.pdf, found 'c.bmp'"):
        save_chart(report(), tmp_path / "c.bmp")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(report: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FastEPError, match=r"matplotlib, which is not installed.*pip install '\.\[profile\]'"):
        save_chart(report(), tmp_path / "c.svg")

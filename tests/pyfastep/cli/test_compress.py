"""`fastep compress`: what it prints in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from pyfastep.cli.compress import _print
from pyfastep.compress.report import CompressReport

FORMS = (
    "dense fp32, torch",
    "pruned fp32, torch",
    "pruned fp32, ONNX Runtime",
    "pruned INT8, ONNX Runtime",
    "FastEP's file, ONNX Runtime",
    "FastEP's file, FastEP",
)
# Of sentence embeddings: more than any other task has.
NAMES = ("cosine", "cosine_p5", "spearman", "top1_overlap", "top10_overlap", "retrieval_at_1", "retrieval_mrr")


def report(output: Path) -> CompressReport:
    figures = {form: {name: 0.12345 + i / 10 + j / 100 for j, name in enumerate(NAMES)} for i, form in enumerate(FORMS)}
    return CompressReport(
        output=output,
        recipe={},
        versions={},
        machine="",
        data={},
        seconds={},
        skipped=(),
        sparsity={"report": {"sparsity": 0.8}, "pattern": "4x1"},
        trainings={},
        extrapolation=None,
        chief_figure="cosine",
        figures=figures,
        bench={"measurements": [{"engine": "FastEP", "batch": 1, "length": 128, "median_ms": 3.456}]},
    )


@pytest.mark.parametrize(("columns", "width"), [(80, 80), (40, 80), (200, 200)])
def test_the_table_is_whole_at_any_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _print(report(tmp_path))
    table, end, rest = capsys.readouterr().out.partition("FastEP, 1 x 128: 3.46 ms")
    assert end
    assert "zeros: 80.00%, pattern 4x1" in rest
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    head = " ".join(" ".join(lines[: next(i for i, line in enumerate(lines) if "──" in line)]).split())
    for word in {word for form in FORMS for word in form.split()}:
        assert head.count(word) == " ".join(FORMS).count(word), "names wrap between words only"
    for j, name in enumerate(NAMES):
        row = next(line for line in lines if line.startswith(f"{name.replace('_', ' ')} "))
        assert row.split()[-len(FORMS) :] == [f"{0.12345 + i / 10 + j / 100:.4g}" for i in range(len(FORMS))]


def test_a_figure_that_a_form_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = report(tmp_path)
    del made.figures[FORMS[0]]["spearman"]
    _print(made)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("spearman"))
    assert row.split()[:3] == ["spearman", "-", "0.2434"]

"""Which forms of a model are judged; what the steps make is tested with whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("datasets")

from pyfastep.compress import forms
from pyfastep.compress.context import Context
from pyfastep.compress.export_steps import _forms
from pyfastep.compress.recipe_file import load_recipe
from pyfastep.compress.workspace import Workspace

FLOAT = [forms.PRUNED, forms.PRUNED_STOCK]


@pytest.mark.parametrize(
    ("method", "wanted", "judged"),
    [
        ("static", "all", [*FLOAT, forms.INT8_STOCK, forms.FAST_STOCK, forms.FAST]),
        ("static", "final", [forms.PRUNED, forms.FAST]),
        ("none", "all", FLOAT),
        ("none", "final", FLOAT),
    ],
)
def test_forms(method: str, wanted: str, judged: list[str], tmp_path: Path) -> None:
    """The final file is the last form; without quantization it is the pruned one."""
    recipe = load_recipe("smoke", [f"quantize.method={method}", f"evaluate.forms={wanted}"])
    context = Context(recipe, Workspace(tmp_path), lambda step, share, what: None)
    for step in ("export", "quantize", "convert"):
        context.workspace.run(step, step, lambda folder: None)
    assert list(_forms(context)) == judged

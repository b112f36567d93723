"""Compression of torch models: prune, distil, quantize, export, evaluate, from one recipe (extra ``compress``).

>>> from pyfastep.compress import compress, load_recipe
>>> report = compress(load_recipe("minilm-qa-80-4x1"), "out")

This package and :mod:`pyfastep.demo` are the only ones that import torch. Everything is loaded when it is first used;
where a package that it needs is missing, that is a :class:`pyfastep.FastEPError`. Recipes and studies are read without
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyfastep._extras import explain

if TYPE_CHECKING:
    from pyfastep.compress.export import export_onnx
    from pyfastep.compress.pipeline import compress
    from pyfastep.compress.prune import prune_blocks
    from pyfastep.compress.recipe import Recipe
    from pyfastep.compress.recipe_file import load_recipe, ready_recipes
    from pyfastep.compress.second_order import prune_second_order
    from pyfastep.compress.sparsity import LayerSparsity, PruneReport
    from pyfastep.compress.study.plan import Study, load_study
    from pyfastep.compress.study.runner import run_study

__all__ = [
    "LayerSparsity",
    "PruneReport",
    "Recipe",
    "Study",
    "compress",
    "export_onnx",
    "load_recipe",
    "load_study",
    "prune_blocks",
    "prune_second_order",
    "ready_recipes",
    "run_study",
]

_HOME = {
    "LayerSparsity": "sparsity",
    "PruneReport": "sparsity",
    "Recipe": "recipe",
    "Study": "study.plan",
    "compress": "pipeline",
    "export_onnx": "export",
    "load_recipe": "recipe_file",
    "load_study": "study.plan",
    "prune_blocks": "prune",
    "prune_second_order": "second_order",
    "ready_recipes": "recipe_file",
    "run_study": "study.runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        explained = explain(error)
        if explained is None:
            raise
        raise explained from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The demo's files that figures are measured on: built, or as they lie in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyfastep.demo.build import Baseline, BuiltModel, build_baseline, build_model, write_calibration
from pyfastep.demo.models import MODELS
from pyfastep.errors import FastEPError

__all__ = ["DemoFiles", "build_files", "find_files"]


@dataclass(frozen=True)
class DemoFiles:
    """Models by their names, and ONNX Runtime's own forms of each architecture."""

    models: dict[str, BuiltModel]
    baselines: dict[str, Baseline]


def build_files(root: Path, progress: Callable[[str], None]) -> DemoFiles:
    """Builds what is missing or old under `root`, as the demo does."""
    calibration = write_calibration(root)
    baselines: dict[str, Baseline] = {}
    models: dict[str, BuiltModel] = {}
    for model in MODELS:
        if model.architecture not in baselines:
            baselines[model.architecture] = build_baseline(model, root, calibration, progress)
        models[model.name] = build_model(model, root, calibration, progress)
    return DemoFiles(models, baselines)


def find_files(root: Path) -> DemoFiles:
    """Takes the files under `root` as they are.

    Raises:
        FastEPError: One is missing.
    """
    baselines: dict[str, Baseline] = {}
    models: dict[str, BuiltModel] = {}
    for model in MODELS:
        folder = root / model.name
        if model.architecture not in baselines:
            names = ("model", "dynamic", "static", "static-float")
            baselines[model.architecture] = Baseline(*(_existing(folder / f"{name}.onnx") for name in names))
        sparsity = float(json.loads(_existing(folder / "pruning.json").read_text())["sparsity"])
        quantized, fastep = (_existing(folder / name) for name in ("quantized.onnx", "fastep.onnx"))
        models[model.name] = BuiltModel(model, quantized, fastep, sparsity)
    return DemoFiles(models, baselines)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FastEPError("no such file", node=str(path), remedy="leave out --no-build, or run the demo there first")
    return path

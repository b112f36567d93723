"""The whole run: steps in order, each in its own folder, each done only if it has to be."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyfastep
from pyfastep._extras import require
from pyfastep.compress.recipe import Recipe
from pyfastep.compress.recipe_file import recipe_tables
from pyfastep.compress.workspace import Workspace, digest_of
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyfastep.compress.context import Context, Progress
    from pyfastep.compress.report import CompressReport

__all__ = ["STEPS", "Step", "compress", "step_digests"]


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: Of its folder.
        tables: The recipe's tables that it reads; ``calibration`` is the number of samples, which stands in ``[data]``.
        after: The steps whose results it reads.
        home: Module of the function ``run_<name>``.
        revision: Raised when the same inputs give another result than before, so that nothing old is taken for new.
    """

    name: str
    tables: tuple[str, ...]
    after: tuple[str, ...]
    home: str = "training_steps"
    revision: int = 1

    def work(self, context: Context) -> Callable[[Path], None]:
        """What fills the step's folder."""
        import importlib

        function = getattr(importlib.import_module(f"pyfastep.compress.{self.home}"), f"run_{self.name}")
        return lambda folder: function(context, folder)


STEPS = (
    Step("data", ("task", "data", "seed", "model"), (), revision=5),
    Step("dense", ("dense", "model", "task", "seed"), ("data",)),
    Step("reference", ("task", "model"), ("dense",), "export_steps"),
    Step("prune", ("prune", "calibration", "task", "model"), ("dense",)),
    Step("train", ("prune", "train", "distill", "task", "model", "seed"), ("prune",)),
    Step("qat", ("quantize", "prune", "distill", "calibration", "seed"), ("train",)),
    Step("export", ("export", "task"), ("qat",), "export_steps"),
    Step("quantize", ("quantize", "calibration"), ("export", "qat"), "export_steps", revision=2),
    Step("convert", ("quantize",), ("quantize",), "export_steps"),
    Step("evaluate", ("evaluate", "task", "model", "quantize"), ("reference", "convert"), "export_steps"),
    Step("bench", ("bench",), ("convert",), "export_steps"),
)


def compress(
    recipe: Recipe,
    output: str | os.PathLike[str],
    *,
    fresh: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
) -> CompressReport:
    """Runs a recipe: data, dense training, pruning with distillation, INT8, export, conversion, evaluation, bench.

    ``output`` gets ``model/`` (``model.onnx``, configuration, tokenizer: opens with optimum and transformers),
    ``report.md``, ``report.json``, ``plots/`` and ``steps/``, from which an interrupted or changed run goes on: steps
    that a change does not concern are not repeated, and trainings go on from their last checkpoint.

    Args:
        recipe: From :func:`pyfastep.compress.load_recipe`, or constructed.
        output: A folder.
        fresh: Do every step anew.
        reuse: Outputs of other runs or of studies: their finished steps are taken over where they are the same.
        progress: Called with the step's name, the share of it that is done, and what is being done.

    Raises:
        FastEPError: Something is missing (packages of the extra ``compress`` included), malformed or failed: says
            where, what was expected and what was found.
    """
    require("compress")
    workspace = Workspace(Path(output), fresh=fresh, reuse=[Path(other) for other in reuse])
    digests = step_digests(recipe)
    with _quiet():
        from pyfastep.compress.context import Context
        from pyfastep.compress.report import write_report

        context = Context(recipe, workspace, progress or (lambda step, share, what: None))
        for step in STEPS:
            workspace.run(step.name, digests[step.name], step.work(context))
        context.progress("report", 0.0, "writing")
        return write_report(context)


def step_digests(recipe: Recipe) -> dict[str, str]:
    """What each step's result depends on, as one number: equal where the result is the same."""
    tables, digests = recipe_tables(recipe), dict[str, str]()
    tables["calibration"] = tables["data"].pop("calibration_samples")
    unread = {"calibration"} if recipe.prune.method != "second-order" else set()
    for step in STEPS:
        names = set(step.tables) - (unread if step.name == "prune" else set())
        digests[step.name] = _digest(step, {name: tables[name] for name in names}, digests, recipe)
    return digests


def _digest(step: Step, read: dict[str, Any], digests: dict[str, str], recipe: Recipe) -> str:
    before = {name: digests[name] for name in step.after}
    values = [step.name, step.revision, read, before, pyfastep.__version__, *_order(read)]
    return digest_of([*values, *_poolings(step.name, recipe)], _files(step.name, recipe))


def _order(tables: dict[str, Any]) -> list[list[str]]:
    """That of the patterns of ``prune.targets``, as the first that matches decides; nothing where they are sorted."""
    patterns = list(tables.get("prune", {}).get("targets", ()))
    return [patterns] if patterns != sorted(patterns) else []


def _files(step: str, recipe: Recipe) -> list[Path]:
    """Files that a step reads and that are here: data, checkpoints. What the hub has is known by its name alone."""
    data = [recipe.data.train, recipe.data.eval] if step == "data" else []
    folders = [_checkpoint_folder(name) for name in _checkpoints(step, recipe)]
    return [path for path in [*map(Path, filter(None, data)), *filter(None, folders)] if path.exists()]


def _checkpoints(step: str, recipe: Recipe) -> list[str]:
    """Those that a step reads, as the recipe names them."""
    read = {
        "data": recipe.model.path,  # its tokenizer
        "dense": recipe.model.path,
        "train": recipe.distill.teacher,
        "qat": recipe.distill.teacher,
    }
    return [read[step]] if read.get(step) else []


def _poolings(step: str, recipe: Recipe) -> list[str]:
    """What is not the mean: it stands in a folder of the checkpoint's own folder, whose files are not looked at."""
    from pyfastep.compress.pooling import read_pooling

    if recipe.task.kind != "sentence-embedding":
        return []
    names = [name for name in _checkpoints(step, recipe) if _checkpoint_folder(name) is not None]
    with suppress(FastEPError):  # the step itself says what is wrong
        return [pooling for pooling in map(read_pooling, names) if pooling != "mean"]
    return []


def _checkpoint_folder(name: str) -> Path | None:
    """None as well where there is no such folder: the step itself says what is wrong."""
    from pyfastep.compress.models import checkpoint_folder

    try:
        return checkpoint_folder(name)
    except FastEPError:
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries without progress bars, advice and caches of their own; as they were afterwards.

    The first two would bury the run's; caches of tokens would lie among the files of finished steps.
    """
    import datasets
    from datasets import utils as bars
    from datasets.utils import logging as datasets_logging
    from transformers.utils import logging as transformers_logging

    level, shown = transformers_logging.get_verbosity(), not bars.are_progress_bars_disabled()
    levels, cached = datasets_logging.get_verbosity(), datasets.is_caching_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    datasets_logging.set_verbosity_error()
    bars.disable_progress_bars()
    datasets.disable_caching()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        datasets_logging.set_verbosity(levels)
        if shown:
            bars.enable_progress_bars()
        if cached:
            datasets.enable_caching()

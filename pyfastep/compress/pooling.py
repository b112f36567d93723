"""How a checkpoint makes one vector of a text's token states, as its files of sentence-transformers say.

``modules.json`` lists the modules that a text goes through, each with the folder of its ``config.json``. The encoder is
what is compressed; the figures and the losses are of the vectors that its users get.
"""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

from pyfastep._text import first_line
from pyfastep.compress.models import TINY, checkpoint_folder
from pyfastep.compress.recipe import Recipe
from pyfastep.errors import FastEPError

__all__ = ["Pooling", "copy_modules", "read_pooling", "recipe_pooling"]

Pooling = Literal["mean", "cls"]
"""The mean of a text's token states, or the state of its first token."""

_MODULES = "modules.json"
_ENCODERS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_FILES = (_MODULES, "config_sentence_transformers.json", *(f"sentence_{name}_config.json" for name in _ENCODERS))
_MODE = "pooling_mode"
_REMEDY = "take modules.json out of the checkpoint to compress the encoder by the mean of its token states"


def recipe_pooling(recipe: Recipe) -> Pooling:
    """That of a recipe's checkpoint if the task is sentence embedding; no other task pools."""
    return read_pooling(recipe.model.path) if recipe.task.kind == "sentence-embedding" else "mean"


def read_pooling(name: str) -> Pooling:
    """The pooling of a checkpoint; the mean where it has no ``modules.json``.

    Args:
        name: As ``model.path`` of a recipe.

    Raises:
        FastEPError: There is no such checkpoint, or its modules do more than pool by mean or first token.
    """
    modules = _read(name, _MODULES)
    if modules is None:
        return "mean"
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        inner = [kind for kind in kinds if kind != "Normalize"]
        if inner != ["Transformer", "Pooling"]:
            raise FastEPError(
                f"expected Transformer, Pooling and Normalize, found {', '.join(kinds)}",
                node=f"{name}/{_MODULES}",
                remedy=_REMEDY,
            )
        place = f"{modules[kinds.index('Pooling')]['path']}/config.json"
        modes = _modes(_read(name, place))
    except (AttributeError, KeyError, TypeError) as error:
        raise FastEPError(f"not as sentence-transformers writes it: {error!r}", node=f"{name}/{_MODULES}") from error
    if modes not in (["mean"], ["cls"]):
        raise FastEPError(
            f"expected a pooling by mean or cls, found {', '.join(modes)}",
            node=f"{name}/{place}",
            remedy=_REMEDY,
        )
    return "cls" if modes == ["cls"] else "mean"


def copy_modules(name: str, folder: Path) -> None:
    """Copies what a checkpoint has for sentence-transformers, so that the folder opens there as well.

    Args:
        name: As ``model.path`` of a recipe.
        folder: Of the compressed model.
    """
    modules = _read(name, _MODULES)
    if modules is None:
        return
    inner = [f"{module['path']}/config.json" for module in modules if module["path"]]
    for file in (*_FILES, *inner):
        found = _find(name, file)
        if found is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, folder / file)


def _modes(config: dict[str, Any]) -> list[str]:
    """Names of the poolings whose results are joined: in one entry, or, before, in one that is true for each."""
    known = config.get(_MODE)
    if known is not None:
        return [known] if isinstance(known, str) else list(known)
    keys = [key.removeprefix(f"{_MODE}_") for key, value in config.items() if key.startswith(_MODE) and value]
    return [key.removesuffix("_token").removesuffix("_tokens") for key in keys] or ["mean"]


def _read(name: str, file: str) -> Any:
    found = _find(name, file)
    try:
        return None if found is None else json.loads(found.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FastEPError(f"not readable as JSON: {first_line(error)}", node=f"{name}/{file}") from error


def _find(name: str, file: str) -> Path | None:
    """A file of a checkpoint, from the hub if the name is one of there; None where the checkpoint has no such file."""
    if name == TINY:
        return None
    folder = checkpoint_folder(name)
    if folder is not None:
        return folder / file if (folder / file).is_file() else None
    hub: Any = importlib.import_module("transformers.utils.hub")
    try:
        found = hub.cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise FastEPError(f"cannot be had from the hub: {first_line(error)}", node=f"{name}/{file}") from error
    return None if found is None else Path(found)

"""Checks of the paths that users give: a model that is there and is one, an output that can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pyfastep._ep import EP_NAME
from pyfastep._model_scan import context_nodes, external_files, is_model
from pyfastep.errors import ModelFileError


def check_model(model: str | os.PathLike[str]) -> Path:
    """The path of a model file, which is there.

    Raises:
        ModelFileError: There is no such file, or it is no ONNX model.
    """
    path = Path(model)
    if not path.is_file():
        problem = "is a folder, expected a model file" if path.is_dir() else "no such model file"
        raise ModelFileError(problem, node=str(path), remedy="check the path")
    if not is_model(path):
        problem = f"not a readable ONNX model ({path.stat().st_size} bytes)"
        raise ModelFileError(problem, node=str(path), remedy="download or export the file again")
    return path


def files_of(model: Path) -> set[Path]:
    """A model file and the files beside it that it reads: external data, compiled plans."""
    plans = {node.location for node in context_nodes(model, EP_NAME) if not node.embedded}
    return {model, *(model.parent / name for name in plans | external_files(model))}


def file_bytes(model: Path) -> int:
    """Size of all of them."""
    return sum(file.stat().st_size for file in files_of(model) if file.is_file())


def check_output(output: str | os.PathLike[str], source: Path, *, beside: Iterable[str] = ()) -> Path:
    """The path of a file that is going to be written.

    Args:
        output: May be there already.
        source: The model file that it is made from.
        beside: Names of further files that are written into the same folder.

    Raises:
        ModelFileError: Its folder is not there, it is a folder itself, or the source reads what would be overwritten.
    """
    path = Path(output)
    if not path.parent.is_dir():
        raise ModelFileError("the output's folder does not exist", node=str(path.parent), remedy="create it")
    if path.is_dir():
        raise ModelFileError("the output is a folder, expected a file name", node=str(path))
    lost = overwritten((path, *map(path.with_name, beside)), files_of(source))
    if lost is not None:
        raise ModelFileError("the output would overwrite its source", node=str(lost), remedy="name another file")
    return path


def overwritten(written: Iterable[Path], read: Iterable[Path]) -> Path | None:
    """The first of the files that are going to be written that is one of those that are read, by whatever name."""
    sources = [file for file in read if file.exists()]
    targets = (target for target in written if target.exists())
    return next((target for target in targets if any(map(target.samefile, sources))), None)

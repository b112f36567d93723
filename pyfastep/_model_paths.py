"""Checks of the paths that users give: a model that is there and is one, an output that can be written."""

from __future__ import annotations

import os
from pathlib import Path

from pyfastep._model_scan import is_model
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


def check_output(output: str | os.PathLike[str], source: Path) -> Path:
    """The path of a model file that is going to be written.

    Args:
        output: May be there already.
        source: The model file that it is made from.

    Raises:
        ModelFileError: Its folder is not there, it is a folder itself, or it is the source.
    """
    path = Path(output)
    if not path.parent.is_dir():
        raise ModelFileError("the output's folder does not exist", node=str(path.parent), remedy="create it")
    if path.is_dir():
        raise ModelFileError("the output is a folder, expected a file name", node=str(path))
    if path.exists() and path.samefile(source):
        raise ModelFileError("the output would overwrite its source", node=str(path), remedy="name another file")
    return path

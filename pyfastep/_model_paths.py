"""Checks of the paths that users give: a model that is there and is one, an output that can be written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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


def data_beside(model: Path) -> Path:
    """Where the tensors of a model of this name are written if they do not fit into it, or are not wanted there."""
    return model.parent / f"{model.name}.data"


def plans_beside(model: Path) -> Path:
    """Where the plans of a compiled model of this name are written."""
    return model.parent / f"{model.stem}_fastep.bin"


def share_permissions(model: Path) -> None:
    """Lets whoever may read a model read its external data, which onnx writes for its owner alone."""
    mode = model.stat().st_mode
    for file in files_of(model) - {model}:
        file.chmod(stat.S_IMODE(mode))


@contextmanager
def replacing(output: Path) -> Iterator[None]:
    """Around the writing of a model: takes away what only the model that was there before read.

    That is, of the files that FastEP names after a model, those that this writing did not make anew and that no other
    model beside it reads. An error takes nothing away.
    """
    # Of a link only the link is replaced: the model that it leads to stays.
    read = set() if output.is_symlink() else files_of(output)
    known = [file for file in (data_beside(output), plans_beside(output)) if file in read and file.exists()]
    before = {file: file.stat() for file in known}
    yield
    for file, state in before.items():
        with suppress(OSError):  # the model is written; what cannot be taken away is only in the way
            if not os.path.samestat(state, file.stat()):
                continue
            if all(os.access(other, os.R_OK) and not _reads(other, file) for other in _others(file, output)):
                file.unlink()


def check_unread(file: Path, model: Path) -> None:
    """Before a file beside a model is written.

    Raises:
        ModelFileError: It is there, and another model of the folder reads it.
    """
    reader = next((other for other in _others(file, model) if _reads(other, file)), None) if file.is_file() else None
    if reader is not None:
        raise ModelFileError(
            f"the output would overwrite {file.name}, which {reader.name} reads",
            node=str(model),
            remedy="give the output another name before its last dot",
        )


def _others(file: Path, model: Path) -> Iterator[Path]:
    return (path for path in file.parent.iterdir() if path.is_file() and path.name not in (file.name, model.name))


def _reads(model: Path, file: Path) -> bool:
    return overwritten([file], files_of(model)) is not None


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

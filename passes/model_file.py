"""Reads and writes model files: everything checked when read, nothing half written."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from .errors import ModelFileError, VerificationError

PROTOBUF_LIMIT = 2**31 - 1
_SMALL_BYTES = 2**16  # read at once: onnx's checks on the graph alone keep tensors of this size
_FILES = "fastep.files"
_RESERVE = 2**24  # graph and small tensors, of a model whose weights are counted alone


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Loads a model; tensors stay in the file until they are used.

    Raises:
        ModelFileError: no such file, no ONNX model, a truncated one, or external data that is missing or too short.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a model file" if path.is_dir() else "no such file"
        raise ModelFileError(what, node=str(path), remedy="give the path of an .onnx file")
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's DecodeError, and whatever parts that are missing lead to
        raise _damaged(path, "not an ONNX model, or a truncated one") from error
    if not len(model.graph) or not model.ir_version:
        raise _damaged(path, "the model has no nodes")
    _take_external(model)
    model.meta[_FILES].add(path)
    return model


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Takes a model that is in memory.

    Raises:
        ModelFileError: it has no nodes, or refers to external data.
    """
    if not proto.graph.node:
        raise ModelFileError("the model has no nodes", node="model")
    model = ir.serde.deserialize_model(proto)
    _take_external(model)
    return model


def _damaged(path: Path, problem: str) -> ModelFileError:
    size = path.stat().st_size
    return ModelFileError(f"{problem} ({size} bytes)", node=str(path), remedy="download or export the file again")


def files_of(model: ir.Model) -> set[Path]:
    """The files that a model was loaded from: its own and those of its external data."""
    return set(model.meta[_FILES])


def _take_external(model: ir.Model) -> None:
    """Checks all external tensors, those of subgraphs included; reads the small ones, and those of Constant nodes."""
    model.meta[_FILES] = set()
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                _check_external(tensor, model)
                value.const_value = _in_memory(tensor) if tensor.nbytes <= _SMALL_BYTES else tensor
        for node in graph:
            for name, attribute in node.attributes.items():
                tensor = attribute.value
                if isinstance(tensor, ir.ExternalTensor):
                    _check_external(tensor, model)
                    node.attributes[name] = ir.AttrTensor(name, _in_memory(tensor))


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _check_external(tensor: ir.ExternalTensor, model: ir.Model) -> None:
    file = Path(tensor.path)
    model.meta[_FILES].add(file)
    if not file.is_file():
        problem = f"its external data file '{file}' is missing"
        raise ModelFileError(problem, node=f"tensor '{tensor.name}'", remedy="put the file beside the model")
    needed = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
    if file.stat().st_size < needed:
        problem = f"its external data file '{file}' has {file.stat().st_size} bytes, expected at least {needed}"
        raise ModelFileError(problem, node=f"tensor '{tensor.name}'", remedy="download or export the file again")


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    tensors = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def needs_external_data(model: ir.Model) -> bool:
    """Whether the tensors of a model do not fit into one file with it."""
    return tensor_bytes(model) > PROTOBUF_LIMIT - _RESERVE


def save(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool = False) -> int:
    """Checks a model and writes it, all or nothing: to a temporary folder beside the target, then renamed.

    Args:
        model: the model.
        path: the target; with external data, `<name>.data` beside it holds the tensors.
        external_data: whether to put tensors into a file of their own; always done above 2 GB.

    Returns:
        Bytes written.

    Raises:
        ModelFileError: the target cannot be written.
        VerificationError: onnx.checker rejects the model.
    """
    path = Path(path)
    external_data = external_data or needs_external_data(model)
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"the folder '{path.parent}' does not exist"
        raise ModelFileError(problem, node=str(path), remedy="give the path of a file in an existing folder")
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix=".fastep-", dir=path.parent)
        return _write(model, path, Path(folder), external_data)
    except OSError as error:
        raise ModelFileError(f"cannot be written: {error.strerror or error}", node=str(path)) from error
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _write(model: ir.Model, path: Path, folder: Path, external_data: bool) -> int:
    draft = folder / path.name
    if external_data:
        data = f"{path.name}.data"
        ir.save(model, draft, external_data=data)
        draft.write_bytes(_drop_repeated_types(onnx.load(draft, load_external_data=False)).SerializeToString())
        _check(draft)
        written = draft.stat().st_size
        if (folder / data).exists():
            written += (folder / data).stat().st_size
            os.replace(folder / data, path.parent / data)
    else:
        ir.external_data.load_to_model(model)
        proto = _drop_repeated_types(ir.serde.serialize_model(model)).SerializeToString()
        _check(proto)
        draft.write_bytes(proto)
        written = len(proto)
    os.replace(draft, path)
    return written


def _drop_repeated_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Initializers say what they are; ONNX Runtime keeps in memory whatever else says it."""
    told = {tensor.name for tensor in model.graph.initializer}
    others = [value for value in model.graph.value_info if value.name not in told]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    return model


def _check(model: bytes | Path) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError, InferenceError and bare RuntimeErrors of the C++ side
        problem = f"onnx.checker rejects the converted model: {' '.join(str(error).split())}"
        raise VerificationError(problem, node="model", remedy="check the source with onnx.checker first") from error

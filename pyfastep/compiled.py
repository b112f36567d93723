"""Compiled models: everything that FastEP runs packed for one instruction tier, so that a session starts at once."""

from __future__ import annotations

import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyfastep import _ep
from pyfastep._model_paths import check_model, check_output, check_unread, plans_beside, replacing
from pyfastep._model_scan import VOCABULARY, ContextNode, append_metadata, context_nodes, fastep_nodes, table_rows
from pyfastep.errors import FastEPError

# ep/ops/plan_blob.h: magic, format, bytes of the header, of the plan, its fields and its arrays, checksum, then texts.
_HEADER = struct.Struct("<8sII3Q16s32s32s16s")
_MAGIC = b"FastEPPL"


@dataclass(frozen=True)
class CompiledPlan:
    """One subgraph of a compiled model.

    Attributes:
        partition: Its name.
        tier: The instruction tier that it was packed for.
        fastep_version: Of the library that packed it, the only one that reads it.
        file: Where it stands: the model itself, or a file beside it.
        bytes: Size there.
    """

    partition: str
    tier: str
    fastep_version: str
    file: Path
    bytes: int


def compile_model(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    embed: bool = False,
    max_tier: str | None = None,
    strict: bool = True,
) -> list[CompiledPlan]:
    """Write a model whose `fastep` nodes are packed already: its sessions start in milliseconds.

    The compiled model needs FastEP of the same version and a CPU that runs its tier; on any other it is refused with
    an error. Keep the source: it runs everywhere. Without `embed` the plans go into `<output stem>_fastep.bin`, which
    sessions map instead of reading it: processes share the memory, and rows of embedding tables come when they are
    used.

    Args:
        model: A converted model (`pyfastep.convert`).
        output: Where the compiled one goes.
        embed: Put the plans into the model itself: one file, but ONNX Runtime keeps a second copy of them in memory.
        max_tier: Pack for no better tier than this, for machines that have less than this one.
        strict: Make it an error if FastEP does not run a `fastep` node. Otherwise its function body is stored.

    Returns:
        What was compiled.

    Raises:
        ModelFileError: The model is not there or is none, or the output cannot be written, or it would overwrite what
            the model or another compiled one reads.
        FastEPError: Nothing to compile, a bad tier, or with `strict` a node that FastEP does not run.
        Exception: What ONNX Runtime raises for a model that it cannot load.
    """
    source = check_model(model)
    target = check_output(output, source, beside=() if embed else [plans_beside(Path(output)).name])
    if not embed:
        check_unread(plans_beside(target), target)
    if context_nodes(source, _ep.EP_NAME):
        raise FastEPError("the model is compiled already", node=str(source), remedy="compile the converted model")
    if not fastep_nodes(source):
        raise FastEPError(
            "the model has no fastep nodes to compile", node=str(source), remedy="fastep convert it first"
        )
    options = {"strict": str(int(strict))} | ({"max_tier": max_tier} if max_tier is not None else {})
    # In a folder of its own first, so that a failure leaves nothing, and what was there stays until all is written.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        draft = Path(folder) / target.name
        _run_compiler(source, draft, embed, options)
        if not draft.is_file():
            raise FastEPError("ONNX Runtime compiled nothing", node=str(source))
        append_metadata(draft, {VOCABULARY: str(rows)} if (rows := table_rows(source, "input_ids")) else {})
        with replacing(target):
            if plans_beside(draft).is_file():
                plans_beside(draft).replace(plans_beside(target))
            draft.replace(target)
    return read_plans(target)


def _run_compiler(source: Path, output: Path, embed: bool, options: dict[str, str]) -> None:
    runtime = _ep.import_onnxruntime()
    _ep.register()
    session_options = runtime.SessionOptions()
    session_options.log_severity_level = 3
    # Only what is true on every machine; the rest is optimized when the compiled model is opened.
    session_options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session_options.add_provider_for_devices(_ep.get_devices(), options)
    for key, value in (("enable", "1"), ("file_path", str(output)), ("embed_mode", str(int(embed)))):
        session_options.add_session_config_entry(f"ep.context_{key}", value)
    try:
        runtime.InferenceSession(str(source), session_options)
    except Exception as error:  # ONNX Runtime's errors share no base
        if f"{_ep.EP_NAME}: " in str(error) or "set the option strict to 0" in str(error):
            raise FastEPError(str(error).rpartition(" : ")[2]) from error
        raise


def read_plans(model: str | os.PathLike[str]) -> list[CompiledPlan]:
    """What the compiled model says about its plans; empty for a model that was not compiled.

    Raises:
        FastEPError: A plan is not where the model says, or is none.
    """
    path = Path(model)
    return [_read_plan(path, node) for node in context_nodes(path, _ep.EP_NAME)]


def _read_plan(model: Path, node: ContextNode) -> CompiledPlan:
    file = model if node.embedded else model.parent / node.location
    try:
        data = file.open("rb")
    except OSError as error:
        raise FastEPError(f"the plans of the compiled model cannot be read: {error}", node=str(model)) from error
    with data:
        at, end = (node.begin, node.end) if node.embedded else (0, file.stat().st_size)
        while at < end:
            data.seek(at)
            header = _unpack(data.read(_HEADER.size), file)
            name_at = at + header["header_bytes"]
            data.seek(name_at)
            (length,) = struct.unpack("<Q", data.read(8).ljust(8, b"\0"))
            if data.read(min(length, end - name_at)).decode("utf-8", "replace") == node.partition:
                return CompiledPlan(node.partition, header["tier"], header["version"], file, header["bytes"])
            at += header["bytes"]
    raise FastEPError(f"the plan of {node.partition!r} is not in {file}", node=str(model), remedy="fastep compile")


def _unpack(data: bytes, file: Path) -> dict[str, Any]:
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise FastEPError("expected a compiled plan, found other bytes", node=str(file), remedy="fastep compile")
    _, _, header_bytes, total, _, _, _, version, _, tier = _HEADER.unpack(data)
    texts = {"version": version, "tier": tier}
    found: dict[str, Any] = {name: text.rstrip(b"\0").decode("utf-8", "replace") for name, text in texts.items()}
    return found | {"header_bytes": header_bytes, "bytes": max(total, 1)}

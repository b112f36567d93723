"""Compiled models: written by ONNX Runtime with the provider, opened again, and their files taken apart."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from . import doors

PAGE, HEADER, MAGIC = 4096, 192, b"FastEPPL"
_WORD = 1 << 64
_CHUNK = 1 << 20


def compile_model(
    library: Path, source: Path, compiled: Path, embed: bool = False, options: dict[str, str] | None = None
) -> None:
    """By session configuration: the way that every version of ONNX Runtime has."""
    config = {
        "ep.context_enable": "1",
        "ep.context_file_path": str(compiled),
        "ep.context_embed_mode": str(int(embed)),
    }
    open_file(library, source, options, config)


def compile_by_api(library: Path, source: Path, compiled: Path, embed: bool = False) -> None:
    """By ModelCompiler."""
    compiler = onnxruntime.ModelCompiler(
        _options(library, None, None), str(source), embed_compiled_data_into_model=embed
    )
    compiler.compile_to_file(str(compiled))


def open_file(
    library: Path,
    model: Path | bytes,
    options: dict[str, str] | None = None,
    config: dict[str, str] | None = None,
) -> onnxruntime.InferenceSession:
    """A session through the provider."""
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), _options(library, options, config)
    )


def _options(library: Path, options: dict[str, str] | None, config: dict[str, str] | None) -> Any:
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 4
    session_options.intra_op_num_threads = 1
    for key, value in (config or {}).items():
        session_options.add_session_config_entry(key, value)
    session_options.add_provider_for_devices(doors.devices(library), {"strict": "1"} | (options or {}))
    return session_options


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def plans_of(compiled: Path) -> Path:
    return compiled.with_name(f"{compiled.stem}_fastep.bin")


def blobs(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each plan in a file of them."""
    found, at = [], 0
    while at < len(data):
        assert data[at : at + 8] == MAGIC
        (size,) = struct.unpack_from("<Q", data, at + 16)
        found.append((at, at + size))
        at += size
    return found


def with_checksum(blob: bytes | bytearray) -> bytes:
    """The same plan, its checksum set right: what a forger would write."""
    body = _Hash()
    for at in range(HEADER, len(blob), _CHUNK):
        body.add(bytes(blob[at : at + _CHUNK]))
    header = bytearray(blob[:HEADER])
    header[40:56] = bytes(16)
    whole = _Hash()
    whole.add(bytes(header))
    for word in body.value:
        whole.add_word(word)
    header[40:56] = struct.pack("<2Q", *whole.value)
    return bytes(header) + bytes(blob[HEADER:])


class _Hash:
    """ep/core/hash.h, word by word."""

    def __init__(self) -> None:
        self.value = (1, 2)

    def add_word(self, word: int) -> None:
        first, second = self.value
        first, second = (first ^ word) * 0x9E3779B97F4A7C15 % _WORD, (second + word) * 0xC2B2AE3D27D4EB4F % _WORD
        self.value = ((first << 29 | first >> 35) % _WORD, (second << 31 | second >> 33) % _WORD)

    def add(self, data: bytes) -> None:
        self.add_word(len(data))
        for (word,) in struct.iter_unpack("<Q", data.ljust(-(-len(data) // 8) * 8, b"\0")):
            self.add_word(word)

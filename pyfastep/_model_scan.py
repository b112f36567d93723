"""The `fastep` nodes of a model file, read without the package `onnx` and without touching the weights.

Only the few protobuf fields on the way to the nodes are followed; everything else, weights above all, is skipped, so
that a memory-mapped model of any size is scanned in milliseconds. Field numbers: onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "fastep"

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 2, 3, 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class FastepNode:
    """A node of the domain `fastep`, named by its first output where it has no name."""

    name: str
    op_type: str


def fastep_nodes(model: str | os.PathLike[str] | bytes) -> list[FastepNode]:
    """All `fastep` nodes of an ONNX model, subgraphs included.

    Empty for what is not an ONNX protobuf (an .ort file, a damaged one): ONNX Runtime says what is wrong with it.
    """
    try:
        if isinstance(model, bytes):
            return list(_nodes_of_model(memoryview(model)))
        with Path(model).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                return list(_nodes_of_model(view))
            finally:
                view.release()
    except (OSError, ValueError, IndexError):
        return []


def _nodes_of_model(model: memoryview) -> Iterator[FastepNode]:
    for field, start, end in _fields(model, 0, len(model)):
        if field == _MODEL_GRAPH:
            yield from _nodes_of_graph(model, start, end)


def _nodes_of_graph(model: memoryview, start: int, end: int) -> Iterator[FastepNode]:
    for field, node_start, node_end in _fields(model, start, end):
        if field == _GRAPH_NODE:
            yield from _node(model, node_start, node_end)


def _node(model: memoryview, start: int, end: int) -> Iterator[FastepNode]:
    texts: dict[int, str] = {}
    for field, at, stop in _fields(model, start, end):
        if field in (_NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_DOMAIN):
            texts.setdefault(field, bytes(model[at:stop]).decode("utf-8", "replace"))
        elif field == _NODE_ATTRIBUTE:
            for inner, graph_start, graph_end in _fields(model, at, stop):
                if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield from _nodes_of_graph(model, graph_start, graph_end)
    if texts.get(_NODE_DOMAIN) == DOMAIN:
        yield FastepNode(texts.get(_NODE_NAME) or texts.get(_NODE_OUTPUT, ""), texts.get(_NODE_OP_TYPE, ""))


def _fields(data: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every length-delimited field of a message; others are skipped."""
    while position < end:
        key, position = _varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            _, position = _varint(data, position)
        elif wire == _FIXED64:
            position += 8
        elif wire == _FIXED32:
            position += 4
        elif wire == _BYTES:
            length, position = _varint(data, position)
            if position + length > end:
                raise ValueError("truncated message")
            yield key >> 3, position, position + length
            position += length
        else:
            raise ValueError(f"wire type {wire} is not used by ONNX")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

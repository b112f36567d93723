"""The little that must be known of a model file, read without the package `onnx` and without touching the weights.

Only the few protobuf fields on the way to the nodes are followed; everything else, weights above all, is skipped, so
that a memory-mapped model of any size is scanned in milliseconds. Field numbers: onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

DOMAIN = "fastep"
VOCABULARY = "fastep.vocabulary"  # metadata of a compiled model: rows of the table that token ids index

_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTION = 7, 14, 25
_FUNCTION_NODE = 7
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 10, 6, 11
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT = 1, 3, 4
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL = 1, 8, 13
_ORT_MARK = slice(4, 8)  # the place of a flatbuffer's identifier
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FastepNode:
    """A node of the domain `fastep`, named by its first output where it has no name."""

    name: str
    op_type: str


def fastep_nodes(model: str | os.PathLike[str] | bytes) -> list[FastepNode]:
    """All `fastep` nodes of an ONNX model, subgraphs included.

    Empty for what is not an ONNX protobuf (an .ort file, a damaged one): ONNX Runtime says what is wrong with it.
    """
    return _scan(model, _find_fastep_nodes, [])


def external_files(model: str | os.PathLike[str] | bytes) -> set[str]:
    """Where the model's own tensors stand outside of it: file names relative to its folder."""
    return _scan(model, _find_external_files, set())


@dataclass(frozen=True)
class ContextNode:
    """A subgraph that an execution provider compiled: its content is in the model, or in a file beside it."""

    partition: str
    embedded: bool
    location: str  # of the file; empty where embedded
    begin: int  # of the content in the model
    end: int


def context_nodes(model: str | os.PathLike[str] | bytes, source: str) -> list[ContextNode]:
    """All subgraphs of a compiled model that the execution provider `source` compiled."""
    return _scan(model, lambda data: _find_context_nodes(data, source), [])


def table_rows(model: str | os.PathLike[str] | bytes, ids: str) -> int | None:
    """Rows of the table that a Gather, or a fused embedding, indexes with the input `ids`; `None` where there is none.

    The table may be quantized: Gather from DequantizeLinear from the initializer.
    """
    return _scan(model, lambda data: _find_table_rows(data, ids), None)


def metadata(model: str | os.PathLike[str] | bytes, key: str) -> str | None:
    """An entry of the model's metadata; `None` where there is none of this key."""
    return _scan(model, lambda data: _find_metadata(data).get(key), None)


def append_metadata(model: Path, entries: Mapping[str, str]) -> None:
    """Adds entries to the metadata of a model file: a repeated field of a protobuf may be appended to its end."""
    with model.open("ab") as file:
        for key, value in entries.items():
            texts = zip((_ENTRY_KEY, _ENTRY_VALUE), (key.encode(), value.encode()), strict=True)
            file.write(_message(_MODEL_METADATA, b"".join(_message(number, text) for number, text in texts)))


def _message(number: int, content: bytes) -> bytes:
    """A field of bytes, a text or a message, of less than 128 bytes."""
    if len(content) > 0x7F:
        raise ValueError(f"{len(content)} bytes")
    return bytes([number << 3 | _BYTES, len(content)]) + content


def is_plain_onnx(model: str | os.PathLike[str] | bytes) -> bool:
    """Whether it is an ONNX model, and not one in ONNX Runtime's own format, whose nodes are not looked for here."""
    return _scan(model, lambda data: bytes(data[_ORT_MARK]) != b"ORTM" and _has_graph(data), False)


def is_model(model: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file is an ONNX model as far as can be told from outside its graph: whole, and with one.

    So is a model in ONNX Runtime's own format (.ort).
    """
    return _scan(model, _has_graph, False)


def _scan(model: str | os.PathLike[str] | bytes, find: Callable[[memoryview], _Result], default: _Result) -> _Result:
    try:
        if isinstance(model, bytes):
            return find(memoryview(model))
        with Path(model).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                return find(view)
            finally:
                view.release()
    except (OSError, ValueError, IndexError, RecursionError):  # the last: what only looks like a model
        return default


def _has_graph(data: memoryview) -> bool:
    if bytes(data[_ORT_MARK]) == b"ORTM":
        return True
    # All fields: a file that was cut off ends within one.
    return _MODEL_GRAPH in [part.number for part in _fields(data, 0, len(data))]


def _find_fastep_nodes(data: memoryview) -> list[FastepNode]:
    nodes = [node for graph in _fields(data, 0, len(data), _MODEL_GRAPH) for node in _nodes(data, graph)]
    return [FastepNode(node.name or node.outputs[0], node.op_type) for node in nodes if node.domain == DOMAIN]


def _find_metadata(data: memoryview) -> dict[str, str]:
    entries = {}
    for entry in _fields(data, 0, len(data), _MODEL_METADATA):
        parts = {part.number: _text(data, part) for part in _fields(data, entry.start, entry.end)}
        entries[parts.get(_ENTRY_KEY, "")] = parts.get(_ENTRY_VALUE, "")
    return entries


def _find_external_files(data: memoryview) -> set[str]:
    found = set()
    for tensor in _tensors_of_model(data):
        for entry in _fields(data, tensor.start, tensor.end, _TENSOR_EXTERNAL):
            parts = {part.number: _text(data, part) for part in _fields(data, entry.start, entry.end)}
            if parts.get(_ENTRY_KEY) == "location":
                found.add(parts.get(_ENTRY_VALUE, ""))
    return found


def _tensors_of_model(data: memoryview) -> Iterator[_Field]:
    for graph in _fields(data, 0, len(data), _MODEL_GRAPH):
        yield from _tensors(data, graph)
    for function in _fields(data, 0, len(data), _MODEL_FUNCTION):
        yield from _constants(data, function, _FUNCTION_NODE)


def _tensors(data: memoryview, graph: _Field) -> Iterator[_Field]:
    """The initializers and constants of a graph and of the graphs within its nodes' attributes."""
    yield from _fields(data, graph.start, graph.end, _GRAPH_INITIALIZER)
    yield from _constants(data, graph, _GRAPH_NODE)


def _constants(data: memoryview, owner: _Field, nodes: int) -> Iterator[_Field]:
    """The tensors in attributes of the nodes of a graph or function, and in graphs within them."""
    for node in _fields(data, owner.start, owner.end, nodes):
        for attribute in _fields(data, node.start, node.end, _NODE_ATTRIBUTE):
            yield from _fields(data, attribute.start, attribute.end, _ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS)
            for inner in _fields(data, attribute.start, attribute.end, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                yield from _tensors(data, inner)


def _find_context_nodes(data: memoryview, source: str) -> list[ContextNode]:
    found = []
    for graph in _fields(data, 0, len(data), _MODEL_GRAPH):
        for part in _fields(data, graph.start, graph.end, _GRAPH_NODE):
            fields = list(_fields(data, part.start, part.end))
            if not any(item.number == _NODE_OP_TYPE and _text(data, item) == "EPContext" for item in fields):
                continue
            attributes = dict(_attribute(data, item) for item in fields if item.number == _NODE_ATTRIBUTE)
            if "source" not in attributes or _text(data, attributes["source"]) != source:
                continue
            content, partition = attributes.get("ep_cache_context"), attributes.get("partition_name")
            if content is None or partition is None:
                continue
            embedded = "embed_mode" not in attributes or attributes["embed_mode"].value != 0
            location = "" if embedded else _text(data, content)
            found.append(ContextNode(_text(data, partition), embedded, location, content.start, content.end))
    return found


def _attribute(data: memoryview, attribute: _Field) -> tuple[str, _Field]:
    """Its name, and its text or whole number."""
    name, value = "", attribute
    for item in _fields(data, attribute.start, attribute.end, _ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT):
        if item.number == _ATTRIBUTE_NAME:
            name = _text(data, item)
        else:
            value = item
    return name, value


def _find_table_rows(data: memoryview, ids: str) -> int | None:
    for graph in _fields(data, 0, len(data), _MODEL_GRAPH):
        nodes = list(_nodes(data, graph))
        tables = [table for node in nodes if (table := _table_of(node, ids)) is not None]
        sources = {node.outputs[0]: node.inputs[0] for node in nodes if node.op_type == "DequantizeLinear"}
        names = {sources.get(table, table) for table in tables}
        for tensor in _fields(data, graph.start, graph.end, _GRAPH_INITIALIZER):
            parts = list(_fields(data, tensor.start, tensor.end))
            name = next((_text(data, part) for part in parts if part.number == _TENSOR_NAME), "")
            rows = next((part.value for part in parts if part.number == _TENSOR_DIMS), 0)
            if name in names and rows > 0:
                return rows
    return None


def _table_of(node: _Node, ids: str) -> str | None:
    """The table that a node indexes with `ids`."""
    if node.op_type == "Gather" and node.inputs[1:] == [ids]:
        return node.inputs[0]
    if node.domain == DOMAIN and node.op_type.startswith("EmbedLayerNorm") and node.inputs[:1] == [ids]:
        # docs/op-contract-encoder.md: ids, then positions unless they are counted, token types if any, tables
        place = 1 + ("_counted" not in node.op_type) + ("_type" in node.op_type)
        return node.inputs[place] if place < len(node.inputs) else None
    return None


@dataclass
class _Node:
    name: str = ""
    op_type: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


class _Field(NamedTuple):
    """One field of a message: bytes from `start` to `end`, or the number `value`."""

    number: int
    start: int
    end: int
    value: int


def _nodes(data: memoryview, graph: _Field) -> Iterator[_Node]:
    """The nodes of a graph and of the graphs within their attributes."""
    for part in _fields(data, graph.start, graph.end, _GRAPH_NODE):
        node = _Node()
        for item in _fields(data, part.start, part.end):
            if item.number == _NODE_INPUT:
                node.inputs.append(_text(data, item))
            elif item.number == _NODE_OUTPUT:
                node.outputs.append(_text(data, item))
            elif item.number == _NODE_NAME:
                node.name = _text(data, item)
            elif item.number == _NODE_OP_TYPE:
                node.op_type = _text(data, item)
            elif item.number == _NODE_DOMAIN:
                node.domain = _text(data, item)
            elif item.number == _NODE_ATTRIBUTE:
                for inner in _fields(data, item.start, item.end, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield from _nodes(data, inner)
        yield node


def _text(data: memoryview, item: _Field) -> str:
    return bytes(data[item.start : item.end]).decode("utf-8", "replace")


def _fields(data: memoryview, position: int, end: int, *wanted: int) -> Iterator[_Field]:
    """The fields of a message that are texts, bytes, messages or whole numbers; `wanted` restricts their numbers."""
    while position < end:
        key, position = _varint(data, position)
        number, wire, value, start = key >> 3, key & 7, 0, position
        if wire == _VARINT:
            value, position = _varint(data, position)
        elif wire == _BYTES:
            length, start = _varint(data, position)
            position = start + length
        elif wire in (_FIXED32, _FIXED64):
            position += 4 if wire == _FIXED32 else 8
            continue
        else:
            raise ValueError(f"wire type {wire} is not used by ONNX")
        if position > end:
            raise ValueError("truncated message")
        if not wanted or number in wanted:
            yield _Field(number, start, position, value)


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

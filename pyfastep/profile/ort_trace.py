"""What ONNX Runtime's own profile says of each run: how long every node took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class TracedNode:
    """One node of ONNX Runtime's graph in one run, without the nodes of its subgraphs (If, Loop).

    Attributes:
        name: Of the node.
        op_type: Its operator; of a fused node ONNX Runtime's name for it.
        provider: The execution provider that ran it.
        ms: Milliseconds.
    """

    name: str
    op_type: str
    provider: str
    ms: float


def read_trace(path: Path) -> list[list[TracedNode]]:
    """The nodes of every run, runs and nodes in the order in which they started.

    Source of the format: the JSON that `InferenceSession.end_profiling` names, Chrome's trace events.
    """
    events = [e for e in json.loads(path.read_text(encoding="utf-8")) if e.get("ph") == "X"]
    runs = sorted((e for e in events if e["name"] == "model_run"), key=_start)
    nodes = sorted(
        (e for e in events if e.get("cat") == "Node" and e["name"].endswith(_SUFFIX)),
        key=lambda e: (_start(e), -_ms(e)),
    )
    return [_nodes_within(run, nodes) for run in runs]


def _start(event: dict[str, Any]) -> float:
    return float(event["ts"])


def _end(event: dict[str, Any]) -> float:
    return float(event["ts"]) + float(event["dur"])


def _ms(event: dict[str, Any]) -> float:
    return float(event["dur"]) / 1e3


def _nodes_within(run: dict[str, Any], nodes: list[dict[str, Any]]) -> list[TracedNode]:
    inside = [e for e in nodes if _start(run) <= _start(e) and _end(e) <= _end(run)]
    own = [_ms(e) for e in inside]
    around: list[int] = []  # nodes that the current one runs in
    for i, event in enumerate(inside):
        while around and _end(inside[around[-1]]) < _end(event):
            around.pop()
        if around and event["tid"] == inside[around[-1]]["tid"]:
            own[around[-1]] -= _ms(event)
        around.append(i)
    return [
        TracedNode(
            e["name"].removesuffix(_SUFFIX), e["args"].get("op_name", ""), e["args"].get("provider", ""), max(0.0, ms)
        )
        for e, ms in zip(inside, own, strict=True)
    ]

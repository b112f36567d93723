"""Which layer of the model, and which family of ops, each step of a plan belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyfastep.profile.recording import RecordedStep

EMBEDDINGS, HEAD, MODEL = "embeddings", "head", "model"
PROJECTIONS, OUTPUT, UP, DOWN, LINEAR = "linear q k v", "linear out", "linear up", "linear down", "linear"

_TRANSFERS = ("import", "export", "copy", "repack")
_FAMILIES = {"sum": "norm", **dict.fromkeys(_TRANSFERS, "transfer")}
_NUMBER = re.compile(r"_?\d+")  # encoder.layer.3, encoder/layer_._3
_NUMBERED = re.compile(r"[A-Za-z_]+_\d+")  # encoder/layer_3
_NORMS_PER_LAYER = 2


def families(steps: Sequence[RecordedStep]) -> list[str]:
    """The family of every step: linears by their place around attention and by their shape, others by their op."""
    found = [_FAMILIES.get(step.op, step.op) for step in steps]
    attentions = [i for i, step in enumerate(steps) if _is_attention(step)]
    for i in attentions:
        found[_first_projection(steps, i) : i] = [
            PROJECTIONS if family == LINEAR else family for family in found[_first_projection(steps, i) : i]
        ]
    for i in attentions:
        wanted = [OUTPUT, UP, DOWN]
        for j in range(i + 1, len(steps)):
            if _is_attention(steps[j]) or not wanted:
                break
            product = steps[j].product
            if product is None or found[j] != LINEAR:
                continue
            place = (
                OUTPUT if OUTPUT in wanted else UP if product.n > product.k else DOWN if product.n < product.k else ""
            )
            if place in wanted:
                found[j] = place
                wanted.remove(place)
    return found


def layers(steps: Sequence[RecordedStep]) -> list[str]:
    """The layer of every step, from the names of its nodes; where those do not tell, from the order of steps.

    Steps before the first layer are the `embeddings`, those behind the last one the `head`.
    """
    return _fill(_by_names(steps) or _by_order(steps))


def _is_attention(step: RecordedStep) -> bool:
    return "attention" in step.op


def _first_projection(steps: Sequence[RecordedStep], attention: int) -> int:
    """The first of the linears that stand directly before an attention."""
    first = attention
    while first > 0 and steps[first - 1].op in ("linear", *_TRANSFERS):
        first -= 1
    return first


def _by_names(steps: Sequence[RecordedStep]) -> list[str | None] | None:
    """Prefixes of node names up to a number, such that every attention has a prefix of its own."""
    for pattern in (_NUMBER, _NUMBERED):
        for depth in range(3):
            found = [_prefix(step.nodes, pattern, depth) for step in steps]
            attention = [layer for step, layer in zip(steps, found, strict=True) if _is_attention(step)]
            distinct = None not in attention and len(set(attention)) == len(attention)
            if distinct and len({layer for layer in found if layer}) > 1:
                return _shorten(found)
    return None


def _prefix(nodes: Sequence[str], pattern: re.Pattern[str], depth: int) -> str | None:
    for node in nodes:
        # The last part names the node itself: MatMul_7 is no layer.
        parts = list(re.finditer(r"[^/.]+", node))[:-1]
        ends = [part.end() for part in parts if pattern.fullmatch(part[0])]
        if len(ends) > depth:
            return node[: ends[depth]].strip("/")
    return None


def _shorten(found: list[str | None]) -> list[str | None]:
    """`layer.3` instead of `bert/encoder/layer.3`, where that tells the layers apart."""

    def tail(layer: str) -> str:
        parts = re.split(r"([/.])", layer)
        return "".join(parts[-1:] if re.search("[A-Za-z]", parts[-1]) else parts[-3:])

    prefixes = {layer for layer in found if layer}
    if len({tail(layer) for layer in prefixes}) < len(prefixes):
        return found
    return [tail(layer) if layer else None for layer in found]


def _by_order(steps: Sequence[RecordedStep]) -> list[str | None]:
    """A layer goes from the projections of its attention to those of the next one, the last to its second norm."""
    found: list[str | None] = [None] * len(steps)
    begins = [_first_projection(steps, i) for i, step in enumerate(steps) if _is_attention(step)]
    for number, begin in enumerate(begins):
        norms = [i for i in range(begin, len(steps)) if steps[i].op == "norm"][:_NORMS_PER_LAYER]
        end = begins[number + 1] if number + 1 < len(begins) else norms[-1] + 1 if norms else len(steps)
        found[begin:end] = [f"layer {number}"] * (end - begin)
    return found


def _fill(found: list[str | None]) -> list[str]:
    """Steps between layers belong to the one before."""
    known = [i for i, layer in enumerate(found) if layer is not None]
    if not known:
        return [MODEL] * len(found)
    filled: list[str] = []
    for i, layer in enumerate(found):
        filled.append(layer or (EMBEDDINGS if i < known[0] else HEAD if i > known[-1] else filled[-1]))
    return filled

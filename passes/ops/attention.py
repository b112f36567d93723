"""What QAttention and FAttention share: names, attributes, heads and masks."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
import onnx

from . import DOMAIN
from .body import Body

Array = npt.NDArray[Any]
OutputType = Literal["f32", "u8", "s8"]
MaskKind = Literal["", "mask", "bias"]

NUM_HEADS, HEAD_SIZE, SCALE = "num_heads", "head_size", "scale"
SKIP_PADDING = "skip_padding"
"""Not 0: no output of the model shows what is computed at right padding of the raw mask."""

TYPES: dict[str, type[np.integer[Any]]] = {"u8": np.uint8, "s8": np.int8}
HIDDEN = np.float32(-1e30)
"""A bias below hides the key."""
LOG2_E = np.float64(1.4426950408889634)

_Variant = TypeVar("_Variant", bound="AttentionVariant")
_VARIANT = re.compile(r"_(?P<y_type>f32|u8|s8)(?:_(?P<mask>mask|bias))?")


@dataclasses.dataclass(frozen=True)
class AttentionVariant:
    """What the name of an attention says.

    Attributes:
        family: the part of the name before the variant.
        y_type: element type of y.
        mask: `mask` (the raw `[B, S]`), `bias` (added to the scores) or empty.
    """

    family: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()
    """Inputs between v and the mask."""

    y_type: OutputType
    mask: MaskKind

    @property
    def name(self) -> str:
        """The op name, `<family>_{f32|{q}}[_mask|_bias]`."""
        return f"{self.family}_{self.y_type}" + (f"_{self.mask}" if self.mask else "")

    @classmethod
    def parse(cls: type[_Variant], name: str) -> _Variant | None:
        """Reads an op name; None if it is not one of the family."""
        match = _VARIANT.fullmatch(name.removeprefix(cls.family)) if name.startswith(cls.family) else None
        if match is None:
            return None
        return cls(cast(OutputType, match["y_type"]), cast(MaskKind, match["mask"] or ""))

    @classmethod
    def all(cls: type[_Variant]) -> list[_Variant]:
        """Every variant that the contract knows."""
        return [cls(y_type, mask) for y_type in ("f32", "u8", "s8") for mask in ("", "mask", "bias")]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        mask = ("mask",) if self.mask else ()
        output = () if self.y_type == "f32" else ("y_scale", "y_zero_point")
        return ("q", "k", "v", *self.parameters, *mask, *output)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return (NUM_HEADS, HEAD_SIZE, SCALE)


def split_heads(x: Array, num_heads: int) -> Array:
    """`[B, S, H]` to `[B, h, S, d]`."""
    batch, length, features = x.shape
    return np.asarray(x.reshape(batch, length, num_heads, features // num_heads).swapaxes(1, 2))


def round_to(y: Array, y_type: OutputType) -> Array:
    """Clamp(rne(y)) of what is on the scale of a quantized output."""
    info = np.iinfo(TYPES[y_type])
    return np.asarray(np.clip(np.rint(y), info.min, info.max).astype(info.dtype))


def add_heads(body: Body) -> None:
    """`[B, S, H]` to `[B, h, S, d]`, and k to `[B, h, d, S]`."""
    one = body.ints("one", [1])
    sizes = [
        body.add("Reshape", [body.attribute(f"{name}_value", name, "value_int"), one], f"{name}_1d")
        for name in (NUM_HEADS, HEAD_SIZE)
    ]
    shape = body.add("Concat", [body.ints("kept", [0, 0]), *sizes], "heads_shape", axis=0)
    for operand in "qkv":
        body.add("Reshape", [operand, shape], f"{operand}_split")
        permutation = [0, 2, 3, 1] if operand == "k" else [0, 2, 1, 3]
        body.add("Transpose", [f"{operand}_split"], f"{operand}_heads", perm=permutation)


def add_bias(body: Body, mask: MaskKind) -> str:
    """What is added to the scores; the largest value for each query goes to `best_bias`."""
    bias = "mask"
    if mask == "mask":
        body.add("Cast", ["mask"], "visible", to=onnx.TensorProto.BOOL)
        lowest = body.scalar("lowest", float(np.finfo(np.float32).min))
        body.add("Where", ["visible", body.scalar("nothing", 0.0), lowest], "by_key")
        bias = body.add("Unsqueeze", ["by_key", body.ints("head_and_query", [1, 2])], "bias")
    body.reduce("ReduceMax", bias, -1, "best_bias")
    return bias


def add_result(body: Body, y_type: OutputType, heads: str) -> None:
    """`[B, h, S, d]` to `[B, S, H]`, quantized if it has to be."""
    if y_type != "f32":
        heads = body.add("QuantizeLinear", [heads, "y_scale", "y_zero_point"], "quantized")
    body.add("Transpose", [heads], "by_token", perm=[0, 2, 1, 3])
    body.add("Reshape", ["by_token", body.ints("flat_shape", [0, 0, -1])], "y")


def make_function(variant: AttentionVariant, body: Body, opset: int) -> onnx.FunctionProto:
    """The function of a variant."""
    return onnx.helper.make_function(
        DOMAIN,
        variant.name,
        list(variant.inputs),
        ["y"],
        body.nodes,
        [onnx.helper.make_opsetid("", opset)],
        attributes=list(variant.attributes),
        attribute_protos=[onnx.helper.make_attribute(SKIP_PADDING, 0)] if variant.mask == "mask" else [],
    )

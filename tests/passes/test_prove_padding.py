"""The proof that no output shows right padding, held against what heads really compute."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from pyfastep.passes.errors import ConversionError
from pyfastep.passes.infer_shapes import InferShapesPass
from pyfastep.passes.ops.attention import SKIP_PADDING
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.prove_padding import METADATA_KEY, NOT_SHARED, PaddingMode, ProvePaddingPass

from .encoders import encoder_model
from .models import Array, run, to_ir
from .padding_heads import (
    FEATURES,
    HIDES,
    MAY_BE_NAN,
    SHOWS,
    Head,
    HeadBuilder,
    all_tokens,
    first_token,
    head_model,
    second_token,
)

SHAPES = [(1, 1), (1, 5), (3, 4), (2, 7), (4, 4)]


def masks(batch: int, length: int) -> list[Array]:
    """Right padding of every length down to none visible, left padding, holes."""
    ends = np.arange(batch)[:, None] * 2 % (length + 1)
    right = np.arange(length) < ends
    holes = (np.arange(batch * length).reshape(batch, length) % 3 == 0) & (np.arange(length) <= length // 2)
    return [mask.astype(np.int64) for mask in (right, ~right, right[::-1], holes, right * 0, right * 0 + 1)]


def differs(head: Head) -> bool:
    """Whether zeros at right padding change an output, bit for bit save the sign of zero."""
    model = head_model(head, behind_attention=False)
    rng = np.random.default_rng(0)
    for (batch, length), i in itertools.product(SHAPES[head is second_token :], range(6)):
        mask = masks(batch, length)[i]
        computed = np.arange(length) < np.maximum(1, (np.arange(1, length + 1) * (mask != 0)).max(1))[:, None]
        tokens = rng.normal(0, 2, (batch, length, FEATURES)).astype(np.float32)
        tokens = np.where(computed[..., None], tokens, tokens * 50)
        skipped = np.where(computed[..., None], tokens, np.float32(0))
        whole, without = (run(model, {"attention_mask": mask, "tokens": x})[0] for x in (tokens, skipped))
        if not np.array_equal(whole, without, equal_nan=True):
            return True
    return False


def proof(head: Head, mode: PaddingMode = "auto", mask_kind: str = "i64") -> ProvePaddingPass:
    model = to_ir(head_model(head, behind_attention=True, mask_kind=mask_kind))
    InferShapesPass()(model)
    step = ProvePaddingPass(mode)
    assert step(model).modified == (step.padding is not None and step.padding.skipped)
    assert step.padding is not None
    (attention,) = [node for node in model.graph if node.domain]
    assert (SKIP_PADDING in attention.attributes) == step.padding.skipped
    assert model.metadata_props[METADATA_KEY] == step.padding.text
    return step


@pytest.mark.parametrize("head", [*HIDES, *MAY_BE_NAN], ids=lambda head: head.__name__)
def test_heads_that_hide_padding(head: Head) -> None:
    step = proof(head)
    assert step.padding is not None
    assert step.padding.skipped, step.padding.text
    assert step.padding.text.startswith("skipped (proven: ")
    assert not differs(head)


@pytest.mark.parametrize("head", SHOWS, ids=lambda head: head.__name__)
def test_heads_that_show_padding(head: Head) -> None:
    step = proof(head)
    assert step.padding is not None
    assert not step.padding.skipped
    assert step.padding.text.startswith("computed: output 'y' ")
    assert step.padding.text.endswith("; pass skip_padding=1 if nothing reads it")
    assert differs(head)


@pytest.mark.parametrize("kind", ["i64", "f32"])
@pytest.mark.parametrize("head", HIDES[:8], ids=lambda head: head.__name__)
def test_masks_of_other_types(head: Head, kind: str) -> None:
    step = proof(head, mask_kind=kind)
    assert step.padding is not None
    assert step.padding.skipped


def test_reasons() -> None:
    texts = [proof(head).padding for head in (first_token, HIDES[0], HIDES[-1], all_tokens)]
    assert [padding.text if padding else "" for padding in texts] == [
        "skipped (proven: first token)",
        "skipped (proven: pooled by attention_mask)",
        "skipped (proven: first token and pooled by attention_mask)",
        "computed: output 'y' shows it; pass skip_padding=1 if nothing reads it",
    ]


def test_modes() -> None:
    declared, computed = proof(all_tokens, "skip").padding, proof(first_token, "compute").padding
    assert declared is not None
    assert declared.text == "skipped (declared by the user)"
    assert computed is not None
    assert computed.text == "computed: as it was asked for"


def with_second_attention(change: str) -> ir.Model:
    """Two attentions; `change` says what the second hides keys by."""
    model = head_model(first_token, behind_attention=True)
    (attention,) = [node for node in model.graph.node if node.domain]
    second = onnx.NodeProto()
    second.CopyFrom(attention)
    second.name, second.output[0] = "second", "tokens_of_second"
    if change == "nothing":
        second.op_type = "QAttention_f32"
        del second.input[-1]
    elif change == "bias":
        second.op_type = "QAttention_f32_bias"
        model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 1, 1, None]))
        second.input[-1] = "bias"
    elif change == "other":
        model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.INT64, ["batch", "length"]))
        second.input[-1] = "other"
    elif change == "computed":
        attention.input[-1] = second.input[-1] = "negated"
        model.graph.node.insert(0, helper.make_node("Neg", ["attention_mask"], ["negated"]))
    model.graph.node.append(second)
    shape: list[str | int] = ["batch", "length", FEATURES]
    model.graph.value_info.append(helper.make_tensor_value_info("tokens_of_second", TensorProto.FLOAT, shape))
    model.graph.node.append(helper.make_node("Gather", ["tokens_of_second", "first_index"], ["y2"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(0), "first_index"))
    model.graph.output.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, None))
    return to_ir(model)


@pytest.mark.parametrize("change", ["same", "nothing", "bias", "other", "computed"])
def test_all_attentions_share_one_mask(change: str) -> None:
    model = with_second_attention(change)
    InferShapesPass()(model)
    step = ProvePaddingPass()
    step(model)
    assert step.padding is not None
    assert step.padding.skipped == (change == "same"), step.padding.text
    assert step.count == (2 if change == "same" else 0)
    if change == "same":
        return
    assert step.padding.text == f"computed: {NOT_SHARED}"
    with pytest.raises(ConversionError, match=r"padding cannot be skipped: .*share one mask"):
        ProvePaddingPass("skip")(model)


def test_a_value_is_followed_into_branches() -> None:
    """A branch that reads tokens from outside."""

    def head(b: HeadBuilder) -> str:
        y = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
        branches = [
            helper.make_graph([helper.make_node(op, ["tokens"], ["inner"])], op, [], [y]) for op in ("Neg", "Abs")
        ]
        condition = b.constant("condition", True, np.bool_)
        return b.node("If", [condition], "chosen", then_branch=branches[0], else_branch=branches[1])

    padding = proof(head).padding
    assert padding is not None
    assert (
        padding.text == "computed: output 'y' may show it (If reads it inside); pass skip_padding=1 if nothing reads it"
    )


def test_the_pipeline_proves_whole_encoders() -> None:
    report = convert_model(to_ir(encoder_model()), encoder=True)
    assert report.encoder is not None
    assert report.encoder.padding is not None
    text = "padding: computed: output 'y' shows it; pass skip_padding=1 if nothing reads it"
    assert text in report.to_text()
    assert report.to_dict()["encoder"]["padding"]["skipped"] is False


def test_without_attention_nothing_is_said() -> None:
    for encoder, exact in ((False, False), (True, True)):
        report = convert_model(to_ir(encoder_model()), encoder=encoder, exact=exact)
        assert report.encoder is None or report.encoder.padding is None
        with pytest.raises(ConversionError, match="padding cannot be skipped: no attention is fused"):
            convert_model(to_ir(encoder_model()), encoder=encoder, exact=exact, padding="skip")


@pytest.mark.parametrize(("mask", "is_shared"), [("sdpa", True), ("", False)])
def test_a_declared_model(mask: str, is_shared: bool) -> None:
    model = to_ir(encoder_model(mask=mask))
    if not is_shared:
        with pytest.raises(ConversionError, match=r"padding cannot be skipped: .*share one mask"):
            convert_model(model, encoder=True, padding="skip")
        return
    convert_model(model, encoder=True, padding="skip")
    marks = [node.attributes[SKIP_PADDING].as_int() for node in model.graph if node.op_type.startswith("QAttention")]
    assert marks == [1]

"""QAttention or FAttention take the place of attention in every spelling, and of nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pyfastep.passes.fuse_attention import FuseAttentionPass
from pyfastep.passes.pipeline import convert_model
from pyfastep.passes.report import ConversionReport

from .encoders import HEAD_SIZE, HEADS, LOWEST, MASKS, SCALES, encoder_model, feeds_of
from .models import Array, op_types, run, to_ir

MAX_ERROR_RATIO = 1.05


def convert(source: onnx.ModelProto) -> tuple[ir.Model, ConversionReport]:
    model = to_ir(source)
    report = convert_model(model, encoder=True)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return model, report


def attention_of(model: ir.Model) -> ir.Node:
    (node,) = [node for node in model.graph if node.op_type.split("_")[0] in ("QAttention", "FAttention")]
    return node


def errors(float_model: onnx.ModelProto, *models: Any) -> list[float]:
    """Mean absolute errors against the float model, at tokens that are not padding."""
    sums = np.zeros(len(models))
    for seed in range(8):
        feeds = feeds_of(float_model, 4, 4 + seed, seed)
        keep = feeds.get("attention_mask", np.ones((4, 4 + seed))) == 1
        expected = run(float_model, feeds)[0][keep]
        sums += [np.abs(run(model, feeds)[0][keep] - expected).mean() for model in models]
    return list(sums)


def check_error(model: ir.Model, **form: Any) -> None:
    source_error, error = errors(encoder_model(**form, quantized=False), encoder_model(**form), model)
    assert error <= MAX_ERROR_RATIO * source_error


@pytest.mark.parametrize("mask", ["", *MASKS])
def test_masks(mask: str) -> None:
    model, report = convert(encoder_model(mask=mask))
    assert report.encoder is not None
    assert not report.encoder.unfused
    assert not report.encoder.unproven_masks
    node = attention_of(model)
    assert node.op_type == ("QAttention_u8_mask" if mask else "QAttention_u8")
    assert not mask or (node.inputs[9] is not None and node.inputs[9].name == "attention_mask")
    assert not {"Softmax", "MatMul", "Where", "Transpose"} & set(op_types(model))
    check_error(model, mask=mask)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_scales(scale: str, products: bool) -> None:
    """The constant is one attribute, wherever it stood; the quantizers of q and k are those of the linears."""
    model, _ = convert(encoder_model(scale=scale, products=products))
    node = attention_of(model)
    assert node.attributes["scale"].as_float() == pytest.approx(HEAD_SIZE**-0.5, rel=1e-6)
    assert (node.attributes["num_heads"].as_int(), node.attributes["head_size"].as_int()) == (HEADS, HEAD_SIZE)
    for index in range(3):
        linear = node.inputs[index].producer()  # type: ignore[union-attr]
        assert linear is not None
        assert linear.op_type == "QLinear_u8"
        scales = [value.const_value.numpy() for value in (linear.inputs[7], node.inputs[3 + 2 * index])]  # type: ignore[union-attr]
        assert scales[0] == scales[1] == pytest.approx(0.02, rel=1e-6)
    check_error(model, scale=scale, products=products)


@pytest.mark.parametrize("scale", ["on_q", "on_both", "on_scores"])
@pytest.mark.parametrize("mask", ["", "sdpa", "where_not"])
def test_float_products(mask: str, scale: str) -> None:
    """The linears around give and take what attention needs; nothing of it is left outside."""
    form: dict[str, Any] = {"mask": mask, "scale": scale, "quantized_attention": False}
    model, report = convert(encoder_model(**form))
    assert report.encoder is not None
    assert [entry.reason for entry in report.encoder.in_float] == ["its products are not quantized"]
    assert "attention in float (FAttention), its products are not quantized" in report.to_text()
    node = attention_of(model)
    assert node.op_type == ("FAttention_u8_mask" if mask else "FAttention_u8")
    assert [value.producer().op_type for value in node.inputs[:3]] == ["QLinear_f32"] * 3  # type: ignore[union-attr]
    assert not {"Softmax", "MatMul", "Where", "Transpose", "DequantizeLinear"} & set(op_types(model))
    source = encoder_model(**form)
    for seed in range(4):
        feeds = feeds_of(source, 4, 4 + seed, seed)
        keep = feeds.get("attention_mask", np.ones((4, 4 + seed))) == 1
        a, b = (run(x, feeds)[0][keep] for x in (source, model))
        assert cosine(a, b) > 0.9998  # the sums before LayerNorm stay float, a step more or less in the linears


def drop_pair(model: onnx.ModelProto, quantized: str) -> None:
    """Lets the readers of DQ(Q(x)) read x; `quantized` is the name of what Q reads."""
    quantizer = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == quantized)
    dequantizer = next(n for n in model.graph.node if n.input[:1] == [quantizer.output[0]])
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == dequantizer.output[0]:
                node.input[index] = quantized
    model.graph.node.remove(dequantizer)
    model.graph.node.remove(quantizer)


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [
        (["softmax"], "the probabilities are not quantized"),
        (["softmax", "v_heads"], "the product of probabilities and v is not quantized"),
        (["q_heads", "k_heads"], "the product of q and k is not quantized"),
        (["k_heads"], "the product of q and k is not quantized"),
    ],
)
def test_one_float_product(dropped: list[str], reason: str) -> None:
    """What is quantized is only rounded: that is dropped, and the linears become float."""
    source = encoder_model(scale="on_scores")
    for name in dropped:
        drop_pair(source, name)
    model, report = convert(source)
    assert report.encoder is not None
    assert [entry.reason for entry in report.encoder.in_float] == [reason]
    node = attention_of(model)
    assert node.op_type == "FAttention_u8_mask"
    assert [value.producer().op_type for value in node.inputs[:3]] == ["QLinear_f32"] * 3  # type: ignore[union-attr]
    source_error, error = errors(encoder_model(scale="on_scores", quantized=False), source, model)
    assert error <= MAX_ERROR_RATIO * source_error


def widen(model: onnx.ModelProto, quantized: str) -> None:
    """Lets the DQ behind the quantizer of a value have twice its scale."""
    quantizer = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == quantized)
    dequantizer = next(n for n in model.graph.node if n.input[:1] == [quantizer.output[0]])
    scale = onnx.numpy_helper.to_array(constant_of(model, dequantizer.input[1]))
    dequantizer.input[1] = f"{quantized}_twice"
    model.graph.initializer.append(onnx.numpy_helper.from_array(2 * scale, dequantizer.input[1]))


@pytest.mark.parametrize("value", ["scores", "softmax", "context"])
def test_pairs_of_two_scales(value: str) -> None:
    """They do more than round."""
    source = encoder_model(products=True)
    widen(source, value)
    model, report = convert(source)
    assert report.encoder is not None
    assert [entry.reason for entry in report.encoder.unfused] == [
        "quantized with one scale and dequantized with another"
    ]
    feeds = feeds_of(source, 3, 6)
    assert cosine(run(source, feeds)[0], run(model, feeds)[0]) > 0.9995


@pytest.mark.parametrize(("dropped", "is_float"), [(False, False), (True, True)])
@pytest.mark.parametrize("side", ["q_heads", "v_heads"])
def test_operands_whose_scale_is_another_behind(side: str, dropped: bool, is_float: bool) -> None:
    """The attention sees the second scale, the linear writes in the first."""
    source = encoder_model(scale="on_scores")
    widen(source, side)
    if dropped:
        drop_pair(source, "softmax")
    model, _ = convert(source)
    assert attention_of(model).op_type.startswith("FAttention" if is_float else "QAttention")
    for seed in range(4):
        feeds = feeds_of(source, 3, 6, seed)
        assert cosine(run(source, feeds)[0], run(model, feeds)[0]) > 0.9995


@pytest.mark.parametrize("leaving", [1, 2])
def test_values_that_leave_the_graph_keep_their_names(leaving: int) -> None:
    """One dequantized result can be what the linear computes, two cannot."""
    source = encoder_model(scale="on_scores")
    drop_pair(source, "softmax")
    quantizer = next(n for n in source.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "v_heads")
    nodes = [onnx.helper.make_node("QuantizeLinear", ["v_y", *quantizer.input[1:]], ["extra_q"], name="extra_q")]
    for name in ("first", "second")[:leaving]:
        nodes.append(onnx.helper.make_node("DequantizeLinear", ["extra_q", *quantizer.input[1:]], [name], name=name))
        shape: list[str | int] = ["batch", "length", HEADS * HEAD_SIZE]
        source.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    insert_before(source, "v_split", *nodes)
    model, _ = convert(source)
    assert [value.name for value in model.graph.outputs] == [value.name for value in source.graph.output]
    assert attention_of(model).op_type.startswith("FAttention")
    linear = next(node for node in model.graph if node.name == "v_product/MatMul")
    assert linear.op_type == ("QLinear_f32" if leaving == 1 else "QLinear_u8")
    feeds = feeds_of(source, 3, 6)
    for found, expected in zip(run(model, feeds), run(source, feeds), strict=True):
        assert cosine(found, expected) > 0.9995


def test_quantizers_that_clamp_stay() -> None:
    """Of q, where they do what a ReLU did."""
    source = encoder_model(scale="on_scores")
    drop_pair(source, "softmax")
    replace_constant(
        source,
        next(
            t.name
            for t in source.graph.initializer
            if t.name.startswith("q_heads_") and t.data_type == onnx.TensorProto.UINT8
        ),
        0,
    )
    model, _ = convert(source)
    node = attention_of(model)
    assert [value.producer().op_type for value in node.inputs[:3]] == [  # type: ignore[union-attr]
        "DequantizeLinear",
        "QLinear_f32",
        "QLinear_f32",
    ]
    for seed in range(4):
        feeds = feeds_of(source, 3, 6, seed)
        assert cosine(run(source, feeds)[0], run(model, feeds)[0]) > 0.9995


def node_named(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0] == output)


def constant_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def replace_constant(model: onnx.ModelProto, name: str, value: Any) -> None:
    tensor = constant_of(model, name)
    old = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(value, old.dtype), name))


def insert_before(model: onnx.ModelProto, output: str, *nodes: onnx.NodeProto) -> None:
    index = next(i for i, node in enumerate(model.graph.node) if node.output[0] == output)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(index + offset, node)


def causal() -> onnx.ModelProto:
    """The mask hides the future too."""
    model = encoder_model()
    zero = onnx.helper.make_tensor("lowest", onnx.TensorProto.FLOAT, [1], [LOWEST])
    nodes = [
        onnx.helper.make_node("Shape", ["scores"], ["square_shape"], name="square_shape"),
        onnx.helper.make_node("ConstantOfShape", ["square_shape"], ["square"], name="square", value=zero),
        onnx.helper.make_node("Trilu", ["square", "one"], ["future"], name="future", upper=1),
        onnx.helper.make_node("Add", ["mask_added", "future"], ["mask_and_future"], name="mask_and_future"),
    ]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "one"))
    insert_before(model, "masked", *nodes)
    node_named(model, "masked").input[1] = "mask_and_future"
    return model


def shifted() -> onnx.ModelProto:
    """The mask adds 1 to visible keys."""
    model = encoder_model(mask="eager")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "shift"))
    insert_before(
        model, "masked", onnx.helper.make_node("Add", ["mask_added", "shift"], ["mask_shifted"], name="shift")
    )
    node_named(model, "masked").input[1] = "mask_shifted"
    return model


def relative() -> onnx.ModelProto:
    """A bias per head and distance, as in MPNet."""
    model = encoder_model()
    rng = np.random.default_rng(0)
    bias = rng.standard_normal((1, HEADS, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(bias, "relative"))
    insert_before(model, "masked", onnx.helper.make_node("Add", ["scores", "relative"], ["placed"], name="placed"))
    node_named(model, "masked").input[0] = "placed"
    return model


def weak() -> onnx.ModelProto:
    """A mask that does not hide."""
    model = encoder_model(mask="eager")
    name = node_named(model, "mask_added").input[1]
    replace_constant(model, name, -5.0)
    return model


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (shifted(), "the mask adds something to keys that are not hidden"),
        (relative(), "2 terms are added to the scores"),
        (weak(), "the mask hides other keys than those of attention_mask 0"),
    ],
    ids=["shifted", "relative", "weak"],
)
def test_other_masks_are_added(source: onnx.ModelProto, reason: str) -> None:
    onnx.checker.check_model(source, full_check=True)
    model, report = convert(source)
    assert report.encoder is not None
    assert [entry.reason for entry in report.encoder.unproven_masks] == [reason]
    assert attention_of(model).op_type == "QAttention_u8_bias"
    for seed in range(4):
        feeds = feeds_of(source, 3, 6, seed)
        a, b = run(source, feeds)[0], run(model, feeds)[0]
        assert cosine(a, b) > 0.9995


def cosine(a: Array, b: Array) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def test_a_mask_that_needs_the_scores_is_left_alone() -> None:
    model, report = convert(causal())
    assert report.encoder is not None
    (entry,) = report.encoder.unfused
    assert entry.reason.endswith("the mask takes its shape from the scores")
    assert "Softmax" in op_types(model)


def uneven_heads() -> onnx.ModelProto:
    """The split into heads mixes tokens: [B, S, H] -> [B, 2 S, h, d / 2]."""
    model = encoder_model(scale="on_scores")
    for side in "qkv":
        shape = node_named(model, f"{side}_heads_shape")
        replace_constant(model, shape.input[3], [HEAD_SIZE // 2])
    return model


def used_probabilities() -> onnx.ModelProto:
    model = encoder_model()
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("softmax", onnx.TensorProto.FLOAT, ["b", "h", "s", "s"])
    )
    return model


def negative_scale() -> onnx.ModelProto:
    model = encoder_model(scale="on_scores")
    replace_constant(model, node_named(model, "scores_scaled").input[1], -1.0)
    return model


def scaled_behind_mask() -> onnx.ModelProto:
    model = encoder_model()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2), "two"))
    insert_before(model, "softmax", onnx.helper.make_node("Mul", ["masked", "two"], ["twice"], name="twice"))
    node_named(model, "softmax").input[0] = "twice"
    return model


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (uneven_heads(), "the split into heads is not known before the run"),
        (used_probabilities(), "the probabilities are used elsewhere"),
        (negative_scale(), "the scores are multiplied by -1.0, expected a number above 0"),
        (scaled_behind_mask(), "the scores are multiplied behind the mask"),
    ],
    ids=["heads", "probabilities", "negative", "behind"],
)
def test_what_is_no_attention_of_ours(source: onnx.ModelProto, reason: str) -> None:
    model, report = convert(source)
    assert report.encoder is not None
    assert [entry.reason for entry in report.encoder.unfused] == [reason]
    assert "Softmax" in op_types(model)


def test_a_plain_softmax_is_no_attention() -> None:
    source = encoder_model(mask="")
    node_named(source, "y").CopyFrom(onnx.helper.make_node("Softmax", ["finished_y"], ["y"], name="y", axis=-1))
    model = to_ir(source)
    fuse = FuseAttentionPass()
    fuse(model)
    assert [entry.node for entry in fuse.refusals if entry.node == "y"] == []


def test_a_softmax_far_behind_sums_is_left_alone_at_once() -> None:
    """2^30 steps, were each side of a sum followed on its own."""
    source = encoder_model(mask="")
    here = "finished_y"
    for index in range(30):
        source.graph.node.insert(len(source.graph.node) - 1, onnx.helper.make_node("Add", [here, here], [f"s{index}"]))
        here = f"s{index}"
    node_named(source, "y").CopyFrom(onnx.helper.make_node("Softmax", [here], ["y"], name="y", axis=-1))
    fuse = FuseAttentionPass()
    fuse(to_ir(source))
    assert "y" not in [entry.node for entry in fuse.refusals]


def test_a_second_run_changes_nothing() -> None:
    model, _ = convert(encoder_model())
    assert not FuseAttentionPass()(model).modified

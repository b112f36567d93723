"""Stock ONNX Runtime on a converted model: every function body, on the values it meets there, as its contract says.

Two runs of one quantized network end far apart once one value falls on the other side of a half. So each body is held
against the reference on its own inputs, with the bounds derived in tests/ops; what comes between is ONNX's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pyfastep.passes.ops import DOMAIN, fattention, qattention, qlinear

from ..ops import test_embed_layer_norm_contract as embed_bounds
from ..ops import test_fattention_contract as float_attention_bounds
from ..ops import test_qattention_contract as attention_bounds
from ..ops import test_qlinear_contract as linear_bounds
from ..ops.contract_models import UNIT
from ..ops.test_layer_norm import exact_layer_norm
from ..stock import exact_session
from .batches import Case
from .model_oracle import find_variant
from .small_encoders import FORMS, Form, SmallEncoder

CASES = [Case(3, 17, "mixed", 2), Case(2, 64, "right", 1), Case(5, 33, "none", 0)]

Values = dict[str, Any]


def run_with_inner_values(path: Any, feeds: Values) -> tuple[onnx.ModelProto, Values]:
    """The model, and every value that a node of it writes, as stock ONNX Runtime computes it."""
    model = onnx.load(path)
    known = {entry.name for entry in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name not in known)
    session = exact_session(model.SerializeToString())
    names = [entry.name for entry in session.get_outputs()]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return model, {**constants, **feeds, **dict(zip(names, session.run(names, feeds), strict=True))}


def check_norm(variant: Any, inputs: Values, epsilon: float, found: list[Any]) -> None:
    """Within the bound of tests/ops/test_layer_norm.py of the exact value of the same float32 sum.

    ONNX Runtime adds in another order, with at most H u in place of (40 + H / 32) u. A quantized value is the rounding
    of such a one.
    """
    z = inputs["x"] + inputs["residual"] if "residual" in inputs else embed_bounds.sum_of(variant, inputs)
    exact, bound = exact_layer_norm(z, inputs["gamma"], inputs["beta"], epsilon)
    bound = bound * (2 + z.shape[-1] / 40)
    assert all(y.shape == z.shape for y in found)
    if variant.norm.f32:
        assert (np.abs(found[0] - exact) <= bound).all()
    if variant.norm.quantized:
        scale, zero_point, info = float(inputs["y_scale"]), float(inputs["y_zero_point"]), np.iinfo(found[-1].dtype)
        steps = np.clip(exact / scale + zero_point, info.min, info.max)
        slack = bound / scale + 4 * UNIT * (np.abs(steps) + abs(zero_point))
        assert slack.max() < 0.1  # the bound says something
        assert (np.abs(found[-1] - steps) <= 0.5 + slack).all()


def check_node(node: onnx.NodeProto, values: Values) -> None:
    module, variant = find_variant(node.op_type)
    inputs = {name: values[key] for name, key in zip(variant.inputs, node.input, strict=True)}
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    found = [values[name] for name in node.output if name]
    if module is qlinear:
        linear_bounds.assert_close(variant, inputs, tuple(attributes["weight_shape"]), found[0])
    elif module in (qattention, fattention):
        bounds: Any = attention_bounds if module is qattention else float_attention_bounds
        batch, length, _ = inputs["q"].shape
        shape = (batch, length, attributes["num_heads"], attributes["head_size"])
        # The bounds take the usual scale, which exporters multiply up from roots.
        assert attributes["scale"] == pytest.approx(bounds.scale_of(shape), rel=1e-6)
        bounds.assert_close(variant, inputs, shape, found[0])
    else:
        check_norm(variant, inputs, attributes["epsilon"], found)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_body_in_its_place(form: Form, small_encoder: Callable[[Form], SmallEncoder]) -> None:
    encoder = small_encoder(form)
    inputs = [entry.name for entry in onnx.load(encoder.converted).graph.input]
    for case in CASES:
        model, values = run_with_inner_values(encoder.converted, case.feeds(inputs))
        nodes = [node for node in model.graph.node if node.domain == DOMAIN]
        assert len(nodes) > 15
        for node in nodes:
            check_node(node, values)

"""Fake quantization: the same numbers as ONNX Runtime's quantizer, gradients, shared ranges, zeros that stay."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

pytest.importorskip("torch")

import torch

from pyfastep.compress import qat
from pyfastep.compress.selection import select_linears
from pyfastep.errors import FastEPError


def test_inputs_are_rounded_as_onnxruntime_does() -> None:
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    low, high = -1.3, 2.7
    zero_point, scale = compute_scale_zp(np.float32(low), np.float32(high), np.uint8(0), np.uint8(255), symmetric=False)
    x = torch.linspace(-3, 4, 1001)
    found = qat.fake_quantize(x, torch.tensor(low), torch.tensor(high)).numpy()
    levels = np.clip(np.rint(x.numpy() / scale) + int(zero_point), 0, 255)
    # Both divide by a float32 scale that may differ in its last bit: at ties one level apart, and never elsewhere.
    assert np.abs(found - (levels - int(zero_point)) * scale).max() <= scale * 1.001
    assert np.mean(np.abs(found - (levels - int(zero_point)) * scale) > 1e-5) < 0.01
    assert float(qat.fake_quantize(torch.zeros(1), torch.tensor(low), torch.tensor(high))) == 0.0


def test_weights_by_hand_and_zeros_stay() -> None:
    weight = torch.tensor([[1.27, -0.5, 0.0], [0.0, 0.0, 0.0], [-2.0, 0.013, 1.0]])
    found = qat.fake_quantize_weight(weight)
    scales = np.array([0.01, 1.0, 2.0 / 127])
    expected = np.clip(np.rint(weight.numpy() / scales[:, None]), -127, 127) * scales[:, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert (found[weight == 0] == 0).all()


def test_gradients_pass_within_the_range_and_reach_it() -> None:
    x = torch.tensor([-5.0, 0.3, 5.0], requires_grad=True)
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    qat.fake_quantize(x, low, high).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    assert high.grad is not None
    assert low.grad is not None
    assert float(high.grad) > 0.5  # a wider range raises what is cut above
    assert float(low.grad) > 0.5
    weight = torch.randn(3, 5, requires_grad=True)
    qat.fake_quantize_weight(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.eq(1).all()


@pytest.mark.parametrize("make", [lambda: tiny_bert("BertForQuestionAnswering"), tiny_distilbert])
@pytest.mark.parametrize("mode", ["averaged", "learned"])
def test_insert_train_remove(make: Callable[[], Any], mode: Any) -> None:
    model = make()
    plain = deepcopy(model)
    names = list(select_linears(model))
    qat.insert_fake_quantization(model, names, batches(), mode)
    # query, key and value read one tensor; each of the other three Linears its own: 4 ranges per layer
    assert len(model.input_quantizers) == 2 * 4
    (batch,) = batches(count=1, seed=5)
    with torch.no_grad():
        exact, close = plain(**batch).start_logits, model(**batch).start_logits
    assert 0 < float((exact - close).abs().max()) < 0.1 * float(exact.abs().max())

    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    before = [q.range for q in model.input_quantizers]
    for batch in batches(seed=6):
        optimizer.zero_grad()
        model(**batch).start_logits.square().mean().backward()
        optimizer.step()
    assert [q.range for q in model.input_quantizers] != before

    ranges = qat.remove_fake_quantization(model)
    assert sorted(ranges) == sorted(names)
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert {type(module) for module in select_linears(model).values()} == {torch.nn.Linear}
    assert model.state_dict().keys() == plain.state_dict().keys()


def learned(*extremes: float) -> qat.InputQuantizer:
    quantizer = qat.InputQuantizer("learned", 0.0, qat.RealTokens(torch.nn.Identity()))
    quantizer(torch.tensor(extremes))
    quantizer.end_calibration()
    return quantizer


def error_of(quantizer: qat.InputQuantizer, x: torch.Tensor) -> torch.Tensor:
    return (quantizer(x) - x).square().mean()


def learn(quantizer: qat.InputQuantizer, x: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.AdamW(quantizer.parameters(), lr=1e-4, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        error_of(quantizer, x).backward()
        optimizer.step()


@pytest.mark.parametrize("first", [20.0, 2.0])
def test_a_learned_range_moves_to_the_better_one(first: float) -> None:
    """At the rate of a usual training: what an outlier has made too wide, and what cuts off a twentieth."""
    torch.manual_seed(0)
    x = torch.randn(64, 64)
    quantizer = learned(-first, first)
    assert quantizer.range == pytest.approx((-first, first))
    before = float(error_of(quantizer, x).detach())
    learn(quantizer, x, 400)
    assert float(error_of(quantizer, x).detach()) < before / 10
    assert 2.5 < quantizer.range[1] < 5.0


def test_an_end_at_zero_comes_back() -> None:
    quantizer = learned(-0.5, 4.0)
    learn(quantizer, torch.linspace(0.0, 4.0, 1000), 200)
    assert quantizer.low.item() <= 1e-4  # a step of the optimizer at most
    assert quantizer.range[0] > -0.1
    learn(quantizer, torch.linspace(-2.0, 4.0, 1000), 300)
    assert quantizer.range[0] < -1.0


def with_loud_padding() -> Any:
    """After layer normalization nothing is larger than a vector with one component."""
    model = tiny_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[0, 0] = 1000.0
    return model


def without_padding(padded: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Row by row."""
    rows = [{name: value[row : row + 1] for name, value in batch.items()} for batch in padded for row in range(8)]
    return [{name: value[row["attention_mask"] == 1][None] for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("training", [False, True])
def test_padding_is_in_no_range(training: bool) -> None:
    found = []
    for data in (batches(), without_padding(batches())):
        model = with_loud_padding()
        first = batches(seed=8) if training else data
        qat.insert_fake_quantization(model, list(select_linears(model)), first, momentum=1.0)
        if training:  # with momentum 1 the last row decides: one that is padded, or is not
            last = {name: value[-1:] for name, value in data[-1].items()}
            model.train()
            model(**last)
        found.append(qat.remove_fake_quantization(model))
        assert not model._forward_pre_hooks
    padded, alone = found
    for name, (low, high) in alone.items():
        # Sums of other lengths, of values below 4: rounded otherwise, now and then to another step of the 255.
        assert padded[name] == pytest.approx((low, high), abs=0.05), name
    assert max(high for _, high in alone.values()) < 3.5  # padding has 3.87, the root of 15


def test_a_copy_leaves_out_its_own_padding() -> None:
    """The time limit measures a copy."""
    model = with_loud_padding()
    qat.insert_fake_quantization(model, list(select_linears(model)), batches(), momentum=1.0)
    copied = deepcopy(model)
    (batch,) = batches(count=1, seed=9)
    ranges = []
    for same in (model, copied):
        same.train()
        same(**batch)
        ranges.append([quantizer.range for quantizer in same.input_quantizers])
    assert ranges[0] == ranges[1]


def test_a_checkpoint_holds_each_range_once(tmp_path: Path) -> None:
    model = tiny_bert()
    qat.insert_fake_quantization(model, list(select_linears(model)), batches())
    model.save_pretrained(tmp_path)  # refuses tensors that are shared
    keys = [key for key in model.state_dict() if "quantizer" in key]
    assert len(keys) == 3 * len(model.input_quantizers)  # both ends and their unit


def test_ranges_are_kept(tmp_path: Path) -> None:
    assert qat.load_ranges(tmp_path) == {}
    qat.save_ranges({"a": (-1.0, 2.0)}, tmp_path)
    assert qat.load_ranges(tmp_path) == {"a": (-1.0, 2.0)}


def test_no_calibration_data() -> None:
    model = tiny_bert()
    with pytest.raises(FastEPError, match="no calibration data"):
        qat.insert_fake_quantization(model, list(select_linears(model)), [])

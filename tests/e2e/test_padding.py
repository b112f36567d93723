"""Right padding of real exports: what is proven, and that nothing but time depends on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import pyfastep

from .padded_models import PaddedModel, build, export_sentence_encoder, export_task

SENTENCES = [
    ("mean", "torchscript"),
    ("mean", "dynamo"),
    ("max", "torchscript"),
    ("max", "dynamo"),
    ("lasttoken", "torchscript"),
    ("cls", "torchscript"),
    ("mean_sqrt_len_tokens", "torchscript"),
    ("weightedmean", "dynamo"),
]
CLASSIFIERS = [(name, "text-classification") for name in ("bert", "roberta", "distilbert")]
SHOWN = [
    ("bert", "feature-extraction", "last_hidden_state"),
    ("bert", "token-classification", "logits"),
    ("distilbert", "question-answering", "start_logits"),
]

Factory = Callable[..., PaddedModel]


@pytest.fixture(scope="module")
def padded_model(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """A sentence encoder (pooling, exporter) or a model of a task (architecture, task); built once."""

    @functools.cache
    def create(kind: str, how: str) -> PaddedModel:
        folder = tmp_path_factory.mktemp("padded")
        export = export_sentence_encoder if how in ("torchscript", "dynamo") else export_task
        return build(lambda target: export(kind, how, target), folder)

    return create


def masks() -> list[NDArray[np.bool_]]:
    """Lengths of all kinds in one batch; nothing hidden; rows that hide all; left padding; holes; a row alone."""
    lengths = np.array([1, 40, 7, 16, 33, 2, 17, 40, 0, 5])
    right = np.arange(40) < lengths[:, None]
    holes = right & (np.arange(40) % 3 != 1)
    return [right, np.ones((2, 9), bool), np.zeros((3, 6), bool), right[:, ::-1], holes, right[2:3], right[:, :1]]


def outputs(session: Any, model: PaddedModel) -> list[NDArray[np.float32]]:
    return [y for i, mask in enumerate(masks()) for y in session.run(None, model.feeds(mask, i))]


def session_of(model: PaddedModel, **options: str) -> Any:
    return pyfastep.InferenceSession(
        model.converted, threads=1, strict=True, providers=[(pyfastep.get_ep_name(), options), "CPUExecutionProvider"]
    )


def marks(model: PaddedModel) -> list[int]:
    graph = onnx.load(model.converted, load_external_data=False).graph
    nodes = [node for node in graph.node if node.op_type.startswith("QAttention")]
    assert len(nodes) == 2
    return [attribute.i for node in nodes for attribute in node.attribute if attribute.name == "skip_padding"]


@pytest.mark.parametrize(("kind", "how"), [*SENTENCES, *CLASSIFIERS], ids=str)
def test_proven_models_answer_the_same(padded_model: Factory, kind: str, how: str, stock_session: Any) -> None:
    """Skipped or not: equal to the last bit. Padding holds random words, so a leak would show."""
    model = padded_model(kind, how)
    by_mask = (kind, how) in SENTENCES and kind != "cls"
    assert model.padding == f"skipped (proven: {'pooled by attention_mask' if by_mask else 'first token'})"
    assert marks(model) == [1, 1]
    whole = outputs(session_of(model, skip_padding="0"), model)
    for options in ({}, {"skip_padding": "auto"}, {"skip_padding": "1"}):
        for y, expected in zip(outputs(session_of(model, **options), model), whole, strict=True):
            assert np.array_equal(y, expected, equal_nan=True)
    stock = outputs(stock_session(model.converted), model)
    for y, expected in zip(whole, stock, strict=True):
        # Where probabilities are rounded differently by a unit, rows of 48 features move by a few steps of a quantizer.
        assert np.array_equal(np.isnan(y), np.isnan(expected))
        known = np.isfinite(expected)
        assert np.abs(y[known] - expected[known]).max(initial=0) <= 0.15 * np.abs(expected[known]).max(initial=1)


@pytest.mark.parametrize(("kind", "how", "output"), SHOWN, ids=str)
def test_models_that_show_padding_compute_it(padded_model: Factory, kind: str, how: str, output: str) -> None:
    model = padded_model(kind, how)
    assert model.padding == f"computed: output '{output}' shows it; pass skip_padding=1 if nothing reads it"
    assert marks(model) == []
    whole = outputs(session_of(model, skip_padding="0"), model)
    for y, expected in zip(outputs(session_of(model), model), whole, strict=True):
        assert np.array_equal(y, expected)
    skipped = session_of(model, skip_padding="1")
    for i, mask in enumerate(masks()):
        feeds = model.feeds(mask, i)
        computed = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1] > 0
        computed[:, 0] = True
        for y, expected in zip(skipped.run(None, feeds), session_of(model).run(None, feeds), strict=True):
            assert np.array_equal(y[computed], expected[computed])
            if how != "question-answering" or computed.all():  # an Add behind the plan would shift the zeros
                assert not y[~computed].any()


def test_a_declared_span_head(padded_model: Factory, tmp_path: Any) -> None:
    """As `--padding skip` makes it: by default as with skip_padding=1."""
    model = padded_model("distilbert", "question-answering")
    declared = PaddedModel(model.quantized, tmp_path / "declared.onnx", "", model.inputs)
    report = pyfastep.convert(model.quantized, declared.converted, padding="skip")
    assert report.encoder is not None
    assert report.encoder.padding is not None
    assert report.encoder.padding.text == "skipped (declared by the user)"
    assert marks(declared) == [1, 1]
    expected = outputs(session_of(model, skip_padding="1"), model)
    for y, wanted in zip(outputs(session_of(declared), declared), expected, strict=True):
        assert np.array_equal(y, wanted)
    for y, wanted in zip(
        outputs(session_of(declared, skip_padding="0"), declared), outputs(session_of(model), model), strict=True
    ):
        assert np.array_equal(y, wanted)


def test_doctor_tells(padded_model: Factory) -> None:
    from pyfastep.doctor import diagnose

    model = padded_model("mean", "torchscript")
    found = diagnose(model.converted).model
    assert found is not None
    assert found.padding == model.padding

"""Where models come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert

torch = pytest.importorskip("torch")

from transformers import RobertaConfig, RobertaModel  # noqa: E402

from pyfastep.compress import models  # noqa: E402
from pyfastep.compress.recipe import TaskSettings  # noqa: E402
from pyfastep.compress.tasks import create_task  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402

QUESTIONS = create_task(TaskSettings("question-answering"), 32)
CLASSES = create_task(TaskSettings("text-classification"), 32)
SENTENCES = create_task(TaskSettings("sentence-embedding"), 32)


def test_folders_packages_and_hub_names(tmp_path: Path) -> None:
    assert models.checkpoint_folder(str(tmp_path)) == tmp_path
    assert models.checkpoint_folder("somebody/some-model") is None
    assert models.checkpoint_folder("package:pyfastep/compress").name == "compress"  # type: ignore[union-attr]
    with pytest.raises(FastEPError, match=r"model.path: the package no_such_package is not installed"):
        models.checkpoint_folder("package:no_such_package/model")
    with pytest.raises(FastEPError, match=r"no such checkpoint folder"):
        models.checkpoint_folder(str(tmp_path / "missing"))


def test_a_checkpoint_comes_back_with_a_head_for_the_labels(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    model = models.load_model(str(tmp_path), CLASSES, ("no", "yes", "maybe"))
    assert model.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert models.load_model(str(tmp_path), SENTENCES).pooler is None
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FastEPError, match="the model cannot be loaded"):
        models.load_model(str(tmp_path), CLASSES)


def test_an_architecture_without_a_pooling_layer(tmp_path: Path) -> None:
    tiny_distilbert().save_pretrained(tmp_path)
    assert type(models.load_model(str(tmp_path), SENTENCES)).__name__ == "DistilBertModel"


def test_a_head_that_nobody_will_train_has_to_be_there(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path / "body")
    labels = ("no", "yes", "maybe")
    with pytest.raises(FastEPError, match=r"trained for text-classification, found no .*classifier\.weight"):
        models.load_model(str(tmp_path / "body"), CLASSES, labels, trained=True)
    models.load_model(str(tmp_path / "body"), CLASSES, labels).save_pretrained(tmp_path / "whole")
    models.load_model(str(tmp_path / "whole"), CLASSES, labels, trained=True)
    with pytest.raises(FastEPError, match=r"expected .* no, yes in this order, found .* no, yes, maybe"):
        models.load_model(str(tmp_path / "whole"), CLASSES, labels[:2], trained=True)
    assert models.load_model(str(tmp_path / "whole"), CLASSES, labels[:2]).config.num_labels == 2


def test_the_classes_of_a_trained_head_are_the_data_s(tmp_path: Path) -> None:
    """A name in another spelling could be that of another number."""
    path = str(tmp_path)
    models.tiny_model(CLASSES, 50, 32, ("POSITIVE", "NEGATIVE")).save_pretrained(path)
    with pytest.raises(FastEPError, match=r"labels negative, positive in this order, .* POSITIVE, NEGATIVE .*id2label"):
        models.load_model(path, CLASSES, ("negative", "positive"), trained=True)
    for labels in (("POSITIVE", "NEGATIVE"), ("0", "1")):  # data that hold numbers mean the classifier's
        assert models.load_model(path, CLASSES, labels, trained=True).config.id2label == dict(enumerate(labels))
    assert models.load_model(path, CLASSES, ("negative", "positive")).config.num_labels == 2  # will be trained


def test_labels_of_a_classifier(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path / "body")
    assert models.classifier_labels(str(tmp_path / "body")) == ()
    assert models.classifier_labels("tiny") == ()
    models.load_model(str(tmp_path / "body"), CLASSES, ("yes", "no")).save_pretrained(tmp_path / "whole")
    assert models.classifier_labels(str(tmp_path / "whole")) == ("yes", "no")


def test_longest_input() -> None:
    bert = tiny_bert()
    assert models.longest_input(bert) == bert.config.max_position_embeddings
    config = RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    assert models.longest_input(RobertaModel(config)) == 512 - 2
    assert models.longest_input(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert])
def test_fewer_layers(make: object, tmp_path: Path) -> None:
    model = make()  # type: ignore[operator]
    models.keep_layers(model, 1)
    (batch,) = batches(count=1)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(**batch)[0], again.train(False)(**batch)[0])
    with pytest.raises(FastEPError, match=r"model.layers: expected at most the model's 1 layers, found 2"):
        models.keep_layers(model, 2)


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = [f"{a}{b} sat on {b}{a}" for a in ("mat", "bel", "quin", "zor") for b in ("cat", "dog", "fen", "hay")] * 2
    first, second = (models.tiny_tokenizer(texts).get_vocab() for _ in range(2))
    assert first == second


def test_tiny_model_and_its_tokenizer(tmp_path: Path) -> None:
    tokenizer = models.tiny_tokenizer(["the cat sat on the mat", "the dog sat too"] * 3)
    ids = tokenizer("The cat", "sat")["input_ids"]
    assert tokenizer.decode(ids) == "[CLS] the cat [SEP] sat [SEP]"
    tokenizer.save_pretrained(str(tmp_path))
    assert models.load_tokenizer(str(tmp_path))("The cat", "sat")["input_ids"] == ids
    model = models.tiny_model(QUESTIONS, len(tokenizer), 32)
    assert model(input_ids=torch.tensor([ids])).start_logits.shape == (1, len(ids))

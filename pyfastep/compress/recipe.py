"""The recipe of a compression run: every choice, in one typed and frozen value.

Each class is one table of the TOML file, each field one key; :mod:`pyfastep.compress.recipe_file` reads files. Values
are checked when a class is constructed, so a recipe that exists is one that can be run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pyfastep.compress.checked import Checked, check_range, number
from pyfastep.compress.export import MAX_OPSET, MIN_OPSET
from pyfastep.errors import FastEPError

__all__ = [
    "LEAST_SENTENCES",
    "BenchSettings",
    "DataSettings",
    "DistillSettings",
    "EvaluateSettings",
    "ExportSettings",
    "ModelSettings",
    "PruneSettings",
    "QuantizeSettings",
    "Recipe",
    "TaskSettings",
    "TrainSettings",
]

LEAST_SENTENCES = 3
"""Fewer are less than two pairs, which have no rank correlation."""


@dataclass(frozen=True)
class ModelSettings(Checked):
    """``[model]``: what is compressed.

    Attributes:
        path: Folder of a Hugging Face checkpoint with its tokenizer; ``package:<name>/<folder>`` for one inside an
            installed Python package; ``tiny`` for a tiny BERT with random weights whose tokenizer is trained on the
            data; or a hub name, where there is a network.
        layers: Keep only the first so many layers; 0 keeps all.
        max_length: Tokens per sequence, at most.
    """

    path: str
    layers: int = number(0, least=0)
    max_length: int = number(128, least=8)


@dataclass(frozen=True)
class TaskSettings(Checked):
    """``[task]``: what the model is for.

    Attributes:
        kind: Decides the head, the data's format, the loss and the figures.
        doc_stride: Question answering: tokens that neighbouring windows of a long context share.
        max_answer_tokens: Question answering: longest answer considered.
        text_columns: Text classification: one column, or two for pairs.
        label_column: Text classification: holds a name or a number per row.
    """

    kind: Literal["question-answering", "text-classification", "sentence-embedding"]
    doc_stride: int = number(32, least=0)
    max_answer_tokens: int = number(30, least=1)
    text_columns: tuple[str, ...] = ("text",)
    label_column: str = "label"

    def _check(self) -> None:
        if len(self.text_columns) not in (1, 2):
            raise FastEPError(f"expected one or two columns, found {len(self.text_columns)}", node="text_columns")


@dataclass(frozen=True)
class DataSettings(Checked):
    """``[data]``: what it learns from and is measured on.

    Attributes:
        source: ``files``: ``train`` and ``eval`` are files or a hub name; ``facts``: generated question answering,
            or generated sentences to classify; ``sentences``: texts of this machine's own documentation.
        train: SQuAD JSON, CSV, JSONL or plain text, as the task asks for; relative to the recipe's folder.
        eval: The same, never trained on.
        train_samples: Use, or generate, so many; 0 uses all.
        eval_samples: The same for evaluation.
        calibration_samples: Training samples that calibrate quantization and second-order pruning.
        primer_samples: Question answering on ``facts`` only: generate so many easier samples too, which the dense model
            sees first; of the others alone a small one may learn nothing for long.
        view: Question answering on ``facts`` only: ``question-only`` hides who is spoken of, ``context-only`` hides the
            question; both are controls that a model must not solve.
        difficulty: Question answering on ``facts`` only: number of people per passage.
    """

    source: Literal["files", "facts", "sentences"] = "files"
    train: str = ""
    eval: str = ""
    train_samples: int = number(0, least=0)
    eval_samples: int = number(0, least=0)
    calibration_samples: int = number(128, least=1)
    primer_samples: int = number(0, least=0)
    view: Literal["full", "question-only", "context-only"] = "full"
    difficulty: int = number(4, least=2, most=8)

    def _check(self) -> None:
        if self.source == "files" and not (self.train and self.eval):
            raise FastEPError("expected both train and eval with source = files", node="train" if self.eval else "eval")
        if self.source != "files" and (self.train or self.eval):
            raise FastEPError(f"files are given, but source = {self.source} makes its own", node="source")
        if self.source != "files" and not (self.train_samples and self.eval_samples):
            missing = "eval_samples" if self.train_samples else "train_samples"
            raise FastEPError(f"expected a number above 0 with source = {self.source}", node=missing)


@dataclass(frozen=True)
class TrainSettings(Checked):
    """One training by ``transformers.Trainer``.

    Attributes:
        steps: Optimizer steps; 0 trains nothing.
        batch_size: Samples per step.
        accumulate: A step's batch is run in so many parts.
        learning_rate: Highest, after the warm-up.
        warmup: Share of the steps in which the rate rises.
        schedule: How it falls.
        weight_decay: AdamW's.
        adam_beta2: AdamW's, of the mean of squared gradients.
        freeze: Glob patterns of parameters that stay as they are, such as ``*.word_embeddings.*``.
        save_every: Steps between checkpoints that an interrupted run goes on from; 0: a tenth of all.
        precision: ``auto`` is bf16 autocast on a GPU that has it and on CPUs with AMX, fp32 elsewhere.
        dropout: While it trains, of every dropout of the model: a share, ``model`` for what the checkpoint's
            configuration says, or ``auto``: that, and 0 where a teacher is asked, as noise only slows a student down.
        minutes: Wall clock that the steps may take, 0: any. How long a step takes is measured before the first one, and
            where fewer than ``steps`` fit, every schedule is made for those. Evaluations and pruning at once are not
            counted, and a machine that becomes slower later takes longer.
        evaluations: Judge the model so often along the way, evenly spaced, and at the start; 0: never.
        evaluation_samples: Of the evaluation data, at most so many, for that.
    """

    steps: int = number(0, least=0)
    batch_size: int = number(32, least=1)
    accumulate: int = number(1, least=1)
    learning_rate: float = number(5e-5, least=0.0)
    warmup: float = number(0.1, least=0.0, most=1.0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = number(0.0, least=0.0)
    adam_beta2: float = number(0.999, least=0.0, most=0.999999)
    freeze: tuple[str, ...] = ()
    save_every: int = number(0, least=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    dropout: float | Literal["auto", "model"] = number("auto", least=0.0, most=1.0)
    minutes: float = number(0.0, least=0.0)
    evaluations: int = number(0, least=0)
    evaluation_samples: int = number(200, least=1)

    def _check(self) -> None:
        if self.batch_size % self.accumulate:
            raise FastEPError(
                f"expected a divisor of batch_size = {self.batch_size}, found {self.accumulate}", node="accumulate"
            )


@dataclass(frozen=True)
class PruneSettings(Checked):
    """``[prune]``: which weights become zero, and how.

    Attributes:
        method: ``gradual`` prunes while it trains (``[train]``); ``one-shot`` prunes by score at once; ``second-order``
            at once too, with the remaining weights solved for anew; both are followed by ``[train]`` with the pattern
            locked if that has steps. ``lock`` keeps the zeros that the checkpoint brings. ``none`` leaves it dense.
        pattern: ``RxC`` blocks (outputs x inputs), ``N:M`` (at most N of M consecutive inputs stay), ``unstructured``.
        sparsity: Share of blocks that become zero; N:M decides it itself.
        scope: One share for each layer, or one threshold over all.
        layer_bounds: With ``global``: least and highest sparsity of any layer.
        targets: With ``layer``: glob pattern of module names to a sparsity of their own; the first that matches counts.
        include: Glob patterns that replace the default choice, every Linear of the encoder's layers.
        exclude: Glob patterns never touched.
        score: ``magnitude``: mean ``|w|``; ``snip-momentum``: ``momentum * score + gain * |w * gradient|``.
        begin: Share of the steps before pruning starts.
        end: Share of the steps after which the final sparsity is reached and the pattern locked.
        every: Steps between two prunings.
        momentum: Of ``snip-momentum``.
        gain: Of ``snip-momentum``.
        damping: ``second-order``: added to the Hessian's diagonal, as a share of its mean.
        rounds: ``second-order``: the pattern is chosen in so many rounds, weights solved for after each.
    """

    method: Literal["gradual", "one-shot", "second-order", "lock", "none"] = "gradual"
    pattern: str = "4x1"
    sparsity: float = number(0.8, least=0.0, most=0.999)
    scope: Literal["layer", "global"] = "layer"
    layer_bounds: tuple[float, ...] = number((0.0, 0.99), least=0.0, most=0.999)
    targets: dict[str, float] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    score: Literal["magnitude", "snip-momentum"] = "magnitude"
    begin: float = number(0.0, least=0.0, most=1.0)
    end: float = number(0.6, least=0.0, most=1.0)
    every: int = number(10, least=1)
    momentum: float = number(1.0, least=0.0)
    gain: float = number(0.9, least=0.0)
    damping: float = number(0.01, least=1e-6, most=10.0)
    rounds: int = number(4, least=1)

    def _check(self) -> None:
        from pyfastep.compress.pattern import parse_pattern

        parse_pattern(self.pattern)
        if len(self.layer_bounds) != 2 or self.layer_bounds[0] > self.layer_bounds[1]:
            raise FastEPError(f"expected [least, highest], found {list(self.layer_bounds)}", node="layer_bounds")
        if self.begin > self.end:
            raise FastEPError(f"expected at least begin = {self.begin}, found {self.end}", node="end")
        if self.targets and self.scope == "global":
            raise FastEPError("targets are per layer, but scope = global", node="targets")
        if self.scope == "global" and not self.layer_bounds[0] <= self.sparsity <= self.layer_bounds[1]:
            raise FastEPError(f"expected it within layer_bounds, found {self.sparsity}", node="sparsity")
        if self.score == "snip-momentum" and self.method not in ("gradual", "lock", "none"):
            raise FastEPError("needs gradients: expected method = gradual", node="score")
        for pattern, share in self.targets.items():
            check_range(f"targets.{pattern}", share, 0.0, 0.999)


@dataclass(frozen=True)
class DistillSettings(Checked):
    """``[distill]``: what the student learns from its dense teacher, each a weight in the sum of losses.

    Attributes:
        teacher: Another checkpoint with the same tokenizer and classes; empty: the dense model of this run.
        task: The task's own loss on the labels.
        logits: KL divergence of the softened logits, times temperature squared.
        temperature: Softens both sides.
        hidden: Mean squared difference of hidden states.
        hidden_layers: ``all`` layers or the ``last``; a deeper teacher is compared at evenly spaced layers.
        normalize_hidden: Divide each dimension by the teacher's standard deviation in it: a few dimensions of an
            encoder are huge and would be all that is learned.
        embedding: ``1 - cosine`` of the sentence embeddings, pooled as each model's checkpoint says.
        embedding_mse: Mean squared difference of the unit-length embeddings, times their dimension.
        cache: Keep the teacher's logits and embeddings on disk instead of running it at every step.
    """

    teacher: str = ""
    task: float = number(0.5, least=0.0)
    logits: float = number(0.5, least=0.0)
    temperature: float = number(2.0, least=0.01)
    hidden: float = number(0.0, least=0.0)
    hidden_layers: Literal["all", "last"] = "all"
    normalize_hidden: bool = True
    embedding: float = number(0.0, least=0.0)
    embedding_mse: float = number(0.0, least=0.0)
    cache: bool = False

    @property
    def needs_teacher(self) -> bool:
        """Whether any part of the loss asks the teacher."""
        return any((self.logits, self.hidden, self.embedding, self.embedding_mse))

    def _check(self) -> None:
        if self.cache and self.hidden:
            raise FastEPError("hidden states are too large to cache; expected hidden = 0", node="cache")
        if not (self.task or self.needs_teacher):
            raise FastEPError("every weight of the loss is 0", node="task")


@dataclass(frozen=True)
class QuantizeSettings(Checked):
    """``[quantize]``: from float32 to INT8.

    Attributes:
        method: ``static`` calibrates after training; ``qat`` trains with fake quantization first; ``none`` stays float.
        calibration: How static ranges are found.
        percentile: For ``percentile``.
        attention: Quantize the two products of attention too.
        embeddings: Quantize embedding tables too.
        equalize: Move magnitude between pairs of layers so that per-tensor ranges fit better; the float model
            computes the same.
        ranges: QAT: activation ranges ``learned`` by gradient, or ``averaged`` over batches.
        momentum: QAT: of the averages.
        train: QAT: its training.
    """

    method: Literal["static", "qat", "none"] = "static"
    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = number(99.999, least=50.0, most=100.0)
    attention: bool = True
    embeddings: bool = True
    equalize: bool = False
    ranges: Literal["learned", "averaged"] = "averaged"
    momentum: float = number(0.05, least=0.0, most=1.0)
    train: TrainSettings = field(default_factory=TrainSettings)

    def _check(self) -> None:
        if self.method == "qat" and not self.train.steps:
            raise FastEPError("expected at least 1 with method = qat, found 0", node="train.steps")


@dataclass(frozen=True)
class ExportSettings(Checked):
    """``[export]``: the ONNX files."""

    opset: int = number(18, least=MIN_OPSET, most=MAX_OPSET)


@dataclass(frozen=True)
class EvaluateSettings(Checked):
    """``[evaluate]``: what is judged at the end.

    Attributes:
        forms: ``all`` forms of the model, and a teacher that is another checkpoint, so that the report tells what each
            step costs; or the ``final`` file where it is meant to run, beside the dense and the pruned model in float:
            less time where many runs are compared.
    """

    forms: Literal["all", "final"] = "all"


@dataclass(frozen=True)
class BenchSettings(Checked):
    """``[bench]``: what is measured at the end; no ``batches`` measures nothing.

    Attributes:
        lengths: Tokens, at most ``model.max_length``; none: 128, or that if it is less.
    """

    batches: tuple[int, ...] = number((1,), least=1)
    lengths: tuple[int, ...] = number((), least=1)
    threads: int = number(1, least=1)
    repeats: int = number(20, least=1)
    seconds: float = number(10.0, least=0.1)


@dataclass(frozen=True)
class Recipe(Checked):
    """A compression run. ``dense`` trains the dense model first, ``train`` the pruned one."""

    name: str
    model: ModelSettings
    task: TaskSettings
    data: DataSettings
    description: str = ""
    seed: int = number(0, least=0)
    dense: TrainSettings = field(default_factory=TrainSettings)
    prune: PruneSettings = field(default_factory=PruneSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    bench: BenchSettings = field(default_factory=BenchSettings)

    def _check(self) -> None:
        kind, source = self.task.kind, self.data.source
        makes = {"facts": ("question-answering", "text-classification"), "sentences": ("sentence-embedding",)}
        if kind not in makes.get(source, (kind,)):
            made = " or ".join(makes[source])
            raise FastEPError(f"data.source = {source} makes data for {made}, found {kind}", node="task.kind")
        longest = max(self.bench.lengths, default=0)
        if longest > self.model.max_length:
            raise FastEPError(
                f"expected at most model.max_length = {self.model.max_length}, found {longest}", node="bench.lengths"
            )
        if self.data.primer_samples and (kind, source) != ("question-answering", "facts"):
            raise FastEPError("goes with question answering on facts, expected 0", node="data.primer_samples")
        embedding = kind == "sentence-embedding"
        if embedding and (self.distill.task or self.distill.logits) and self.trains_student:
            raise FastEPError("sentences have no labels: expected task = 0 and logits = 0", node="distill")
        if embedding and self.dense.steps:
            raise FastEPError("sentences have no labels to train a dense model on: expected 0", node="dense.steps")
        if self.prune.method == "gradual" and not self.train.steps:
            raise FastEPError("gradual pruning needs training: expected at least 1, found 0", node="train.steps")
        trainings = {"train": self.train, "quantize.train": self.quantize.train}
        for name, training in trainings.items() if embedding else ():
            if training.evaluations and training.evaluation_samples < LEAST_SENTENCES:
                few = f"expected at least {LEAST_SENTENCES} to compare, found {training.evaluation_samples}"
                raise FastEPError(few, node=f"{name}.evaluation_samples")
        if not embedding and (self.distill.embedding or self.distill.embedding_mse):
            raise FastEPError(f"goes with sentence-embedding, expected 0 for {kind}", node="distill.embedding")

    @property
    def trains_student(self) -> bool:
        """Whether anything is trained after the dense model."""
        return bool(self.train.steps or self.quantize.method == "qat")
